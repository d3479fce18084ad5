"""Compare the result of a training that continued from a prompt with that prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ptsam.errors import Advice, Message, Remedy
from napari_ptsam.evaluation.metrics import standard_error
from napari_ptsam.inference.detail import corrections_of
from napari_ptsam.training.validation import PlaneLogits, dice_of_parts, overlaps

if TYPE_CHECKING:
    from napari_ptsam.evaluation.metrics import Overlap
    from napari_ptsam.images.guided_filter import Refinement
    from napari_ptsam.inference.detail import DetailCorrection
    from napari_ptsam.prompts.prompt import Prompt
    from napari_ptsam.training.token_training import TrainingContext
    from napari_ptsam.training.validation import ValidationPlane

    _OverlapsOf = Callable[[int, ValidationPlane], list[Overlap]]

FEW = 4
"""With fewer planes, a larger loss of Dice is needed to call a prompt worse."""
SMALLEST_LOSS = 0.005
"""Smallest loss of mean Dice that makes a prompt worse."""
SMALLEST_LOSS_ON_FEW = 0.01
"""Smallest loss of mean Dice that makes a prompt worse if few planes are compared."""


@dataclass(frozen=True)
class Comparison:
    """A new prompt and the one that the training started from, measured on the same planes.

    Attributes
    ----------
    before, after
        Mean Dice of the old and of the new prompt on the same planes.
    planes
        Number of these planes.
    """

    before: float
    after: float
    planes: int

    @property
    def change(self) -> str:
        """What the training has changed, in a sentence."""
        return (
            f"Agreement with your annotation on the same {self._where}: {self.before:.2f} before, "
            f"{self.after:.2f} now."
        )

    @property
    def cause(self) -> str:
        """What is wrong if the new prompt is worse, in two sentences."""
        return (
            f"This training made the prompt worse: Dice {self.after:.3f} on the same {self._where}, before "
            f"{self.before:.3f}. The old prompt is kept."
        )

    @property
    def sentence(self) -> Message:
        """What is wrong, and how to get the new prompt."""
        return Message(self.cause, " ", Advice(Remedy.TAKE_NEW, {}))

    @property
    def _where(self) -> str:
        return "plane" if self.planes == 1 else f"{self.planes} planes"


def is_worse(before: Sequence[float], after: Sequence[float]) -> bool:
    """Return whether a prompt is worse than another one.

    It is if its mean Dice is lower by more than one standard error of the difference, and by more
    than `SMALLEST_LOSS`, or `SMALLEST_LOSS_ON_FEW` with fewer than `FEW` planes.

    Parameters
    ----------
    before, after
        Dice of the old and of the new prompt on each plane.
    """
    losses = np.subtract(before, after)
    allowed = SMALLEST_LOSS if len(losses) >= FEW else SMALLEST_LOSS_ON_FEW
    if len(losses) > 1:
        allowed = max(allowed, float(standard_error(losses)))
    return bool(len(losses)) and float(losses.mean()) > allowed


class StartComparison:
    """The first and the last stage of a training that continues from a prompt: compare the two.

    They are compared as wholes: tokens, encoder tokens, detail heads and guided filter. Both are
    measured on the validation planes or, if there are none, on the training planes. Planes without
    foreground are left out. What the settings switch off counts for neither: detail heads with
    ``detail="off"``, and always flips, since it is their time that decides about them.

    Whether the start was trained on the same planes is not known, and a detail head that has seen
    a plane does better on it. So the heads are treated alike where that is likely:

    - If the start was trained on as many planes as are annotated now, or fewer, these are probably
      among them. Then both prompts are measured with heads that have seen the planes.
    - If the start has no heads, or was trained on more planes than there are, the new prompt is
      measured with the heads of the cross-validation. This favours the start on planes that it was
      trained on after all.

    The tokens of the start may have been tuned on planes that are held out now, which favours the
    start too, though tokens hardly overfit. Tokens of a cross-validation are not used: they are
    tuned from scratch, in fewer steps.

    Parameters
    ----------
    context
        State that the stages of the training share.
    start
        The prompt to continue from; None if nothing is to be compared.
    annotated
        Number of annotated planes.

    Attributes
    ----------
    measured
        The comparison; None before both prompts are measured, or if that was not possible.
    kept
        The comparison if the new prompt is worse; None if it is not, or not known yet.
    """

    def __init__(self, context: TrainingContext, start: Prompt | None, annotated: int) -> None:
        self._context, self._start = context, start
        heads = () if start is None or context.settings.detail == "off" else start.detail
        self._corrections = corrections_of(heads, context.backbone.device)
        self._alike = bool(heads) and start is not None and start.origin.images <= annotated
        self._before: list[float] = []
        self.measured: Comparison | None = None
        self.kept: Comparison | None = None

    def measure_start(self) -> None:
        """Measure the start, while the planes are embedded with its own encoder tokens."""
        start = self._start
        if start is None:
            return
        tokens = torch.from_numpy(start.tokens.copy()).to(self._context.backbone.device)
        self._before = self._dice(
            lambda _, plane: self._overlaps(plane, tokens, start.refinement, self._corrections)
        )

    def compare(self, tokens: torch.Tensor, unseen: Sequence[np.ndarray]) -> None:
        """Measure the new prompt, and set ``measured``, and ``kept`` if it is worse.

        Parameters
        ----------
        tokens
            Its tokens: float32, shape (classes, 8, 256). The rest of it is in the context.
        unseen
            What detail heads that have not seen it add to the logits of each annotated plane;
            empty if there are no heads.
        """
        if self._start is None:
            return
        context = self._context

        def overlaps_of(number: int, plane: ValidationPlane) -> list[Overlap]:
            if unseen and not self._alike:
                logits = plane.predict(tokens, context.backbone).logits.astype(np.float16)
                return PlaneLogits(plane, logits + unseen[number]).overlaps(context.refinement)
            return self._overlaps(plane, tokens, context.refinement, context.corrections)

        after = self._dice(overlaps_of)
        if context.stopping or not after:
            return
        self.measured = Comparison(float(np.mean(self._before)), float(np.mean(after)), len(after))
        if is_worse(self._before, after):
            self.kept = self.measured

    def _overlaps(
        self,
        plane: ValidationPlane,
        tokens: torch.Tensor,
        refinement: Refinement | None,
        corrections: Sequence[DetailCorrection | None],
    ) -> list[Overlap]:
        return overlaps(plane, tokens, self._context.backbone, refinement, corrections)

    def _dice(self, overlaps_of: _OverlapsOf) -> list[float]:
        """Return the Dice of each plane; fewer if the training was asked to end."""
        clock = self._context.clock()
        scores: list[float] = []
        for parts in self._planes():
            part_overlaps = []
            for number, plane in parts:
                if self._context.stopping:
                    return scores
                part_overlaps.append(overlaps_of(number, plane))
                clock()
            scores.append(dice_of_parts(part_overlaps))
        return scores

    def _planes(self) -> Iterator[list[tuple[int, ValidationPlane]]]:
        """Yield the embedded parts of each plane to compare on, with their numbers among all."""
        embedded, numbers = self._context.embedded, count()
        for _, parts in embedded.planes_to_score():
            numbered = [(next(numbers), part) for part in parts]
            if not embedded.measured_on_training:
                numbered = [each for each in numbered if each[1] in embedded.measured]
            if any(self._corrections):  # very large planes may lack the features of some tiles
                numbered = [each for each in numbered if each[1].embedded.early is not None]
            if any(part.example.labels.any() for _, part in numbered):
                yield numbered
