"""Predict the annotated planes as honestly as possible: choose the filter, and measure the Dice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import torch

from napari_ptsam.training.filter_choice import choose_refinement
from napari_ptsam.training.validation import PlaneLogits, dice_error, dice_of_parts, mean_dice

if TYPE_CHECKING:
    from napari_ptsam.datasets.annotated_planes import AnnotatedPlane
    from napari_ptsam.training.cross_validation import TokenCrossValidation
    from napari_ptsam.training.detail_training import DetailTraining
    from napari_ptsam.training.token_training import TrainingContext
    from napari_ptsam.training.validation import ValidationPlane


class PlaneScores:
    """Scores of the annotated planes.

    If there was time to cross-validate the tokens, each plane is predicted by tokens that
    have not seen it. If the prompt has detail heads, they have not seen it either.

    Parameters
    ----------
    context
        State that the stages of the training share.
    cross_validation, detail_training
        The stages that predict planes which they have not seen.

    Attributes
    ----------
    dice
        Validation Dice after the filter was chosen; None if nothing changed it.
    error
        Standard error of the validation Dice; None if it is not known.
    """

    def __init__(
        self,
        context: TrainingContext,
        cross_validation: TokenCrossValidation,
        detail_training: DetailTraining,
    ) -> None:
        self._context = context
        self._cross_validation, self._detail_training = cross_validation, detail_training
        self.dice: float | None = None
        self.error: float | None = None

    def choose_filter(self, tokens: torch.Tensor) -> None:
        """Choose the guided filter with which logits follow the edges of images best.

        Parameters
        ----------
        tokens
            Tokens of the classes: float32, shape (classes, 8, 256).
        """
        embedded, context = self._context.embedded, self._context
        predictions = self._unseen()
        if not predictions:
            parts = [planes for _, planes in embedded.planes_to_score()]
            predictions = self._predicted(tokens, [plane for planes in parts for plane in planes])
        context.refinement = choose_refinement(
            predictions, self._predicted(tokens, embedded.blank_planes())
        )
        self._measure(predictions)

    def keep_filter(self, tokens: torch.Tensor) -> None:
        """Measure the tokens with the filter of the prompt that the training continues from.

        Detail heads of that prompt may have seen the planes, so the error of the Dice stays
        unknown if there are any.
        """
        self._measure(self._predicted(tokens, self._context.embedded.measured))

    def _measure(self, predictions: Sequence[PlaneLogits]) -> None:
        """Set the validation Dice, and its error if it is known."""
        embedded, context = self._context.embedded, self._context
        unseen = bool(self._cross_validation.tokens)
        measured = [
            each.overlaps(context.refinement)
            for each in predictions
            if unseen or embedded.measured_on_training or each.plane in embedded.measured
        ]
        if context.refinement is not None or context.corrections or unseen:
            self.dice = mean_dice(measured)
        seen = bool(context.corrections) and not self._detail_training.predictions
        if unseen or not (embedded.measured_on_training or seen):
            self.error = dice_error(measured)

    def compute(self, tokens: torch.Tensor) -> Iterator[tuple[AnnotatedPlane, float]]:
        """Yield each annotated plane that is embedded, with its mean Dice over classes."""
        unseen = iter(self._unseen())
        for example, planes in self._context.embedded.planes_to_score():
            if planes:
                predictions = list(islice(unseen, len(planes))) or self._predicted(tokens, planes)
                plane_overlaps = [each.overlaps(self._context.refinement) for each in predictions]
                yield example, dice_of_parts(plane_overlaps)

    def _unseen(self) -> list[PlaneLogits]:
        """Return the planes with logits of a cross-validation; empty if there was none."""
        return self._detail_training.predictions or self._cross_validation.predictions

    def _predicted(
        self, tokens: torch.Tensor, planes: Sequence[ValidationPlane]
    ) -> list[PlaneLogits]:
        """Return planes with their unfiltered logits."""
        backbone, corrections = self._context.backbone, self._context.corrections
        return [
            PlaneLogits(plane, plane.predict(tokens, backbone, corrections=corrections).logits)
            for plane in planes
        ]
