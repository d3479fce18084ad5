"""Small widgets and functions that the docks are built from."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from typing import TypeVar

from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtGui import QColor, QIcon, QPaintEvent, QPixmap
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
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

FIELDS = (QComboBox, QAbstractSpinBox, QLineEdit)

SCROLL_AREA_MARGIN = 4
"""Largest margin in pixels that napari's style leaves around the content of a scroll area."""
UNWRAPPED = 9999
"""Width of a label in pixels at which no text wraps."""


def not_none(value: T | None) -> T:
    """Return a value that is optional in Qt's type hints, but that always exists."""
    assert value is not None
    return value


def single_shot(parent: QObject, milliseconds: int) -> QTimer:
    """Return a timer that fires once, ``milliseconds`` after it was last started."""
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    return timer


def button(label: str, tip: str, clicked: Callable[[], object] | None = None) -> QPushButton:
    """Return a push button with a tooltip."""
    widget = QPushButton(label)
    widget.setToolTip(tip)
    widget.setAutoDefault(True)  # Enter presses the button when it has the focus
    if clicked is not None:
        widget.clicked.connect(lambda checked=False: clicked())
    return widget


# superqt's QCollapsible takes 1.4 times as long to make and to open, leaves hidden fields in the
# order of the Tab key, and does not show the focus.
class Fold(QToolButton):
    """A button with an arrow that shows and hides another widget, which is hidden at first."""

    def __init__(self, label: str, tip: str, content: QWidget) -> None:
        super().__init__()
        self._content = content
        self.setText(label)
        self.setToolTip(tip)
        self.setCheckable(True)
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.toggled.connect(self.unfold)
        self.unfold(False)

    def unfold(self, visible: bool) -> None:
        """Show or hide the content, whether or not the button is pressed."""
        self._content.setVisible(visible)
        self.setArrowType(Qt.ArrowType.DownArrow if visible else Qt.ArrowType.RightArrow)


class WrappedLabel(QLabel):
    """A label that wraps its text.

    Parameters
    ----------
    text
        Text at first.
    lines
        Number of lines that the label takes up at least, so that a longer text does not move what
        is below. If it is 0, an empty label takes up no space.
    """

    def __init__(self, text: str = "", lines: int = 0) -> None:
        super().__init__(text)
        self._lines = lines
        self.setWordWrap(True)
        self.setHidden(not text and not lines)

    def setText(self, text: str | None) -> None:  # noqa: N802, Qt's name
        """Set the text; an empty text hides the label, unless it has a smallest size."""
        super().setText(text)
        # Without a parent, the label would become a window.
        if not self._lines and (not text or self.parent() is not None):
            self.setHidden(not text)

    def hasHeightForWidth(self) -> bool:  # noqa: N802, Qt's name
        """Return whether the height depends on the width, also while a label is empty."""
        return bool(self._lines) or super().hasHeightForWidth()

    def heightForWidth(self, width: int) -> int:  # noqa: N802, Qt's name
        """Return the height of the text, or of the smallest number of lines."""
        height = super().heightForWidth(width)
        if not self._lines:
            return height
        one, fewest = (self.fontMetrics().size(0, "\n" * n).height() for n in (0, self._lines - 1))
        return max(height, max(super().heightForWidth(UNWRAPPED), one) + fewest - one)


def plain_tip(text: str) -> str:
    """Return a tooltip that shows text as it is, also where a name looks like HTML."""
    return text.replace("<", "&lt;")


def text_label(text: str = "", tip: str = "", lines: int = 0) -> QLabel:
    """Return a label that wraps plain text, see `WrappedLabel`."""
    label = WrappedLabel(text, lines)
    label.setToolTip(tip)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    return label


def warning_label(tip: str) -> QLabel:
    """Return a label for warnings, in orange."""
    label = text_label(tip=tip)
    label.setStyleSheet("color: #D55E00;")
    return label


def row(*widgets: QWidget, stretch: int | None = None) -> QHBoxLayout:
    """Lay out widgets side by side; the widget at index ``stretch`` takes the free space.

    A label in front of a field belongs to it.
    """
    for label, field in pairwise(widgets):
        if isinstance(label, QLabel) and isinstance(field, FIELDS) and label.text():
            label.setBuddy(field)
    layout = QHBoxLayout()
    layout.setContentsMargins(0, 0, 0, 0)
    for index, widget in enumerate(widgets):
        layout.addWidget(widget, 1 if index == stretch else 0)
    return layout


class NameBox(QComboBox):
    """A combo box for long names: it leaves out the middle of those that do not fit."""

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802, Qt's name
        """Paint the box as Qt does, with the elided name."""
        painter, option = QStylePainter(self), QStyleOptionComboBox()
        self.initStyleOption(option)
        field = not_none(self.style()).subControlRect(
            QStyle.ComplexControl.CC_ComboBox, option, QStyle.SubControl.SC_ComboBoxEditField, self
        )
        option.currentText = self.fontMetrics().elidedText(
            self.currentText(), Qt.TextElideMode.ElideMiddle, field.width() - 4
        )
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)


def show_waiting(bar: QProgressBar, text: str) -> None:
    """Show a progress bar with a text, before the number of steps is known."""
    bar.setRange(0, 1)  # a bar without an end would not show its text
    bar.setValue(0)
    bar.setFormat(text)
    bar.show()


def separator() -> QFrame:
    """Return a thin horizontal line."""
    frame = QFrame()
    frame.setFrameShape(QFrame.Shape.HLine)
    return frame


def colour_icon(colour: str) -> QIcon:
    """Return a small square of a colour as an icon."""
    return untinted_icon(solid_pixmap(colour, 14))


def solid_pixmap(colour: str, side: int) -> QPixmap:
    """Return a square of one colour, ``side`` pixels wide."""
    pixmap = QPixmap(QSize(side, side))
    pixmap.fill(QColor(colour))
    return pixmap


def untinted_icon(pixmap: QPixmap) -> QIcon:
    """Return an icon that keeps its colours when its row is selected."""
    icon = QIcon(pixmap)
    icon.addPixmap(pixmap, QIcon.Mode.Selected)
    return icon


class ScrollingColumn(QScrollArea):
    """A column of widgets that scrolls vertically when the screen is too small for it."""

    def __init__(self) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        content = QWidget()
        self.column = QVBoxLayout(content)
        self.column.setContentsMargins(4, 6, 4, 4)
        self.column.setSpacing(5)
        self.setWidget(content)

    def minimumSizeHint(self) -> QSize:  # noqa: N802, Qt's name
        """Return a size as wide as the content, so that nothing is cut off at the side."""
        content_width = not_none(self.widget()).minimumSizeHint().width()
        scroll_bar_width = not_none(self.verticalScrollBar()).sizeHint().width()
        height = super().minimumSizeHint().height()
        return QSize(content_width + scroll_bar_width + SCROLL_AREA_MARGIN, height)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802
        """Update the geometry when the content needs another width."""
        handled = super().eventFilter(watched, event)
        if event is not None and event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return handled


def local_time(text: str) -> str:
    """Return a time in ISO 8601 as local date and time, such as "2026-01-31 14:05"."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return text
    local = time.astimezone() if time.tzinfo is not None else time
    return local.strftime("%Y-%m-%d %H:%M")


def format_duration(seconds: float | None) -> str:
    """Return a duration as text, such as "42 s" or "3 min"; "?" if it is not known."""
    if seconds is None:
        return "?"
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
