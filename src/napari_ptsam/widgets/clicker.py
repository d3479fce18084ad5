"""Click to annotate: a click or a box on an object fills its outline into the annotation."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_warning
from qtpy.QtCore import QObject, QPoint, QRect, QSize, Signal
from qtpy.QtGui import QCursor
from qtpy.QtWidgets import QApplication, QRubberBand

from napari_ptsam.images.normalize import Normalization, normalize
from napari_ptsam.widgets.workers import IDLE, URGENT

if TYPE_CHECKING:
    from napari_ptsam.annotating.outlines import Outline
    from napari_ptsam.widgets.studio import Source, Studio
    from napari_ptsam.widgets.workers import Steps

DRAG = 4
"""Pixels of the screen; the mouse moves so far in a click."""
REMOVE = ("Control", "Alt")
"""Modifiers of a click on what does not belong to the object."""
BOX = "Shift"


@dataclass(eq=False)
class _Object:
    """The object that is being clicked on."""

    source: Source
    number: int
    label: int
    points: list[tuple[float, float]] = field(default_factory=list)
    positive: list[bool] = field(default_factory=list)
    box: tuple[float, float, float, float] | None = None
    outline: Outline | None = None
    painted: bool = False


class Clicker(QObject):
    """Turns clicks on the canvas into objects in the annotation layer."""

    state_changed = Signal(str)
    answered = Signal()
    """An outline was painted."""

    def __init__(self, studio: Studio) -> None:
        super().__init__(studio)
        self._studio = studio
        self._object: _Object | None = None
        self._last: tuple[object, np.ndarray] = (None, np.empty(0))
        self.active = False
        studio.view_changed.connect(self._viewed)
        studio.engine.ready.connect(self.embed_view)

    def activate(self, active: bool) -> None:
        """Take clicks on the canvas, or leave them to napari."""
        if active == self.active:
            return
        self.active, self._object = active, None
        callbacks = self._studio.viewer.mouse_drag_callbacks
        if active:
            callbacks.append(self._dragged)
            self.embed_view()
        else:
            callbacks.remove(self._dragged)
            self._studio.jobs.cancel("embed view")

    # Embedding in the background

    def _viewed(self) -> None:
        self._object = None
        if self.active:
            self.embed_view()

    def embed_view(self) -> None:
        """Embed the plane in view, so that clicks are answered at once."""
        current = self._studio.current()
        if current is None or not self.active:
            return
        self._studio.jobs.submit(
            "embed view", partial(self._embed, *current), self.state_changed.emit,
            self.state_changed.emit, priority=IDLE,
        )  # fmt: skip

    def _embed(self, source: Source, number: int) -> Steps:
        yield "Preparing this plane for clicks…"
        backbone = self._studio.engine.backbone()
        from napari_ptsam.annotating.outlines import click_tiling
        from napari_ptsam.images.tiling import cut

        pixels = self._prepared(source, number)
        shape = pixels.shape[0], pixels.shape[1]
        for tile in click_tiling(shape).tiles(shape):
            backbone.encoder([cut(pixels, tile)])
            yield None
        yield "Click on objects."

    def _prepared(self, source: Source, number: int) -> np.ndarray:
        """Three channels of a plane, range 0 to 1; in the thread. The last plane is kept."""
        what, pixels = self._last
        if what != (source.id, number, source.channels):
            what = source.id, number, source.channels
            plane = source.planes[number]
            pixels = normalize(plane, Normalization(), source.channels, source.planes.rgb)
            self._last = what, pixels
        return pixels

    # Clicks

    def _dragged(self, viewer: Any, event: Any) -> Generator[None, None, None]:
        """Napari's mouse callback: from pressing a button to releasing it."""
        if getattr(event, "button", 1) not in (1, None):
            return
        current = self._studio.current()
        if current is None:
            return
        source, number = current
        modifiers = [str(getattr(m, "name", m)) for m in event.modifiers]
        start, position = np.array(event.pos), event.position
        begin = self._in_plane(source, position)
        band = _Band(start) if BOX in modifiers else None
        yield
        while event.type == "mouse_move":
            if band is not None:
                band.stretch(np.array(event.pos))
            yield
        end = self._in_plane(source, event.position)
        moved = np.abs(np.array(event.pos) - start).max() > DRAG
        if band is not None:
            band.hide()
            if moved:
                self.click_box(source, number, begin, end)
        elif not moved:
            self.click(source, number, begin, not any(m in REMOVE for m in modifiers))

    @staticmethod
    def _in_plane(source: Source, position: Any) -> tuple[float, float]:
        y, x = np.asarray(source.layer.world_to_data(position))[-2:]
        return float(y), float(x)

    def click(
        self, source: Source, number: int, at: tuple[float, float], positive: bool = True
    ) -> None:
        """Add an object, or with a negative click take something away from the last one."""
        rows, columns = source.planes.shape
        if not (-0.5 <= at[0] < rows - 0.5 and -0.5 <= at[1] < columns - 0.5):
            return
        if source.labels is None:
            show_warning("Add an annotation layer first; the outline goes there.")
            return
        inside = self._belongs(source, number, at)
        if not positive and self._object is None:
            show_warning(
                "Click on an object first; Ctrl+click then takes away what does not belong to it."
            )
            return
        if self._object is None or (positive and not inside):
            self._object = _Object(source, number, self._next_label(source, number))
        self._object.points.append(at)
        self._object.positive.append(positive)
        self._ask(self._object)

    def click_box(
        self, source: Source, number: int, begin: tuple[float, float], end: tuple[float, float]
    ) -> None:
        """Add the object in a box that is given by two corners, (y, x) in pixels."""
        if source.labels is None:
            show_warning("Add an annotation layer first; the outline goes there.")
            return
        (y0, y1), (x0, x1) = sorted((begin[0], end[0])), sorted((begin[1], end[1]))
        self._object = _Object(
            source, number, self._next_label(source, number), box=(y0, x0, y1, x1)
        )
        self._ask(self._object)

    def _belongs(self, source: Source, number: int, at: tuple[float, float]) -> bool:
        """Whether a click lies on the object that was clicked on last."""
        last = self._object
        if last is None or last.source is not source or last.number != number:
            self._object = None
            return False
        if last.outline is None:
            return False
        window = last.outline.window
        y, x = round(at[0]) - window[0].start, round(at[1]) - window[1].start
        rows, columns = last.outline.mask.shape
        return 0 <= y < rows and 0 <= x < columns and bool(last.outline.mask[y, x])

    def _next_label(self, source: Source, number: int) -> int:
        """A number of its own for an object, or the class that is selected."""
        assert source.labels is not None
        if not self._studio.scheme.instances:
            return int(source.labels.selected_label)
        highest = int(source.label_planes[number].max())
        pending = self._object.label if self._object is not None else 0
        return max(highest, pending) + 1

    # Answers

    def _ask(self, clicked: _Object) -> None:
        clicks = tuple(clicked.points), tuple(clicked.positive), clicked.box
        self._studio.jobs.submit(
            "click", partial(self._answer, clicked, clicks), partial(self._paint, clicked),
            show_warning, priority=URGENT, replace=False,
        )  # fmt: skip

    def _answer(self, clicked: _Object, where: tuple[Any, ...]) -> Steps:
        backbone = self._studio.engine.backbone()
        from napari_ptsam.annotating.candidates import object_areas
        from napari_ptsam.annotating.outlines import choose_tile, click_tiling, find_outline
        from napari_ptsam.images.tiling import cut
        from napari_ptsam.sam.clicks import Clicks

        clicks = Clicks(*where)
        pixels = self._prepared(clicked.source, clicked.number)
        shape = pixels.shape[0], pixels.shape[1]
        tile = choose_tile(click_tiling(shape), shape, clicks)
        embedding = backbone.encoder([cut(pixels, tile)])[0]
        former = clicked.outline.logits if clicked.outline is not None else None
        # Only where each object has a label of its own, and none of this one is painted yet.
        known = self._studio.scheme.instances and clicks.single
        areas = object_areas(clicked.source.label_planes[clicked.number]) if known else ()
        yield find_outline(backbone, embedding, tile, shape, clicks, former, areas)

    def _paint(self, clicked: _Object, outline: Outline) -> None:
        labels, source = clicked.source.labels, clicked.source
        if labels is None:
            return
        if clicked.painted:  # refined: one step back takes the whole object away
            labels.undo()
        clicked.outline = outline
        rows, columns = np.nonzero(outline.mask)
        rows, columns = rows + outline.window[0].start, columns + outline.window[1].start
        plane = source.label_planes[clicked.number]
        free = (plane[rows, columns] == 0) | (plane[rows, columns] == clicked.label)
        rows, columns = rows[free], columns[free]  # what is annotated already stays
        if not len(rows):
            clicked.painted = False
            return
        labels.data_setitem(self._indices(source, clicked.number, rows, columns), clicked.label)
        clicked.painted = True
        self.answered.emit()

    @staticmethod
    def _indices(
        source: Source, number: int, rows: np.ndarray, columns: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        planes = source.label_planes
        leading = dict(zip(planes.leading_axes, source.index(number), strict=True))
        by_axis = {"Y": rows, "X": columns}
        return tuple(
            by_axis[axis] if axis in by_axis else np.full(len(rows), leading.get(axis, 0))
            for axis in planes.axes
        )

    def close(self) -> None:
        """Leave the canvas to napari."""
        self.activate(False)


class _Band:
    """The box while it is dragged, drawn over the canvas."""

    def __init__(self, start: np.ndarray) -> None:
        self._start = QPoint(*(int(at) for at in start))
        canvas = QApplication.widgetAt(QCursor.pos())
        self._band = None if canvas is None else QRubberBand(QRubberBand.Shape.Rectangle, canvas)
        if self._band is not None:
            self._band.setGeometry(QRect(self._start, QSize()))
            self._band.show()

    def stretch(self, to: np.ndarray) -> None:
        """Let it reach to another corner."""
        if self._band is not None:
            end = QPoint(*(int(at) for at in to))
            self._band.setGeometry(QRect(self._start, end).normalized())

    def hide(self) -> None:
        """Take it away."""
        if self._band is not None:
            self._band.hide()
            self._band.deleteLater()
