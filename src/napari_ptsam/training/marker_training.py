"""Tune tokens that find the markers of objects, and keep them only if they are of use.

Markers are the inner parts of objects, by which touching objects are split.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ptsam.errors import InputError, Remedy
from napari_ptsam.evaluation.metrics import average_precision
from napari_ptsam.training.loss import LOSSES
from napari_ptsam.training.markers import with_markers
from napari_ptsam.training.optimization import Batches, optimise
from napari_ptsam.training.settings import Progress, TrainingSettings
from napari_ptsam.training.tiles import target_of

if TYPE_CHECKING:
    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.datasets.annotated_planes import AnnotatedPlane
    from napari_ptsam.images.guided_filter import Refinement
    from napari_ptsam.inference.detail import DetailCorrection
    from napari_ptsam.training.tiles import TrainingTile
    from napari_ptsam.training.token_training import TrainingContext
    from napari_ptsam.training.validation import ValidationPlane

PART = 0.3
"""Steps for the markers, as a fraction of those for the classes, whose tokens are a good start."""
RATE = 0.3
"""Factor of the learning rate of the class tokens."""
FOUND, FILLED = 0.1, 0.9
"""Markers are useless if they cover less than the first fraction of the annotated markers, or more
than the second fraction of the objects."""
USELESS = (
    "Touching objects will not be split: the learned markers do not help on the "
    "planes that were measured."
)


def marker_steps(settings: TrainingSettings, training: Sequence[AnnotatedPlane]) -> int:
    """Return the number of steps for tuning markers, 0 if there are to be none.

    Raises
    ------
    InputError
        If the settings ask for them, but no training plane tells objects apart.
    """
    if settings.markers == "no":
        return 0
    if not any(e.instances is not None and e.instances.any() for e in training):
        if settings.markers == "yes":
            raise InputError(
                "Markers are learned from masks that tell objects apart, and these do not.",
                Remedy.NO_MARKERS,
            )
        return 0
    return max(1, round(settings.steps * PART))


class MarkerTraining:
    """The stage that tunes the tokens of the markers on tiles that are embedded already.

    It has its own random generator, so that it does not change the tokens of
    the classes.

    Parameters
    ----------
    context
        State that the stages of the training share.
    start
        Tokens to continue from: float32, shape (classes, 8, 256). With None,
        tuning starts from the tokens of the classes.

    Attributes
    ----------
    kept
        Tokens that passed the check; None if there are none.
    steps_done
        Number of optimiser steps so far.
    note
        Sentence for the user.
    """

    def __init__(self, context: TrainingContext, start: torch.Tensor | None = None) -> None:
        self._context, self._start = context, start
        self._unchecked: tuple[torch.Tensor, torch.Tensor] | None = None
        self.kept: torch.Tensor | None = None
        self.steps_done = 0
        self.note = ""

    def tune(
        self, classes: torch.Tensor, tiles: Sequence[TrainingTile], before: Progress
    ) -> Generator[Progress, None, None]:
        """Tune the tokens, and check them after the last step.

        Parameters
        ----------
        classes
            Tuned tokens of the classes: float32, shape (classes, 8, 256).
        tiles
            Tiles to train on.
        before
            Progress at the start of this stage.
        """
        context, clock = self._context, self._context.clock()
        batches = Batches(
            self._with_marker_targets(tiles),
            context.settings.batch_size,
            torch.Generator().manual_seed(context.settings.seed),
            self._with_marker_targets(context.embedded.blanks),
        )
        first = classes if self._start is None else self._start
        rate, decoder = RATE * context.settings.learning_rate, context.backbone.decoder
        loss = LOSSES[context.settings.loss]
        for step in optimise(decoder, first, batches, context.marker_steps, rate, loss):
            self._unchecked = classes, step.tokens
            self.steps_done = step.number
            seconds_left = clock() / step.number * (context.marker_steps - step.number)
            if step.number == context.marker_steps:
                self.settle()
            yield replace(
                before, step=before.step + step.number, loss=None, seconds_left=seconds_left
            )
            clock()
            if context.stopping:
                return

    def _with_marker_targets(self, tiles: Sequence[TrainingTile]) -> list[TrainingTile]:
        """Return the tiles of planes that tell objects apart, with markers as their targets."""
        examples = {
            number: with_markers(example)
            for number, example in enumerate(self._context.embedded.examples)
            if example.instances is not None
        }
        marker_tiles = []
        for tile in tiles:
            if tile.job.example in examples:
                target, _ = target_of(examples[tile.job.example], tile.job, self._context.classes)
                marker_tiles.append(replace(tile, target=target.to(self._context.backbone.device)))
        return marker_tiles

    def settle(self) -> None:
        """Check the tokens that were tuned last, unless that was done, and keep them if useful."""
        if self._unchecked is None:
            return
        classes, markers = self._unchecked
        self._unchecked = None
        if useful(
            self._planes(),
            classes,
            markers,
            self._context.backbone,
            self._context.refinement,
            self._context.corrections,
        ):
            self.kept = markers.clone()
        self.note = USELESS if self.kept is None else ""

    def _planes(self) -> list[ValidationPlane]:
        """Return validation planes that tell objects apart or, without any, such training planes."""
        embedded = self._context.embedded
        held_out = [plane for plane in embedded.measured if plane.example.instances is not None]
        if any(_has_objects(plane.example) for plane in held_out):
            return held_out
        training = [plane for planes in embedded.planes_of_training() for plane in planes]
        return [plane for plane in training if plane.example.instances is not None]

    def forget(self) -> None:
        """Drop tokens that were not checked."""
        self._unchecked = None


def _has_objects(example: AnnotatedPlane) -> bool:
    return example.instances is not None and bool(example.instances.any())


@dataclass(frozen=True)
class _PlaneScore:
    """Scores of one plane: average precision of both ways to find objects, and areas in pixels."""

    split: float
    components: float
    shared: int
    truth: int
    inside: int
    foreground: int


def useful(
    planes: Sequence[ValidationPlane],
    classes: torch.Tensor,
    markers: torch.Tensor,
    backbone: Backbone,
    refinement: Refinement | None = None,
    corrections: Sequence[DetailCorrection | None] = (),
) -> bool:
    """Return whether splitting by markers finds objects as well as connected components do.

    The measure is average precision at IoU 0.5, averaged over the planes.
    Markers that are found nowhere or everywhere split nothing and are useless.

    Parameters
    ----------
    planes
        Embedded planes whose annotation has instances.
    classes, markers
        Tokens of the classes and of their markers: float32, shape (classes, 8, 256).
    backbone
        Backbone that embedded the planes.
    refinement
        Guided filter of the classes' logits, if any.
    corrections
        The detail head of each class, if there are any.
    """
    if not planes:
        return False
    tokens = torch.cat([classes, markers])
    scores = [_score(plane, tokens, backbone, refinement, corrections) for plane in planes]
    nowhere = sum(s.shared for s in scores) < FOUND * sum(s.truth for s in scores)
    everywhere = sum(s.inside for s in scores) > FILLED * sum(s.foreground for s in scores)
    better = np.mean([s.split for s in scores]) >= np.mean([s.components for s in scores])
    return bool(better) and not nowhere and not everywhere


def _score(
    plane: ValidationPlane,
    tokens: torch.Tensor,
    backbone: Backbone,
    refinement: Refinement | None,
    corrections: Sequence[DetailCorrection | None],
) -> _PlaneScore:
    example, count = plane.example, len(tokens) // 2
    annotated = example.instances
    assert annotated is not None
    prediction = plane.predict(tokens, backbone, refinement, count, corrections)
    assert prediction.markers is not None
    valid = np.ones(example.shape, bool) if example.valid is None else example.valid
    foreground = (prediction.labels > 0) & valid
    markers, truth = (prediction.markers.max(0) > 0) & valid, with_markers(example).labels > 0
    split, components = (
        float(average_precision(annotated, np.where(valid, objects, 0), (0.5,))[0])
        for objects in (prediction.objects(), prediction.components())
    )
    return _PlaneScore(
        split=split,
        components=components,
        shared=int(np.count_nonzero(markers & truth)),
        truth=int(np.count_nonzero(truth)),
        inside=int(np.count_nonzero(markers & foreground)),
        foreground=int(np.count_nonzero(foreground)),
    )
