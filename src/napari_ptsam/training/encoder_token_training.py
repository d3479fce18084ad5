"""Tune encoder tokens together with the decoder tokens, and keep them unless they do harm."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from math import ceil
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from napari_ptsam.backbones.gpu_memory import gpu_is_full, release_memory
from napari_ptsam.errors import Advice, Message, Remedy
from napari_ptsam.training.joint_training import (
    BATCH,
    Features,
    optimise_both,
    start_encoder_tokens,
)
from napari_ptsam.training.loss import LOSSES
from napari_ptsam.training.optimization import Batches
from napari_ptsam.training.settings import ENCODER_STEPS, Progress
from napari_ptsam.training.validation import ValidationPlane, measure

if TYPE_CHECKING:
    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.training.tiles import TrainingTile
    from napari_ptsam.training.token_training import TrainingContext

COST = 2.0
"""Time of a forward and backward pass of a tile, as a multiple of the time of embedding it."""
AUTO_COUNT = 8
"""Tokens per layer, as in the published method."""
PATIENCE = 4.0
"""Least number of minutes allowed if the user asks for a number of encoder tokens."""
TOO_FEW = (
    "Encoder tokens were left out: whether they help is measured on validation planes, which takes "
    "at least 4 annotated planes."
)
TOO_LONG = (
    "Encoder tokens were left out: with them, training takes about {minutes} minutes here. They "
    "often make labels better."
)
NO_GAIN = (
    "Encoder tokens were tried and left out: Dice on the validation planes {after:.3f}, without them "
    "{before:.3f}."
)
GAIN = (
    "Encoder tokens are part of the prompt, after {steps} steps: Dice on the validation planes "
    "{after:.3f}, without them {before:.3f}.{why}"
)
WHY_THOUGH_LOWER = " So few planes measure Dice only roughly, and on other images they mostly help."
NO_MEMORY = "Encoder tokens were left out: the GPU has not enough memory to tune them."


class EncoderTokenTraining:
    """The stage that tunes encoder tokens, and embeds tiles and planes again with them.

    It has its own random generator, so that it does not change the decoder
    tokens that were tuned before.

    Parameters
    ----------
    context
        State that the stages of the training share. If its backbone has encoder
        tokens already, tuning continues from them.

    Attributes
    ----------
    kept
        Dice, decoder tokens and encoder tokens; None if the encoder is unchanged.
    steps_done
        Number of optimiser steps so far.
    note
        Sentence for the user about what was decided and why.
    """

    def __init__(self, context: TrainingContext) -> None:
        self._context = context
        self._tile_seconds = 0.0
        self.kept: tuple[float, torch.Tensor, tuple[torch.Tensor, ...]] | None = None
        self.steps_done = 0
        self.note = ""

    def decide(self, step_seconds: float) -> None:
        """Decide whether to tune encoder tokens, and set ``context.encoder_steps``.

        Parameters
        ----------
        step_seconds
            Seconds that one step of tuning decoder tokens takes.
        """
        context, settings = self._context, self._context.settings
        self._tile_seconds = context.seconds["embedding"] / context.embedded.count
        if settings.encoder_tokens == 0:
            return
        if settings.encoder_tokens == "auto" and context.embedded.measured_on_training:
            self.note = self._left_out(TOO_FEW)
            return
        auto = settings.encoder_steps == "auto"
        choices = list(ENCODER_STEPS) if auto else [int(settings.encoder_steps)]
        asked = settings.encoder_tokens != "auto"
        if asked and not auto:
            context.encoder_steps = choices[0]
            return
        allowed = max(settings.minutes, PATIENCE) if asked else settings.minutes
        # Tiles that came from a cache took no time to embed, so one is timed before deciding.
        if self._minutes(choices[-1], step_seconds) <= allowed:
            self._tile_seconds = self._time_a_tile()
        minutes = [self._minutes(steps, step_seconds) for steps in choices]
        in_time = [n for n, needed in zip(choices, minutes, strict=True) if needed <= allowed]
        if not in_time and not asked:
            least = ceil(minutes[-1])
            note = Message(
                TOO_LONG.format(minutes=least),
                " ",
                Advice(Remedy.ALLOW_MINUTES, {"minutes": least}),
            )
            self.note = self._left_out(note)
            return
        context.encoder_steps = in_time[0] if in_time else choices[-1]

    def expected_seconds(self, step_seconds: float) -> float:
        """Return the expected duration of the training, with the steps for encoder tokens.

        Parameters
        ----------
        step_seconds
            Seconds that one step of tuning decoder tokens takes.
        """
        context = self._context
        if context.encoder_steps:
            return 60 * self._minutes(context.encoder_steps, step_seconds)
        return context.seconds["embedding"] + context.steps * step_seconds

    def _time_a_tile(self) -> float:
        """Return the seconds that embedding a tile takes without a cache."""
        embedded, begin = self._context.embedded, perf_counter()
        pixels = embedded.pixels_of(embedded.tiles[0].job)
        self._context.backbone.encoder.plain([pixels])[0, 0, 0].item()  # waits for a GPU
        return perf_counter() - begin

    def _left_out(self, note: str) -> str:
        """Return the note, or an empty string if the start has encoder tokens, which are kept."""
        return "" if self._context.backbone.encoder.tokens else note

    def _minutes(self, steps: int, step_seconds: float) -> float:
        """Estimate the minutes of a training with this many steps for encoder tokens."""
        context = self._context
        tiles = context.embedded.count + COST * BATCH * steps + context.embedded.upright_count
        steps += context.steps - context.encoder_steps
        return (tiles * self._tile_seconds + steps * step_seconds) / 60

    def tune(
        self, dice: float, tokens: torch.Tensor, tiles: list[TrainingTile], before: Progress
    ) -> Generator[Progress, None, None]:
        """Tune encoder tokens, measure them, and keep them unless they do harm.

        Parameters
        ----------
        dice
            Dice of the decoder tokens alone.
        tokens
            Decoder tokens: float32, shape (classes, 8, 256).
        tiles
            Tiles to train on; their embeddings are not used.
        before
            Progress at the start of this stage.
        """
        backbone, step = self._context.backbone, None
        try:
            step = yield from self._optimise(tokens, tiles, before)
        except RuntimeError as error:
            if not gpu_is_full(error, backbone.device):
                raise
            self.note = NO_MEMORY
        if step is None:
            release_memory(backbone.device)
            return
        decoder_tokens, encoder_tokens = step
        prompted = replace(backbone, encoder=backbone.encoder.with_tokens(encoder_tokens))
        now = replace(before, step=before.step + self.steps_done, loss=None, seconds_left=None)
        measured = yield from self._embed_validation_planes(prompted, now)
        if measured is None:
            return
        after = measure(measured, decoder_tokens, prompted, stopped=lambda: self._context.stopping)
        if after is None:
            return
        # A few planes measure Dice only roughly; docs/notes/experiments.md compares other rules.
        no_worse = after.no_worse_than(dice)
        if no_worse or self._context.settings.encoder_tokens != "auto":
            yield from self._adopt(prompted, measured, now)
            self.kept = after.dice, decoder_tokens, tuple(encoder_tokens)
        template = GAIN if self.kept else NO_GAIN
        why = WHY_THOUGH_LOWER if no_worse and after.dice < dice else ""
        self.note = template.format(after=after.dice, before=dice, steps=self.steps_done, why=why)

    def _optimise(
        self, tokens: torch.Tensor, tiles: list[TrainingTile], before: Progress
    ) -> Generator[Progress, None, tuple[torch.Tensor, list[torch.Tensor]] | None]:
        """Return decoder and encoder tokens after the last step, or None if it was stopped."""
        context, settings, clock = self._context, self._context.settings, self._context.clock()
        generator = torch.Generator().manual_seed(settings.seed)
        encoder = context.backbone.encoder.plain
        count = AUTO_COUNT if settings.encoder_tokens == "auto" else settings.encoder_tokens
        start = encoder.tokens or start_encoder_tokens(encoder.token_widths, count, generator)
        batches = Batches(tiles, BATCH, generator, context.embedded.blanks)
        features = Features(encoder, context.embedded)
        for step in optimise_both(
            context.backbone,
            tokens,
            start,
            batches,
            features,
            context.encoder_steps,
            LOSSES[context.settings.loss],
        ):
            self.steps_done = step.number
            seconds_left = clock() / step.number * (context.encoder_steps - step.number)
            yield replace(
                before, step=before.step + step.number, loss=float(step.losses.mean()),
                seconds_left=seconds_left,
            )  # fmt: skip
            if context.stopping:
                return None
        return step.tokens, step.encoder_tokens

    def _embed_validation_planes(
        self, prompted: Backbone, now: Progress
    ) -> Generator[Progress, None, list[ValidationPlane] | None]:
        """Embed the validation planes with the encoder tokens; None if it was stopped."""
        planes = []
        for plane in self._context.embedded.embed_validation_planes(prompted):
            if plane is not None:
                planes.append(plane)
            yield now
            if self._context.stopping:
                return None
        return planes

    def _adopt(
        self, prompted: Backbone, measured: list[ValidationPlane], now: Progress
    ) -> Generator[Progress, None, None]:
        """Embed the tiles again with the encoder tokens, and use both from now on."""
        tiles = []
        for tile in self._context.embedded.embed_upright_tiles(prompted):
            tiles.append(tile)
            yield now
            if self._context.stopping:
                break
        self._context.embedded.adopt(tiles, measured)
        self._context.backbone = prompted
