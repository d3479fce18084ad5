"""What a training is told, and what it tells while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Integral
from typing import Literal, get_args

from napari_ptsam.errors import InputError
from napari_ptsam.images.channels import as_numbers
from napari_ptsam.images.normalize import Normalization
from napari_ptsam.images.tiling import Tiling
from napari_ptsam.prompts.prompt import MOST_ENCODER_TOKENS
from napari_ptsam.training.loss import DEFAULT_LOSS, LOSSES

Cores = Literal["auto", "yes", "no"]
EncoderTokens = int | Literal["auto"]
EncoderSteps = int | Literal["auto"]
Phase = Literal["embedding", "training", "done"]

ENCODER_STEPS = (400, 180)
"""Steps for encoder tokens where there is time, and where there is less."""


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Attributes
    ----------
    steps
        Steps of the optimiser for the tokens of the classes; a quarter of them
        tries out where to start. Cores take more steps, after these.
    batch_size
        Tiles a step.
    learning_rate
        Highest learning rate of the schedule.
    held_out
        Part of the planes that is held out to measure on (none of fewer than 4 planes).
    seed
        Runs with the same seed on the same machine give the same prompt, if
        ``auto`` decides the same about encoder tokens, which goes by the time.
    tile
        Side of a tile in pixels, ``whole`` for whole planes, or ``auto``.
    embeddings
        Tiles to embed for training, flipped and turned ones included, at most:
        bounds time and memory (2 MB each).
    normalization, channels
        What the model is to see.
    cores
        Whether to tune a second set of tokens that finds the inner parts of
        objects, by which objects that touch are told apart: ``yes``, ``no``, or
        ``auto``, where masks tell objects apart. They are kept if they help.
    encoder_tokens
        Tokens for each layer of the image encoder: 0, a number (the method has
        8), or ``auto``, which tries 8 if the time allows it, and keeps them
        unless they harm on the held-out planes.
    encoder_steps
        Steps of the optimiser for encoder and decoder tokens together, after
        those for the decoder tokens alone; or ``auto``: 400, or 180 where so
        many are expected to take too long.
    minutes
        That ``auto`` may expect a training to take; where encoder tokens are
        asked for by number, 4 at least.
    loss
        The loss to minimize, a name in `napari_ptsam.training.loss.LOSSES`.
    flips
        Whether segmenting may look at flipped tiles too, which takes two or four
        times as long: ``auto``, where a few annotated tiles show that labels
        become better; or ``no``.
    """

    steps: int = 400
    batch_size: int = 4
    learning_rate: float = 0.1
    held_out: float = 0.15
    seed: int = 0
    tile: int | Literal["auto", "whole"] = "auto"
    embeddings: int = 64
    normalization: Normalization = field(default_factory=Normalization)
    channels: tuple[int, ...] | None = None
    cores: Cores = "auto"
    encoder_tokens: EncoderTokens = "auto"
    encoder_steps: EncoderSteps = "auto"
    minutes: float = 1.0
    flips: Literal["auto", "no"] = "no"
    loss: str = DEFAULT_LOSS

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "embeddings", "seed"):
            _check_whole_number(name, getattr(self, name))
        if not isinstance(self.normalization, Normalization):
            raise InputError(
                "The normalisation is a Normalization, such as Normalization('stack')."
            )
        if self.channels is not None:
            object.__setattr__(self, "channels", as_numbers(self.channels))
        if self.steps < 1 or self.batch_size < 1:
            raise InputError("Training takes at least one step, and at least one tile a step.")
        if self.embeddings < 1:
            raise InputError("Training takes at least one embedding.")
        if not 0 < self.learning_rate < 100:
            raise InputError(
                f"A learning rate of {self.learning_rate} makes no sense; 0.1 is usual."
            )
        if not 0 <= self.held_out <= 0.5:
            raise InputError(f"Hold out between 0 and 0.5 of the planes, not {self.held_out}.")
        if self.cores not in get_args(Cores):
            raise InputError(f"The setting cores is auto, yes or no, not {self.cores!r}.")
        if self.loss not in LOSSES:
            raise InputError(f"Unknown loss {self.loss!r}; choose one of {', '.join(LOSSES)}.")
        if self.flips not in ("auto", "no"):
            raise InputError(f"The setting flips is auto or no, not {self.flips!r}.")
        if self.encoder_tokens != "auto":
            _check_whole_number("encoder_tokens", self.encoder_tokens)
            if not 0 <= int(self.encoder_tokens) <= MOST_ENCODER_TOKENS:
                raise InputError(
                    f"A layer has 0 to {MOST_ENCODER_TOKENS} encoder tokens, not "
                    f"{self.encoder_tokens}; 8 is usual."
                )
        if self.encoder_steps != "auto":
            _check_whole_number("encoder_steps", self.encoder_steps)
            if int(self.encoder_steps) < 1:
                raise InputError("Encoder tokens take at least one step.")
        if not 0 <= self.minutes < 10_000:
            raise InputError(f"Allow a training 0 to 10,000 minutes, not {self.minutes}.")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"The seed is a whole number from 0 up, not {self.seed}.")
        if self.tile not in ("auto", "whole"):
            _check_whole_number("tile", self.tile)
            Tiling(int(self.tile))  # says what is wrong with it


def _check_whole_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputError(f"The setting {name} is a whole number, not {value!r}.")


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes
    ----------
    phase
        ``embedding``, ``training`` or ``done``.
    step, steps
        Of this phase.
    loss
        Of the last step for the tokens of the classes; None while embedding, and
        while cores are tuned.
    held_out_dice
        Of the last check; None before the first one.
    seconds_left
        Estimate over all phases to come; None while there is no telling.
    note
        Something that the user should know, such as a new start after a collapse.
    """

    phase: Phase
    step: int
    steps: int
    loss: float | None = None
    held_out_dice: float | None = None
    seconds_left: float | None = None
    note: str = ""
