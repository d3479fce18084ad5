"""Validate tokens: compare their predictions for whole planes with the annotation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ptsam.datasets.annotated_planes import AnnotatedPlane
from napari_ptsam.evaluation.metrics import Overlap, overlap, standard_error, sum_of
from napari_ptsam.images.guided_filter import guide_of
from napari_ptsam.images.tiling import Tile, Tiling
from napari_ptsam.inference.embedded_plane import EmbeddedPlane, embed_in_steps
from napari_ptsam.training.detail_tiles import CompressedFeatures
from napari_ptsam.training.tiles import PreparedPlanes, TrainingTile, crop

if TYPE_CHECKING:
    from napari_ptsam.backbones.early_features import EarlyFeatures
    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.images.guided_filter import Refinement
    from napari_ptsam.inference.detail import DetailCorrection
    from napari_ptsam.inference.prediction import Prediction

COLLAPSED = 0.01
"""A class has collapsed if less than this part of its foreground, or of the background, is found."""
UNCERTAINTY = 0.05
"""Uncertainty of the mean Dice on a few validation planes."""
WATCHED = 4
"""Number of training tiles of each class that are watched for a collapse."""


@dataclass(frozen=True, eq=False)
class ValidationPlane:
    """An embedded plane together with its annotation.

    Attributes
    ----------
    example
        The annotated plane.
    embedded
        The same plane, embedded.
    """

    example: AnnotatedPlane
    embedded: EmbeddedPlane

    @property
    def guide(self) -> np.ndarray:
        """Image that guides the filter of the logits: float32, shape (y, x); not cached."""
        assert self.embedded.guide is not None
        return self.embedded.guide()

    def predict(
        self,
        tokens: torch.Tensor,
        backbone: Backbone,
        refinement: Refinement | None = None,
        classes: int | None = None,
        corrections: Sequence[DetailCorrection | None] = (),
    ) -> Prediction:
        """Predict the plane with tokens; see `EmbeddedPlane.predict`.

        Detail heads are left out if the early features of the plane were not kept.
        """
        corrections = corrections if self.embedded.early is not None else ()
        return self.embedded.predict(backbone.decoder, tokens, refinement, classes, corrections)


@dataclass(frozen=True, eq=False)
class PlaneLogits:
    """An annotated plane and its unfiltered logits.

    Attributes
    ----------
    plane
        The embedded plane with its annotation.
    logits
        float16 or float32, shape (classes, y, x).
    """

    plane: ValidationPlane
    logits: np.ndarray

    def overlaps(self, refinement: Refinement | None = None) -> list[Overlap]:
        """Return the overlap of each class with the annotation, after a filter."""
        logits = self.logits.astype(np.float32)
        return overlaps_with(
            self.plane.example, self.plane.embedded.prediction(logits, refinement)
        )  # fmt: skip


@dataclass(frozen=True)
class Measurement:
    """Result of a validation.

    Attributes
    ----------
    dice
        Mean Dice over the planes and the classes on them.
    collapsed
        Whether some class is found almost nowhere, or almost everywhere.
    """

    dice: float
    collapsed: bool

    def no_worse_than(self, dice: float) -> bool:
        """Return whether no class has collapsed and the Dice is not clearly lower than ``dice``."""
        return not self.collapsed and self.dice >= dice - UNCERTAINTY


def embed_planes(
    examples: Sequence[AnnotatedPlane],
    prepared_planes: PreparedPlanes,
    backbone: Backbone,
    detail: bool = False,
) -> Iterator[ValidationPlane | None]:
    """Embed planes tile by tile.

    Parameters
    ----------
    examples
        Annotated planes.
    prepared_planes
        Prepares the examples.
    backbone
        Backbone that embeds the tiles.
    detail
        Whether to keep their early features too.

    Yields
    ------
    ValidationPlane or None
        None after each tile of a plane but its last one, then the plane.
    """
    encoder = backbone.encoder
    for example in examples:
        prepared, guide = prepared_planes.prepare(example), _guide_maker(prepared_planes, example)
        computed: dict[int, EarlyFeatures] = {}
        features: dict[int, CompressedFeatures] = {}
        early = _restored(features) if detail else None
        computes = computed if detail else None
        for embedded in embed_in_steps(prepared, encoder, (), guide, early, computes):
            features.update((n, CompressedFeatures.of(part)) for n, part in computed.items())
            computed.clear()
            yield None if embedded is None else ValidationPlane(example, embedded)


def _early_of(tiles: Sequence[TrainingTile]) -> Callable[[int], EarlyFeatures] | None:
    """Return the function for the early features of tiles; None if some were not kept."""
    features = {number: tile.early for number, tile in enumerate(tiles) if tile.early is not None}
    return _restored(features) if len(features) == len(tiles) else None


def _restored(features: Mapping[int, CompressedFeatures]) -> Callable[[int], EarlyFeatures]:
    """Return a function that restores the early features of a tile, given its index."""
    return lambda number: features[number].restored()


def _guide_maker(
    prepared_planes: PreparedPlanes, example: AnnotatedPlane, tile: Tile | None = None
) -> Callable[[], np.ndarray]:
    """Return a function that makes the guide of an example, or of a tile of it."""

    def guide() -> np.ndarray:
        pixels = prepared_planes.prepare(example).pixels
        return guide_of(pixels if tile is None else pixels[tile.window])

    return guide


def planes_of_tiles(
    examples: Sequence[AnnotatedPlane],
    tiling: Tiling,
    tiles: Sequence[TrainingTile],
    prepared_planes: PreparedPlanes,
) -> list[list[ValidationPlane]]:
    """Return planes to validate on that consist of tiles which are embedded for training.

    They are used if there are too few planes to hold any out, so that no tile is
    embedded twice. If only a part of a plane's tiles is embedded, each of these
    counts as a plane of its own.

    Returns
    -------
    list of list of ValidationPlane
        One list for each example.
    """
    planes = []
    for number, example in enumerate(examples):
        upright = [tile for tile in tiles if tile.job.example == number and tile.upright]
        if len(upright) == len(tiling.tiles(example.shape)):
            embedded = EmbeddedPlane(
                example.shape,
                tuple(tile.job.tile for tile in upright),
                tuple(tile.embedding[None] for tile in upright),
                blank=prepared_planes.blank(example),
                guide=_guide_maker(prepared_planes, example),
                early=_early_of(upright),
            )
            planes.append([ValidationPlane(example, embedded)])
        else:
            planes.append(
                [
                    plane_of_tile(
                        example, tile.job.tile, tile.embedding, prepared_planes, tile.early
                    )
                    for tile in upright
                ]
            )
    return planes


def plane_of_tile(
    example: AnnotatedPlane,
    tile: Tile,
    embedding: torch.Tensor,
    prepared_planes: PreparedPlanes,
    early: CompressedFeatures | None = None,
) -> ValidationPlane:
    """Return an upright tile as a plane of its own.

    Parameters
    ----------
    example
        The annotated plane that the tile belongs to.
    embedding
        Shape (4096, 256).
    """
    blank = prepared_planes.blank(example)
    part = crop(example, tile)
    embedded = EmbeddedPlane(
        part.shape,
        (Tile(0, 0, tile.side),),
        (embedding[None],),
        blank=None if blank is None else blank[tile.window],
        guide=_guide_maker(prepared_planes, example, tile),
        early=None if early is None else _restored({0: early}),
    )
    return ValidationPlane(part, embedded)


def tiles_to_watch(
    examples: Sequence[AnnotatedPlane],
    tiles: Sequence[TrainingTile],
    classes: int,
    prepared_planes: PreparedPlanes,
) -> list[ValidationPlane]:
    """Return the training tiles with the largest areas of each class.

    They show a collapse that the validation planes may hide.
    """
    upright = [tile for tile in tiles if tile.upright]
    richest = {
        id(tile): tile
        for number in range(classes)
        for tile in sorted(upright, key=lambda t: -float((t.target[number] * t.weight).sum()))[
            :WATCHED
        ]
    }
    return [
        plane_of_tile(examples[tile.job.example], tile.job.tile, tile.embedding, prepared_planes)
        for tile in richest.values()
    ]


def measure(
    planes: Sequence[ValidationPlane],
    tokens: torch.Tensor,
    backbone: Backbone,
    watched: Sequence[ValidationPlane] = (),
    stopped: Callable[[], bool] = lambda: False,
) -> Measurement | None:
    """Validate tokens: predict planes, and compare the prediction with the annotation.

    Parameters
    ----------
    planes
        Planes to validate on.
    tokens
        float32, shape (classes, 8, 256).
    watched
        More planes that are checked for a collapse. The Dice ignores them.
    stopped
        Function that is called before each plane. As soon as it returns True,
        the validation ends.

    Returns
    -------
    Measurement or None
        None if the validation was stopped.
    """
    plane_overlaps = []
    for plane in (*planes, *watched):
        if stopped():
            return None
        plane_overlaps.append(overlaps(plane, tokens, backbone))
    dice = mean_dice(plane_overlaps[: len(planes)])
    pixels = sum(_annotated_pixels(plane.example) for plane in (*planes, *watched))
    collapsed = any(
        _has_collapsed(of_class, pixels) for of_class in zip(*plane_overlaps, strict=True)
    )
    return Measurement(dice, collapsed)


def mean_dice(plane_overlaps: Sequence[Sequence[Overlap]]) -> float:
    """Return the mean Dice over planes and the classes on them.

    Parameters
    ----------
    plane_overlaps
        For each plane, the overlap of each class.
    """
    # Planes without a class say little about it, since finding nothing is easy.
    present = [of_class.dice for plane in plane_overlaps for of_class in plane if of_class.truth]
    return float(
        np.mean(present or [of_class.dice for plane in plane_overlaps for of_class in plane])
    )


def dice_of_parts(part_overlaps: Sequence[Sequence[Overlap]]) -> float:
    """Return the mean Dice over the classes on a plane, given the overlaps of its parts."""
    return mean_dice([[sum_of(parts) for parts in zip(*part_overlaps, strict=True)]])


def dice_error(plane_overlaps: Sequence[Sequence[Overlap]]) -> float | None:
    """Return the standard error of the mean Dice over planes; None for fewer than 2 planes."""
    dices = [mean_dice([of_classes]) for of_classes in plane_overlaps]
    return float(standard_error(dices)) if len(dices) > 1 else None


def overlaps(
    plane: ValidationPlane,
    tokens: torch.Tensor,
    backbone: Backbone,
    refinement: Refinement | None = None,
    corrections: Sequence[DetailCorrection | None] = (),
) -> list[Overlap]:
    """Predict a plane, and return the overlap of each class with its annotation."""
    prediction = plane.predict(tokens, backbone, refinement, corrections=corrections)
    return overlaps_with(plane.example, prediction)


def overlaps_with(example: AnnotatedPlane, prediction: Prediction) -> list[Overlap]:
    """Return the overlap of each class of a prediction with the annotation."""
    labels = prediction.labels
    return [
        overlap(example.labels == value, labels == value, example.valid)
        for value in range(1, len(prediction.logits) + 1)
    ]


def _annotated_pixels(example: AnnotatedPlane) -> int:
    return example.labels.size if example.valid is None else int(np.count_nonzero(example.valid))


def _has_collapsed(overlaps: Sequence[Overlap], pixels: int) -> bool:
    """Return whether a class is wrongly found almost nowhere or almost everywhere."""
    truth = sum(on_plane.truth for on_plane in overlaps)
    shared = sum(on_plane.shared for on_plane in overlaps)
    predicted = sum(on_plane.predicted for on_plane in overlaps)
    true_background = pixels - truth - predicted + shared
    nowhere = truth > 0 and shared < COLLAPSED * truth
    everywhere = pixels > truth and true_background < COLLAPSED * (pixels - truth)
    return nowhere or everywhere
