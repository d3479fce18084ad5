"""Cut annotated planes into training tiles, and embed them with their targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from napari_ptsam.backbones.decoder import MASK_SIDE
from napari_ptsam.datasets.annotated_planes import AnnotatedPlane
from napari_ptsam.errors import InputError, framed
from napari_ptsam.images.settings import ImageSettings, PreparedPlane
from napari_ptsam.images.tiling import Tile, Tiling, cut
from napari_ptsam.training.detail_tiles import CompressedFeatures

if TYPE_CHECKING:
    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.images.normalize import Limits

SYMMETRIES = 8
"""Symmetries of the square: four rotations, each with and without a flip."""
HELD_OUT_TILES = 9
"""Largest number of tiles of a validation plane. Only a part of a larger plane is used."""
MOST_DETAIL_TILES = 96
"""Largest number of training tiles whose early features are kept, 6 MB each."""


@dataclass(frozen=True)
class TileJob:
    """A tile that is to be embedded.

    Attributes
    ----------
    example
        Index of the annotated plane that the tile is cut from.
    tile
        Position and size of the tile.
    symmetry
        Rotation and flip of the tile, see `turn`; 0 leaves it upright.
    blank
        Whether the plane was made to show nothing.
    """

    example: int
    tile: Tile
    symmetry: int
    blank: bool = False

    @property
    def upright(self) -> bool:
        """Whether the tile is neither turned nor flipped."""
        return self.symmetry == 0


@dataclass(frozen=True, eq=False)
class TrainingTile:
    """An embedded tile with its target.

    Attributes
    ----------
    embedding
        Embedding of the tile: float16, shape (4096, 256).
    target
        Foreground fraction of each mask position: float32, shape (classes, 256, 256).
    weight
        Valid fraction of each mask position: float32, shape (256, 256).
    job
        The tile that was embedded.
    early
        Early features of the tile, from which a detail head learns; None if there is
        to be no head.
    """

    embedding: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor
    job: TileJob
    early: CompressedFeatures | None = None

    @property
    def upright(self) -> bool:
        """Whether the tile is neither turned nor flipped."""
        return self.job.upright


def plan(
    examples: Sequence[AnnotatedPlane], tiling: Tiling, embeddings: int, rng: np.random.Generator
) -> list[TileJob]:
    """Choose the tiles to train on, and their flips and rotations.

    Every tile with annotated pixels is taken upright, then once more turned or
    flipped, and so on, as long as the number of embeddings allows. If there are
    too many tiles, those with foreground come first.

    Parameters
    ----------
    examples
        Annotated planes to train on.
    tiling
        Size and overlap of the tiles.
    embeddings
        Largest number of tiles.
    rng
        Random generator.
    """
    tiles = [
        (number, tile)
        for number, example in enumerate(examples)
        for tile in tiling.tiles(example.shape)
        if example.valid is None or example.valid[tile.window].any()
    ]
    shuffled = rng.permutation(len(tiles))
    order = sorted(
        shuffled, key=lambda i: not examples[tiles[i][0]].labels[tiles[i][1].window].any()
    )
    chosen = [tiles[i] for i in sorted(order[:embeddings])]
    rounds = min(SYMMETRIES, max(1, embeddings // len(chosen)))
    turned = [[0, *(1 + rng.permutation(SYMMETRIES - 1))] for _ in chosen]
    return [
        TileJob(number, tile, int(turned[i][turn]))
        for turn in range(rounds)
        for i, (number, tile) in enumerate(chosen)
    ]


def embed(
    jobs: Sequence[TileJob],
    examples: Sequence[AnnotatedPlane],
    prepared_planes: PreparedPlanes,
    backbone: Backbone,
    classes: int,
    early: dict[TileJob, CompressedFeatures] | None = None,
) -> Iterator[TrainingTile]:
    """Embed the tiles to train on one by one.

    Parameters
    ----------
    jobs
        Tiles to embed, which name their examples by number.
    examples
        Annotated planes.
    prepared_planes
        Object that prepares the examples.
    backbone
        Backbone that embeds the tiles.
    classes
        Number of classes.
    early
        If given, early features are computed too, and added for tiles that are not
        there yet, up to `MOST_DETAIL_TILES`.
    """
    for job in jobs:
        example = examples[job.example]
        target, weight = target_of(example, job, classes)
        pixels = turned_tile(prepared_planes.prepare(example).pixels, job)
        if early is None or job in early or len(early) >= MOST_DETAIL_TILES:
            embedding = backbone.encoder([pixels])[0]
        else:
            embeddings, features = backbone.encoder.with_early([pixels])
            embedding, early[job] = embeddings[0], CompressedFeatures.of(features)
        yield TrainingTile(
            embedding,
            target.to(backbone.device),
            weight.to(backbone.device),
            job,
            None if early is None else early.get(job),
        )


class PreparedPlanes:
    """Prepare annotated planes for the model, and remember which of their pixels are blank.

    Prepared pixels take a lot of memory, so only those of the last plane are kept.

    Parameters
    ----------
    settings
        Settings with which images are prepared.
    limits
        Value limits of each stack that the examples come from.
    """

    def __init__(self, settings: ImageSettings, limits: Sequence[Limits | None]) -> None:
        self._settings, self._limits = settings, limits
        self._blank: dict[AnnotatedPlane, np.ndarray | None] = {}
        self._last: tuple[AnnotatedPlane, PreparedPlane] | None = None

    def prepare(self, example: AnnotatedPlane) -> PreparedPlane:
        """Prepare an example.

        Raises
        ------
        InputError
            If it does not fit the settings; the message names it.
        """
        if self._last is not None and self._last[0] is example:
            return self._last[1]
        self._last = None  # its memory is needed now
        try:
            prepared = self._settings.prepare(
                example.pixels, example.rgb, self._limits[example.stack]
            )
        except InputError as error:
            raise InputError(framed(error, before=f"{example.name}: ")) from error
        self._blank[example] = prepared.blank
        self._last = example, prepared
        return prepared

    def forget(self) -> None:
        """Drop the pixels of the last plane."""
        self._last = None

    def blank(self, example: AnnotatedPlane) -> np.ndarray | None:
        """Return the mask of the pixels that show nothing: bool, shape (y, x), or None."""
        if example not in self._blank:
            self.prepare(example)
        return self._blank[example]


def turned_tile(pixels: np.ndarray, job: TileJob) -> np.ndarray:
    """Cut a tile out of prepared pixels and turn it: float32, shape (side, side, 3), contiguous."""
    return np.ascontiguousarray(turn(cut(pixels, job.tile), job.symmetry))


def turn(pixels: np.ndarray, symmetry: int) -> np.ndarray:
    """Rotate by ``symmetry % 4`` quarter turns, then flip if it is 4 or more."""
    pixels = np.rot90(pixels, symmetry % 4)
    return pixels[:, ::-1] if symmetry >= 4 else pixels


def target_of(
    example: AnnotatedPlane, job: TileJob, classes: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return target and weight of a tile, see `TrainingTile`."""
    labels, valid = annotation_of(example, job.tile)
    return target_from(turn(labels, job.symmetry), turn(valid, job.symmetry), classes)


