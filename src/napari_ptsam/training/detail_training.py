"""Train detail heads, and choose by cross-validation how much of each is added to the logits."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ptsam.backbones.gpu_memory import gpu_is_full, release_memory
from napari_ptsam.inference.detail import corrections_of
from napari_ptsam.training.detail_optimization import optimise_head
from napari_ptsam.training.detail_tiles import Compressed, CompressedFeatures, DetailTile
from napari_ptsam.training.loss import LOSSES
from napari_ptsam.training.tiles import TileJob, TrainingTile, target_of
from napari_ptsam.training.validation import PlaneLogits

if TYPE_CHECKING:
    from napari_ptsam.inference.detail import DetailCorrection
    from napari_ptsam.prompts.detail import DetailHead
    from napari_ptsam.training.settings import Progress, TrainingSettings
    from napari_ptsam.training.token_training import TrainingContext
    from napari_ptsam.training.validation import ValidationPlane

    _GroupOf = Callable[[TrainingTile], int]

FOLD_PART = 0.25
"""Steps for the head of each fold, as a fraction of those for the head that is kept."""
FOLDS = 4
"""Largest number of folds of the cross-validation."""
FEWEST = 2
"""Smallest number of annotated planes with a class on which shares are compared."""
SHARES = (0.0, 0.25, 0.5, 1.0)
"""Shares of the correction that are compared."""
NO_MEMORY = "Fine detail was left out: the GPU has not enough memory to train it."
TOO_FEW = (
    "Fine detail was left out: it takes 2 annotated planes or more to find out whether it helps."
)


def detail_steps(settings: TrainingSettings, classes: int) -> int:
    """Return the number of steps for detail heads and their cross-validation."""
    steps = settings.steps + FOLDS * _fold_steps(settings)
    return 0 if settings.detail == "off" else classes * steps


def _fold_steps(settings: TrainingSettings) -> int:
    return max(1, round(FOLD_PART * settings.steps))


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

    Attributes
    ----------
    heads
        The head of each class, or None if none helps; empty if no class has one.
    steps_done
        Number of optimiser steps so far.
    note
        Sentence for the user.
    """

    def __init__(self, context: TrainingContext) -> None:
        self._context = context
        self._planes: list[_CrossValidated] = []
        self.heads: tuple[DetailHead | None, ...] = ()
        self.steps_done = 0
        self.note = ""

    @property
    def corrections(self) -> list[DetailCorrection | None]:
        """The heads, ready to correct logits; empty if there are none."""
        return corrections_of(self.heads, self._context.backbone.device)

    @property
    def predictions(self) -> list[PlaneLogits]:
        """Logits of the annotated planes, corrected by heads that have not seen them."""
        if not self._planes:
            return []
        shares = [0.0 if head is None else head.share for head in self.heads]
        factors = np.array(shares, np.float16)[:, None, None]
        return [
            PlaneLogits(each.plane, each.logits + factors * each.correction)
            for each in self._planes
        ]

    def free(self) -> None:
        """Drop the predictions."""
        self._planes = []

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
        try:
            yield from self._tune(tokens, tiles, before)
        except RuntimeError as error:
            if not gpu_is_full(error, self._context.backbone.device):
                raise
            self.heads, self._planes, self.note = (), [], NO_MEMORY
            release_memory(self._context.backbone.device)

    def _tune(
        self, tokens: torch.Tensor, tiles: Sequence[TrainingTile], before: Progress
    ) -> Generator[Progress, None, None]:
        backbone, settings = self._context.backbone, self._context.settings
        always = settings.detail == "on"
        planes, group_of = self._grouped_planes()
        measured = []
        for _, plane in planes:
            logits = plane.predict(tokens, backbone).logits.astype(np.float16)
            measured.append(_CrossValidated(plane, logits, np.zeros_like(logits)))
            yield self._now(before)
            if self._context.stopping:
                return
        heads: list[DetailHead | None] = []
        for number in range(len(tokens)):
            detail_tiles = self._detail_tiles(number, tokens, tiles, planes, group_of)
            folds = yield from self._fold_heads(detail_tiles, before)
            if self._context.stopping:
                return
            if folds:
                for (group, plane), each in zip(planes, measured, strict=True):
                    if plane.embedded.early is None:
                        continue
                    corrections = corrections_of([folds[group % len(folds)]], backbone.device)
                    of_class = tokens[number : number + 1]
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
                head = yield from self._train(detail_tiles, settings.steps, before)
                if head is None:
                    return
            heads.append(head and replace(head, share=share))
        if any(heads):
            self.heads, self._planes = tuple(heads), measured if folds else []

    def _now(self, before: Progress) -> Progress:
        """Return the progress of this stage, which began with another one."""
        return replace(before, step=before.step + self.steps_done, loss=None)

    def _grouped_planes(self) -> tuple[list[tuple[int, ValidationPlane]], _GroupOf]:
        """Return the embedded planes with their groups, and a function for those of training tiles.

        Groups are the annotated planes. If there is only one, of which single tiles
        were embedded, they are these tiles. Blank tiles have the group -1.
        """
        embedded = self._context.embedded
        scored = list(embedded.planes_to_score())
        if len(scored) == 1 and len(scored[0][1]) > 1:
            upright = [tile.job.tile for tile in embedded.tiles if tile.upright]
            numbers = {tile: number for number, tile in enumerate(upright)}
            planes = list(enumerate(scored[0][1]))
            return planes, lambda tile: -1 if tile.job.blank else numbers[tile.job.tile]
        groups = {id(example): group for group, (example, _) in enumerate(scored)}
        planes = [(group, plane) for group, (_, parts) in enumerate(scored) for plane in parts]
        return planes, lambda tile: groups.get(id(embedded.examples[tile.job.example]), -1)

    def _fold_heads(
        self, tiles: Sequence[DetailTile], before: Progress
    ) -> Generator[Progress, None, list[DetailHead]]:
        """Train a head for each fold on the tiles of the other folds; empty if there are too few."""
        count = min(FOLDS, len({tile.group for tile in tiles if not tile.blank}))
        heads: list[DetailHead] = []
        steps = _fold_steps(self._context.settings)
        for fold in range(count if count >= FEWEST else 0):
            others = [tile for tile in tiles if tile.blank or tile.group % count != fold]
            head = yield from self._train(others, steps, before)
            if head is None:
                return []
            heads.append(head)
        return heads

    def _train(
        self, tiles: Sequence[DetailTile], steps: int, before: Progress
    ) -> Generator[Progress, None, DetailHead | None]:
        """Train a head; return None if the training was asked to end."""
        context, clock, head = self._context, self._context.clock(), None
        dtype = context.backbone.decoder.dtype
        dtype = dtype if dtype == torch.bfloat16 else torch.float32
        loss, total = LOSSES[context.settings.loss], context.detail_steps
        for number, trained in enumerate(
            optimise_head(tiles, steps, context.settings.seed, loss, dtype), start=1
        ):
            head = trained
            self.steps_done += 1
            seconds_left = clock() / number * max(0, total - self.steps_done)
            yield replace(self._now(before), seconds_left=seconds_left)
            clock()
            if context.stopping:
                return None
        return head

    def _detail_tiles(
        self,
        number: int,
        tokens: torch.Tensor,
        tiles: Sequence[TrainingTile],
        planes: Sequence[tuple[int, ValidationPlane]],
        group_of: _GroupOf,
    ) -> list[DetailTile]:
        """Return the tiles from which the head of a class learns, those of validation planes too."""
        embedded = self._context.embedded
        detail_tiles = []
        for tile in (*tiles, *embedded.blanks):
            if tile.early is not None:
                group = group_of(tile)
                detail_tiles.append(self._detail_tile(number, tokens, tile, tile.early, group))
        for group, plane in planes:
            if not embedded.measured_on_training and plane in embedded.measured:
                detail_tiles += self._tiles_of_plane(number, tokens, plane, group)
        return detail_tiles

    def _tiles_of_plane(
        self, number: int, tokens: torch.Tensor, plane: ValidationPlane, group: int
    ) -> list[DetailTile]:
        """Return the tiles of a validation plane."""
        early, device, detail_tiles = plane.embedded.early, tokens.device, []
        assert early is not None
        for index, (tile, views) in enumerate(
            zip(plane.embedded.tiles, plane.embedded.embeddings, strict=True)
        ):
            if views is not None:
                job = TileJob(0, tile, 0)
                target, weight = target_of(plane.example, job, len(tokens))
                trained = TrainingTile(views[0], target.to(device), weight.to(device), job)
                features = CompressedFeatures.of(early(index))
                detail_tiles.append(self._detail_tile(number, tokens, trained, features, group))
        return detail_tiles

    def _detail_tile(
        self,
        number: int,
        tokens: torch.Tensor,
        tile: TrainingTile,
        early: CompressedFeatures,
        group: int,
    ) -> DetailTile:
        decoder = self._context.backbone.decoder
        logits, decoded = decoder.with_features(tile.embedding[None], tokens[number])
        return DetailTile(
            early,
            Compressed.of(decoded[0]),
            logits[0],
            tile.target[number],
            tile.weight,
            group,
            tile.job.blank,
        )


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
    errors = losses.std(0, ddof=1) / np.sqrt(len(ious))
    return next(
        share
        for index, share in enumerate(SHARES)
        if index >= first and losses[:, index].mean() <= errors[index]
    )
