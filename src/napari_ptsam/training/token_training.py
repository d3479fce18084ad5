"""Tune the tokens of the classes: try several starts, then continue from the best one."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from threading import Event
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from napari_ptsam.errors import CollapsedError, joined
from napari_ptsam.training.augmentation import AugmentedTiles
from napari_ptsam.training.loss import LOSSES
from napari_ptsam.training.optimization import (
    STARTS,
    Batches,
    TileSource,
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
    from napari_ptsam.inference.detail import DetailCorrection
    from napari_ptsam.training.embedding import EmbeddedTiles
    from napari_ptsam.training.tiles import TrainingTile

CHECKS = 10
"""Number of checks on the validation planes during a training."""
SHORTEST_INTERVAL = 5
"""Smallest number of steps between two checks, which take about as long as two or three steps."""
TRIAL_PART = 1 / 16
"""Fraction of all steps for which each start is tried before the best one is chosen."""
SHORTEST_TRIAL = 5
"""Smallest number of steps of a trial. Shorter trials say nothing, so they are skipped."""
LOSS_INTERVAL = 10
"""Steps between two readings of the loss on a GPU, each of which waits for the GPU."""
ATTEMPTS = 3
"""Largest number of starts to train from, one after the other, if trainings collapse."""
COLLAPSED = "The training collapsed, and continues from another start."
PROMPT_RATE = 0.3
"""Factor of the learning rate when the training continues from a prompt."""


@dataclass(eq=False)
class TrainingContext:
    """State that the stages of a training share.

    Attributes
    ----------
    backbone
        Frozen SAM; it gets encoder tokens if they are kept.
    settings
        Settings of the training.
    classes
        Number of classes.
    embedded
        The embedded tiles and planes.
    marker_steps, encoder_steps, fold_steps, detail_steps
        Numbers of steps for markers, for encoder tokens, for the tokens of folds and for
        detail heads.
    corrections
        The detail head of each class, if there are any.
    refinement, flips
        Guided filter of the logits and flips of tiles that were chosen, if any.
    stop
        Event that asks the training to end soon; any thread may set it.
    seconds
        Seconds spent embedding and training.
    """

    backbone: Backbone
    settings: TrainingSettings
    classes: int
    embedded: EmbeddedTiles
    marker_steps: int = 0
    encoder_steps: int = 0
    fold_steps: int = 0
    detail_steps: int = 0
    corrections: Sequence[DetailCorrection | None] = ()
    refinement: Refinement | None = None
    flips: tuple[Flip, ...] = ()
    stop: Event = field(default_factory=Event)
    seconds: dict[str, float] = field(default_factory=lambda: {"embedding": 0.0, "training": 0.0})

    @property
    def stopping(self) -> bool:
        """Whether the training was asked to end."""
        return self.stop.is_set()

    @property
    def steps(self) -> int:
        """Total number of optimiser steps."""
        return self.settings.steps + self.encoder_steps + self.refining_steps

    @property
    def refining_steps(self) -> int:
        """Number of steps after those that tune the tokens of the classes."""
        return self.fold_steps + self.detail_steps + self.marker_steps

    def clock(self) -> Callable[[], float]:
        """Start a clock for the training time.

        Returns
        -------
        callable
            Function that adds the seconds since the start to
            ``seconds["training"]``, and returns them.
        """
        before, begin = self.seconds["training"], perf_counter()

        def count() -> float:
            passed = perf_counter() - begin
            self.seconds["training"] = before + passed
            return passed

        return count


class TokenTraining:
    """The stage that tunes the tokens of the classes, from another start if one collapses.

    Parameters
    ----------
    context
        State that the stages of the training share.
    first
        Tokens of a prompt to continue from: float32, shape (classes, 8, 256).
    note
        Sentence for the user about what happened before.

    Attributes
    ----------
    tokens
        Current tokens; None before tuning has begun.
    best
        Dice and tokens of the best check; None as long as every check finds a collapse.
    dice
        Dice of the last check.
    steps_done
        Number of optimiser steps so far.
    suitable
        Tiles without the flips and rotations that would mislead the training.
    notes
        Sentences for the user about what happened.
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
        """Tune the tokens.

        Returns
        -------
        bool
            False if the training was stopped before it had found usable tokens.

        Raises
        ------
        CollapsedError
            If the training collapsed from every start.
        """
        self.suitable = self._context.embedded.tiles
        if self._first is not None:
            starts, trial_steps = [self._first], 0
            self.check(self._first)
        else:
            starts, trial_steps = yield from self._try_starts()
            if self._context.stopping:
                return False
            self._top = 0.0  # not compared with the Dice of short trials
        if trial_steps or self._first is not None:
            clock = self._context.clock()
            self.suitable = suitable_tiles(
                self._context.backbone.decoder,
                starts[0],
                self.suitable,
                lambda: self._context.stopping,
                LOSSES[self._context.settings.loss],
            )
            clock()
        for number, tokens in enumerate(starts):
            if number:
                self.notes = [note for note in self.notes if note != COLLAPSED] + [COLLAPSED]
            if (yield from self._follow(tokens, trial_steps)):
                return True
            if self._context.stopping:
                return False
        raise CollapsedError(
            f"The training collapsed from {len(starts)} different starts: it finds a class nowhere "
            "or everywhere. Look for wrong masks, add annotated planes, or try another tile size."
        )

    @property
    def note(self) -> str:
        """All notes in one text."""
        return joined(self.notes)

    def time_one_step(self) -> float:
        """Return the seconds that one step takes on the tiles that are embedded so far."""
        context, generator = self._context, torch.Generator().manual_seed(0)
        tokens = self._start("label", generator)
        batches = self._batches(context.embedded.tiles, generator)
        # The first optimiser of a process imports torch's compiler, which takes seconds.
        torch.optim.AdamW([tokens])
        begin = perf_counter()
        rate, loss = context.settings.learning_rate, LOSSES[context.settings.loss]
        next(optimise(context.backbone.decoder, tokens, batches, 1, rate, loss))
        return perf_counter() - begin

    def _start(self, name: str, generator: torch.Generator) -> torch.Tensor:
        return start_tokens(name, self._context.backbone.decoder, self._context.classes, generator)

    def _try_starts(self) -> Generator[Progress, None, tuple[list[torch.Tensor], int]]:
        """Tune each start for a while on upright tiles, and rank them for each class.

        Returns
        -------
        list of torch.Tensor
            Tokens to continue from, best first.
        int
            Number of steps that the trials took.
        """
        steps = int(self._context.settings.steps * TRIAL_PART)
        starts = [self._start(name, self._generator) for name in STARTS]
        if steps < SHORTEST_TRIAL:
            return starts[:ATTEMPTS], 0
        tuned, losses = [], []
        for number, tokens in enumerate(starts):
            trial_losses: list[torch.Tensor] = []
            self.tokens = tokens
            upright = [tile for tile in self._context.embedded.tiles if tile.upright]
            yield from self._optimise(tokens, upright, steps, number * steps, trial_losses)
            if self._context.stopping:
                return [], 0
            tuned.append(self.tokens)
            self.check(self.tokens)
            losses.append(torch.stack(trial_losses[-max(1, steps // 2) :]).mean(0))
        order = torch.stack(losses).argsort(0)  # (starts, classes)
        stacked = torch.stack(tuned)
        classes = torch.arange(stacked.shape[1], device=order.device)
        return [stacked[order[rank], classes] for rank in range(ATTEMPTS)], steps * len(starts)

    def _follow(self, tokens: torch.Tensor, before: int) -> Generator[Progress, None, bool]:
        """Tune to the end with regular checks; end early and return False if it collapsed."""
        steps, usable = self._context.settings.steps - before, False
        interval = max(SHORTEST_INTERVAL, steps // CHECKS)
        for progress in self._optimise(tokens, self.suitable, steps, before, []):
            number = progress.step - before
            if number % interval == 0 or number == steps:
                assert self.tokens is not None
                measurement = self.check(self.tokens)
                usable |= measurement is not None and not measurement.collapsed
                if not usable and number > steps // 3:
                    return False
            yield progress
        return usable

    def _optimise(
        self,
        tokens: torch.Tensor,
        tiles: list[TrainingTile],
        steps: int,
        before: int,
        losses: list[torch.Tensor],
    ) -> Generator[Progress, None, None]:
        """Run the optimiser. It sets ``self.tokens``, and appends each step's losses to ``losses``."""
        context = self._context
        rate = context.settings.learning_rate * (1.0 if self._first is None else PROMPT_RATE)
        batches = self._batches(tiles, self._generator, context.embedded.blanks)
        clock = context.clock()
        loss, every = 0.0, 1 if context.backbone.device.type == "cpu" else LOSS_INTERVAL
        loss_function = LOSSES[context.settings.loss]
        for step in optimise(
            context.backbone.decoder,
            tokens,
            batches,
            steps,
            rate,
            loss_function,
            context.settings.weight_decay,
        ):
            losses.append(step.losses)
            self.tokens, self.steps_done = step.tokens, before + step.number
            seconds_left = clock() / step.number * (context.steps - self.steps_done)
            if (step.number - 1) % every == 0:
                loss = float(step.losses.mean())
            yield Progress(
                "training", self.steps_done, context.steps, loss, self.dice, seconds_left, self.note,
                context.refining_steps,
            )  # fmt: skip
            # Include what the caller did meanwhile, such as a check.
            clock()
            if context.stopping:
                return

    def _batches(
        self,
        tiles: Sequence[TrainingTile],
        generator: torch.Generator,
        blanks: Sequence[TrainingTile] = (),
    ) -> TileSource:
        """Return the source of batches, of embedded tiles or of those that are embedded anew."""
        context, size = self._context, self._context.settings.batch_size
        if context.settings.augmentation == "anew":
            return AugmentedTiles(
                context.embedded, context.backbone, context.classes, size, generator
            )
        return Batches(tiles, size, generator, blanks)

    def check(self, tokens: torch.Tensor, at_last: bool = False) -> Measurement | None:
        """Measure tokens on the validation planes, and keep them if they are the best so far.

        Parameters
        ----------
        tokens
            float32, shape (classes, 8, 256).
        at_last
            Whether to measure even though the training was asked to end.

        Returns
        -------
        Measurement or None
            None if the training was asked to end.
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
            # Of equally good tokens the later ones are kept, since their learning rate is lower.
            if measurement.no_worse_than(self._top):
                self.best = (measurement.dice, tokens.clone())
            self._top = max(self._top, measurement.dice)
        return measurement
