"""The prediction for the plane in view, in a Labels layer of its own."""

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
from napari_ptsam.widgets.shared.layers import class_colours, placement
from napari_ptsam.widgets.shared.qt_helpers import single_shot
from napari_ptsam.widgets.shared.remedies import in_form

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_ptsam.prompts.prompt import Prompt
    from napari_ptsam.widgets.annotate.session_model import SessionModel
    from napari_ptsam.widgets.shared.worker import Steps

NAME = "preview (not saved)"
SETTLE = 150
"""Milliseconds that a plane must be in view before it is segmented."""


class Preview(QObject):
    """One plane of labels that follows the view.

    While a training runs, the training computes it; after that, the prompt is
    applied to whatever plane comes into view.
    """

    dismissed = Signal()
    """The user has deleted the layer."""
    told = Signal(str)
    """What the user should know of the prompt on an image; once for each image."""

    def __init__(self, session_model: SessionModel) -> None:
        super().__init__(session_model)
        self._studio = session_model
        self._layer: Labels | None = None
        self.wanted = True
        self._said = ""
        self._settled = single_shot(self, SETTLE)
        self._settled.timeout.connect(self.refresh)
        session_model.viewer.layers.events.removed.connect(self._removed)
        session_model.view_changed.connect(self._settled.start)
        session_model.prompt_changed.connect(self.refresh)
        session_model.images_changed.connect(self._settled.start)

    def want(self, wanted: bool) -> None:
        """Show the layer, or take it away."""
        self.wanted = wanted
        if wanted:
            self.refresh()
        else:
            self._studio.jobs.cancel("preview")
            self.remove()

    def view(self) -> PlaneInView | None:
        """The plane in view, if a preview is wanted."""
        current = self._studio.current() if self.wanted else None
        return None if current is None else PlaneInView(current[0], current[0].planes, current[1])

    def refresh(self) -> None:
        """Apply the prompt to the plane in view, unless a training does."""
        session_model, view = self._studio, self.view()
        if session_model.training or session_model.prompt is None or view is None:
            return
        try:
            prompt, words = fit_prompt(
                session_model.prompt, view.planes, view.image.chosen, IN_IMAGES
            )
        except InputError as error:
            session_model.jobs.cancel("preview")
            self.remove()
            self._say(in_form(error))
            return
        self._say(words)
        steps = partial(self._steps, view, prompt)
        session_model.jobs.submit("preview", steps, self.show, priority=NORMAL)

    def _say(self, words: str) -> None:
        """Tell what is new."""
        before, self._said = self._said, words
        if words and words != before:
            self.told.emit(words)

    def _steps(self, view: PlaneInView, prompt: Prompt) -> Steps:
        backbone = self._studio.backbone_service.backbone_of(prompt)
        from napari_ptsam.inference.preview import PlanePreview
        from napari_ptsam.inference.segment import Segmenter

        segmenter = Segmenter(prompt, backbone)
        limits = prompt.images.limits(view.planes)
        plane = view.planes[view.number]
        preview = PlanePreview(
            segmenter.backbone, prompt.images, plane, view.planes.rgb, limits, prompt.refinement,
            segmenter.flips,
        )  # fmt: skip
        yield from preview.embed()
        yield LivePrediction(view, preview.labels(segmenter.tokens))

    def prepare(self) -> None:
        """Make the layer before the training starts: adding one takes a while."""
        view = self.view()
        if view is not None and (
            self._layer is None or self._layer not in self._studio.viewer.layers
        ):
            self.show(LivePrediction(view, np.zeros(view.planes.shape, np.uint8)))

    def show(self, shown: LivePrediction) -> None:
        """Put labels into the layer, at the plane that they belong to."""
        source = shown.view.image
        if not self.wanted or source not in self._studio.images:
            return
        planes = source.planes
        leading, axes = planes.position(shown.view.number), planes.data_axes
        labels = shown.labels.reshape([1] * (len(axes) - 2) + list(shown.labels.shape))
        where = placement(source.layer, {axes.index(a): float(i) for a, i in leading.items()})
        viewer = self._studio.viewer
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
        viewer = self._studio.viewer
        active = viewer.layers.selection.active
        self._layer = viewer.add_labels(labels, name=NAME, opacity=0.5, **where)
        self._layer.colormap = class_colours(dict(enumerate(self._studio.scheme.colours, 1)))
        self._layer.editable = False
        # Painting must go on where it was.
        viewer.layers.selection.active = active

    def _removed(self, event: Any) -> None:
        if self._layer is not None and event.value is self._layer:
            self._layer = None
            # Where all layers go at once, it was not this one that was meant.
            QTimer.singleShot(0, self._dismiss)

    def _dismiss(self) -> None:
        if self._studio.images and self.wanted:
            self.dismissed.emit()

    def remove(self) -> None:
        """Take the layer away."""
        layer, self._layer = self._layer, None
        if layer is not None and layer in self._studio.viewer.layers:
            self._studio.viewer.layers.remove(layer)

    def close(self) -> None:
        """Stop following the view, and take the layer away."""
        self._settled.stop()
        self.wanted = False
        self._studio.viewer.layers.events.removed.disconnect(self._removed)
        self.remove()
