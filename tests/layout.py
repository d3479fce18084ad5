"""What of a form is cut on a small screen, and what can be worked on in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractScrollArea,
    QAbstractSpinBox,
    QApplication,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QHeaderView,
    QLabel,
    QLineEdit,
    QListWidget,
    QProgressBar,
    QPushButton,
    QRadioButton,
    QSpinBox,
    QStyle,
    QStyleOptionComboBox,
    QTableWidget,
    QToolButton,
    QWidget,
)

from napari_ptsam.widgets.shared.qt_helpers import NameBox

LAPTOP = 1366, 768
CONTROLS = (
    QPushButton, QRadioButton, QCheckBox, QToolButton, QComboBox, QSpinBox, QDoubleSpinBox,
    QLineEdit, QTableWidget, QListWidget,
)  # fmt: skip


def settle() -> None:
    for _ in range(5):
        QApplication.processEvents()
    QTest.qWait(100)  # what is shown of the planes follows in a moment


def cut_on_a_laptop(
    window: QWidget, widget: QWidget, states: Iterable[tuple[str, Any]]
) -> list[str]:
    """What is cut in each state of a widget; the window has to fit the screen in all of them."""
    problems = []
    for name, show in states:
        show()
        window.resize(*LAPTOP)
        settle()
        assert (window.width(), window.height()) == LAPTOP, name
        problems += [f"{name}: {found}" for found in cut(widget)]
    return problems


# What is cut


def cut(widget: QWidget) -> list[str]:
    """Visible children whose text has not the room that it needs."""
    found = [
        f"{type(child).__name__} {text_of(child)}"
        for child in widget.findChildren(QWidget)
        if child.isVisible() and (_too_small(child) or _off_the_side(child))
    ]
    return [*found, *_cut_headers(widget)]


def text_of(child: Any) -> str:
    return child.text() if hasattr(child, "text") else getattr(child, "currentText", str)()


def _too_small(child: QWidget) -> bool:
    if isinstance(child, QLabel):
        if child.wordWrap():
            return child.height() < child.heightForWidth(child.width())
        return child.width() < child.sizeHint().width()
    if isinstance(child, QAbstractButton) and child.text():
        hint = child.minimumSizeHint()
        return child.width() < hint.width() or child.height() < hint.height()
    if isinstance(child, QProgressBar):
        return child.width() < advance(child, child.text())
    if isinstance(child, QComboBox) and not isinstance(child, NameBox):
        option = QStyleOptionComboBox()
        child.initStyleOption(option)
        room = child.style().subControlRect(
            QStyle.ComplexControl.CC_ComboBox, option,
            QStyle.SubControl.SC_ComboBoxEditField, child,
        )  # fmt: skip
        return room.width() < advance(child, child.currentText())
    if isinstance(child, QAbstractSpinBox):
        return child.lineEdit().width() < advance(child, child.text())
    return False


def advance(child: QWidget, words: str) -> int:
    return child.fontMetrics().horizontalAdvance(words)


def _off_the_side(child: QWidget) -> bool:
    """Whether parents hide a part of it at the side; below, one may scroll."""
    around = child.parentWidget()
    while around is not None and not isinstance(around, QAbstractScrollArea):
        around = around.parentWidget()
    if around is None or isinstance(around, QTableWidget) or isinstance(child, QHeaderView):
        return False
    view = around.viewport()
    left = child.mapTo(around, child.rect().topLeft()).x() - view.x()
    inside = around.isAncestorOf(child) and child is not view and view.isAncestorOf(child)
    return inside and (left < 0 or left + child.width() > view.width())


def _cut_headers(widget: QWidget) -> list[str]:
    found = []
    for table in widget.findChildren(QTableWidget):
        if not table.isVisible():
            continue
        header = table.horizontalHeader()
        shown = [n for n in range(table.columnCount()) if not table.isColumnHidden(n)]
        found += [
            f"column {table.horizontalHeaderItem(n).text()}"
            for n in shown
            if header.sectionSize(n) < header.sectionSizeHint(n)
        ]
        if sum(header.sectionSize(n) for n in shown) > table.viewport().width():
            found.append(f"columns of {table.toolTip()}")
    return found


def controls_of(widget: QWidget) -> Iterator[QWidget]:
    """What a user can work on; not the parts that it is made of."""
    for child in widget.findChildren(CONTROLS):
        of_another = isinstance(child.parent(), (QAbstractSpinBox, QComboBox, QTableWidget))
        in_bar = child.objectName() in ("ScrollLeftButton", "ScrollRightButton")
        if not of_another and not in_bar and "Private" not in type(child).__name__:
            yield child
