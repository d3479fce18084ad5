"""Dice of the tokens on whole planes, the way that segmenting will see them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ptsam.datasets.annotated_planes import AnnotatedPlane
from napari_ptsam.evaluation.metrics import Overlap, overlap
from napari_ptsam.images.flips import Flip
from napari_ptsam.images.guided_filter import Refinement, guide_of
from napari_ptsam.images.settings import ImageSettings, PreparedPlane
from napari_ptsam.images.tiling import Tile, Tiling
from napari_ptsam.inference.predict import labels_of, plane_logits
from napari_ptsam.training.tiles import TrainingTile, crop, prepared

if TYPE_CHECKING:
    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.images.normalize import Limits

SAME = 0.01
"""A class is collapsed if it finds less than this part of all foreground, or of all background."""


NOISE = 0.05
"""Dice on a few held-out planes is not more exact than that."""
WATCHED = 4
"""Training tiles of each class that are watched for a collapse."""


class PreparedPlanes:
    """Annotated planes as the model sees them.

    Parameters
    ----------
    settings
        How images are prepared.
    limits
        Value limits of each stack that examples come from.
    """

    def __init__(self, settings: ImageSettings, limits: Sequence[Limits | None]) -> None:
        self._settings, self._limits = settings, limits
        self._blank: dict[int, tuple[AnnotatedPlane, np.ndarray | None]] = {}

    def prepared(self, example: AnnotatedPlane) -> PreparedPlane:
        """A plane as the model sees it, made anew each time."""
        found = prepared(example, self._settings, self._limits)
        self._blank[id(example)] = example, found.blank  # the example, so that its id is its own
        return found

    def guide(self, example: AnnotatedPlane) -> np.ndarray:
        """Of a guided filter: float32, shape (y, x); made anew each time."""
        return guide_of(self.prepared(example).pixels)

    def blank(self, example: AnnotatedPlane) -> np.ndarray | None:
        """Pixels that show nothing: bool, shape (y, x), or None; kept."""
        if id(example) not in self._blank:
            self.prepared(example)
        return self._blank[id(example)][1]


@dataclass(frozen=True, eq=False)
class ValidationPlane:
    """A plane to measure on, embedded.

    Attributes
    ----------
    example
        With its annotation.
    tiles
        That cover it.
    embeddings
        Of the tiles, each of shape (4096, 256), or with flips (1 + flips, 4096,
        256); None for a tile that shows nothing.
    see
        Gives the guide of a guided filter: float32, shape (y, x). Most planes
        are never filtered, and a guide is as large as its plane.
    flips
        That are embedded too.
    blank
        bool, shape (y, x): pixels that show nothing.
    """

    example: AnnotatedPlane
    tiles: tuple[Tile, ...]
    embeddings: tuple[torch.Tensor | None, ...]
    see: Callable[[], np.ndarray]
    flips: tuple[Flip, ...] = ()
    blank: np.ndarray | None = None

    @property
    def guide(self) -> np.ndarray:
        """Of a guided filter: float32, shape (y, x); made anew each time."""
        return self.see()

    def logits(self, tokens: torch.Tensor, backbone: Backbone) -> np.ndarray:
        """Logits of the plane, not yet refined: float32, shape (classes, y, x)."""
        shape = self.example.shape
        return plane_logits(
            backbone.decoder, self.embeddings, self.tiles, shape, tokens, self.flips, self.blank
        )

    def refined(self, logits: np.ndarray, refinement: Refinement) -> np.ndarray:
        """Logits of classes that follow the image's edges."""
        return refinement.apply(logits, self.guide, self.blank)

    def labels(
        self, tokens: torch.Tensor, backbone: Backbone, refinement: Refinement | None = None
    ) -> np.ndarray:
        """What the tokens find: uint8, shape (y, x)."""
        logits = self.logits(tokens, backbone)
        return labels_of(logits if refinement is None else self.refined(logits, refinement))


@dataclass(frozen=True)
class Measurement:
    """What a check found.

    Attributes
    ----------
    dice
        Mean over planes and the classes on them.
    collapsed
        Whether some class is found (almost) nowhere or (almost) everywhere.
    """

    dice: float
    collapsed: bool

    def no_worse_than(self, dice: float) -> bool:
        """Whether it has not collapsed, and its Dice is not clearly lower than another one."""
        return not self.collapsed and self.dice >= dice - NOISE


def embed_planes(
    examples: Sequence[AnnotatedPlane],
    settings: ImageSettings,
    limits: Sequence[Limits | None],
    backbone: Backbone,
) -> Iterator[ValidationPlane | None]:
    """Embed planes tile by tile; gives None for a tile, and the plane with its last one."""
    looks = PreparedPlanes(settings, limits)
    for example in examples:
        plane = looks.prepared(example)
        tiles = settings.tiling.tiles(example.shape)
        embeddings: list[torch.Tensor | None] = []
        for tile in tiles:
            pixels = plane.cut(tile)
            embeddings.append(None if pixels is None else backbone.encoder([pixels])[0])
            if len(embeddings) < len(tiles):
                yield None
        yield _whole(example, tiles, embeddings, looks)


