"""The tiles that detail heads learn from, before they are decoded with the tokens of a class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
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


@dataclass(frozen=True, eq=False)
class ClassTiles:
    """The tiles from which the heads of a class learn.

    Attributes
    ----------
    sources
        All tiles.
    folds
        The annotated planes, divided into folds.
    decoder
        Frozen decoder.
    number
        Number of the class, counted from 0.
    tokens
        Tuned tokens of the classes: float32, shape (classes, 8, 256).
    fold_tokens
        Tokens of each fold, tuned on the other folds; empty if there are none.
    """

    sources: Sequence[HeadSource]
    folds: Folds
    decoder: PromptDecoder
    number: int
    tokens: Tensor
    fold_tokens: Sequence[Tensor] = ()

    def of_other_folds(self, fold: int) -> list[HeadSource]:
        """Return the tiles that the head of a fold learns from: those of other folds, and blank ones."""
        return [each for each in self.sources if each.blank or self.folds.of(each.group) != fold]

    def decoded(self, sources: Sequence[HeadSource], fold: int | None = None) -> list[DetailTile]:
        """Return decoded tiles for the head of a fold, or for the one that is kept.

        If the folds have tokens of their own, each tile is returned twice: as the tokens of the
        fold or of the prompt decode it, and as tokens decode it that have not seen its plane.
        Tokens are too sure on planes that they were tuned on. A head that learns from both kinds
        corrects new planes better. Blank tiles belong to no plane, so that any tokens do.
        """
        shared = [self._shared[source] for source in sources]
        if not self.fold_tokens:
            return shared
        tokens = self.tokens if fold is None else self.fold_tokens[fold]
        return [*(self._decode(source, tokens) for source in sources), *shared]

    @cached_property
    def _shared(self) -> dict[HeadSource, DetailTile]:
        """The tiles that all heads share: decoded with tokens that have not seen their planes.

        If the folds have no tokens of their own, these are the tokens of the prompt.
        """
        folds = self.fold_tokens
        return {
            source: self._decode(
                source, folds[self.folds.of(source.group)] if folds else self.tokens
            )
            for source in self.sources
        }

    def _decode(self, source: HeadSource, tokens: Tensor) -> DetailTile:
        return source.decoded(self.decoder, tokens[self.number], self.number)


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
