"""A Labels layer with the prediction for the plane in view."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from napari_ptsam.errors import InputError
from napari_ptsam.inference.channels import fit_prompt
from napari_ptsam.widgets.annotate.training_run import LivePrediction, PlaneInView
from napari_ptsam.widgets.shared.background_jobs import NORMAL
from napari_ptsam.widgets.shared.channels import IN_IMAGES
from napari_ptsam.widgets.shared.labels_layers import class_colours
from napari_ptsam.widgets.shared.layers import layer_axes, placement
from napari_ptsam.widgets.shared.qt_helpers import single_shot
from napari_ptsam.widgets.shared.remedies import in_form

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_ptsam.prompts.prompt import Prompt
    from napari_ptsam.widgets.annotate.session_model import AnnotatedImage, SessionModel
    from napari_ptsam.widgets.shared.worker import Steps

NAME = "preview (not saved)"
SETTLE = 150
"""Milliseconds that a plane must be in view before it is segmented."""
CONTOUR = 2
"""Width of outlines in pixels."""


class Preview(QObject):
    """Show the prediction for the plane in view.

    While a training runs, the training computes the prediction. Afterwards, the
    prompt is applied to each plane that comes into view.
    """

    dismissed = Signal()
    """Emitted when the user has deleted the layer."""
    noted = Signal(str)
    """Emitted with a note on the prompt for this image, unless it is the same note as before."""

    def __init__(self, session_model: SessionModel) -> None:
        super().__init__(session_model)
        self._session_model = session_model
        self._layer: Labels | None = None
        self._prediction: LivePrediction | None = None
        self._hidden_on: tuple[AnnotatedImage, int] | None = None
        self.shown = True
        self._note, self._contour = "", 0
        self._settled = single_shot(self, SETTLE)
        self._settled.timeout.connect(self.refresh)
        session_model.viewer.layers.events.removed.connect(self._removed)
        session_model.view_changed.connect(self._settled.start)
        session_model.prompt_changed.connect(self.refresh)
        session_model.images_changed.connect(self._settled.start)

    def set_shown(self, shown: bool) -> None:
        """Show or remove the layer."""
        self.shown = shown
        if shown:
            self.refresh()
        else:
            self._session_model.jobs.cancel("preview")
            self.remove()

    @property
    def present(self) -> bool:
        """Whether the viewer has the layer, be it visible or not."""
        return self._layer is not None and self._layer in self._session_model.viewer.layers

    def toggle_visible(self) -> None:
        """Hide the layer, or show it again."""
        if self._layer is not None:
            self._layer.visible = not self._layer.visible

    def toggle_outlines(self) -> None:
        """Draw the prediction as outlines, or filled again."""
        self._contour = 0 if self._contour else CONTOUR
        if self._layer is not None:
            self._layer.contour = self._contour

    def view(self) -> PlaneInView | None:
        """Return the plane in view; None if no preview is shown."""
        current = self._session_model.current() if self.shown else None
        return None if current is None else PlaneInView(current[0], current[0].planes, current[1])

    def refresh(self) -> None:
        """Apply the prompt to the plane in view, unless a training is running."""
        session_model, view = self._session_model, self.view()
        if session_model.training or session_model.prompt is None or view is None:
            return
        try:
            prompt, note = fit_prompt(
                session_model.prompt, view.planes, view.image.chosen, IN_IMAGES
            )
        except InputError as error:
            session_model.jobs.cancel("preview")
            self.remove()
            self._show_note(in_form(error))
            return
        self._show_note(note)
        steps = partial(self._steps, view, prompt)
        session_model.jobs.submit("preview", steps, self.show, priority=NORMAL)

    def _show_note(self, note: str) -> None:
        """Emit a note if it has changed."""
        previous, self._note = self._note, note
        if note and note != previous:
            self.noted.emit(note)

    def _steps(self, view: PlaneInView, prompt: Prompt) -> Steps:
        backbone = self._session_model.backbone_service.backbone_of(prompt)
        from napari_ptsam.inference.preview import PlanePreview
        from napari_ptsam.inference.segment import Segmenter

        segmenter = Segmenter(prompt, backbone)
        preview = PlanePreview.of(segmenter, view.planes, view.number)
        yield from preview.embed()
        yield LivePrediction(view, preview.labels(segmenter.tokens))

    def hide(self) -> None:
        """Hide the layer until the next training, or until the user shows it again."""
        self._hidden_on = None
        if self._layer is not None:
            self._layer.visible = False

    def prepare(self) -> None:
        """Show the layer before the training starts, because adding it takes a while."""
        view = self.view()
        if self._layer is not None:
            self._layer.visible = True
        if view is not None and not self.present:
            self.show(LivePrediction(view, np.zeros(view.planes.shape, np.uint8)))
            self._prediction = None

    def prediction_of(self, image: AnnotatedImage, number: int) -> np.ndarray | None:
        """Return the labels that are shown for a plane; None if another plane or none is shown."""
        shown = self._prediction
        if (
            self._layer is None
            or shown is None
            or (shown.view.image, shown.view.number) != (image, number)
        ):
            return None
        return shown.labels

    def hide_on(self, image: AnnotatedImage, number: int) -> None:
        """Hide the layer, which stands in the way of corrections, until another plane is shown."""
        if self._layer is not None and self._layer.visible:
            self._layer.visible = False
            self._hidden_on = image, number

    def show_on(self, image: AnnotatedImage, number: int) -> None:
        """Show the layer again if it is hidden on this plane."""
        if self._layer is not None and self._hidden_on == (image, number):
            self._hidden_on = None
            self._layer.visible = True

    def show(self, prediction: LivePrediction) -> None:
        """Show labels in the layer, at the position of their plane."""
        image = prediction.view.image
        if not self.shown or image not in self._session_model.images:
            return
        self._prediction = prediction
        if self._hidden_on not in (None, (image, prediction.view.number)):
            self._hidden_on = None
            if self._layer is not None:
                self._layer.visible = True
        planes = image.planes
        leading, axes = planes.position(prediction.view.number), layer_axes(image.layer, planes)
        labels = prediction.labels.reshape([1] * (len(axes) - 2) + list(prediction.labels.shape))
        where = placement(image.layer, {axes.index(a): float(i) for a, i in leading.items()})
        viewer = self._session_model.viewer
        if self._layer is None or self._layer not in viewer.layers:
            self._add(labels, where)
        elif self._layer.ndim != labels.ndim:
            self.remove()
            self._add(labels, where)
        else:
            if not np.array_equal(self._layer.translate, where["translate"]):
                self._layer.translate = where["translate"]
            self._layer.data = labels

    def _add(self, labels: np.ndarray, where: dict[str, Any]) -> None:
        viewer = self._session_model.viewer
        active = viewer.layers.selection.active
        self._layer = viewer.add_labels(labels, name=NAME, opacity=0.5, **where)
        self._layer.colormap = class_colours(dict(enumerate(self._session_model.scheme.colours, 1)))
        self._layer.contour = self._contour
        self._layer.editable = False
        # The layer that the user paints on stays selected.
        viewer.layers.selection.active = active

    def _removed(self, event: Any) -> None:
        if self._layer is not None and event.value is self._layer:
            self._layer = self._prediction = self._hidden_on = None
            # If all layers are removed at once, the user has not dismissed the preview.
            QTimer.singleShot(0, self._dismiss)

    def _dismiss(self) -> None:
        if self._session_model.images and self.shown:
            self.dismissed.emit()

    def remove(self) -> None:
        """Remove the layer."""
        layer = self._layer
        self._layer = self._prediction = self._hidden_on = None
        if layer is not None and layer in self._session_model.viewer.layers:
            self._session_model.viewer.layers.remove(layer)

    def close(self) -> None:
        """Stop following the view, and remove the layer."""
        self._settled.stop()
        self.shown = False
        self._session_model.viewer.layers.events.removed.disconnect(self._removed)
        self.remove()
