"""Run a training in a thread, with progress, a live preview, and a clean end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QObject, Signal

from napari_ptsam.annotation.painted_planes import PaintedPlane, annotation_set
from napari_ptsam.errors import InputError, PtsamError
from napari_ptsam.inference.channels import fit_channels
from napari_ptsam.training.settings import Progress
from napari_ptsam.widgets.shared.background_task import BackgroundTask
from napari_ptsam.widgets.shared.channels import IN_IMAGES
from napari_ptsam.widgets.shared.remedies import in_form

if TYPE_CHECKING:
    from napari_ptsam.annotation.scheme import Scheme
    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.images.planes import Planes
    from napari_ptsam.inference.detail import DetailCorrection
    from napari_ptsam.inference.preview import PlanePreview
    from napari_ptsam.prompts.prompt import Prompt
    from napari_ptsam.training.comparison import Comparison
    from napari_ptsam.training.settings import TrainingSettings
    from napari_ptsam.training.trainer import Training

REFRESH = 1.0
"""Smallest time between two previews, in seconds."""
SHARE = 0.25
"""Largest fraction of the time that previews may take."""

Keep = Callable[["Prompt", frozenset[int]], Path]
"""Function that saves a prompt, given the indices of the validation planes, and returns its path."""


@dataclass(frozen=True, eq=False)
class PlaneInView:
    """The plane that the viewer shows.

    Attributes
    ----------
    image
        The image (`~napari_ptsam.widgets.annotate.session_model.AnnotatedImage`).
    planes
        Its planes.
    number
        Number of the plane.
    """

    image: Any
    planes: Planes
    number: int


@dataclass(frozen=True, eq=False)
class TrainingRequest:
    """The input of a training.

    Attributes
    ----------
    planes
        Planes to train on, which are read in the thread.
    scheme
        Meaning of their labels.
    settings
        Settings of the training.
    start
        Prompt to continue from, if any.
    """

    planes: list[PaintedPlane]
    scheme: Scheme
    settings: TrainingSettings
    start: Prompt | None


@dataclass(frozen=True, eq=False)
class LivePrediction:
    """A prediction for the plane in view.

    Attributes
    ----------
    view
        The plane.
    labels
        Class of each pixel: uint8, shape (y, x).
    """

    view: PlaneInView
    labels: np.ndarray


@dataclass(frozen=True, eq=False)
class FinishedTraining:
    """The result of a training.

    Attributes
    ----------
    prompt
        The prompt to use: the best one, or the start if that is better.
    stopped
        Whether the user stopped the training.
    held_out
        Indices of the planes of the request that were held out for validation.
    new_prompt
        The newly trained prompt.
    kept_start
        How much worse it is than the start; None if it is not.
    comparison
        The new prompt and the start on the same planes; None if they were not compared.
    """

    prompt: Prompt
    stopped: bool
    held_out: frozenset[int]
    new_prompt: Prompt
    kept_start: Comparison | None
    comparison: Comparison | None = None


@dataclass(frozen=True)
class PlaneDice:
    """The Dice of the new prompt on the plane at index ``number`` of the request."""

    number: int
    dice: float


class TrainingRun(BackgroundTask):
    """Run one training at a time.

    Parameters
    ----------
    backbone
        Function that returns the backbone; it is called in the thread.
    parent
        Parent object in Qt.

    Attributes
    ----------
    view
        Plane to show predictions for; it may be changed at any time.
    """

    title = "The training"

    progressed = Signal(object)
    predicted = Signal(object)
    trained = Signal(object)
    rated = Signal(object)

    def __init__(self, backbone: Callable[[], Backbone], parent: QObject) -> None:
        super().__init__(parent)
        self._backbone = backbone
        self._training: Training | None = None
        self._handover = Lock()
        self._undelivered: FinishedTraining | None = None
        self._keep: Keep | None = None
        self.view: PlaneInView | None = None

    def stop(self) -> None:
        """Ask the training to end soon, with the best prompt so far."""
        super().stop()
        training = self._training
        if training is not None:
            training.stop()

    def close_and_keep(self, keep: Keep, wait: float = 0.0) -> None:
        """Ask the training to end soon, and save its best prompt, emitting no more signals.

        Parameters
        ----------
        keep
            Function that saves the prompt; it may be called in any thread.
        wait
            Seconds to wait for the thread to end.
        """
        with self._handover:
            self._keep, trained = keep, self._undelivered
        if trained is not None:  # its signal would come too late
            _keep_late(keep, trained)
        self.close(wait)

    def _hand_over(self, trained: FinishedTraining) -> Generator[object, None, None]:
        """Pass the result to the widget or, if that is closed, save its prompt; never both."""
        with self._handover:
            keep, self._undelivered = self._keep, trained
        if keep is None:
            yield trained
        else:
            _keep_late(keep, trained)

    def _show(self, result: object) -> None:
        if isinstance(result, FinishedTraining):
            self._undelivered = None
        elif isinstance(result, Progress):
            self._activity.show(result.step, result.steps)
        signals = {
            LivePrediction: self.predicted,
            FinishedTraining: self.trained,
            PlaneDice: self.rated,
        }
        signals.get(type(result), self.progressed).emit(result)

    # In the thread

    def _work(self, request: TrainingRequest) -> Generator[object, None, None]:
        settings = request.settings
        annotations = annotation_set(
            request.planes, request.scheme, settings.held_out, settings.seed
        )
        backbone = self._backbone()
        if self._stop.is_set():
            return
        from napari_ptsam.training.trainer import Training

        training = Training(
            annotations, backbone, settings, request.start, draft=True, option=IN_IMAGES
        )
        preview = _LivePreview(training)
        self._training = training
        try:
            for progress in training:
                yield progress
                if self._stop.is_set():
                    training.stop()
                else:
                    yield from preview.step(self.view)
            held_out = annotations.held_out or frozenset()
            try:
                new_prompt = training.new_prompt
            except PtsamError as error:
                if self._keep is not None:
                    show_warning(
                        f"The training was stopped when its dock was closed: {in_form(error)}"
                    )
                raise
            kept = training.kept_start
            prompt = new_prompt if kept is None else training.prompt
            yield from self._hand_over(
                FinishedTraining(
                    prompt, self._stop.is_set(), held_out, new_prompt, kept, training.comparison
                )
            )
            for number, dice in training.plane_scores():
                if self._stop.is_set():  # computing the scores takes a second or two
                    return
                yield PlaneDice(number, dice)
        finally:
            self._training = None
            training.close()


def _keep_late(keep: Keep, trained: FinishedTraining) -> None:
    """Save the prompt of a training whose widget is closed, and tell the user."""
    try:
        if trained.kept_start is not None:  # the last one that is saved is restored
            keep(trained.new_prompt, trained.held_out)
        path = keep(trained.prompt, trained.held_out)
    except PtsamError as error:
        show_warning(in_form(error))
    else:
        show_info(
            f"The training was stopped when its dock was closed; the best prompt so far is saved in {path}."
        )


class _LivePreview:
    """Predictions of the current tokens for the plane in view, about once a second.

    Once detail heads are trained, the tokens stay as they are, so that each plane that comes into
    view is predicted once with both.
    """

    def __init__(self, training: Training) -> None:
        self._backbone, self._training = training.prompted_backbone, training
        self._view: PlaneInView | None = None
        self._preview: PlanePreview | None = None
        self._embedding: Generator[None, None, None] | Any = None
        self._next = 0.0
        self._corrections: Sequence[DetailCorrection | None] = ()
        self._shown = False

    def step(self, view: PlaneInView | None) -> Generator[LivePrediction, None, None]:
        """Embed one more tile of the plane, or predict if a new prediction is due."""
        if self._training.prompted_backbone is not self._backbone:
            self._corrections = ()
        corrected = self._look_for_corrections()
        if (
            corrected
            or view is not self._view
            or self._training.prompted_backbone is not self._backbone
        ):
            self._begin(view)
        if self._preview is None or view is None:
            return
        if not self._preview.ready:
            try:
                next(self._embedding, None)
            except InputError:  # a plane that cannot be read gets no preview
                self._preview = None
            return
        tokens, begin = self._training.tokens, perf_counter()
        if tokens is None or begin < self._next or (self._corrections and self._shown):
            return
        labels = self._preview.labels(tokens)
        spent = perf_counter() - begin
        self._next = perf_counter() + max(REFRESH - spent, spent / SHARE - spent)
        self._shown = True
        yield LivePrediction(view, labels)

    def _look_for_corrections(self) -> bool:
        """Take the detail heads from the training if they are new; return whether they are."""
        if self._corrections:
            return False
        self._corrections = self._training.corrections
        return bool(self._corrections)

    def _begin(self, view: PlaneInView | None) -> None:
        from napari_ptsam.inference.preview import PlanePreview

        self._view, self._preview, self._next = view, None, 0.0
        self._shown = False
        self._backbone = self._training.prompted_backbone
        if view is None:
            return
        training = self._training
        try:
            images, _ = fit_channels(
                training.images, training.channels, view.planes, view.image.chosen
            )
            source = (
                self._backbone, images, view.planes[view.number], view.planes.rgb,
                images.limits(view.planes),
            )  # fmt: skip
            self._preview = PlanePreview(*source, corrections=self._corrections)
        except InputError:
            return
        self._embedding = self._preview.embed()
