"""A row of buttons for the tools, with icons that are drawn in the colours of the theme."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, QSignalBlocker, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import (
    QHBoxLayout,
    QPushButton,
    QStyle,
    QStyleOptionButton,
    QStylePainter,
    QWidget,
)

from napari_ptsam.widgets.annotate.tool_table import TOOLS, with_key

if TYPE_CHECKING:
    from napari_ptsam.widgets.annotate.object_tools import ObjectTools

SIDE = 24
"""Side of the square that the icons are drawn in, in units of their own."""
SMALLEST, LARGEST = 26, 28
"""Limits of the side of a button in pixels; all buttons have to fit a small screen."""
GAP = 6
"""Pixels to the right of a button's text."""
CHOSEN = QColor("#2E86DE")
"""Background of the button of the chosen tool."""


class ToolRow(QWidget):
    """Buttons for all tools, and one for the card of keys.

    Attributes
    ----------
    buttons
        Button of each tool, by its name in the tool table.
    card
        Button for the card.
    """

    def __init__(self, tools: ObjectTools) -> None:
        super().__init__()
        self._tools = tools
        self.buttons: dict[str, IconButton] = {}
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        for tool in TOOLS:
            made = IconButton(ICONS[tool.name], tool.label if tool.name == "click" else "")
            made.setCheckable(tool.name != "new")
            made.setToolTip(f"{tool.label}. {tool.tip}")
            made.setAccessibleName(tool.label)
            if tool.name == "new":
                made.clicked.connect(lambda checked=False: tools.choose("new"))
            else:
                made.toggled.connect(partial(self._toggled, tool.name))
            self.buttons[tool.name] = made
            layout.addWidget(made)
            if tool.name in ("add", "split"):
                layout.addSpacing(4)
        layout.addStretch(1)
        self.card = IconButton(_question)
        self.card.setToolTip("Show the keys and what the mouse does.")
        self.card.setAccessibleName("Keys and gestures")
        layout.addWidget(self.card)
        tools.tool_changed.connect(self._show_tool)
        self._show_tool()

    def _toggled(self, tool: str, on: bool) -> None:
        if on or self._tools.tool == tool:
            self._tools.choose(tool if on else "")

    def _show_tool(self) -> None:
        """Show which tool is chosen."""
        for name, made in self.buttons.items():
            with QSignalBlocker(made):
                made.setChecked(made.isCheckable() and name == self._tools.tool)

    def show_keys(self, keys: dict[str, str]) -> None:
        """Add keys to the tooltips, by the names of their actions."""
        for tool in TOOLS:
            tip = with_key(f"{tool.label}. {tool.tip}", keys.get(tool.name, ""))
            self.buttons[tool.name].setToolTip(tip)
        self.card.setToolTip(
            with_key("Show the keys and what the mouse does.", keys.get("card", ""))
        )


class IconButton(QPushButton):
    """A button with an icon that is drawn in the colour of the text.

    Parameters
    ----------
    icon
        Draws the icon in a square of `SIDE` units. The painter's pen and brush
        have the colour of the text.
    text
        Text beside the icon.
    """

    def __init__(self, icon: Callable[[QPainter], None], text: str = "") -> None:
        super().__init__()
        self._icon = icon
        self.setText(text)
        # A click leaves the focus with the canvas, where the space bar moves the view.
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)

    def sizeHint(self) -> QSize:  # noqa: N802, Qt's name
        """Return a square that grows with the font, with room for the text beside it."""
        metrics = self.fontMetrics()
        side = min(max(metrics.height() + 11, SMALLEST), LARGEST)
        text = metrics.horizontalAdvance(self.text()) + GAP if self.text() else 0
        return QSize(side + text, side)

    def minimumSizeHint(self) -> QSize:  # noqa: N802, Qt's name
        """Return the same size."""
        return self.sizeHint()

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802, Qt's name
        """Draw the button of the style, and icon and text over it."""
        painter, option = QStylePainter(self), QStyleOptionButton()
        self.initStyleOption(option)
        option.text = ""
        painter.drawControl(QStyle.ControlElement.CE_PushButton, option)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        area = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
        colour = self.palette().buttonText().color()
        if self.isChecked():
            colour = QColor("white")
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(CHOSEN)
            painter.drawRoundedRect(area, 3, 3)
        pen = QPen(colour, 2)
        pen.setCapStyle(Qt.PenCapStyle.RoundCap)
        pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
        painter.setPen(pen)
        if self.text():
            where = self.rect().adjusted(self.height(), 0, 0, 0)
            alignment = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft
            painter.drawText(where, alignment, self.text())
        side = self.height() - 8
        painter.translate(4, 4)
        painter.scale(side / SIDE, side / SIDE)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        self._icon(painter)
        painter.end()


# The icons


def _polygon(*points: tuple[float, float]) -> QPolygonF:
    return QPolygonF([QPointF(x, y) for x, y in points])


