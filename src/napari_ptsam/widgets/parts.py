"""Small pieces that the tabs are made of."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)


def button(text: str, tip: str, clicked: Callable[[], object] | None = None) -> QPushButton:
    """A push button with a tooltip."""
    made = QPushButton(text)
    made.setToolTip(tip)
    made.setAutoDefault(True)  # Enter presses it when it has the focus
    if clicked is not None:
        made.clicked.connect(lambda checked=False: clicked())
    return made


def text(words: str = "", tip: str = "") -> QLabel:
    """A label that breaks its lines."""
    made = QLabel(words)
    made.setWordWrap(True)
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


def line() -> QFrame:
    """A thin line between two parts."""
    made = QFrame()
    made.setFrameShape(QFrame.Shape.HLine)
    return made


def swatch(colour: str) -> QIcon:
    """A small square of a colour."""
    pixmap = QPixmap(QSize(14, 14))
    pixmap.fill(QColor(colour))
    return QIcon(pixmap)


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
        width = inner.minimumSizeHint().width() + self.verticalScrollBar().sizeHint().width()
        return QSize(width, hint.height())
