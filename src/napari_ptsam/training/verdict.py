"""Judge a prompt in plain words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from napari_ptsam.prompts.prompt import Origin

GOOD, FAIR = 0.9, 0.75
"""Dice from which on a prompt is called good, or fair."""
FEW = 3
"""With fewer validation planes, their Dice is a rough figure."""
ROUGH = 0.05
"""Standard error from which on the Dice is a rough figure, too."""


@dataclass(frozen=True)
class Verdict:
    """The judgement that the user sees after a training.

    Attributes
    ----------
    level
        ``good``, ``fair`` or ``poor``; ``unsure`` if the Dice was measured on the
        training planes.
    text
        One or a few sentences.
    """

    level: Literal["good", "fair", "poor", "unsure"]
    text: str


def verdict(origin: Origin, stopped: bool = False, detail: str = "") -> Verdict:
    """Judge a prompt by its Dice, with advice if it is not good.

    Parameters
    ----------
    origin
        How the prompt was made.
    stopped
        Whether the user has stopped the training.
    detail
        What the prompt does with fine detail, see
        `napari_ptsam.prompts.describe.fine_detail`; empty if it has no detail heads.
    """
    found = _judge(origin, f"Stopped after {origin.steps} steps. " if stopped else "", bool(detail))
    return replace(found, text=f"{found.text} Fine detail: {detail}.") if detail else found


def _judge(origin: Origin, begin: str, detail: bool) -> Verdict:
    """Judge a prompt by its Dice.

    Parameters
    ----------
    origin
        How the prompt was made.
    begin
        The beginning of the text.
    detail
        Whether the prompt has detail heads.
    """
    dice = origin.held_out_dice or 0.0
    trained = origin.images - origin.held_out_images
    if origin.measured_on_training:
        return Verdict(
            "unsure",
            f"{begin}Agreement {dice:.2f} (Dice), but measured on the {_planes(trained)} that it was trained "
            "on, so new planes will be worse. Annotate at least 4 planes, so that one can validate.",
        )
    count = origin.held_out_images
    error = origin.dice_error
    where = f"on {count} validation plane{'s' * (count != 1)}, trained on {trained}"
    if origin.cross_validated:
        count, where = origin.images, f"by cross-validation of all {origin.images} planes"
    found = f"agreement {dice:.2f} (Dice) {where}"
    if error is not None:
        found = f"agreement {dice:.2f} ± {error:.2f} (Dice and its standard error) {where}"
    rough = " With so few validation planes, this is a rough figure." * (
        count < FEW or (error is not None and error >= ROUGH)
    )
    if detail and error is None and origin.start == "a prompt" and not origin.cross_validated:
        rough += " Fine detail was learned from these planes, too, so new ones may be worse."
    if dice >= GOOD:
        return Verdict("good", f"{begin}Good: {found}.{rough}")
    if dice >= FAIR:
        return Verdict(
            "fair",
            f"{begin}Fair: {found}.{rough} Look at the planes with the lowest agreement, "
            "correct them and add planes like them, then continue training.",
        )
    return Verdict(
        "poor",
        f"{begin}Poor: {found}.{rough} Look for objects that were forgotten in the "
        "annotation, annotate more planes (“Suggest a plane”), try the preset “thorough” or another "
        "scale.",
    )


def _planes(count: int) -> str:
    return "1 plane" if count == 1 else f"{count} planes"
