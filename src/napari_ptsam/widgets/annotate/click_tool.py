"""Annotate by clicks: a click or a box on an object paints its outline into the annotation."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QObject, Signal

from napari_ptsam.annotation.object_edits import nearest_object
from napari_ptsam.errors import InputError
from napari_ptsam.widgets.annotate.box_band import BoxBand
from napari_ptsam.widgets.annotate.click_steps import ClickSteps
from napari_ptsam.widgets.annotate.mouse import (
    PAN,
    ActiveMode,
    follow,
    in_plane,
    no_plane_message,
    pixel_at,
)
from napari_ptsam.widgets.annotate.object_paint import (
    ClickedObject,
    ObjectPaint,
    obstacle,
    plane_positions,
    stroke_under_way,
    unused_label,
)
from napari_ptsam.widgets.shared.background_jobs import IDLE, URGENT
from napari_ptsam.widgets.shared.qt_helpers import single_shot
from napari_ptsam.widgets.shared.remedies import in_form

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_ptsam.annotation.outlines import Outline
    from napari_ptsam.widgets.annotate.session_model import AnnotatedImage, SessionModel
    from napari_ptsam.widgets.shared.worker import Steps

REMOVE = ("Control", "Alt")
"""Modifier keys for clicks on pixels that do not belong to the object."""
BOX = "Shift"
"""Modifier key for dragging a box."""
LATER = 50
"""Milliseconds until an outline is painted that arrived during a stroke."""
REACH = 100
"""Largest distance in pixels of a missed part from the object that it is added to."""

READY = {
    "click": "Click on objects.",
    "box": "Drag a box around an object. Clicks refine it.",
    "add": "Click on the part that an object lacks.",
}
"""Gestures, and what the user is told to do."""
PAUSED = "Clicks wait while napari's tool “{tool}” is chosen. Press “Click objects” to continue."
ANNOTATED = (
    "This is annotated already (label {label}); click on another object. To outline it again, erase "
    "it first."
)
IGNORED_HERE = "This place is ignored; to annotate it, erase that first."
ALL_ANNOTATED = "The object that was found here is annotated already; nothing was painted."
FIRST = "Click on an object first; Ctrl+click then takes away what does not belong to it."
OBSTACLES = {
    "missing": "Add an annotation layer first; the outline goes there.",
    "locked": "The annotation layer {name} is locked; unlock it in the layer list to click on objects.",
    "hidden": "The annotation layer {name} is hidden; show it to click on objects.",
}
NO_CLASS = "Label 0 is chosen, which erases; choose a class in the list, then click."
NO_OBJECT_NEAR = "No object is near; click beside the object that lacks a part."
NO_LAST = (
    "Click on an object first; this key then shows the other outlines that the click may mean."
)
NO_OTHERS = "There is no other outline for this object; Ctrl+click takes parts away from it."
OTHER = "Outline {number} of {count} for the last object."


class ClickTool(QObject):
    """Turn clicks on the canvas into objects in the annotation layer.

    The last object can be refined until anything else is edited, see
    `ObjectPaint`. While one of napari's tools is active, it handles the clicks.
    """

    state_changed = Signal(str)
    answered = Signal()
    """An outline was painted."""

    def __init__(self, session_model: SessionModel) -> None:
        super().__init__(session_model)
        self._session_model = session_model
        self._object: ClickedObject | None = None
        self._steps = ClickSteps(session_model)
        self._waiting: list[tuple[ClickedObject, Outline]] = []
        self._delay = single_shot(self, LATER)
        self._delay.timeout.connect(self._paint_waiting)
        self.mode = ActiveMode(session_model.viewer, self)
        """The mode of napari's tools, which the other tools follow, too."""
        self.mode.layer_chosen.connect(self._layer_chosen)
        self.mode.mode_chosen.connect(self._tool_chosen)
        self.active = False
        self.gesture = "click"
        session_model.view_changed.connect(self._viewed)
        session_model.backbone_service.ready.connect(self.embed_view)

    def activate(self, active: bool) -> None:
        """Start or stop handling clicks on the canvas."""
        if active == self.active:
            return
        self.active = active
        self.forget()
        callbacks = self._session_model.viewer.mouse_drag_callbacks
        (callbacks.append if active else callbacks.remove)(self._dragged)
        if active:
            self.embed_view()
        else:
            self._session_model.jobs.cancel("embed view")

    def use_gesture(self, gesture: str) -> None:
        """Let a click or drag without a modifier key do one of `READY`."""
        if gesture != self.gesture:
            self.gesture = gesture
            if self.active:
                self._report_tool()

    def forget(self) -> None:
        """Make the next click begin a new object."""
        self._object = None

    # napari's tools

    def _layer_chosen(self, mode_before: str) -> None:
        if not self.active:
            return
        self.forget()
        if self.mode.mode != PAN or mode_before not in (PAN, ""):
            self._report_tool()

    def _tool_chosen(self) -> None:
        if not self.active:
            return
        if self.mode.mode != PAN and self._object is not None:
            # Refining the object would undo strokes that are painted with its label.
            self._object.paint.finish()
            self.forget()
        self._report_tool()

    def _report_tool(self) -> None:
        tool = self.mode.mode
        self.state_changed.emit(READY[self.gesture] if tool == PAN else PAUSED.format(tool=tool))

    # Embedding in the background

    def _viewed(self) -> None:
        self.forget()
        if self.active:
            self.embed_view()

    def embed_view(self) -> None:
        """Embed the plane in view, so that clicks are answered quickly."""
        current = self._session_model.current()
        if current is None or not self.active:
            return
        self._session_model.jobs.submit(
            "embed view", partial(self._embed, *current), self._prepare,
            self.state_changed.emit, priority=IDLE,
        )  # fmt: skip

    def _prepare(self, state: str) -> None:
        if state:
            self.state_changed.emit(state)
        else:
            self._report_tool()

    def _embed(self, image: AnnotatedImage, number: int) -> Steps:
        yield "Preparing this plane for clicks…"
        yield from self._steps.embed(image, number)
        yield ""

    # Clicks

    def _dragged(self, viewer: Any, event: Any) -> Generator[None, None, None]:
        """Handle the mouse from pressing a button to releasing it, as a callback of napari."""
        if getattr(event, "button", 1) not in (1, None) or self.mode.mode != PAN:
            return
        current = self._session_model.current()
        modifiers = [str(getattr(m, "name", m)) for m in event.modifiers]
        removing = any(m in REMOVE for m in modifiers)
        position = event.position
        boxed = BOX in modifiers or (self.gesture == "box" and not removing)
        band = BoxBand(current[0].layer, event) if boxed and current is not None else None
        moved = yield from follow(viewer, event, band)
        if current is None:
            if not moved:
                show_warning(no_plane_message(viewer))
            return
        image, number = current
        begin = in_plane(image, position)
        if boxed and moved:
            self.click_box(image, number, begin, in_plane(image, event.position))
        elif not moved and self.gesture == "add" and not removing:
            self.add_part(image, number, begin)
        elif not moved and BOX not in modifiers:
            self.click(image, number, begin, not removing)

    def click(
        self, image: AnnotatedImage, number: int, at: tuple[float, float], positive: bool = True
    ) -> None:
        """Add an object, or refine the last one.

        Parameters
        ----------
        image, number
            Image and number of the plane.
        at
            Position of the click: (y, x) in pixels of the plane.
        positive
            Whether the position belongs to the object. A positive click refines
            the last object if it is on it; a negative one does so anywhere.
        """
        place = pixel_at(image, at)
        labels = None if place is None else paintable(image)
        if place is None or labels is None:
            return
        pixel = plane_positions(image, number, np.array(place[:1]), np.array(place[1:]))
        clicked = self._current(image, number)
        if positive:
            value = int(np.asarray(labels.data[pixel])[0])
            if clicked is not None and not clicked.paint.covers(tuple(int(i[0]) for i in pixel)):
                clicked = None
            if clicked is None and value:
                ignored = value == self._session_model.scheme.ignored
                show_info(IGNORED_HERE if ignored else ANNOTATED.format(label=value))
                return
            clicked = clicked or self._new(image, number, labels)
        elif clicked is None:
            show_warning(FIRST)
        if clicked is not None:
            clicked.points.append(at)
            clicked.positive.append(positive)
            self._ask(clicked, at)

    def click_box(
        self,
        image: AnnotatedImage,
        number: int,
        begin: tuple[float, float],
        end: tuple[float, float],
    ) -> None:
        """Add the object in a box, which is given by two corners (y, x) in pixels of the plane."""
        labels = paintable(image)
        clicked = None if labels is None else self._new(image, number, labels)
        if clicked is not None:
            (y0, y1), (x0, x1) = sorted((begin[0], end[0])), sorted((begin[1], end[1]))
            clicked.box = y0, x0, y1, x1
            self._ask(clicked)

    def add_part(self, image: AnnotatedImage, number: int, at: tuple[float, float]) -> None:
        """Add what an object lacks at (y, x) of a plane to the object there, or to the nearest one."""
        pixel = pixel_at(image, at)
        labels = None if pixel is None else paintable(image)
        if pixel is None or labels is None:
            return
        objects = self._session_model.scheme.without_ignored(np.asarray(image.label_planes[number]))
        label = nearest_object(objects, pixel, REACH)
        if not label:
            show_info(NO_OBJECT_NEAR)
            return
        self.forget()
        part = ClickedObject(image, number, label, ObjectPaint(labels), labels, [at], [True])
        self._submit(part, partial(self._steps.missed_part, part))

    def show_other_outline(self) -> None:
        """Paint another outline that the clicks on the last object may mean."""
        current = self._session_model.current()
        clicked = None if current is None else self._current(*current)
        if clicked is None or clicked.outline is None:
            show_info(NO_LAST)
        elif not clicked.outline.others:
            show_info(NO_OTHERS)
        else:
            prompts = tuple(clicked.points), tuple(clicked.positive), clicked.box
            self._submit(clicked, partial(self._steps.other_outline, clicked, prompts), turn=True)

    def _current(self, image: AnnotatedImage, number: int) -> ClickedObject | None:
        """Return the last object if it can still be refined."""
        last = self._object
        if last is not None and (
            (last.image, last.number, last.labels) != (image, number, image.labels)
            or not last.paint.current
            or (last.paint.written and not last.paint.intact)
        ):
            self.forget()
        return self._object

    def _new(self, image: AnnotatedImage, number: int, labels: Labels) -> ClickedObject | None:
        """Begin an object with a label of its own, or with the label of the selected class."""
        label = None if self._session_model.scheme.instances else int(labels.selected_label)
        if label == 0:
            show_warning(NO_CLASS)
            return None
        self._object = ClickedObject(image, number, label, ObjectPaint(labels), labels)
        return self._object

    # Outlines

    def _ask(self, clicked: ClickedObject, at: tuple[float, float] | None = None) -> None:
        clicks = tuple(clicked.points), tuple(clicked.positive), clicked.box
        self._submit(clicked, partial(self._answer, clicked, clicks), at)

    def _submit(
        self,
        clicked: ClickedObject,
        steps: partial[Steps],
        at: tuple[float, float] | None = None,
        turn: bool = False,
    ) -> None:
        """Let a thread find an outline for a click, or the next one for the same click (``turn``)."""
        self._session_model.jobs.submit(
            "click", steps, partial(self._answered, clicked, turn),
            partial(self._failed, clicked, at), priority=URGENT, replace=False, notify=True,
        )  # fmt: skip

    def _answer(self, clicked: ClickedObject, prompts: tuple[Any, ...]) -> Steps:
        yield from self._steps.outline(clicked, prompts)

    def _failed(self, clicked: ClickedObject, at: tuple[float, float] | None, message: str) -> None:
        """Remove a click that failed, so that it does not affect later ones."""
        if at in clicked.points:
            position = clicked.points.index(at)
            del clicked.points[position], clicked.positive[position]
        if clicked is self._object and not clicked.paint.written:
            self.forget()

    def _answered(self, clicked: ClickedObject, turn: bool, outline: Outline) -> None:
        """Paint an outline after those of earlier clicks, and not during a stroke."""
        clicked.turn = clicked.turn + 1 if turn else 0
        self._waiting.append((clicked, outline))
        self._paint_waiting()

    def _paint_waiting(self) -> None:
        while self._waiting:
            clicked, outline = self._waiting[0]
            if stroke_under_way(clicked.labels):
                self._delay.start()
                return
            del self._waiting[0]
            self._paint(clicked, outline)

    def _paint(self, clicked: ClickedObject, outline: Outline) -> None:
        image, paint = clicked.image, clicked.paint
        if image.labels is not clicked.labels or not paint.current:
            return  # the layer was removed, or its data were replaced
        if paint.written and not paint.intact:
            return  # the user has edited it meanwhile, and edits must stay
        rows, columns = np.nonzero(outline.mask)
        rows, columns = rows + outline.window[0].start, columns + outline.window[1].start
        label = clicked.label or paint.label
        try:
            ignored = self._session_model.scheme.ignored
            label = label or unused_label(image.label_planes[clicked.number], ignored)
        except InputError as error:
            show_warning(in_form(error))
            return
        if not paint.write(plane_positions(image, clicked.number, rows, columns), label):
            show_info(ALL_ANNOTATED)
            return
        clicked.outline = outline
        if clicked.turn:
            count = len(outline.others) + 1
            self.state_changed.emit(OTHER.format(number=clicked.turn % count + 1, count=count))
        self.answered.emit()

    def close(self) -> None:
        """Stop handling clicks."""
        self._delay.stop()
        self._waiting = []
        self.activate(False)
        self.mode.close()


def paintable(image: AnnotatedImage) -> Labels | None:
    """Return the annotation layer if it can be painted on; otherwise warn the user."""
    if problem := obstacle(image.labels, OBSTACLES):
        show_warning(problem)
        return None
    return image.labels
