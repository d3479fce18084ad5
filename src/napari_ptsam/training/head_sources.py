"""The tiles that detail heads learn from, before they are decoded with the tokens of a class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_ptsam.training.detail_tiles import Compressed, CompressedFeatures, DetailTile
from napari_ptsam.training.tiles import TileJob, TrainingTile, target_of

if TYPE_CHECKING:
    from torch import Tensor

    from napari_ptsam.backbones.decoder import PromptDecoder
    from napari_ptsam.training.cross_validation import Folds
    from napari_ptsam.training.token_training import TrainingContext
    from napari_ptsam.training.validation import ValidationPlane


@dataclass(frozen=True, eq=False)
class HeadSource:
    """A tile that heads learn from.

    Attributes
    ----------
    tile
        The embedded tile with its annotation.
    early
        Its early features.
    group
        Number of the annotated plane, or of the part of it, that the tile belongs to; no
        group is divided between the folds of a cross-validation.
    """

    tile: TrainingTile
    early: CompressedFeatures
    group: int

    @property
    def blank(self) -> bool:
        """Whether the tile was made to show nothing."""
        return self.tile.job.blank

    def decoded(self, decoder: PromptDecoder, tokens: Tensor, number: int) -> DetailTile:
        """Decode the tile for a class.

        Parameters
        ----------
        decoder
            Frozen decoder.
        tokens
            Tokens of the class: float32, shape (8, 256).
        number
            Number of the class, counted from 0.
        """
        tile = self.tile
        logits, decoded = decoder.with_features(tile.embedding[None], tokens)
        return DetailTile(
            self.early,
            Compressed.of(decoded[0]),
            logits[0],
            tile.target[number],
            tile.weight,
            self.group,
            self.blank,
        )


def head_sources(
    tiles: Sequence[TrainingTile], context: TrainingContext, folds: Folds
) -> Iterator[HeadSource]:
    """Yield what heads learn from: training tiles, blank ones, and the tiles of validation planes.

    Parameters
    ----------
    tiles
        Tiles to train on.
    context
        State that the stages of the training share.
    folds
        The annotated planes, divided into folds.
    """
    embedded = context.embedded
    for tile in (*tiles, *embedded.blanks):
        if tile.early is not None:
            yield HeadSource(tile, tile.early, folds.group_of(tile))
    for group, plane in folds.planes:
        if not embedded.measured_on_training and plane in embedded.measured:
            yield from _sources_of_plane(plane, group, context)


def _sources_of_plane(
    plane: ValidationPlane, group: int, context: TrainingContext
) -> Iterator[HeadSource]:
    """Yield the tiles of a validation plane."""
    early, device = plane.embedded.early, context.backbone.device
    assert early is not None
    for index, (tile, views) in enumerate(
        zip(plane.embedded.tiles, plane.embedded.embeddings, strict=True)
    ):
        if views is not None:
            job = TileJob(0, tile, 0)
            target, weight = target_of(plane.example, job, context.classes)
            trained = TrainingTile(views[0], target.to(device), weight.to(device), job)
            yield HeadSource(trained, CompressedFeatures.of(early(index)), group)