def _whole(
    example: AnnotatedPlane,
    tiles: Sequence[Tile],
    embeddings: Sequence[torch.Tensor | None],
    looks: PreparedPlanes,
) -> ValidationPlane:
    return ValidationPlane(
        example,
        tuple(tiles),
        tuple(embeddings),
        lambda: looks.guide(example),
        blank=looks.blank(example),
    )


def planes_of_tiles(
    examples: Sequence[AnnotatedPlane],
    tiling: Tiling,
    tiles: Sequence[TrainingTile],
    looks: PreparedPlanes,
) -> list[list[ValidationPlane]]:
    """For each example what there is to measure on, of tiles that were embedded for training.

    For when there are too few planes to hold any out: nothing is embedded
    twice. Of a plane that was not embedded as a whole, each tile counts as a
    plane of its own.
    """
    planes = []
    for number, example in enumerate(examples):
        own = [
            (tile.job.tile, tile.embedding)
            for tile in tiles
            if tile.job.example == number and tile.upright
        ]
        if len(own) == len(tiling.tiles(example.shape)):
            covering, embeddings = zip(*own, strict=True)
            planes.append([_whole(example, covering, embeddings, looks)])
        else:
            planes.append([alone(example, *one, looks) for one in own])
    return planes


def alone(
    example: AnnotatedPlane,
    tile: Tile,
    embedding: torch.Tensor,
    looks: PreparedPlanes,
) -> ValidationPlane:
    """A tile as a plane of its own."""
    part, blank = crop(example, tile), looks.blank(example)
    return ValidationPlane(
        part,
        (Tile(0, 0, tile.side),),
        (embedding,),
        lambda: looks.guide(example)[tile.window],
        blank=None if blank is None else blank[tile.window],
    )


def tiles_to_watch(
    examples: Sequence[AnnotatedPlane],
    tiles: Sequence[TrainingTile],
    classes: int,
    looks: PreparedPlanes,
) -> list[ValidationPlane]:
    """The training tiles with most of each class, to see a collapse that held-out planes hide."""
    upright = [tile for tile in tiles if tile.upright]
    richest = {
        id(tile): tile
        for number in range(classes)
        for tile in sorted(upright, key=lambda t: -float((t.target[number] * t.weight).sum()))[
            :WATCHED
        ]
    }
    watched = []
    for tile in richest.values():
        example = examples[tile.job.example]
        watched.append(alone(example, tile.job.tile, tile.embedding, looks))
    return watched


def measure(
    planes: Sequence[ValidationPlane],
    tokens: torch.Tensor,
    backbone: Backbone,
    watched: Sequence[ValidationPlane] = (),
    stopped: Callable[[], bool] = lambda: False,
) -> Measurement | None:
    """Segment the planes with the tokens and compare with their annotation.

    Parameters
    ----------
    planes
        Embedded, with their annotation.
    tokens
        float32, shape (classes, 8, 256).
    watched
        More planes to look for a collapse on; they do not count for the Dice.
    stopped
        Asked before each plane; once it says yes, nothing more is measured.

    Returns
    -------
    Measurement or None
        None if it was stopped.
    """
    seen = []
    for plane in (*planes, *watched):
        if stopped():
            return None
        seen.append(overlaps(plane, tokens, backbone))
    dice = mean_dice(seen[: len(planes)])
    pixels = sum(_counting(plane.example) for plane in (*planes, *watched))
    return Measurement(dice, any(_collapsed(own, pixels) for own in zip(*seen, strict=True)))


def mean_dice(found: Sequence[Sequence[Overlap]]) -> float:
    """Mean Dice over planes and the classes on them."""
    # A class that is not on a plane says little: finding nothing there is no feat.
    present = [one.dice for plane in found for one in plane if one.truth]
    return float(np.mean(present or [one.dice for plane in found for one in plane]))


def overlaps(
    plane: ValidationPlane,
    tokens: torch.Tensor,
    backbone: Backbone,
    refinement: Refinement | None = None,
) -> list[Overlap]:
    """Overlap of each class with its annotation."""
    example, found = plane.example, plane.labels(tokens, backbone, refinement)
    return [
        overlap(example.labels == value, found == value, example.valid)
        for value in range(1, len(tokens) + 1)
    ]


def _counting(example: AnnotatedPlane) -> int:
    return example.labels.size if example.valid is None else int(np.count_nonzero(example.valid))


def _collapsed(overlaps: Sequence[Overlap], pixels: int) -> bool:
    """Whether one class is found nowhere, or everywhere, though it should not be."""
    truth = sum(one.truth for one in overlaps)
    shared = sum(one.shared for one in overlaps)
    predicted = sum(one.predicted for one in overlaps)
    true_background = pixels - truth - predicted + shared
    nowhere = truth > 0 and shared < SAME * truth
    everywhere = pixels > truth and true_background < SAME * (pixels - truth)
    return nowhere or everywhere
