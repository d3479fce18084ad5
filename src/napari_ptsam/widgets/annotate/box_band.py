"""Draw a box or a stroke over the canvas while the user drags it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QPointF, Qt
from qtpy.QtGui import QColor, QCursor, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QApplication, QWidget

if TYPE_CHECKING:
    from napari.layers import Layer

FILLING = 40
"""Opacity of the inside of the box, from 0 to 255."""
STROKE = (("black", 5), ("#FFD400", 2))
"""Colours and widths of the lines that a stroke is drawn with, one over the other."""


class BoxBand:
    """A box along the rows and columns of a layer.

    It is rotated or sheared on the screen with the layer, as napari's rectangles are.

    Parameters
    ----------
    layer
        Layer whose last two axes are displayed.
    event
        napari's mouse event of pressing the button.
    """

    def __init__(self, layer: Layer, event: Any) -> None:
        self._layer = layer
        self._start = self._end = _MousePosition(event)
        canvas = QApplication.widgetAt(QCursor.pos())
        self._overlay = None if canvas is None else _Overlay(canvas)

    def stretch(self, event: Any) -> None:
        """Extend the box to the position of the mouse."""
        self._end = _MousePosition(event)
        if self._overlay is not None:
            self._overlay.draw(self.polygon())

    def polygon(self) -> np.ndarray:
        """Return the four corners in order, as (x, y) in pixels of the canvas: shape (4, 2)."""
        begin, end = (
            np.array(self._layer.world_to_data(at.position)) for at in (self._start, self._end)
        )
        corners = np.array([begin] * 4)
        corners[2:, -2], corners[1:3, -1] = end[-2], end[-1]
        world = np.array([self._layer.data_to_world(corner)[-2:] for corner in corners])
        return _on_canvas(world, self._start, self._end)

    def hide(self) -> None:
        """Remove the box."""
        if self._overlay is not None:
            self._overlay.hide()
            self._overlay.deleteLater()
            self._overlay = None


class StrokeBand:
    """A stroke along the path of the mouse.

    Parameters
    ----------
    event
        napari's mouse event of pressing the button.

    Attributes
    ----------
    positions
        Positions of the mouse so far, in world coordinates.
    """

    def __init__(self, event: Any) -> None:
        self.positions = [tuple(event.position)]
        self._path = [np.array(event.pos, float)]
        canvas = QApplication.widgetAt(QCursor.pos())
        self._overlay = None if canvas is None else _Overlay(canvas, closed=False)

    def stretch(self, event: Any) -> None:
        """Extend the stroke to the position of the mouse."""
        self.positions.append(tuple(event.position))
        self._path.append(np.array(event.pos, float))
        if self._overlay is not None:
            self._overlay.draw(np.array(self._path))

    def hide(self) -> None:
        """Remove the stroke."""
        if self._overlay is not None:
            self._overlay.hide()
            self._overlay.deleteLater()
            self._overlay = None


class _MousePosition:
    """A position of the mouse: (x, y) in pixels of the canvas, and in world coordinates."""

    def __init__(self, event: Any) -> None:
        self.pos = np.array(event.pos, float)
        self.position = tuple(event.position)


def _on_canvas(world: np.ndarray, start: _MousePosition, end: _MousePosition) -> np.ndarray:
    """Map (y, x) of the world to (x, y) of the canvas.

    Scale and mirroring are computed from two positions of the mouse.
    """
    moved = np.array(end.position[-2:]) - start.position[-2:]
    pixels = (end.pos - start.pos)[::-1]
    length = float(np.hypot(*moved))
    zoom = float(np.hypot(*pixels)) / length if length else 0.0
    mirrored = np.where(moved * pixels < 0, -1, 1)
    return start.pos + (zoom * mirrored * (world - start.position[-2:]))[:, ::-1]


class _Overlay(QWidget):
    """A transparent widget over the canvas that draws one polygon or path and ignores the mouse."""

    def __init__(self, canvas: QWidget, closed: bool = True) -> None:
        super().__init__(canvas)
        self._closed = closed
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setAttribute(Qt.WidgetAttribute.WA_NoSystemBackground)
        self.setGeometry(canvas.rect())
        self._polygon = QPolygonF()

    def draw(self, corners: np.ndarray) -> None:
        """Show a polygon or path whose corners are (x, y) in pixels: shape (n, 2)."""
        self._polygon = QPolygonF([QPointF(float(x), float(y)) for x, y in corners])
        self.show()
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802, Qt's name
        """Draw the polygon."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        colour = self.palette().highlight().color()
        painter.setPen(QPen(colour, 2))
        if self._closed:
            painter.setBrush(QColor(colour.red(), colour.green(), colour.blue(), FILLING))
            painter.drawPolygon(self._polygon)
        else:
            for pen in STROKE:  # visible on any image
                painter.setPen(QPen(QColor(pen[0]), pen[1]))
                painter.drawPolyline(self._polygon)
        painter.end()
