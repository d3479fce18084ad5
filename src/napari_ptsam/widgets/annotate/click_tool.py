"""Annotate by clicks: a click or a box on an object paints its outline into the annotation."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QObject, Signal

from napari_ptsam.errors import InputError
from napari_ptsam.images.normalize import normalize_plane
from napari_ptsam.widgets.annotate.box_band import BoxBand
from napari_ptsam.widgets.annotate.object_paint import (
    ClickedObject,
    ObjectPaint,
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

DRAG = 4
"""Largest movement of the mouse during a click, in pixels of the screen."""
REMOVE = ("Control", "Alt")
"""Modifier keys for clicks on pixels that do not belong to the object."""
BOX = "Shift"
"""Modifier key for dragging a box."""
PAN = "pan_zoom"
"""Mode of a layer in which napari does nothing on a click."""
LATER = 50
"""Milliseconds until an outline is painted that arrived during a stroke."""

READY = "Click on objects."
PAUSED = "Clicks wait while the tool “{tool}” is chosen; choose pan/zoom in the layer controls to continue."
ANNOTATED = (
    "This is annotated already (label {label}); click on another object. To outline it again, erase "
    "it first."
)
ALL_ANNOTATED = "The object that was found here is annotated already; nothing was painted."
FIRST = "Click on an object first; Ctrl+click then takes away what does not belong to it."
NO_LAYER = "Add an annotation layer first; the outline goes there."
LOCKED = "The annotation layer {name} is locked; unlock it in the layer list to click on objects."
HIDDEN = "The annotation layer {name} is hidden; show it to click on objects."
NO_CLASS = "Label 0 is chosen, which erases; choose a class in the list, then click."
VIEW_3D = (
    "Clicks need the 2D view: switch back with the 2D/3D button below the layer list (Ctrl+Y)."
)
NO_PLANE = (
    "No plane of the chosen images is in view; go to one with the sliders, with y and x as the axes "
    "on the screen."
)


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
        self._last: tuple[object, np.ndarray] = (None, np.empty(0))
        self._waiting: list[tuple[ClickedObject, Outline]] = []
        self._delay = single_shot(self, LATER)
        self._delay.timeout.connect(self._paint_waiting)
        self._watched_layer: Any = None
        self.active = False
        session_model.view_changed.connect(self._viewed)
        session_model.backbone_service.ready.connect(self.embed_view)

    def activate(self, active: bool) -> None:
        """Start or stop handling clicks on the canvas."""
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
        """Make the next click begin a new object."""
        self._object = None

    # napari's tools

    def _tool(self) -> str:
        """Return the mode of the active layer, which decides what a click does."""
        return str(getattr(self._session_model.viewer.layers.selection.active, "mode", PAN))

    def _watch_tool(self, layer: Any) -> None:
        if self._watched_layer is not None:
            self._watched_layer.events.mode.disconnect(self._tool_chosen)
        self._watched_layer = layer if hasattr(layer, "mode") else None
        if self._watched_layer is not None:
            self._watched_layer.events.mode.connect(self._tool_chosen)

    def _layer_chosen(self, event: object = None) -> None:
        self.forget()
        before = self._watched_layer
        self._watch_tool(self._session_model.viewer.layers.selection.active)
        if self._tool() != PAN or (before is not None and str(before.mode) != PAN):
            self._report_tool()

    def _tool_chosen(self, event: object = None) -> None:
        if self._tool() != PAN and self._object is not None:
            # Refining the object would undo strokes that are painted with its label.
            self._object.paint.finish()
            self.forget()
        self._report_tool()

    def _report_tool(self) -> None:
        tool = self._tool()
        self.state_changed.emit(READY if tool == PAN else PAUSED.format(tool=tool))

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
        if state == READY:
            self._report_tool()
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
        """Return three channels of a plane, from 0 to 1, caching the last plane. Runs in the thread."""
        key, pixels = self._last
        if key != (image.id, number, image.channels):
            key = image.id, number, image.channels
            plane = image.planes[number]
            pixels = normalize_plane(plane, image.channels, image.planes.rgb)
            self._last = key, pixels
        return pixels

    # Clicks

    def _dragged(self, viewer: Any, event: Any) -> Generator[None, None, None]:
        """Handle the mouse from pressing a button to releasing it, as a callback of napari."""
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
        rows, columns = image.planes.shape
        if not (-0.5 <= at[0] < rows - 0.5 and -0.5 <= at[1] < columns - 0.5):
            return
        labels = self._paintable(image)
        if labels is None:
            return
        pixel = plane_positions(image, number, np.array([round(at[0])]), np.array([round(at[1])]))
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
        """Add the object in a box, which is given by two corners (y, x) in pixels of the plane."""
        labels = self._paintable(image)
        clicked = None if labels is None else self._new(image, number, labels)
        if clicked is not None:
            (y0, y1), (x0, x1) = sorted((begin[0], end[0])), sorted((begin[1], end[1]))
            clicked.box = y0, x0, y1, x1
            self._ask(clicked)

    @staticmethod
    def _paintable(image: AnnotatedImage) -> Labels | None:
        """Return the annotation layer if it can be painted on; otherwise warn the user."""
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
        self._session_model.jobs.submit(
            "click", partial(self._answer, clicked, clicks), partial(self._answered, clicked),
            partial(self._failed, clicked, at), priority=URGENT, replace=False, notify=True,
        )  # fmt: skip

    def _answer(self, clicked: ClickedObject, prompts: tuple[Any, ...]) -> Steps:
        backbone = self._session_model.backbone_service.backbone()
        from napari_ptsam.annotation.candidates import object_areas
        from napari_ptsam.annotation.outlines import choose_tile, click_tiling, find_outline
        from napari_ptsam.backbones.point_prompts import Clicks
        from napari_ptsam.images.tiling import cut

        clicks = Clicks(*prompts)
        pixels = self._prepared(clicked.image, clicked.number)
        shape = pixels.shape[0], pixels.shape[1]
        tile = choose_tile(click_tiling(shape), shape, clicks)
        embedding = backbone.encoder([cut(pixels, tile)])[0]
        former = clicked.outline.logits if clicked.outline is not None else None
        # Areas are known if each object has its own label; this one must not be among them.
        areas_known = self._session_model.scheme.instances and clicks.single
        areas = object_areas(clicked.image.label_planes[clicked.number]) if areas_known else ()
        yield find_outline(backbone, embedding, tile, shape, clicks, former, areas)

    def _failed(self, clicked: ClickedObject, at: tuple[float, float] | None, message: str) -> None:
        """Remove a click that failed, so that it does not affect later ones."""
        if at in clicked.points:
            position = clicked.points.index(at)
            del clicked.points[position], clicked.positive[position]
        if clicked is self._object and not clicked.paint.written:
            self.forget()

    def _answered(self, clicked: ClickedObject, outline: Outline) -> None:
        """Paint an outline after those of earlier clicks, and not during a stroke."""
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
            label = label or unused_label(image.label_planes[clicked.number])
        except InputError as error:
            show_warning(in_form(error))
            return
        if not paint.write(plane_positions(image, clicked.number, rows, columns), label):
            show_info(ALL_ANNOTATED)
            return
        clicked.outline = outline
        self.answered.emit()

    def close(self) -> None:
        """Stop handling clicks."""
        self._delay.stop()
        self._waiting = []
        self.activate(False)
