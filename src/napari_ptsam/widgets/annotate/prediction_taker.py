"""Take the prediction for the plane in view into its annotation, to be corrected there."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_ptsam.errors import InputError
from napari_ptsam.inference.channels import fit_prompt
from napari_ptsam.widgets.annotate.object_paint import (
    obstacle,
    plane_positions,
    stroke_under_way,
    unused_label,
)
from napari_ptsam.widgets.shared.background_jobs import URGENT
from napari_ptsam.widgets.shared.channels import IN_IMAGES
from napari_ptsam.widgets.shared.qt_helpers import single_shot
from napari_ptsam.widgets.shared.remedies import in_form

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_ptsam.annotation.scheme import Scheme
    from napari_ptsam.images.planes import Planes
    from napari_ptsam.prompts.prompt import Prompt
    from napari_ptsam.widgets.annotate.object_paint import Pixels
    from napari_ptsam.widgets.annotate.prediction_preview import Preview
    from napari_ptsam.widgets.annotate.session_model import AnnotatedImage, SessionModel

LATER = 50
"""Milliseconds until a prediction is written that arrived during a stroke."""
SAMPLE = 64
"""Number of pixels that tell whether a prediction was undone."""
MOST_MEASURED = 8
"""Number of annotated planes from which the size of a speck is taken."""
JOB = "take the prediction"

NO_PLANE = "No plane of the chosen images is in view; go to one with the sliders, in the 2D view."
NO_PROMPT = (
    "There is no prompt yet that could predict this plane: annotate a few planes and press Train on "
    "the tab “Train”, or choose a prompt from the library there."
)
NOT_YET = (
    "The training has no prediction for this plane yet; wait until its preview shows objects, or "
    "until the training has ended."
)
OBSTACLES = {
    "missing": "Add an annotation layer first; the prediction goes there.",
    "locked": "The annotation layer {name} is locked; unlock it in the layer list.",
    "hidden": "The annotation layer {name} is hidden; show it in the layer list.",
}
WORKING = "Taking the prediction…"
NOTHING = "The prompt finds nothing on this plane that is not annotated already."
UNDO = "Ctrl+Z takes this back."


@dataclass(frozen=True, eq=False)
class Found:
    """A prediction for a plane.

    Attributes
    ----------
    values
        Objects if the scheme numbers them, otherwise classes: integer, shape (y, x).
    classes
        Names of the classes of the prompt.
    """

    values: np.ndarray
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Addition:
    """Labels to be written on a plane.

    Attributes
    ----------
    image, number, layer, scheme
        The plane, its annotation layer and the meaning of the labels.
    found
        The prediction that the labels come from.
    before
        Labels of the plane for which the addition was computed.
    pixels
        Positions in the layer's data, all of which are not annotated in ``before``.
    values
        Label of each pixel: integer, shape (pixels,).
    """

    image: AnnotatedImage
    number: int
    layer: Labels
    scheme: Scheme
    found: Found
    before: np.ndarray
    pixels: Pixels
    values: np.ndarray


class PredictionTaker(QObject):
    """Write the prediction for the plane in view on the free pixels of its annotation.

    The prediction is computed in the background with the session's prompt. While the first
    training runs, and there is none yet, it is the one that the preview shows.

    Parameters
    ----------
    session_model
        The session.

    Attributes
    ----------
    preview
        The preview, which shows no prediction on a plane whose prediction was taken.
    """

    state_changed = Signal(str)
    """A sentence that says what was done, or what the user has to do."""
    taken = Signal()
    """Labels were written."""

    def __init__(self, session_model: SessionModel) -> None:
        super().__init__(session_model)
        self._session_model = session_model
        self.preview: Preview | None = None
        self._waiting: Addition | None = None
        self._watched: Addition | None = None
        self._data: Any = None
        """Data of the layer that is watched."""
        self._delay = single_shot(self, LATER)
        self._delay.timeout.connect(self._write)

    @property
    def running(self) -> bool:
        """Whether a prediction is about to be written."""
        return self._waiting is not None or self._session_model.jobs.has(JOB)

    def take(self) -> None:
        """Take the prediction for the plane in view. Signals report how it went."""
        session_model = self._session_model
        current = session_model.current()
        if current is None:
            self.state_changed.emit(NO_PLANE)
            return
        image, number = current
        if problem := obstacle(image.labels, OBSTACLES):
            self.state_changed.emit(problem)
            return
        prompt = session_model.prompt
        if prompt is None:
            shown = None if self.preview is None else self.preview.prediction_of(image, number)
            if shown is None:
                self.state_changed.emit(NOT_YET if session_model.training else NO_PROMPT)
                return
            found = self._from_preview(shown)
        else:
            try:
                prompt, _ = fit_prompt(prompt, image.planes, image.chosen, IN_IMAGES)
            except InputError as error:
                self.state_changed.emit(in_form(error))
                return
            found = self._predict(image, number, prompt)
        self.state_changed.emit(WORKING)
        self._submit(image, number, found)

    def _submit(
        self, image: AnnotatedImage, number: int, found: Generator[None, None, Found]
    ) -> None:
        assert image.labels is not None
        scheme, annotated = self._session_model.scheme, self._annotated()
        self._session_model.jobs.submit(
            JOB, partial(_addition, image, number, image.labels, scheme, found, annotated), self._computed,
            self.state_changed.emit, priority=URGENT,
        )  # fmt: skip

    def _annotated(self) -> list[tuple[Planes, int]]:
        """Return some annotated planes: the annotation of an image, and the number of a plane."""
        session_model = self._session_model
        planes = []
        for record in session_model.counting()[-MOST_MEASURED:]:
            image = session_model.image_of(record.image)
            if image is not None and image.labels is not None:
                planes.append((image.label_planes, record.number))
        return planes

    # In the thread

    def _from_preview(self, labels: np.ndarray) -> Generator[None, None, Found]:
        scheme = self._session_model.scheme
        yield None
        from napari_ptsam.inference.objects import connected_components

        yield None
        values = connected_components(labels) if scheme.instances else labels
        return Found(values, scheme.classes)

    def _predict(
        self, image: AnnotatedImage, number: int, prompt: Prompt
    ) -> Generator[None, None, Found]:
        instances = self._session_model.scheme.instances
        yield None
        backbone = self._session_model.backbone_service.backbone_of(prompt)
        from napari_ptsam.inference.preview import PlanePreview
        from napari_ptsam.inference.segment import Segmenter

        segmenter = Segmenter(prompt, backbone, "instances" if instances else "labels")
        preview = PlanePreview.of(segmenter, image.planes, number)
        yield from preview.embed()  # as a rule, the embeddings of the preview are found in the cache
        prediction = preview.predict(segmenter.tokens, len(prompt.classes))
        return Found(segmenter.result(prediction), prompt.classes)

    # In the GUI thread

    def _computed(self, addition: Addition) -> None:
        self._waiting = addition
        self._write()

    def _write(self) -> None:
        addition = self._waiting
        if addition is None:
            return
        if stroke_under_way(addition.layer):
            self._delay.start()
            return
        self._waiting = None
        image, number, layer = addition.image, addition.number, addition.layer
        if image.labels is not addition.layer or self._session_model.scheme != addition.scheme:
            self.state_changed.emit("")
            return
        if not np.array_equal(np.asarray(image.label_planes[number]), addition.before):
            # Something was painted meanwhile, and may have the same labels.
            self._submit(image, number, _again(addition.found))
            return
        if not len(addition.values):
            self.state_changed.emit(NOTHING)
            return
        layer.data_setitem(addition.pixels, addition.values)  # one step of the history
        viewer = self._session_model.viewer
        viewer.layers.selection.active = layer  # so that Ctrl+Z undoes it
        if addition.scheme.instances:
            with suppress(InputError):  # all labels are in use
                plane = np.asarray(image.label_planes[number])
                layer.selected_label = unused_label(plane, addition.scheme.ignored)
        if self.preview is not None:
            self.preview.hide_on(image, number)
            self._watch(addition)
        self.state_changed.emit(_sentence(addition))
        self.taken.emit()

    def _watch(self, addition: Addition | None) -> None:
        """Watch whether an addition is undone, for which napari emits no event of its own."""
        if self._watched is not None:
            self._watched.layer.events.set_data.disconnect(self._redrawn)
        self._watched = addition
        if addition is not None:
            self._data = addition.layer.data
            addition.layer.events.set_data.connect(self._redrawn)

    def _redrawn(self, event: object = None) -> None:
        """Show the preview again if nothing is left of the addition."""
        addition = self._watched
        if addition is None or self.preview is None:
            return
        data, step = addition.layer.data, -(-len(addition.values) // SAMPLE)
        pixels = tuple(along[::step] for along in addition.pixels)
        if addition.image.labels is not addition.layer or data is not self._data:
            self._watch(None)
        elif not np.asarray(data[pixels]).any():
            self._watch(None)
            self.preview.show_on(addition.image, addition.number)
            self.state_changed.emit("")

    def close(self) -> None:
        """Write nothing more."""
        self._watch(None)
        self._delay.stop()
        self._waiting = None


def _addition(
    image: AnnotatedImage,
    number: int,
    layer: Labels,
    scheme: Scheme,
    predict: Generator[None, None, Found],
    annotated: Sequence[tuple[Planes, int]],
) -> Generator[object, None, None]:
    """Compute what a prediction adds to the annotation as it is now, without specks."""
    from napari_ptsam.annotation.accepting import labels_to_add, speck_size

    found = yield from predict
    speck = 0.0
    if scheme.instances:
        speck = speck_size((planes[at] for planes, at in annotated), scheme.ignored)
    before = np.array(image.label_planes[number])
    added = labels_to_add(found.values, found.classes, before, scheme, speck)
    rows, columns = np.nonzero(added)
    pixels = plane_positions(image, number, rows, columns)
    yield Addition(image, number, layer, scheme, found, before, pixels, added[rows, columns])


def _again(found: Found) -> Generator[None, None, Found]:
    """Return a prediction that is known already."""
    yield None
    return found


def _sentence(addition: Addition) -> str:
    scheme = addition.scheme
    if scheme.sparse:
        return (
            "The prediction was added. Correct it, and paint strokes on the background if there are "
            f"none. {UNDO}"
        )
    if not scheme.instances:
        return f"The prediction was added. Correct it, then press “Done, next plane”. {UNDO}"
    count = len(np.unique(addition.values))
    objects = "1 object was" if count == 1 else f"{count:,} objects were"
    return f"{objects} added. Correct them, then press “Done, next plane”. {UNDO}"
