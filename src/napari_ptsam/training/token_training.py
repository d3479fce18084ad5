"""The tokens of the classes: starts that are tried, the best of them tuned and measured."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from threading import Event
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from napari_ptsam.errors import CollapsedError, joined
from napari_ptsam.training.loss import LOSSES
from napari_ptsam.training.optimization import (
    STARTS,
    Batches,
    optimise,
    start_tokens,
    suitable_tiles,
)
from napari_ptsam.training.settings import Progress, TrainingSettings
from napari_ptsam.training.validation import Measurement, measure

if TYPE_CHECKING:
    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.images.guided_filter import Refinement
    from napari_ptsam.images.tiling import Flip
    from napari_ptsam.training.embedding import EmbeddedTiles
    from napari_ptsam.training.tiles import TrainingTile

CHECKS = 10
"""How often a training measures itself."""
TRIAL_PART = 1 / 16
"""Part of the steps that each start is tried for, before the best goes on."""
SHORTEST_TRIAL = 5
"""Steps below which a trial says nothing, and is left out."""
LOOK_EVERY = 10
"""Steps between two looks at the loss on a GPU, which has to be waited for each time."""
ATTEMPTS = 3
"""Starts that are followed up, one after the other, as long as the training collapses."""
COLLAPSED = "The training had collapsed; going on from another start."
PROMPT_RATE = 0.3
"""Part of the learning rate with which a prompt is trained on."""


@dataclass(eq=False)
class TrainingContext:
    """What the parts of a training share.

    Attributes
    ----------
    backbone
        The frozen SAM.
    settings
        How to train.
    classes
        Count of classes.
    embedded
        The tiles.
    marker_steps, encoder_steps
        Steps that come after those of the class tokens.
    refinement, flips
        Of the logits of the tokens that were found, and of tiles, if any.
    stop
        Set once the training is to end soon; from any thread.
    seconds
        Spent in each phase.
    """

    backbone: Backbone
    settings: TrainingSettings
    classes: int
    embedded: EmbeddedTiles
    marker_steps: int = 0
    encoder_steps: int = 0
    refinement: Refinement | None = None
    flips: tuple[Flip, ...] = ()
    stop: Event = field(default_factory=Event)
    seconds: dict[str, float] = field(default_factory=lambda: {"embedding": 0.0, "training": 0.0})

    @property
    def stopping(self) -> bool:
        """Whether to end soon."""
        return self.stop.is_set()

    @property
    def steps(self) -> int:
        """Steps of the optimiser in all."""
        return self.settings.steps + self.encoder_steps + self.marker_steps

    def clock(self) -> Callable[[], float]:
        """Starts counting: each call adds what has passed to the phase, and gives all of it."""
        before, begin = self.seconds["training"], perf_counter()

        def count() -> float:
            passed = perf_counter() - begin
            self.seconds["training"] = before + passed
            return passed

        return count


class TokenTraining:
    """Tunes tokens from one start or another until they tell the classes apart.

    Parameters
    ----------
    context
        What the parts of the training share.
    first
        Tokens of a prompt to go on from: float32, shape (classes, 8, 256).
    note
        What happened before, for the user.

    Attributes
    ----------
    tokens
        As they are now; None before there are any.
    best
        Dice, and the tokens that are kept; None as long as all collapsed.
    dice
        Of the last check.
    steps_done
        Steps of the optimiser so far.
    suitable
        The tiles without the flips and rotations that lead astray.
    notes
        What happened, for the user.
    """

    def __init__(
        self, context: TrainingContext, first: torch.Tensor | None = None, note: str = ""
    ) -> None:
        self._context, self._first = context, first
        self._generator = torch.Generator().manual_seed(context.settings.seed)
        self._top = 0.0
        self.tokens: torch.Tensor | None = None
        self.best: tuple[float, torch.Tensor] | None = None
        self.dice: float | None = None
        self.steps_done = 0
        self.suitable: list[TrainingTile] = []
        self.notes = [note] if note else []

    def tune(self) -> Generator[Progress, None, bool]:
        """Tune; False if the context was stopped before it had led to anything.

        Raises
        ------
        CollapsedError
            If no start led to anything.
        """
        self.suitable = self._context.embedded.tiles
        if self._first is not None:
            attempts, tried = [self._first], 0
            self.check(self._first)
        else:
            attempts, tried = yield from self._try_starts()
            if self._context.stopping:
                return False
            self._top = 0.0  # what was tried for a few steps is no measure for the rest
        if tried or self._first is not None:
            clock = self._context.clock()
            self.suitable = suitable_tiles(
                self._context.backbone.decoder,
                attempts[0],
                self.suitable,
                lambda: self._context.stopping,
                LOSSES[self._context.settings.loss],
            )
            clock()
        for number, tokens in enumerate(attempts):
            if number:
                self.notes = [note for note in self.notes if note != COLLAPSED] + [COLLAPSED]
            if (yield from self._follow(tokens, tried)):
                return True
            if self._context.stopping:
                return False
        raise CollapsedError(
            f"The training collapsed from {len(attempts)} different starts: it finds a class nowhere "
            "or everywhere. Look for wrong masks, add annotated planes, or try another tile size."
        )

    @property
    def note(self) -> str:
        """What happened, in one text."""
        return joined(self.notes)

    def time_one_step(self) -> float:
        """Seconds that a step takes, on the tiles that are embedded."""
        context, generator = self._context, torch.Generator().manual_seed(0)
        tokens = self._start("label", generator)
        batches = Batches(context.embedded.tiles, context.settings.batch_size, generator)
        begin = perf_counter()
        rate, loss = context.settings.learning_rate, LOSSES[context.settings.loss]
        next(optimise(context.backbone.decoder, tokens, batches, 1, rate, loss))
        return perf_counter() - begin

    def _start(self, name: str, generator: torch.Generator) -> torch.Tensor:
        return start_tokens(name, self._context.backbone.decoder, self._context.classes, generator)

    def _try_starts(self) -> Generator[Progress, None, tuple[list[torch.Tensor], int]]:
        """Tune each start for a while on upright tiles; for each class, the best one goes on."""
        steps = int(self._context.settings.steps * TRIAL_PART)
        starts = [self._start(name, self._generator) for name in STARTS]
        if steps < SHORTEST_TRIAL:
            return starts[:ATTEMPTS], 0
        tried, losses = [], []
        for number, tokens in enumerate(starts):
            late: list[torch.Tensor] = []
            self.tokens = tokens
            upright = [tile for tile in self._context.embedded.tiles if tile.upright]
            yield from self._optimise(tokens, upright, steps, number * steps, late)
            if self._context.stopping:
                return [], 0
            tried.append(self.tokens)
            self.check(self.tokens)
            losses.append(torch.stack(late[-max(1, steps // 2) :]).mean(0))
        order = torch.stack(losses).argsort(0)  # (starts, classes)
        stacked = torch.stack(tried)
        classes = torch.arange(stacked.shape[1], device=order.device)
        return [stacked[order[rank], classes] for rank in range(ATTEMPTS)], steps * len(starts)

    def _follow(self, tokens: torch.Tensor, before: int) -> Generator[Progress, None, bool]:
        """Tune to the end, measuring now and then; False if it collapsed, which ends it early."""
        steps, fine = self._context.settings.steps - before, False
        interval = max(1, steps // CHECKS)
        for progress in self._optimise(tokens, self.suitable, steps, before, []):
            number = progress.step - before
            if number % interval == 0 or number == steps:
                assert self.tokens is not None
                found = self.check(self.tokens)
                fine |= found is not None and not found.collapsed
                if not fine and number > steps // 3:
                    return False
            yield progress
        return fine

    def _optimise(
        self,
        tokens: torch.Tensor,
        tiles: list[TrainingTile],
        steps: int,
        before: int,
        losses: list[torch.Tensor],
    ) -> Generator[Progress, None, None]:
        """Run the optimiser; the tokens stay in ``tokens``, the losses are appended."""
        context = self._context
        rate = context.settings.learning_rate * (1.0 if self._first is None else PROMPT_RATE)
        batches = Batches(
            tiles, context.settings.batch_size, self._generator, context.embedded.blanks
        )
        clock = context.clock()
        loss, every = 0.0, 1 if context.backbone.device.type == "cpu" else LOOK_EVERY
        loss_function = LOSSES[context.settings.loss]
        for step in optimise(context.backbone.decoder, tokens, batches, steps, rate, loss_function):
            losses.append(step.losses)
            self.tokens, self.steps_done = step.tokens, before + step.number
            left = clock() / step.number * (context.steps - self.steps_done)
            if (step.number - 1) % every == 0:
                loss = float(step.losses.mean())
            yield Progress(
                "training", self.steps_done, context.steps, loss, self.dice, left, self.note
            )
            # What the caller did meanwhile, such as measuring, is part of the phase.
            clock()
            if context.stopping:
                return

    def check(self, tokens: torch.Tensor, at_last: bool = False) -> Measurement | None:
        """Measure tokens, and keep them if they are the best so far.

        None once it is stopping, but for a check at last, which is made all the same.
        """
        context = self._context
        planes, watched = context.embedded.measured, context.embedded.watched
        measurement = measure(
            planes, tokens, context.backbone, watched, lambda: context.stopping and not at_last
        )
        if measurement is None:
            return None
        self.dice = measurement.dice
        if not measurement.collapsed:
            # A later prompt, whose learning rate has come further down, is rather taken.
            if measurement.no_worse_than(self._top):
                self.best = (measurement.dice, tokens.clone())
            self._top = max(self._top, measurement.dice)
        return measurement
