"""Cross-validate tokens: tune them without each fold of the annotated planes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from napari_ptsam.training.loss import LOSSES
from napari_ptsam.training.optimization import Batches, SideBySide, optimise, start_tokens
from napari_ptsam.training.validation import PlaneLogits

if TYPE_CHECKING:
    from napari_ptsam.training.embedding import EmbeddedTiles
    from napari_ptsam.training.settings import Progress
    from napari_ptsam.training.tiles import TrainingTile
    from napari_ptsam.training.token_training import TrainingContext
    from napari_ptsam.training.validation import ValidationPlane

MOST_FOLDS = 4
"""Largest number of folds."""
FEWEST = 2
"""Smallest number of groups that are divided into folds."""
TOKEN_PART = 0.5
"""Steps for the tokens of each fold, and tiles in each of these steps, as a fraction of those for the
tokens that are kept."""


@dataclass(frozen=True, eq=False)
class Folds:
    """The annotated planes, divided into folds.

    Attributes
    ----------
    planes
        Embedded planes, each with the number of its group. Groups are the annotated
        planes. If there is only one, of which single tiles were embedded, they are
        these tiles.
    group_of
        Function that returns the group of a training tile; -1 for tiles that belong to none.
    """

    planes: Sequence[tuple[int, ValidationPlane]]
    group_of: Callable[[TrainingTile], int]

    @cached_property
    def count(self) -> int:
        """Number of folds; 0 if there are too few planes."""
        groups = len({group for group, _ in self.planes})
        return min(MOST_FOLDS, groups) if groups >= FEWEST else 0

    def of(self, group: int) -> int:
        """Return the fold of a group; -1 for tiles that belong to none."""
        return group % self.count if group >= 0 else -1

    @classmethod
    def divide(cls, embedded: EmbeddedTiles) -> Folds:
        """Divide the embedded planes of a training."""
        scored = list(embedded.planes_to_score())
        if len(scored) == 1 and len(scored[0][1]) > 1:
            upright = [tile.job.tile for tile in embedded.tiles if tile.upright]
            numbers = {tile: number for number, tile in enumerate(upright)}
            planes = list(enumerate(scored[0][1]))
            return cls(planes, lambda tile: -1 if tile.job.blank else numbers[tile.job.tile])
        groups = {id(example): group for group, (example, _) in enumerate(scored)}
        planes = [(group, plane) for group, (_, parts) in enumerate(scored) for plane in parts]
        return cls(planes, lambda tile: groups.get(id(embedded.examples[tile.job.example]), -1))


class TokenCrossValidation:
    """The stage that tunes tokens for each fold, from tiles of the other folds.

    The encoder tokens, if there are any, have seen all planes.

    Parameters
    ----------
    context
        State that the stages of the training share.

    Attributes
    ----------
    tokens
        Tokens of each fold; empty if the planes were not cross-validated.
    steps_done
        Number of optimiser steps so far.
    note
        Sentence for the user.
    """

    note = ""

    def __init__(self, context: TrainingContext) -> None:
        self._context = context
        self.tokens: list[torch.Tensor] = []
        self.steps_done = 0

    def decide(self, seconds: float, step_seconds: float) -> None:
        """Decide whether to cross-validate tokens, and set ``context.fold_steps``.

        Parameters
        ----------
        seconds
            Expected duration of the training without it.
        step_seconds
            Seconds that one step of tuning decoder tokens takes.
        """
        folds, settings = Folds.divide(self._context.embedded).count, self._context.settings
        tiles = folds * self._steps * self._batch
        if seconds + tiles / settings.batch_size * step_seconds <= 60 * settings.minutes:
            self._context.fold_steps = folds * self._steps

    @property
    def predictions(self) -> list[PlaneLogits]:
        """Logits of the annotated planes, from tokens that have not seen them."""
        if not self.tokens:
            return []
        folds, backbone = Folds.divide(self._context.embedded), self._context.backbone
        return [
            PlaneLogits(plane, plane.predict(self.tokens[folds.of(group)], backbone).logits)
            for group, plane in folds.planes
        ]

    @property
    def _steps(self) -> int:
        """Number of steps for each fold."""
        return max(1, round(TOKEN_PART * self._context.settings.steps))

    @property
    def _batch(self) -> int:
        """Number of tiles of each fold in a step."""
        return max(1, round(TOKEN_PART * self._context.settings.batch_size))

    def tune(
        self, tiles: Sequence[TrainingTile], before: Progress
    ) -> Generator[Progress, None, None]:
        """Tune the tokens of all folds side by side, which is quicker than one after the other.

        Parameters
        ----------
        tiles
            Tiles to train on.
        before
            Progress at the start of this stage.
        """
        context, settings, clock = self._context, self._context.settings, self._context.clock()
        folds, decoder, size = Folds.divide(context.embedded), context.backbone.decoder, self._batch
        starts, sources = [], []
        for fold in range(folds.count):
            generator = torch.Generator().manual_seed(settings.seed)
            others = [tile for tile in tiles if folds.of(folds.group_of(tile)) != fold]
            if not any(tile.upright for tile in others):
                return
            starts.append(start_tokens("label", decoder, context.classes, generator))
            sources.append(Batches(others, size, generator, context.embedded.blanks))
        for step in optimise(
            decoder,
            torch.stack(starts),
            SideBySide(sources),
            self._steps,
            settings.learning_rate,
            LOSSES[settings.loss],
        ):
            self.steps_done += folds.count
            seconds_left = clock() / step.number * (self._steps - step.number)
            yield replace(
                before, step=before.step + self.steps_done, loss=None, seconds_left=seconds_left
            )
            clock()
            if context.stopping:
                return
        self.tokens = list(step.tokens.clone())
