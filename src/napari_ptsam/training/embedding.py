"""Embed the tiles of a training once: those to train on, and those of the validation planes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from napari_ptsam.images.tiling import cut
from napari_ptsam.training.blank_planes import blank_count, blank_examples
from napari_ptsam.training.tiles import (
    PreparedPlanes,
    TileJob,
    TrainingTile,
    embed,
    measurable_part,
    plan,
    turned_tile,
)
from napari_ptsam.training.validation import (
    ValidationPlane,
    embed_planes,
    plane_of_tile,
    planes_of_tiles,
    tiles_to_watch,
)

if TYPE_CHECKING:
    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.datasets.annotated_planes import AnnotatedPlane
    from napari_ptsam.images.normalize import Limits
    from napari_ptsam.images.planes import Planes
    from napari_ptsam.images.settings import ImageSettings
    from napari_ptsam.training.detail_tiles import CompressedFeatures


T = TypeVar("T")


def _spread(items: Sequence[T], count: int) -> list[T]:
    """Return some of the items, evenly spaced from the first to the last."""
    count = min(count, len(items))
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]


class EmbeddedTiles:
    """The embedded tiles and planes of a training.

    Tiles are embedded one by one: upright training tiles first, then the
    validation planes, then the turned and flipped training tiles.

    Parameters
    ----------
    training, held_out
        Annotated planes to train on, and those held out for validation.
    stacks
        Images that the planes come from, from which value limits are computed.
    images
        Settings with which images are prepared.
    classes
        Number of classes.
    detail
        Whether to compute the features from which a detail head learns.

    Attributes
    ----------
    tiles
        Training tiles that are embedded so far.
    blanks
        Embedded tiles that show almost nothing; a few of them are used for training.
    examples
        Annotated planes that the tiles are cut from, blank ones last.
    measured
        Embedded validation planes.
    watched
        Training tiles that are checked for a collapse.
    measured_on_training
        Whether validation uses the training planes, since none are held out.
    """

    def __init__(
        self,
        training: Sequence[AnnotatedPlane],
        held_out: Sequence[AnnotatedPlane],
        stacks: Sequence[Planes],
        images: ImageSettings,
        classes: int,
        detail: bool = False,
    ) -> None:
        self._early: dict[TileJob, CompressedFeatures] | None = {} if detail else None
        self._training, self._held_out = training, held_out
        self._stacks, self._images, self._classes = stacks, images, classes
        self.tiles: list[TrainingTile] = []
        self.blanks: list[TrainingTile] = []
        self.examples: list[AnnotatedPlane] = [*training]
        self.measured: list[ValidationPlane] = []
        self.watched: list[ValidationPlane] = []
        self.measured_on_training = not held_out
        self._limits: list[Limits | None] = []
        self._prepared_planes = PreparedPlanes(images, self._limits)
        self._parts: list[AnnotatedPlane] = []
        self._jobs: list[TileJob] = []

    @property
    def count(self) -> int:
        """Total number of tiles, known once `embed` has begun."""
        planes = sum(len(self._images.tiling.tiles(part.shape)) for part in self._parts)
        return len(self._jobs) + planes

    @property
    def upright_count(self) -> int:
        """Number of tiles that are neither turned nor flipped."""
        return self.count - sum(not job.upright for job in self._jobs)

    def embed(self, backbone: Backbone, embeddings: int, seed: int) -> Iterator[tuple[int, int]]:
        """Embed all tiles. The iteration may be stopped at any time.

        Parameters
        ----------
        backbone
            Backbone that embeds the tiles.
        embeddings
            Largest number of tiles to train on.
        seed
            Seed of the choice of tiles and of their rotations and flips.

        Yields
        ------
        int, int
            Number of tiles done, and their total number.
        """
        self._limits[:] = [self._images.limits(stack) for stack in self._stacks]
        rng = np.random.default_rng(seed)
        self._jobs = plan(self._training, self._images.tiling, embeddings, rng)
        self._plan_blanks(seed)
        self._parts = [measurable_part(example, self._images) for example in self._held_out]
        total = self.count
        upright = self.embed_upright_tiles(backbone)
        turned = self._tiles([job for job in self._jobs if not job.upright], backbone)
        planes = self._validation_planes(self._parts, backbone)
        for done, embedded in enumerate(chain(upright, planes, turned), start=1):
            if isinstance(embedded, ValidationPlane):
                self.measured.append(embedded)
            elif embedded is not None:
                (self.blanks if embedded.job.blank else self.tiles).append(embedded)
            yield done, total
        self.settle()

    def _plan_blanks(self, seed: int) -> None:
        """Add blank planes, with a random generator that leaves the other tiles unchanged."""
        tiling, count = self._images.tiling, blank_count(len(self._jobs))
        rng = np.random.default_rng([seed, len(self._jobs)])
        blanks = blank_examples(self._training, tiling.side, count, rng)
        self.examples = [*self._training, *blanks]
        for number, example in enumerate(blanks, start=len(self._training)):
            self._jobs.append(TileJob(number, tiling.tiles(example.shape)[0], 0, blank=True))

    def _tiles(self, jobs: list[TileJob], backbone: Backbone) -> Iterator[TrainingTile]:
        return embed(
            jobs, self.examples, self._prepared_planes, backbone, self._classes, self._early
        )

    def _validation_planes(
        self, parts: Sequence[AnnotatedPlane], backbone: Backbone
    ) -> Iterator[ValidationPlane | None]:
        detail = self._early is not None
        return embed_planes(parts, self._prepared_planes, backbone, detail)

    def embed_upright_tiles(self, backbone: Backbone) -> Iterator[TrainingTile]:
        """Embed the upright training tiles, then the blank ones."""
        return self._tiles([job for job in self._jobs if job.upright], backbone)

    def embed_validation_planes(self, backbone: Backbone) -> Iterator[ValidationPlane | None]:
        """Embed the validation planes tile by tile; yields a plane with its last tile, else None."""
        parts = self._parts or [measurable_part(e, self._images) for e in self._training]
        return self._validation_planes(parts, backbone)

    def pixels_of(self, job: TileJob) -> np.ndarray:
        """Return a training tile prepared for the encoder: float32, shape (side, side, 3)."""
        pixels = self._prepared_planes.prepare(self.examples[job.example]).pixels
        return turned_tile(pixels, job)

    def adopt(self, tiles: Sequence[TrainingTile], measured: Sequence[ValidationPlane]) -> None:
        """Replace the tiles and validation planes with newly embedded ones."""
        self.tiles[:] = [tile for tile in tiles if not tile.job.blank]
        self.blanks[:] = [tile for tile in tiles if tile.job.blank]
        self.measured[:] = measured
        self.settle()

    def settle(self) -> None:
        """Choose the validation planes and watched tiles from what is embedded so far."""
        if not self.measured:
            self.measured_on_training = True
            self.measured = [plane for parts in self.planes_of_training() for plane in parts]
        elif self._held_out:
            self.watched = tiles_to_watch(
                self._training, self.tiles, self._classes, self._prepared_planes
            )

    def single_tiles(self, count: int) -> list[tuple[np.ndarray, ValidationPlane]]:
        """Return some upright tiles, each as a plane of its own.

        Half of them come from validation planes, if there are that many.

        Returns
        -------
        list of (numpy.ndarray, ValidationPlane)
            Prepared pixels of each tile, and the embedded tile with its annotation.
        """
        held_out = [] if self.measured_on_training else self.measured
        measured = [
            (plane, tile, embedding[0])
            for plane in held_out
            for tile, embedding in zip(plane.embedded.tiles, plane.embedded.embeddings, strict=True)
            if embedding is not None
        ]
        upright = [tile for tile in self.tiles if tile.upright]
        chosen = []
        for plane, tile, embedding in _spread(measured, max(count // 2, count - len(upright))):
            pixels = self._prepared_planes.prepare(plane.example).pixels
            single = plane_of_tile(plane.example, tile, embedding, self._prepared_planes)
            chosen.append((cut(pixels, tile), single))
        for training_tile in _spread(upright, count - len(chosen)):
            job = training_tile.job
            example = self._training[job.example]
            single = plane_of_tile(
                example, job.tile, training_tile.embedding, self._prepared_planes
            )
            chosen.append((self.pixels_of(job), single))
        return chosen

    def free(self) -> None:
        """Drop all embeddings, which take hundreds of megabytes."""
        for embedded in (self.tiles, self.blanks, self.measured, self.watched):
            embedded.clear()
        self._prepared_planes.forget()
        if self._early is not None:
            self._early.clear()

    def planes_of_training(self) -> list[list[ValidationPlane]]:
        """Return for each training plane its embedded parts as validation planes."""
        return planes_of_tiles(
            self._training, self._images.tiling, self.tiles, self._prepared_planes
        )

    def blank_planes(self) -> list[ValidationPlane]:
        """Return the embedded blank tiles as validation planes."""
        return [
            plane_of_tile(
                self.examples[tile.job.example],
                tile.job.tile,
                tile.embedding,
                self._prepared_planes,
                tile.early,
            )
            for tile in self.blanks
        ]

    def planes_to_score(self) -> Iterator[tuple[AnnotatedPlane, list[ValidationPlane]]]:
        """Yield each annotated plane with its embedded parts."""
        yield from zip(self._training, self.planes_of_training(), strict=True)
        if not self.measured_on_training:
            for example, plane in zip(self._held_out, self.measured, strict=False):
                yield example, [plane]
