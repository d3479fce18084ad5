"""Click to annotate: a click or a box on an object fills its outline into the annotation."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QObject, Signal

from napari_ptsam.errors import InputError
from napari_ptsam.images.normalize import Normalization, normalize
from napari_ptsam.widgets.annotate.box_band import BoxBand
from napari_ptsam.widgets.annotate.object_paint import ObjectPaint, stroke_under_way, unused_label
from napari_ptsam.widgets.shared.background_jobs import IDLE, URGENT
from napari_ptsam.widgets.shared.qt_helpers import single_shot
from napari_ptsam.widgets.shared.remedies import in_form

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_ptsam.annotation.outlines import Outline
    from napari_ptsam.widgets.annotate.session_model import AnnotatedImage, SessionModel
    from napari_ptsam.widgets.shared.worker import Steps

DRAG = 4
"""Pixels of the screen; the mouse moves so far in a click."""
REMOVE = ("Control", "Alt")
"""Modifiers of a click on what does not belong to the object."""
BOX = "Shift"
PAN = "pan_zoom"
"""The mode of a layer in which napari itself does nothing with a click."""
LATER = 50
"""Milliseconds until an answer that came in the middle of a stroke is tried again."""

READY = "Click on objects."
PAUSED = (
    "Clicks wait while the tool “{tool}” is chosen; choose pan/zoom in the layer controls to go on."
)
ANNOTATED = (
    "This is annotated already (label {label}); click on another object. To outline it anew, erase "
    "it first."
)
ALL_ANNOTATED = "The object that was found here is annotated already; nothing was painted."
FIRST = "Click on an object first; Ctrl+click then takes away what does not belong to it."
NO_LAYER = "Add an annotation layer first; the outline goes there."
LOCKED = "The annotation layer {name} is locked; unlock it in the layer list to click on objects."
HIDDEN = "The annotation layer {name} is hidden; show it to click on objects."
NO_CLASS = "Label 0 is chosen, which is no paint; choose a class in the list, then click."
VIEW_3D = (
    "Clicks need the 2D view: switch back with the 2D/3D button below the layer list (Ctrl+Y)."
)
NO_PLANE = (
    "No plane of the chosen images is in view; go to one with the sliders, with y and x as the axes "
    "on the screen."
)


@dataclass(eq=False)
class _Object:
    """The object that is being clicked on."""

    image: AnnotatedImage
    number: int
    label: int | None
    """Of its class; None: one of its own."""
    paint: ObjectPaint
    labels: Labels
    points: list[tuple[float, float]] = field(default_factory=list)
    positive: list[bool] = field(default_factory=list)
    box: tuple[float, float, float, float] | None = None
    outline: Outline | None = None


class ClickTool(QObject):
    """Turns clicks on the canvas into objects in the annotation layer.

    The last object can be refined until anything else is edited; see
    `ObjectPaint`. Clicks belong to napari while one of its tools is chosen.
    """

    state_changed = Signal(str)
    answered = Signal()
    """An outline was painted."""

    def __init__(self, session_model: SessionModel) -> None:
        super().__init__(session_model)
        self._session_model = session_model
        self._object: _Object | None = None
        self._last: tuple[object, np.ndarray] = (None, np.empty(0))
        self._late: list[tuple[_Object, Outline]] = []
        self._later = single_shot(self, LATER)
        self._later.timeout.connect(self._catch_up)
        self._tool_of: Any = None
        self.active = False
        session_model.view_changed.connect(self._viewed)
        session_model.backbone_service.ready.connect(self.embed_view)

    def activate(self, active: bool) -> None:
        """Take clicks on the canvas, or leave them to napari."""
        if active == self.active:
            return
        self.active = active
        self.forget()
        viewer = self._session_model.viewer
        chosen = viewer.layers.selection.events.active
        if active:
            viewer.mouse_drag_callbacks.append(self._dragged)
            chosen.connect(self._layer_chosen)
            self._watch_tool(viewer.layers.selection.active)
            self.embed_view()
        else:
            viewer.mouse_drag_callbacks.remove(self._dragged)
            chosen.disconnect(self._layer_chosen)
            self._watch_tool(None)
            self._session_model.jobs.cancel("embed view")

    def forget(self) -> None:
        """Let the next click begin another object."""
        self._object = None

    # Tools of napari's

    def _tool(self) -> str:
        """The tool that takes clicks: the active layer's."""
        return str(getattr(self._session_model.viewer.layers.selection.active, "mode", PAN))

    def _watch_tool(self, layer: Any) -> None:
        if self._tool_of is not None:
            self._tool_of.events.mode.disconnect(self._tool_chosen)
        self._tool_of = layer if hasattr(layer, "mode") else None
        if self._tool_of is not None:
            self._tool_of.events.mode.connect(self._tool_chosen)

    def _layer_chosen(self, event: object = None) -> None:
        self.forget()
        before = self._tool_of
        self._watch_tool(self._session_model.viewer.layers.selection.active)
        if self._tool() != PAN or (before is not None and str(before.mode) != PAN):
            self._tell_tool()

    def _tool_chosen(self, event: object = None) -> None:
        if self._tool() != PAN and self._object is not None:
            # Strokes with the object's own label would leave no trace.
            self._object.paint.finish()
            self.forget()
        self._tell_tool()

    def _tell_tool(self) -> None:
        tool = self._tool()
        self.state_changed.emit(READY if tool == PAN else PAUSED.format(tool=tool))

    # Embedding in the background

    def _viewed(self) -> None:
        self.forget()
        if self.active:
            self.embed_view()

    def embed_view(self) -> None:
        """Embed the plane in view, so that clicks are answered at once."""
        current = self._session_model.current()
        if current is None or not self.active:
            return
        self._session_model.jobs.submit(
            "embed view", partial(self._embed, *current), self._prepare,
            self.state_changed.emit, priority=IDLE,
        )  # fmt: skip

    def _prepare(self, state: str) -> None:
        if state == READY:
            self._tell_tool()
        else:
            self.state_changed.emit(state)

    def _embed(self, image: AnnotatedImage, number: int) -> Steps:
        yield "Preparing this plane for clicks…"
        backbone = self._session_model.backbone_service.backbone()
        from napari_ptsam.annotation.outlines import click_tiling
        from napari_ptsam.images.tiling import cut

        pixels = self._prepared(image, number)
        shape = pixels.shape[0], pixels.shape[1]
        for tile in click_tiling(shape).tiles(shape):
            backbone.encoder([cut(pixels, tile)])
            yield None
        yield READY

    def _prepared(self, image: AnnotatedImage, number: int) -> np.ndarray:
        """Three channels of a plane, range 0 to 1; in the thread. The last plane is kept."""
        what, pixels = self._last
        if what != (image.id, number, image.channels):
            what = image.id, number, image.channels
            plane = image.planes[number]
            pixels = normalize(plane, Normalization(), image.channels, image.planes.rgb)
            self._last = what, pixels
        return pixels

    # Clicks

    def _dragged(self, viewer: Any, event: Any) -> Generator[None, None, None]:
        """Napari's mouse callback: from pressing a button to releasing it."""
        if getattr(event, "button", 1) not in (1, None) or self._tool() != PAN:
            return
        current = self._session_model.current()
        modifiers = [str(getattr(m, "name", m)) for m in event.modifiers]
        start, position = np.array(event.pos), event.position
        boxed = BOX in modifiers and current is not None
        band = BoxBand(current[0].layer, event) if boxed and current is not None else None
        yield
        while event.type == "mouse_move":
            if band is not None:
                band.stretch(event)
            yield
        if band is not None:
            band.hide()
        moved = np.abs(np.array(event.pos) - start).max() > DRAG
        if current is None:
            if not moved:
                show_warning(VIEW_3D if viewer.dims.ndisplay == 3 else NO_PLANE)
            return
        image, number = current
        begin = self._in_plane(image, position)
        if boxed:
            if moved:
                self.click_box(image, number, begin, self._in_plane(image, event.position))
        elif not moved:
            self.click(image, number, begin, not any(m in REMOVE for m in modifiers))

    @staticmethod
    def _in_plane(image: AnnotatedImage, position: Any) -> tuple[float, float]:
        y, x = np.asarray(image.layer.world_to_data(position))[-2:]
        return float(y), float(x)

    def click(
        self, image: AnnotatedImage, number: int, at: tuple[float, float], positive: bool = True
    ) -> None:
        """Add an object, or refine the last one: with a click on it, or a negative one anywhere."""
        rows, columns = image.planes.shape
        if not (-0.5 <= at[0] < rows - 0.5 and -0.5 <= at[1] < columns - 0.5):
            return
        labels = self._paintable(image)
        if labels is None:
            return
        pixel = self._pixels(image, number, np.array([round(at[0])]), np.array([round(at[1])]))
        clicked = self._current(image, number)
        if positive:
            value = int(np.asarray(labels.data[pixel])[0])
            if clicked is not None and not clicked.paint.covers(tuple(int(i[0]) for i in pixel)):
                clicked = None
            if clicked is None and value:
                show_info(ANNOTATED.format(label=value))
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
        """Add the object in a box that is given by two corners, (y, x) in pixels."""
        labels = self._paintable(image)
        clicked = None if labels is None else self._new(image, number, labels)
        if clicked is not None:
            (y0, y1), (x0, x1) = sorted((begin[0], end[0])), sorted((begin[1], end[1]))
            clicked.box = y0, x0, y1, x1
            self._ask(clicked)

    @staticmethod
    def _paintable(image: AnnotatedImage) -> Labels | None:
        """The annotation layer, if it can be written to; else say why not."""
        labels = image.labels
        if labels is None:
            show_warning(NO_LAYER)
        elif not labels.editable:
            show_warning(LOCKED.format(name=labels.name))
        elif not labels.visible:
            show_warning(HIDDEN.format(name=labels.name))
        else:
            return labels
        return None

    def _current(self, image: AnnotatedImage, number: int) -> _Object | None:
        """The object that was clicked on last, if it may still be refined."""
        last = self._object
        if last is not None and (
            (last.image, last.number, last.labels) != (image, number, image.labels)
            or not last.paint.current
            or (last.paint.written and not last.paint.intact)
        ):
            self.forget()
        return self._object

    def _new(self, image: AnnotatedImage, number: int, labels: Labels) -> _Object | None:
        """Begin an object with a number of its own, or of the class that is selected."""
        label = None if self._session_model.scheme.instances else int(labels.selected_label)
        if label == 0:
            show_warning(NO_CLASS)
            return None
        self._object = _Object(image, number, label, ObjectPaint(labels), labels)
        return self._object

    # Answers

    def _ask(self, clicked: _Object, at: tuple[float, float] | None = None) -> None:
        clicks = tuple(clicked.points), tuple(clicked.positive), clicked.box
        self._session_model.jobs.submit(
            "click", partial(self._answer, clicked, clicks), partial(self._answered, clicked),
            partial(self._failed, clicked, at), priority=URGENT, replace=False, notify=True,
        )  # fmt: skip

    def _answer(self, clicked: _Object, where: tuple[Any, ...]) -> Steps:
        backbone = self._session_model.backbone_service.backbone()
        from napari_ptsam.annotation.candidates import object_areas
        from napari_ptsam.annotation.outlines import choose_tile, click_tiling, find_outline
        from napari_ptsam.backbones.point_prompts import Clicks
        from napari_ptsam.images.tiling import cut

        clicks = Clicks(*where)
        pixels = self._prepared(clicked.image, clicked.number)
        shape = pixels.shape[0], pixels.shape[1]
        tile = choose_tile(click_tiling(shape), shape, clicks)
        embedding = backbone.encoder([cut(pixels, tile)])[0]
        former = clicked.outline.logits if clicked.outline is not None else None
        # Only where each object has a label of its own, and none of this one is painted yet.
        known = self._session_model.scheme.instances and clicks.single
        areas = object_areas(clicked.image.label_planes[clicked.number]) if known else ()
        yield find_outline(backbone, embedding, tile, shape, clicks, former, areas)

    def _failed(self, clicked: _Object, at: tuple[float, float] | None, message: str) -> None:
        """Take back a click that led to nothing, so that it does not spoil the next ones."""
        if at in clicked.points:
            position = clicked.points.index(at)
            del clicked.points[position], clicked.positive[position]
        if clicked is self._object and not clicked.paint.written:
            self.forget()

    def _answered(self, clicked: _Object, outline: Outline) -> None:
        """Paint an outline, in the order of the clicks, and not in the middle of a stroke."""
        self._late.append((clicked, outline))
        self._catch_up()

    def _catch_up(self) -> None:
        while self._late:
            clicked, outline = self._late[0]
            if stroke_under_way(clicked.labels):
                self._later.start()
                return
            del self._late[0]
            self._paint(clicked, outline)

    def _paint(self, clicked: _Object, outline: Outline) -> None:
        image, paint = clicked.image, clicked.paint
        if image.labels is not clicked.labels or not paint.current:
            return  # the layer was taken away, or filled with something else
        if paint.written and not paint.intact:
            return  # edited meanwhile: what is there now is what the user wants
        rows, columns = np.nonzero(outline.mask)
        rows, columns = rows + outline.window[0].start, columns + outline.window[1].start
        label = clicked.label or paint.label
        try:
            label = label or unused_label(image.label_planes[clicked.number])
        except InputError as error:
            show_warning(in_form(error))
            return
        if not paint.write(self._pixels(image, clicked.number, rows, columns), label):
            show_info(ALL_ANNOTATED)
            return
        clicked.outline = outline
        self.answered.emit()

    @staticmethod
    def _pixels(
        image: AnnotatedImage, number: int, rows: np.ndarray, columns: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Positions in the annotation's data, of pixels on one plane."""
        planes = image.label_planes
        leading = dict(zip(planes.leading_axes, image.index(number), strict=True))
        by_axis = {"Y": rows, "X": columns}
        return tuple(
            by_axis[axis] if axis in by_axis else np.full(len(rows), leading.get(axis, 0))
            for axis in planes.axes
        )

    def close(self) -> None:
        """Leave the canvas to napari."""
        self._later.stop()
        self._late = []
        self.activate(False)
