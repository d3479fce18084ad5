"""Tooltips in several lines, and fonts of napari's size."""

from __future__ import annotations

from qtpy.QtWidgets import QFormLayout, QLabel, QSpinBox, QTabWidget, QToolButton, QWidget

from napari_ptsam.widgets.shared.qt_helpers import local_time
from napari_ptsam.widgets.shared.window_style import adopt_style, wrapped

LONG_TIP = "A sentence that is much too long for one line of a tooltip. " * 3


def test_tooltips_are_wrapped_and_labels_have_those_of_their_fields(qtbot) -> None:
    root, field, tabs = QWidget(), QSpinBox(), QTabWidget()
    field.setToolTip(LONG_TIP + "a < b")
    tabs.addTab(QWidget(), "first")
    tabs.setTabToolTip(0, LONG_TIP)
    form = QFormLayout(root)
    form.addRow("Number", field)
    form.addRow(tabs)
    adopt_style(root)
    qtbot.addWidget(root)
    root.show()
    assert field.toolTip() == wrapped(LONG_TIP + "a < b") and "a &lt; b" in field.toolTip()
    (label,) = [each for each in root.findChildren(QLabel) if each.text() == "Number"]
    assert label.toolTip() == field.toolTip() and tabs.tabToolTip(0) == wrapped(LONG_TIP)
    assert wrapped("<b>rich</b>") == "<b>rich</b>" and ">a<br>b</p>" in wrapped("a\nb")
    assert wrapped(LONG_TIP).count("<br>") == 2


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
