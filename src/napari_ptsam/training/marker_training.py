"""The tokens of the cores: tuned after those of the classes, and kept only if they are of use."""

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
    from napari_ptsam.training.tiles import TrainingTile
    from napari_ptsam.training.token_training import TrainingContext
    from napari_ptsam.training.validation import ValidationPlane

PART = 0.3
"""Steps for the cores, as a part of those for the classes: the tuned tokens are a good start."""
RATE = 0.3
"""Part of the learning rate of the classes."""
FOUND, FILLED = 0.1, 0.9
"""Cores are useless if they cover less than this part of the annotated ones, or more than this
part of the objects."""
USELESS = (
    "Touching objects will not be split: the cores that were learned do not help on the planes "
    "that were measured."
)


def marker_steps(settings: TrainingSettings, training: Sequence[AnnotatedPlane]) -> int:
    """Steps to tune cores for; 0 if there are to be none.

    Raises
    ------
    InputError
        If cores are asked for, but no plane to train on tells objects apart.
    """
    if settings.cores == "no":
        return 0
    if not any(e.instances is not None and e.instances.any() for e in training):
        if settings.cores == "yes":
            raise InputError(
                "Cores are learned from masks that tell objects apart, and these do not.",
                Remedy.NO_CORES,
            )
        return 0
    return max(1, round(settings.steps * PART))


class MarkerTraining:
    """Tunes the cores' tokens on the tiles that are embedded already.

    It has a source of randomness of its own, so that the tokens of the classes
    are the same as without it.

    Parameters
    ----------
    context
        What the parts of the training share.
    start
        Tokens to go on from: float32, shape (classes, 8, 256); None starts at
        the tokens of the classes.

    Attributes
    ----------
    kept
        Tokens that passed the check; None if there are none.
    steps_done
        Steps of the optimiser so far.
    note
        What the user should know.
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
        """Tune, then check.

        Parameters
        ----------
        classes
            Tuned tokens of the classes: float32, shape (classes, 8, 256).
        tiles
            To train on.
        before
            The state that this goes on from.
        """
        context, clock = self._context, self._context.clock()
        batches = Batches(
            self._targets(tiles),
            context.settings.batch_size,
            torch.Generator().manual_seed(context.settings.seed),
            self._targets(context.embedded.blanks),
        )
        first = classes if self._start is None else self._start
        rate, decoder = RATE * context.settings.learning_rate, context.backbone.decoder
        loss = LOSSES[context.settings.loss]
        for step in optimise(decoder, first, batches, context.marker_steps, rate, loss):
            self._unchecked = classes, step.tokens
            self.steps_done = step.number
            left = clock() / step.number * (context.marker_steps - step.number)
            if step.number == context.marker_steps:
                self.settle()
            yield replace(before, step=before.step + step.number, loss=None, seconds_left=left)
            clock()
            if context.stopping:
                return

    def _targets(self, tiles: Sequence[TrainingTile]) -> list[TrainingTile]:
        """The tiles of planes that tell objects apart, with cores as what they should become."""
        examples = {
            number: with_markers(example)
            for number, example in enumerate(self._context.embedded.examples)
            if example.instances is not None
        }
        found = []
        for tile in tiles:
            if tile.job.example in examples:
                target, _ = target_of(examples[tile.job.example], tile.job, self._context.classes)
                found.append(replace(tile, target=target.to(self._context.backbone.device)))
        return found

    def settle(self) -> None:
        """Keep what was tuned last if it is of use; takes a moment once, and then none."""
        if self._unchecked is None:
            return
        classes, markers = self._unchecked
        self._unchecked = None
        if useful(
            self._planes(), classes, markers, self._context.backbone, self._context.refinement
        ):
            self.kept = markers.clone()
        self.note = USELESS if self.kept is None else ""

    def _planes(self) -> list[ValidationPlane]:
        """Held-out planes that tell objects apart; without any, those that are trained on."""
        embedded = self._context.embedded
        apart = [plane for plane in embedded.measured if plane.example.instances is not None]
        if any(_has_objects(plane.example) for plane in apart):
            return apart
        own = [plane for planes in embedded.planes_of_training() for plane in planes]
        return [plane for plane in own if plane.example.instances is not None]

    def forget(self) -> None:
        """Let go of what was not checked."""
        self._unchecked = None


def _has_objects(example: AnnotatedPlane) -> bool:
    return example.instances is not None and bool(example.instances.any())


@dataclass(frozen=True)
class _PlaneScore:
    """What one plane says: average precision of both ways, and areas in pixels."""

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
) -> bool:
    """Whether splitting by cores finds objects at least as well as connected components.

    Average precision at IoU 0.5, mean over the planes. Cores that are found
    nowhere or everywhere split nothing, and are of no use either.

    Parameters
    ----------
    planes
        Embedded, with instances.
    classes, cores
        Tokens: float32, shape (classes, 8, 256).
    refinement
        Of the classes' logits, if any.
    """
    if not planes:
        return False
    tokens = torch.cat([classes, markers])
    seen = [_see(plane, tokens, backbone, refinement) for plane in planes]
    nowhere = sum(s.shared for s in seen) < FOUND * sum(s.truth for s in seen)
    everywhere = sum(s.inside for s in seen) > FILLED * sum(s.foreground for s in seen)
    better = np.mean([s.split for s in seen]) >= np.mean([s.components for s in seen])
    return bool(better) and not nowhere and not everywhere


def _see(
    plane: ValidationPlane,
    tokens: torch.Tensor,
    backbone: Backbone,
    refinement: Refinement | None,
) -> _PlaneScore:
    example, count = plane.example, len(tokens) // 2
    annotated = example.instances
    assert annotated is not None
    prediction = plane.predict(tokens, backbone, refinement, count)
    assert prediction.markers is not None
    valid = np.ones(example.shape, bool) if example.valid is None else example.valid
    foreground = (prediction.labels > 0) & valid
    found, truth = (prediction.markers.max(0) > 0) & valid, with_markers(example).labels > 0
    split, components = (
        float(average_precision(annotated, np.where(valid, objects, 0), (0.5,))[0])
        for objects in (prediction.objects(), prediction.components())
    )
    return _PlaneScore(
        split=split,
        components=components,
        shared=int(np.count_nonzero(found & truth)),
        truth=int(np.count_nonzero(truth)),
        inside=int(np.count_nonzero(found & foreground)),
        foreground=int(np.count_nonzero(foreground)),
    )
