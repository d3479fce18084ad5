"""Tooltips in several lines, and fonts of napari's size."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QPoint
from qtpy.QtGui import QHelpEvent
from qtpy.QtWidgets import (
    QFormLayout,
    QLabel,
    QListWidget,
    QSpinBox,
    QToolButton,
    QToolTip,
    QWidget,
)

from napari_ptsam.widgets.shared.qt_helpers import local_time
from napari_ptsam.widgets.shared.window_style import adopt_style, tooltip_at, wrapped

LONG_TIP = "A sentence that is much too long for one line of a tooltip. " * 3


def shown_tip(widget: QWidget) -> str:
    """Return the tooltip that is shown when the mouse rests on a widget."""
    where = QPoint(3, 3)
    event = QHelpEvent(QEvent.Type.ToolTip, where, widget.mapToGlobal(where))
    from qtpy.QtWidgets import QApplication

    QApplication.sendEvent(widget, event)
    return QToolTip.text()


def test_tooltips_are_wrapped_and_labels_have_those_of_their_fields(qtbot) -> None:
    root = QWidget()
    field, names = QSpinBox(), QListWidget()
    field.setToolTip(LONG_TIP + "a < b")
    names.addItem("first")
    names.item(0).setToolTip("The first name.")
    form = QFormLayout(root)
    form.addRow("Number", field)
    form.addRow(names)
    adopt_style(root)
    qtbot.addWidget(root)
    root.show()
    assert shown_tip(field) == wrapped(LONG_TIP + "a < b") and "a &lt; b" in shown_tip(field)
    (label,) = [each for each in root.findChildren(QLabel) if each.text() == "Number"]
    assert shown_tip(label) == shown_tip(field)
    where = names.visualItemRect(names.item(0)).center()
    event = QHelpEvent(QEvent.Type.ToolTip, where, names.viewport().mapToGlobal(where))
    assert tooltip_at(names.viewport(), event) == "The first name."
    assert wrapped("<b>rich</b>") == "<b>rich</b>" and wrapped("a\nb") == "<qt>a<br>b</qt>"


def test_fonts_follow_napari(qtbot, appearance) -> None:
    appearance.font_size = 14
    root = QWidget()
    inner = QToolButton(root)
    adopt_style(root)
    qtbot.addWidget(root)
    root.show()
    assert inner.font().pointSize() == 14
    appearance.font_size = 10
    root.hide()
    root.show()
    assert inner.font().pointSize() == 10


def test_times_are_local() -> None:
    assert local_time("") == "" and local_time("long ago") == "long ago"
    assert local_time("2026-01-31T14:05:00") == "2026-01-31 14:05"
    assert len(local_time("2026-01-31T14:05:00+00:00")) == 16