def _filled(painter: QPainter) -> None:
    painter.setBrush(painter.pen().color())


def _click(painter: QPainter) -> None:
    """Draw an arrow of the mouse on an object."""
    painter.drawArc(QRectF(2, 2, 14, 14), -20 * 16, 290 * 16)
    _filled(painter)
    painter.drawPolygon(_polygon((10, 9), (10, 21), (13, 18), (15.5, 22.5), (17.5, 21.5), (15.5, 17),
                                 (19.5, 17)))  # fmt: skip


def _box(painter: QPainter) -> None:
    """Draw an object in a dashed box."""
    pen = painter.pen()
    dashed = QPen(pen)
    dashed.setDashPattern([2, 1.8])
    painter.setPen(dashed)
    painter.drawRect(QRectF(2, 3, 20, 18))
    painter.setPen(pen)
    _filled(painter)
    painter.drawEllipse(QRectF(8, 8.5, 8, 7))


def _add(painter: QPainter) -> None:
    """Draw an object with a plus at the place of its missing part."""
    painter.drawChord(QRectF(2, 6, 16, 16), 90 * 16, 270 * 16)
    painter.drawLine(QPointF(18, 2), QPointF(18, 12))
    painter.drawLine(QPointF(13, 7), QPointF(23, 7))


def _erase(painter: QPainter) -> None:
    """Draw an object that is crossed out."""
    painter.drawEllipse(QRectF(2, 2, 20, 20))
    painter.drawLine(QPointF(8, 8), QPointF(16, 16))
    painter.drawLine(QPointF(16, 8), QPointF(8, 16))


def _merge(painter: QPainter) -> None:
    """Draw two objects with an arrow from each to the other."""
    painter.drawArc(QRectF(1, 5, 14, 14), 60 * 16, 240 * 16)
    painter.drawArc(QRectF(9, 5, 14, 14), -120 * 16, 240 * 16)
    painter.drawLine(QPointF(8, 12), QPointF(16, 12))


def _split(painter: QPainter) -> None:
    """Draw an object and a stroke through it."""
    painter.drawArc(QRectF(1, 4, 16, 16), 70 * 16, 220 * 16)
    painter.drawArc(QRectF(7, 4, 16, 16), -110 * 16, 220 * 16)
    painter.drawLine(QPointF(14, 1), QPointF(10, 23))


def _brush(painter: QPainter) -> None:
    """Draw a brush."""
    painter.drawLine(QPointF(21, 3), QPointF(12, 13))
    _filled(painter)
    painter.drawPolygon(_polygon((9, 12), (13, 16), (10, 20), (3, 21), (6, 18), (6, 15)))


def _eraser(painter: QPainter) -> None:
    """Draw an eraser."""
    painter.drawPolygon(_polygon((14, 3), (21, 10), (11, 20), (6, 20), (3, 16)))
    painter.drawLine(QPointF(8.5, 9), QPointF(15.5, 16))
    painter.drawLine(QPointF(11, 20), QPointF(21, 20))


def _ignore(painter: QPainter) -> None:
    """Draw a hatched square."""
    painter.drawRect(QRectF(3, 3, 18, 18))
    for at in (9.0, 15.0, 21.0):
        painter.drawLine(QPointF(3, at), QPointF(at, 3))
    for at in (9.0, 15.0):
        painter.drawLine(QPointF(at, 21), QPointF(21, at))


def _region(painter: QPainter) -> None:
    """Draw the corners of a frame."""
    for x, y in ((3, 3), (21, 3), (3, 21), (21, 21)):
        painter.drawLine(QPointF(x, y), QPointF(x + (6 if x < 12 else -6), y))
        painter.drawLine(QPointF(x, y), QPointF(x, y + (6 if y < 12 else -6)))
    painter.drawEllipse(QRectF(9, 9, 6, 6))


def _new(painter: QPainter) -> None:
    """Draw a tag with a plus."""
    painter.drawPolygon(_polygon((2, 6), (12, 6), (17, 13), (12, 20), (2, 20)))
    painter.drawLine(QPointF(19, 1.5), QPointF(19, 9.5))
    painter.drawLine(QPointF(15, 5.5), QPointF(23, 5.5))


def _question(painter: QPainter) -> None:
    """Draw a question mark."""
    painter.drawArc(QRectF(7, 3, 10, 10), -60 * 16, 240 * 16)
    painter.drawLine(QPointF(14.5, 12.3), QPointF(12, 14))
    painter.drawLine(QPointF(12, 14), QPointF(12, 16))
    _filled(painter)
    painter.drawEllipse(QRectF(11.3, 20, 1.4, 1.4))


ICONS = {
    "click": _click, "box": _box, "add": _add, "erase": _erase, "merge": _merge, "split": _split,
    "brush": _brush, "eraser": _eraser, "ignore": _ignore, "region": _region, "new": _new,
}  # fmt: skip
"""Icon of each tool."""
