"""Train detail heads, and choose by cross-validation how much of each is added to the logits."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ptsam.inference.detail import DetailCorrection
from napari_ptsam.training.detail_optimization import optimise_head
from napari_ptsam.training.detail_tiles import Compressed, CompressedFeatures, DetailTile
from napari_ptsam.training.loss import LOSSES
from napari_ptsam.training.tiles import TileJob, target_of

if TYPE_CHECKING:
    from napari_ptsam.prompts.detail import DetailHead
    from napari_ptsam.training.settings import Progress
    from napari_ptsam.training.tiles import TrainingTile
    from napari_ptsam.training.token_training import TrainingContext
    from napari_ptsam.training.validation import ValidationPlane

STEPS = 400
"""Number of steps of the final head."""
FOLD_STEPS = 100
"""Number of steps of the head of each fold."""
FOLDS = 4
SHARES = (0.0, 0.25, 0.5, 1.0)
"""Shares of the correction that are compared."""


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """A plane, and what heads that have not seen it add to its logits.

    Attributes
    ----------
    plane
        The embedded plane with its annotation.
    logits
        Its logits without heads: float32, shape (classes, y, x).
    correction
        What the whole correction adds to them, of the same shape.
    """

    plane: ValidationPlane
    logits: np.ndarray
    correction: np.ndarray

    def corrected(self, shares: Sequence[float]) -> np.ndarray:
        """Return the logits with a share of the correction for each class."""
        factors = np.asarray(shares, np.float32)[:, None, None]
        return self.logits + factors * self.correction


class DetailTraining:
    """The stage that trains a detail head for each class.

    Parameters
    ----------
    context
        State that the stages of the training share.

    Attributes
    ----------
    out_of_fold
        The planes of the cross-validation, once it is done.
    steps_done
        Number of optimiser steps so far.
    note
        Sentence for the user.
    """

    def __init__(self, context: TrainingContext) -> None:
        self._context = context
        self.out_of_fold: list[OutOfFold] = []
        self.heads: tuple[DetailHead | None, ...] = ()
        self.steps_done = 0
        self.note = ""

    @property
    def corrections(self) -> list[DetailCorrection | None]:
        """The heads, ready to correct logits."""
        device = self._context.backbone.device
        return [None if head is None else DetailCorrection(head, device) for head in self.heads]

    def tune(
        self, tokens: torch.Tensor, tiles: Sequence[TrainingTile], before: Progress
    ) -> Generator[Progress, None, None]:
        """Choose the share of each class by cross-validation, and train the heads.

        Parameters
        ----------
        tokens
            Tuned tokens of the classes: float32, shape (classes, 8, 256).
        tiles
            Tiles to train on.
        before
            Progress at the start of this stage.
        """
        planes = self._planes()
        groups = [number for number, parts in enumerate(planes) for _ in parts]
        flat = [plane for parts in planes for plane in parts]
        heads: list[DetailHead | None] = []
        corrections = [np.zeros((len(tokens), *plane.example.shape), np.float32) for plane in flat]
        bare = [plane.predict(tokens, self._context.backbone).logits for plane in flat]
        for number in range(len(tokens)):
            detail_tiles = self._detail_tiles(number, tokens, tiles, flat, groups)
            folds = yield from self._fold_heads(number, detail_tiles, before)
            if self._context.stopping:
                return
            for plane, group, correction, logits in zip(
                flat, groups, corrections, bare, strict=True
            ):
                correct: list[DetailCorrection | None] = [None] * len(tokens)
                correct[number] = DetailCorrection(
                    folds[group % len(folds)], self._context.backbone.device
                )
                corrected = plane.predict(tokens, self._context.backbone, corrections=correct)
                correction[number] = corrected.logits[number] - logits[number]
            scored = [
                OutOfFold(plane, logits, correction)
                for plane, logits, correction in zip(flat, bare, corrections, strict=True)
            ]
            share = choose_share(scored, number)
            self.shares_tried = ious_by_share(scored, number)
            if share == 0:
                heads.append(None)
                continue
            head = yield from self._train(detail_tiles, STEPS, before)
            if head is None:
                return
            heads.append(replace(head, share=share))
        self.heads = tuple(heads) if any(heads) else ()
        self.out_of_fold = scored

    def _planes(self) -> list[list[ValidationPlane]]:
        """Return the embedded parts of each annotated plane."""
        planes = [parts for _, parts in self._context.embedded.planes_to_score()]
        return [parts for parts in planes if parts]

    def _fold_heads(
        self, number: int, tiles: Sequence[DetailTile], before: Progress
    ) -> Generator[Progress, None, list[DetailHead]]:
        """Train a head for each fold, on the tiles of the others."""
        count = min(FOLDS, len({tile.group for tile in tiles if not tile.blank}))
        heads = []
        for fold in range(count):
            rest = [tile for tile in tiles if tile.blank or tile.group % count != fold]
            head = yield from self._train(rest, FOLD_STEPS, before)
            if head is None:
                break
            heads.append(head)
        return heads

    def _train(
        self, tiles: Sequence[DetailTile], steps: int, before: Progress
    ) -> Generator[Progress, None, DetailHead | None]:
        """Train a head; None if the training was asked to end."""
        context, clock = self._context, self._context.clock()
        seed, loss = context.settings.seed, LOSSES[context.settings.loss]
        dtype = context.backbone.decoder.dtype
        dtype = dtype if dtype == torch.bfloat16 else torch.float32
        head = None
        for trained in optimise_head(tiles, steps, seed, loss, dtype):
            head = trained
            self.steps_done += 1
            yield replace(before, step=before.step + self.steps_done, loss=None)
            clock()
            if context.stopping:
                return None
        return head

    def _detail_tiles(
        self,
        number: int,
        tokens: torch.Tensor,
        tiles: Sequence[TrainingTile],
        planes: Sequence[ValidationPlane],
        groups: Sequence[int],
    ) -> list[DetailTile]:
        """Return the tiles from which the head of a class learns."""
        embedded = self._context.embedded
        group_of = {
            id(example): group for group, (example, _) in enumerate(embedded.planes_to_score())
        }
        found = []
        for tile in (*tiles, *embedded.blanks):
            if tile.early is not None:
                example = embedded.examples[tile.job.example]
                group = group_of.get(id(example), -1)
                found.append(
                    self._detail_tile(
                        number,
                        tokens,
                        tile.embedding,
                        tile.early,
                        tile.target,
                        tile.weight,
                        group,
                        tile.job.blank,
                    )
                )
        trained = {id(example) for example in embedded.examples}
        for plane, group in zip(planes, groups, strict=True):
            if id(plane.example) in trained or embedded.measured_on_training:
                continue
            if plane not in embedded.measured:
                continue
            assert plane.embedded.early is not None
            for index, (tile_, embedding) in enumerate(
                zip(plane.embedded.tiles, plane.embedded.embeddings, strict=True)
            ):
                if embedding is None:
                    continue
                early = CompressedFeatures.of(plane.embedded.early(index))
                target, weight = target_of(plane.example, TileJob(0, tile_, 0), len(tokens))
                device = tokens.device
                found.append(
                    self._detail_tile(
                        number,
                        tokens,
                        embedding[0],
                        early,
                        target.to(device),
                        weight.to(device),
                        group,
                    )
                )
        return found

    def _detail_tile(
        self,
        number: int,
        tokens: torch.Tensor,
        embedding: torch.Tensor,
        early: CompressedFeatures,
        target: torch.Tensor,
        weight: torch.Tensor,
        group: int,
        blank: bool = False,
    ) -> DetailTile:
        logits, decoded = self._context.backbone.decoder.with_features(
            embedding[None], tokens[number]
        )
        return DetailTile(
            early, Compressed.of(decoded[0]), logits[0], target[number], weight, group, blank
        )


def ious_by_share(planes: Sequence[OutOfFold], number: int) -> np.ndarray:
    """Return the IoU of a class on each plane for each of `SHARES`: (planes, shares)."""
    ious = []
    for each in planes:
        example = each.plane.example
        valid = np.ones(example.shape, bool) if example.valid is None else example.valid
        truth = example.labels[valid] == number + 1
        if not truth.any():
            continue
        logits, correction = each.logits[number][valid], each.correction[number][valid]
        row = []
        for share in SHARES:
            predicted = logits + share * correction > 0
            row.append((predicted & truth).sum() / (predicted | truth).sum())
        ious.append(row)
    return np.array(ious).reshape(-1, len(SHARES))


def choose_share(planes: Sequence[OutOfFold], number: int) -> float:
    """Return the smallest share whose IoU is within one standard error of the best one.

    The standard error is that of the difference to the best share, over the planes.
    """
    ious = ious_by_share(planes, number)
    if len(ious) < 2:
        return 0.0
    best = int(ious.mean(0).argmax())
    for index, share in enumerate(SHARES):
        loss = ious[:, best] - ious[:, index]
        if loss.mean() <= loss.std(ddof=1) / np.sqrt(len(loss)):
            return share
    return SHARES[best]
