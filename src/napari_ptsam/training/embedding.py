"""The tiles of a training: what is trained on, what is measured on, embedded once."""

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


T = TypeVar("T")


def _spread(items: Sequence[T], count: int) -> list[T]:
    """Some of the items, evenly from first to last."""
    count = min(count, len(items))
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]


class EmbeddedTiles:
    """Embeds tile by tile; upright training tiles first, turned ones last.

    Parameters
    ----------
    training, held_out
        Examples.
    stacks
        The images that they were taken from, for their value limits.
    images
        How images are prepared.
    classes
        Count of classes.

    Attributes
    ----------
    tiles
        To train on, as far as they are embedded.
    blanks
        To train on now and then: tiles that show nothing, or next to nothing.
    examples
        What the tiles were cut from, blanks last.
    measured
        Planes to measure on.
    watched
        Training tiles to see a collapse on.
    measured_on_training
        Whether the planes to measure on are those that are trained on.
    """

    def __init__(
        self,
        training: Sequence[AnnotatedPlane],
        held_out: Sequence[AnnotatedPlane],
        stacks: Sequence[Planes],
        images: ImageSettings,
        classes: int,
    ) -> None:
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
        """Tiles in all, once `embed` has begun."""
        planes = sum(len(self._images.tiling.tiles(part.shape)) for part in self._parts)
        return len(self._jobs) + planes

    @property
    def upright_count(self) -> int:
        """Those of them that are neither turned nor flipped."""
        return self.count - sum(not job.upright for job in self._jobs)

    def embed(self, backbone: Backbone, embeddings: int, seed: int) -> Iterator[tuple[int, int]]:
        """Embed everything; stop iterating whenever you like.

        Parameters
        ----------
        backbone
            Whose embeddings are wanted.
        embeddings
            Tiles to train on, at most.
        seed
            Of the choice of tiles and how they are turned.

        Yields
        ------
        int, int
            Tiles done, and tiles in all.
        """
        self._limits[:] = [self._images.limits(stack) for stack in self._stacks]
        rng = np.random.default_rng(seed)
        self._jobs = plan(self._training, self._images.tiling, embeddings, rng)
        self._plan_blanks(seed)
        self._parts = [measurable_part(example, self._images) for example in self._held_out]
        total = self.count
        upright = self.tiles_under(backbone)
        turned = self._tiles([job for job in self._jobs if not job.upright], backbone)
        planes = embed_planes(self._parts, self._prepared_planes, backbone)
        for done, one in enumerate(chain(upright, planes, turned), start=1):
            if isinstance(one, ValidationPlane):
                self.measured.append(one)
            elif one is not None:
                (self.blanks if one.job.blank else self.tiles).append(one)
            yield done, total
        self.settle()

    def _plan_blanks(self, seed: int) -> None:
        """Make them, with a source of randomness of their own: the other tiles stay as they are."""
        tiling, count = self._images.tiling, blank_count(len(self._jobs))
        rng = np.random.default_rng([seed, len(self._jobs)])
        made = blank_examples(self._training, tiling.side, count, rng)
        self.examples = [*self._training, *made]
        for number, example in enumerate(made, start=len(self._training)):
            self._jobs.append(TileJob(number, tiling.tiles(example.shape)[0], 0, blank=True))

    def _tiles(self, jobs: list[TileJob], backbone: Backbone) -> Iterator[TrainingTile]:
        return embed(jobs, self.examples, self._prepared_planes, backbone, self._classes)

    def tiles_under(self, backbone: Backbone) -> Iterator[TrainingTile]:
        """The upright training tiles, then the blank ones, as a backbone embeds them."""
        return self._tiles([job for job in self._jobs if job.upright], backbone)

    def planes_under(self, backbone: Backbone) -> Iterator[ValidationPlane | None]:
        """The planes to measure on as a backbone embeds them; None for each tile but a last one."""
        parts = self._parts or [measurable_part(e, self._images) for e in self._training]
        return embed_planes(parts, self._prepared_planes, backbone)

    def pixels_of(self, job: TileJob) -> np.ndarray:
        """A training tile as the encoder is to see it: float32, shape (side, side, 3)."""
        pixels = self._prepared_planes.prepare(self.examples[job.example]).pixels
        return turned_tile(pixels, job)

    def adopt(self, tiles: Sequence[TrainingTile], measured: Sequence[ValidationPlane]) -> None:
        """Go on with tiles and planes that were embedded anew."""
        self.tiles[:] = [tile for tile in tiles if not tile.job.blank]
        self.blanks[:] = [tile for tile in tiles if tile.job.blank]
        self.measured[:] = measured
        self.settle()

    def settle(self) -> None:
        """Make do with what is embedded by now."""
        if not self.measured:
            self.measured_on_training = True
            self.measured = [plane for own in self.planes_of_training() for plane in own]
        elif self._held_out:
            self.watched = tiles_to_watch(
                self._training, self.tiles, self._classes, self._prepared_planes
            )

    def single_tiles(self, count: int) -> list[tuple[np.ndarray, ValidationPlane]]:
        """Pixels and annotation of some upright tiles, half of them held out if there are as many.

        Each tile is a plane of its own.
        """
        held_out = [] if self.measured_on_training else self.measured
        measured = [
            (plane, tile, embedding[0])
            for plane in held_out
            for tile, embedding in zip(plane.embedded.tiles, plane.embedded.embeddings, strict=True)
            if embedding is not None
        ]
        upright = [tile for tile in self.tiles if tile.upright]
        found = []
        for plane, tile, embedding in _spread(measured, max(count // 2, count - len(upright))):
            pixels = self._prepared_planes.prepare(plane.example).pixels
            own = plane_of_tile(plane.example, tile, embedding, self._prepared_planes)
            found.append((cut(pixels, tile), own))
        for one in _spread(upright, count - len(found)):
            example = self._training[one.job.example]
            own = plane_of_tile(example, one.job.tile, one.embedding, self._prepared_planes)
            found.append((self.pixels_of(one.job), own))
        return found

    def free(self) -> None:
        """Let go of all embeddings: hundreds of megabytes."""
        for kept in (self.tiles, self.blanks, self.measured, self.watched):
            kept.clear()

    def planes_of_training(self) -> list[list[ValidationPlane]]:
        """For each training example what is embedded of it, to measure on."""
        return planes_of_tiles(
            self._training, self._images.tiling, self.tiles, self._prepared_planes
        )

    def blank_planes(self) -> list[ValidationPlane]:
        """What is embedded of those that show next to nothing, to measure on."""
        return [
            plane_of_tile(
                self.examples[tile.job.example],
                tile.job.tile,
                tile.embedding,
                self._prepared_planes,
            )
            for tile in self.blanks
        ]

    def planes_to_score(self) -> Iterator[tuple[AnnotatedPlane, list[ValidationPlane]]]:
        """Each annotated plane with what is embedded of it."""
        yield from zip(self._training, self.planes_of_training(), strict=True)
        if not self.measured_on_training:
            for example, plane in zip(self._held_out, self.measured, strict=False):
                yield example, [plane]
