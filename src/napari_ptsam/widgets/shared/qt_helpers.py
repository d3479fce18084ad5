"""Small pieces that the tabs are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtGui import QColor, QIcon, QPaintEvent, QPixmap
from qtpy.QtWidgets import (
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

T = TypeVar("T")

EDGE = 4
"""Pixels that napari's style leaves around what scrolls, at most."""


def present(part: T | None) -> T:
    """Return a part of a widget that Qt's type hints call optional, but that is always there."""
    assert part is not None
    return part


def single_shot(parent: QObject, milliseconds: int) -> QTimer:
    """Return a timer that fires once, so many milliseconds after its last start."""
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    return timer


def button(text: str, tip: str, clicked: Callable[[], object] | None = None) -> QPushButton:
    """A push button with a tooltip."""
    made = QPushButton(text)
    made.setToolTip(tip)
    made.setAutoDefault(True)  # Enter presses it when it has the focus
    if clicked is not None:
        made.clicked.connect(lambda checked=False: clicked())
    return made


class Fold(QToolButton):
    """A button with an arrow that shows a part and hides it again; hidden at first."""

    def __init__(self, words: str, tip: str, part: QWidget) -> None:
        super().__init__()
        self._part = part
        self.setText(words)
        self.setToolTip(tip)
        self.setCheckable(True)
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.toggled.connect(self.unfold)
        self.unfold(False)

    def unfold(self, wanted: bool) -> None:
        """Show the part or hide it, whether or not the button is pressed."""
        self._part.setVisible(wanted)
        self.setArrowType(Qt.ArrowType.DownArrow if wanted else Qt.ArrowType.RightArrow)


class Text(QLabel):
    """A label that breaks its lines, and takes no room while it is empty."""

    def __init__(self, words: str = "") -> None:
        super().__init__(words)
        self.setWordWrap(True)
        self.setHidden(not words)

    def setText(self, words: str | None) -> None:  # noqa: N802, Qt's name
        """Show words, or nothing."""
        super().setText(words)
        if not words or self.parent() is not None:  # else it would open a window of its own
            self.setHidden(not words)


def text(words: str = "", tip: str = "") -> QLabel:
    """A label that breaks its lines."""
    made = Text(words)
    made.setToolTip(tip)
    made.setTextFormat(Qt.TextFormat.PlainText)
    made.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    return made


def row(*widgets: QWidget, stretch: int | None = None) -> QHBoxLayout:
    """Widgets side by side; number ``stretch`` takes what is left."""
    layout = QHBoxLayout()
    layout.setContentsMargins(0, 0, 0, 0)
    for number, widget in enumerate(widgets):
        layout.addWidget(widget, 1 if number == stretch else 0)
    return layout


class NameBox(QComboBox):
    """A choice of names that may be longer than the box: their middle is left out."""

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802, Qt's name
        """As Qt does it, but for the name."""
        painter, option = QStylePainter(self), QStyleOptionComboBox()
        self.initStyleOption(option)
        style = self.style()
        assert style is not None
        field = QStyle.SubControl.SC_ComboBoxEditField
        room = style.subControlRect(QStyle.ComplexControl.CC_ComboBox, option, field, self)
        option.currentText = self.fontMetrics().elidedText(
            self.currentText(), Qt.TextElideMode.ElideMiddle, room.width() - 4
        )
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)


def line() -> QFrame:
    """A thin line between two parts."""
    made = QFrame()
    made.setFrameShape(QFrame.Shape.HLine)
    return made


def swatch(colour: str) -> QIcon:
    """A small square of a colour."""
    pixmap = QPixmap(QSize(14, 14))
    pixmap.fill(QColor(colour))
    icon = QIcon(pixmap)
    icon.addPixmap(pixmap, QIcon.Mode.Selected)  # else it would be tinted
    return icon


class Scrolling(QScrollArea):
    """A column of widgets that scrolls when the screen is too low for it."""

    def __init__(self) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        inner = QWidget()
        self.column = QVBoxLayout(inner)
        self.column.setContentsMargins(4, 6, 4, 4)
        self.column.setSpacing(5)
        self.setWidget(inner)

    def minimumSizeHint(self) -> QSize:  # noqa: N802, Qt's name
        """As wide as what is in it, so that nothing is cut at the side."""
        hint = super().minimumSizeHint()
        inner = self.widget()
        assert inner is not None
        width = (
            inner.minimumSizeHint().width() + present(self.verticalScrollBar()).sizeHint().width()
        )
        return QSize(width + EDGE, hint.height())

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802
        """Tell those around when what is in it needs another width."""
        done = super().eventFilter(watched, event)
        if event is not None and event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return done


def in_time(seconds: float | None) -> str:
    """Seconds that are left, as one would say it."""
    if seconds is None:
        return "?"
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
