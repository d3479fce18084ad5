"""The settings of a training, each declared once, and its progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from napari_ptsam.errors import InputError
from napari_ptsam.images.channels import as_numbers
from napari_ptsam.images.normalize import Normalization
from napari_ptsam.images.tiling import MAXIMUM_SIDE, MINIMUM_SIDE
from napari_ptsam.io.declaration import Shown, declared
from napari_ptsam.io.former_names import accept_former_names
from napari_ptsam.prompts.prompt import MOST_ENCODER_TOKENS
from napari_ptsam.training.loss import DEFAULT_LOSS, LOSSES

Phase = Literal["embedding", "training", "done"]
Keep = Literal["better", "new"]
"""Which prompt a training that continues from another one gives: the better one, or its own."""

ENCODER_STEPS = (400, 180)
"""Steps for encoder tokens if there is enough time, and if there is less."""


def _as_channels(value: Any) -> tuple[int, ...] | None:
    return None if value is None else as_numbers(value)


def _as_normalization(value: Any) -> Normalization:
    if isinstance(value, Normalization):
        return value
    if not isinstance(value, Mapping) or "mode" not in value:
        raise InputError(
            "The normalization has a mode, a low and a high value, as in "
            f"Normalization('stack', 1.0, 99.8); {value!r} does not."
        )
    limits = {name: value[name] for name in ("low", "high") if value.get(name) is not None}
    for name, limit in limits.items():
        if isinstance(limit, bool) or not isinstance(limit, (int, float)):
            raise InputError(f"The value {name} of the normalization is a number, not {limit!r}.")
    return Normalization(value["mode"], **{name: float(limit) for name, limit in limits.items()})


def _as_loss(value: Any) -> str:
    if value not in LOSSES:
        raise InputError(f"Unknown loss {value!r}; choose one of {', '.join(LOSSES)}.")
    return str(value)


@accept_former_names({"cores": "markers"})
@declared
@dataclass(frozen=True)
class TrainingSettings:
    """The settings of a training.

    Sessions store them under these names. The command line has an option for each, the
    form a row for those with ``row=True``; ``docs/settings.md`` lists them.
    """

    steps: Annotated[
        int,
        Field(
            ge=1,
            title="Steps",
            description="Number of optimizer steps for the tokens of the classes. A quarter of them "
            "tries out several starts. Markers take further steps after these.",
        ),
        Shown(row=True, preset=True, step=50, most=20_000),
    ] = 400
    embeddings: Annotated[
        int,
        Field(
            ge=1,
            title="Tiles",
            description="Largest number of tiles to learn from, including flipped and rotated "
            "copies. Each takes 2 MB, and about half a second on a laptop.",
        ),
        Shown(metavar="N", row=True, preset=True, most=4000),
    ] = 64
    batch_size: Annotated[
        int, Field(ge=1, title="Batch size", description="Number of tiles in each step.")
    ] = 4
    learning_rate: Annotated[
        float,
        Field(
            gt=0,
            lt=100,
            title="Learning rate",
            description="Highest learning rate of the schedule.",
        ),
    ] = 0.1
    weight_decay: Annotated[
        float,
        Field(
            ge=0, lt=100, title="Weight decay", description="Weight decay of the decoder tokens."
        ),
    ] = 0.0
    augmentation: Annotated[
        Literal["turned", "anew"],
        Field(
            title="Augmentation",
            description="`turned` embeds each tile once, upright, turned and flipped. `anew` draws "
            "another crop, rotation, deformation, brightness and noise in every step and embeds "
            "the result, which takes a GPU.",
        ),
    ] = "turned"
    encoder_tokens: Annotated[
        Annotated[int, Field(ge=0, le=MOST_ENCODER_TOKENS)] | Literal["auto"],
        Field(
            title="Encoder tokens",
            description="Number of tokens for each layer of the image encoder; the published "
            "method has 8. They often make labels better, but training takes several times as "
            "long. `auto` tries 8, unless the training would take too long. Tokens that were tried are kept unless "
            "the Dice on the validation planes becomes clearly worse.",
        ),
        Shown(
            metavar="auto|N",
            row=True,
            choices={"auto": "if the time allows", "0": "none", "8": "8 per layer"},
        ),
    ] = "auto"
    encoder_steps: Annotated[
        Annotated[int, Field(ge=1)] | Literal["auto"],
        Field(
            title="Encoder steps",
            description="Number of optimizer steps that tune encoder and decoder tokens together, "
            f"after the steps for the decoder tokens alone. `auto` takes {ENCODER_STEPS[0]}, or "
            f"{ENCODER_STEPS[1]} if so many are expected to take too long.",
        ),
        Shown(metavar="auto|N"),
    ] = "auto"
    minutes: Annotated[
        float,
        Field(
            ge=0,
            lt=10_000,
            title="Time",
            description="Minutes that a training with encoder tokens may take. The time decides "
            "whether they are tuned, and in how many steps, unless both are given. If their number "
            "is given, at least 4 minutes are allowed. The prompt is cross-validated if the time "
            "allows it.",
        ),
        Shown(row=True, preset=True, most=1000, decimals=1, suffix=" min"),
    ] = 1.0
    tile: Annotated[
        Annotated[int, Field(ge=MINIMUM_SIDE, le=MAXIMUM_SIDE)] | Literal["auto", "whole"],
        Field(
            title="Scale",
            description="Side of a tile in pixels. `whole` takes whole planes; `auto` chooses the "
            "side from the size of the annotated objects. Small objects need small tiles.",
        ),
        Shown(
            metavar="N|auto|whole",
            row=True,
            choices={
                "auto": "from the size of the objects",
                "whole": "whole planes",
                "": "tiles of",
            },
            number_title="Tile side",
            begin=512,
            suffix=" px",
        ),
    ] = "auto"
    normalization: Annotated[
        Normalization,
        BeforeValidator(_as_normalization),
        Field(
            title="Brightness",
            description="How intensities are mapped to the range that the model sees: by two "
            "percentiles of each plane or of the whole stack, or by a fixed range.",
        ),
        Shown(option=""),
    ] = field(default_factory=Normalization)
    channels: Annotated[
        tuple[int, ...] | None,
        BeforeValidator(_as_channels),
        Field(
            title="Channels",
            description="Numbers of up to three channels that the model sees, counted from 0. "
            "By default it sees the image as it is.",
        ),
        Shown(metavar="C[,C[,C]]"),
    ] = None
    held_out: Annotated[
        float,
        Field(
            ge=0,
            le=0.5,
            title="Validation",
            description="Part of the planes that validate instead of training. With fewer than 4 "
            "planes, there is no validation.",
        ),
        Shown(row=True, decimals=0, factor=100, suffix=" %"),
    ] = 0.15
    markers: Annotated[
        Literal["auto", "yes", "no"],
        Field(
            title="Markers",
            description="Whether to tune a second set of tokens that finds the markers of objects, "
            "their inner parts, to separate objects that touch. `auto` does so if the masks tell "
            "objects apart. The tokens are kept if they help.",
        ),
    ] = "auto"
    detail: Annotated[
        Literal["auto", "on", "off"],
        Field(
            title="Fine detail",
            description="Whether a small network refines the labels with fine texture of the image. "
            "`auto` trains it, and keeps as much of it as helps on annotated planes that it has "
            "not seen.",
        ),
        Shown(row=True, choices={"auto": "if it helps", "on": "always", "off": "no"}),
    ] = "auto"
    flips: Annotated[
        Literal["auto", "no"],
        Field(
            title="Flips",
            description="Whether segmenting may average over flipped copies of each tile, which "
            "takes two or four times as long. `auto` allows it if labels become better on a few "
            "annotated tiles.",
        ),
    ] = "no"
    continuation: Annotated[
        Literal["whole", "quick"],
        Field(
            title="Continuation",
            description="How a training continues from a prompt. `whole` makes all choices anew, as "
            "a training from scratch does. `quick` keeps the prompt's filter, flips, encoder tokens "
            "and share of fine detail, and tunes the rest in a quarter of the steps, with half of the "
            "tiles.",
        ),
    ] = "whole"
    seed: Annotated[
        int,
        Field(
            ge=0,
            le=2**63 - 1,
            title="Seed",
            description="Seed of the random numbers. The same seed gives the same prompt on the "
            "same computer, unless decisions are taken that depend on the time.",
        ),
        Shown(row=True, most=2**31 - 1),
    ] = 0
    loss: Annotated[
        str,
        BeforeValidator(_as_loss),
        Field(
            title="Loss",
            description="Name of the loss that the training minimizes, a key of "
            "`napari_ptsam.training.loss.LOSSES`.",
        ),
        Shown(option=""),
    ] = DEFAULT_LOSS


@dataclass(frozen=True)
class Progress:
    """The progress of a training.

    Attributes
    ----------
    phase
        ``embedding``, ``training`` or ``done``.
    step, steps
        Number of steps done, and of all steps, in this phase.
    loss
        Loss of the last step for the tokens of the classes; None while embedding, and
        in the refining steps.
    held_out_dice
        Dice on the validation planes at the last check; None before the first one.
    seconds_left
        Estimated seconds until the end of all phases; None while there is no estimate.
    note
        A note for the user, such as a new start after a collapse.
    refining_steps
        Number of the last steps of ``training``, after those that tune the tokens with a loss: they
        cross-validate, and tune detail heads and markers. While embedding, the expected number.
    """

    phase: Phase
    step: int
    steps: int
    loss: float | None = None
    held_out_dice: float | None = None
    seconds_left: float | None = None
    note: str = ""
    refining_steps: int = 0
