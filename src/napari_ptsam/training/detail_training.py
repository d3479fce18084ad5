"""Train detail heads, and choose by cross-validation how much of each is added to the logits."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ptsam.backbones.gpu_memory import gpu_is_full, release_memory
from napari_ptsam.evaluation.metrics import standard_error
from napari_ptsam.inference.detail import corrections_of
from napari_ptsam.training.cross_validation import FEWEST, MOST_FOLDS, Folds
from napari_ptsam.training.detail_optimization import BATCH, optimise_head
from napari_ptsam.training.head_sources import ClassTiles, head_sources
from napari_ptsam.training.loss import LOSSES
from napari_ptsam.training.validation import PlaneLogits

if TYPE_CHECKING:
    from napari_ptsam.inference.detail import DetailCorrection
    from napari_ptsam.prompts.detail import DetailHead
    from napari_ptsam.training.detail_tiles import DetailTile
    from napari_ptsam.training.settings import Progress, TrainingSettings
    from napari_ptsam.training.tiles import TrainingTile
    from napari_ptsam.training.token_training import TrainingContext
    from napari_ptsam.training.validation import ValidationPlane


MOST_STEPS = 400
"""Largest number of steps for a head; with more, it learns the training planes by heart."""
FOLD_PART = 0.75
"""Steps for the head of each fold, as a fraction of those for the head that is kept. With much fewer,
the heads learn too little to show on which images the whole correction is too much."""
FOLD_BATCH = 4
"""Number of crops in each of these steps, half of those for the head that is kept."""
SHARES = (0.0, 0.25, 0.5, 1.0)
"""Shares of the correction that are compared."""
NO_MEMORY = "Fine detail was left out: the GPU has not enough memory to train it."
TOO_FEW = (
    "Fine detail was left out: it takes 2 annotated planes or more to find out whether it helps."
)


def detail_steps(
    settings: TrainingSettings, classes: int, heads: Sequence[DetailHead | None] = ()
) -> int:
    """Return the number of steps for detail heads and their cross-validation.

    Parameters
    ----------
    settings
        Settings of the training.
    classes
        Number of classes.
    heads
        Heads to continue from, without cross-validation; see `DetailTraining`.
    """
    if settings.detail == "off":
        return 0
    if any(heads):
        return sum(head is not None for head in heads) * _head_steps(settings)
    return classes * (_head_steps(settings) + MOST_FOLDS * _fold_steps(settings))


def _head_steps(settings: TrainingSettings) -> int:
    return min(settings.steps, MOST_STEPS)


def _fold_steps(settings: TrainingSettings) -> int:
    return max(1, round(FOLD_PART * _head_steps(settings)))


@dataclass(frozen=True, eq=False)
class _CrossValidated:
    """A plane, its logits, and what a head that has not seen it adds to them.

    Both are float16, of shape (classes, y, x); the correction is the whole one.
    """

    plane: ValidationPlane
    logits: np.ndarray
    correction: np.ndarray


class DetailTraining:
    """The stage that trains a detail head for each class.

    It has its own random generator, so that it does not change the tokens.

    Parameters
    ----------
    context
        State that the stages of the training share.
    heads
        Heads to continue from, which keep their shares; empty trains heads from scratch, and
        chooses their shares by cross-validation.

    Attributes
    ----------
    heads
        The head of each class, or None if none helps; empty if no class has one.
    steps_done
        Number of optimiser steps so far.
    note
        Sentence for the user.
    """

    def __init__(self, context: TrainingContext, heads: Sequence[DetailHead | None] = ()) -> None:
        self._context = context
        self._planes: list[_CrossValidated] = []
        self._continues = any(heads)
        self.heads: tuple[DetailHead | None, ...] = tuple(heads)
        self.steps_done = 0
        self.note = ""

    @property
    def corrections(self) -> list[DetailCorrection | None]:
        """The heads, ready to correct logits; empty if there are none."""
        return corrections_of(self.heads, self._context.backbone.device)

    @property
    def predictions(self) -> list[PlaneLogits]:
        """Logits of the annotated planes, corrected by heads that have not seen them."""
        corrections = self.unseen_corrections
        return [
            PlaneLogits(each.plane, each.logits + correction)
            for each, correction in zip(self._planes, corrections, strict=True)
        ]

    @property
    def unseen_corrections(self) -> list[np.ndarray]:
        """What heads that have not seen it add to the logits of each annotated plane."""
        shares = [0.0 if head is None else head.share for head in self.heads]
        factors = np.array(shares, np.float16)[:, None, None]
        return [factors * each.correction for each in self._planes]

    def free(self) -> None:
        """Drop the predictions."""
        self._planes = []

    def tune(
        self,
        tokens: torch.Tensor,
        tiles: Sequence[TrainingTile],
        before: Progress,
        fold_tokens: Sequence[torch.Tensor] = (),
    ) -> Generator[Progress, None, None]:
        """Train the heads; choose the share of each class by cross-validation if they are new.

        Parameters
        ----------
        tokens
            Tuned tokens of the classes: float32, shape (classes, 8, 256).
        tiles
            Tiles to train on.
        before
            Progress at the start of this stage.
        fold_tokens
            Tokens of each fold, which take the place of the tuned ones in the
            cross-validation.
        """
        try:
            if self._continues:
                yield from self._continue(tokens, tiles, before)
            else:
                yield from self._tune(tokens, tiles, before, fold_tokens)
        except RuntimeError as error:
            if not gpu_is_full(error, self._context.backbone.device):
                raise
            self.heads, self._planes, self.note = (), [], NO_MEMORY
            release_memory(self._context.backbone.device)

    def _continue(
        self, tokens: torch.Tensor, tiles: Sequence[TrainingTile], before: Progress
    ) -> Generator[Progress, None, None]:
        """Train the heads further, with all annotated planes."""
        folds, steps = Folds.divide(self._context.embedded), _head_steps(self._context.settings)
        sources = list(head_sources(tiles, self._context, folds))
        decoder = self._context.backbone.decoder
        for number, head in enumerate(self.heads):
            if head is None or not sources:
                continue
            decoded = ClassTiles(sources, folds, decoder, number, tokens).decoded(sources)
            trained = yield from self._train(decoded, steps, before, start=head)
            if trained is None:
                return
            heads = list(self.heads)
            heads[number] = replace(trained, share=head.share)
            self.heads = tuple(heads)

    def _tune(
        self,
        tokens: torch.Tensor,
        tiles: Sequence[TrainingTile],
        before: Progress,
        fold_tokens: Sequence[torch.Tensor],
    ) -> Generator[Progress, None, None]:
        backbone, settings = self._context.backbone, self._context.settings
        always = settings.detail == "on"
        folds = Folds.divide(self._context.embedded)
        of_fold = fold_tokens or [tokens] * folds.count
        measured = []
        for group, plane in folds.planes:
            of_plane = of_fold[folds.of(group)] if of_fold else tokens
            logits = plane.predict(of_plane, backbone).logits.astype(np.float16)
            measured.append(_CrossValidated(plane, logits, np.zeros_like(logits)))
            yield self._now(before)
            if self._context.stopping:
                return
        heads: list[DetailHead | None] = []
        sources = list(head_sources(tiles, self._context, folds))
        for number in range(len(tokens)):
            class_tiles = ClassTiles(sources, folds, backbone.decoder, number, tokens, fold_tokens)
            fold_heads = yield from self._fold_heads(class_tiles, before)
            if self._context.stopping:
                return
            if fold_heads:
                for (group, plane), each in zip(folds.planes, measured, strict=True):
                    if plane.embedded.early is None:
                        continue
                    fold = folds.of(group)
                    corrections = corrections_of([fold_heads[fold]], backbone.device)
                    of_class = of_fold[fold][number : number + 1]
                    corrected = plane.predict(of_class, backbone, corrections=corrections)
                    each.correction[number] = corrected.logits[0] - each.logits[number]
                    yield self._now(before)
                    if self._context.stop.is_set():
                        return
                share = choose_share(ious_by_share(measured, number), always)
            else:
                share, self.note = float(always), "" if always else TOO_FEW
            head = None
            if share:
                decoded = class_tiles.decoded(sources)
                head = yield from self._train(decoded, _head_steps(settings), before)
                if head is None:
                    return
            heads.append(head and replace(head, share=share))
        if any(heads):
            self.heads, self._planes = tuple(heads), measured if fold_heads else []

    def _now(self, before: Progress) -> Progress:
        """Return the progress of this stage, which began with another one."""
        return replace(before, step=before.step + self.steps_done, loss=None)

    def _fold_heads(
        self, tiles: ClassTiles, before: Progress
    ) -> Generator[Progress, None, dict[int, DetailHead]]:
        """Train a head for each fold on the tiles of the other folds; empty if there are too few."""
        heads: dict[int, DetailHead] = {}
        steps = _fold_steps(self._context.settings)
        for fold in range(tiles.folds.count):
            others = tiles.of_other_folds(fold)
            if all(source.blank for source in others):
                return {}
            if len(others) < len(tiles.sources):
                decoded = tiles.decoded(others, fold)
                head = yield from self._train(decoded, steps, before, FOLD_BATCH)
                if head is None:
                    return {}
                heads[fold] = head
        return heads

    def _train(
        self,
        tiles: Sequence[DetailTile],
        steps: int,
        before: Progress,
        batch: int = BATCH,
        start: DetailHead | None = None,
    ) -> Generator[Progress, None, DetailHead | None]:
        """Train a head; return None if the training was asked to end."""
        context, clock, head = self._context, self._context.clock(), None
        dtype = context.backbone.decoder.dtype
        dtype = dtype if dtype == torch.bfloat16 else torch.float32
        loss, total = LOSSES[context.settings.loss], context.detail_steps
        for number, trained in enumerate(
            optimise_head(tiles, steps, context.settings.seed, loss, dtype, batch, start), start=1
        ):
            head = trained
            self.steps_done += 1
            seconds_left = clock() / number * max(0, total - self.steps_done)
            yield replace(self._now(before), seconds_left=seconds_left)
            clock()
            if context.stopping:
                return None
        return head


def ious_by_share(planes: Sequence[_CrossValidated], number: int) -> np.ndarray:
    """Return the IoU of a class for each of `SHARES`, on each plane with it: (planes, shares)."""
    ious = []
    for each in planes:
        example = each.plane.example
        valid = np.ones(example.shape, bool) if example.valid is None else example.valid
        truth = example.labels[valid] == number + 1
        if truth.any() and each.plane.embedded.early is not None:
            logits, correction = each.logits[number][valid], each.correction[number][valid]
            foregrounds = [logits + np.float16(share) * correction > 0 for share in SHARES]
            ious.append([(f & truth).sum() / (f | truth).sum() for f in foregrounds])
    return np.array(ious).reshape(-1, len(SHARES))


def choose_share(ious: np.ndarray, always: bool = False) -> float:
    """Return the smallest share whose mean IoU is within one standard error of the best.

    The standard error is that of the difference in IoU between the two shares.

    Parameters
    ----------
    ious
        IoU of each of `SHARES` on each plane: shape (planes, shares).
    always
        Whether a share of 0 is not allowed.
    """
    first = 1 if always else 0
    if len(ious) < FEWEST:
        return SHARES[-1] if always else 0.0
    best = first + int(ious[:, first:].mean(0).argmax())
    losses = ious[:, [best]] - ious
    errors = standard_error(losses)
    return next(
        share
        for index, share in enumerate(SHARES)
        if index >= first and losses[:, index].mean() <= errors[index]
    )