def annotation_of(example: AnnotatedPlane, tile: Tile) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and valid pixels of a tile, not valid beyond the plane: uint8 and bool, (side, side)."""
    labels = np.zeros((tile.side, tile.side), dtype=np.uint8)
    valid = np.zeros((tile.side, tile.side), dtype=bool)
    part = example.labels[tile.window]
    inside = (slice(part.shape[0]), slice(part.shape[1]))
    labels[inside] = part
    valid[inside] = True if example.valid is None else example.valid[tile.window]
    return labels, valid


def target_from(
    labels: np.ndarray, valid: np.ndarray, classes: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return target and weight for the labels and valid pixels of a tile, see `TrainingTile`."""
    stacked = np.stack([(labels == i + 1) & valid for i in range(classes)] + [valid])
    planes = torch.from_numpy(stacked.astype(np.float32))[None]
    small = F.interpolate(planes, size=(MASK_SIDE, MASK_SIDE), mode="area")[0]
    weight = small[-1]
    # The foreground fraction refers to the valid part of each position.
    return small[:-1] / weight.clamp(min=1e-6), weight


def measurable_part(example: AnnotatedPlane, settings: ImageSettings) -> AnnotatedPlane:
    """Return the plane or, if it is very large, the part of it with the most foreground."""
    if len(settings.tiling.tiles(example.shape)) <= HELD_OUT_TILES:
        return example
    side = round(settings.tiling.side * (HELD_OUT_TILES**0.5 - 0.5))
    best = max(
        (
            Tile(y, x, side)
            for y in _starts(example.shape[0], side)
            for x in _starts(example.shape[1], side)
        ),
        key=lambda tile: int(np.count_nonzero(example.labels[tile.window])),
    )
    return crop(example, best)


def crop(example: AnnotatedPlane, tile: Tile) -> AnnotatedPlane:
    """Return the part of an annotated plane that lies in a tile."""
    window = tile.window
    return replace(
        example,
        pixels=example.pixels[window],
        labels=example.labels[window],
        valid=None if example.valid is None else example.valid[window],
        instances=None if example.instances is None else example.instances[window],
    )


def _starts(length: int, side: int) -> list[int]:
    return list(range(0, max(1, length - side + 1), max(1, side // 2)))
