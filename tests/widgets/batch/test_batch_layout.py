"""The form of "Batch segment" on a small screen, in both themes, and by keyboard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QProgressBar

from conftest_batch import choose
from layout import LAPTOP, controls_of, cut_on_a_laptop, settle, text_of
from napari_ptsam.images.planes import PixelSize
from napari_ptsam.prompts.prompt import Origin, default_colours
from napari_ptsam.widgets.batch.batch_segment import BatchSegment


@pytest.fixture
def on_laptop(make_napari_viewer, prompt) -> Iterator[tuple[Any, BatchSegment]]:
    """Return a window of a laptop's size, with images and prompts of long names."""
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(*LAPTOP)
    noise = np.random.default_rng(0).integers(0, 999, (20, 64, 64)).astype(np.uint16)
    where = {"scale": (1, 0.1, 0.1), "units": ("um",) * 3}
    viewer.add_image(noise, name="a nuclei stack of a rather long name", **where)
    viewer.add_image(noise[:3], name="three planes", **where)
    widget = BatchSegment(viewer)
    viewer.window.add_dock_widget(widget, name="Batch segment")
    wordy_prompt = replace(
        prompt, classes=("nucleus in interphase", "mitotic nucleus", "debris"),
        tokens=np.concatenate([prompt.tokens] * 3), colours=default_colours(3), markers=None,
        pixel_size=PixelSize(0.65, 0.65), notes="Stained with Hoechst, 20x. " * 4,
        licence="CC BY 4.0", origin=Origin(16, 4, 400, 4, 0, 0.871),
    )  # fmt: skip
    widget.prompts.add(wordy_prompt, Path("nuclei of a cell line with a long name 2026-01-31.pt"))
    widget.prompts.add(prompt, Path("nuclei.pt"))
    widget.prompts.list.setCurrentRow(0)
    widget.layers.tick_all(True)
    yield viewer, widget
    widget.close_down(10)


def states(widget: BatchSegment) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the states of the form, each with a function that shows it."""
    results = widget.results
    yield "classes", lambda: None
    yield "a range", lambda: choose(widget.planes.which, "range")
    yield "instances", lambda: choose(results.output, "instances")
    yield "linked", lambda: results.objects.linked.setChecked(True)
    yield "files", lambda: choose(results.where, "both")
    yield "running", lambda: show_run(widget)


def show_run(widget: BatchSegment) -> None:
    """Show the form as it is during a run."""
    widget.bar.setRange(0, 2000)
    widget.bar.setValue(1888)
    widget.bar.setFormat("Plane %v of %m, 99 min left")
    widget.bar.show()
    widget.start_button.hide()  # the bar takes its place
    widget.stop_button.show()
    widget.status.setText("Done: 12 images segmented in 12 min. The files are in /home/a/results.")


@pytest.mark.parametrize(("theme", "size"), [("dark", 9), ("light", 12), ("dark", 14)])
def test_it_fits_a_small_screen(on_laptop, appearance, theme: str, size: int) -> None:
    _, widget = on_laptop
    appearance.theme, appearance.font_size = theme, size
    window = widget.window()
    problems = cut_on_a_laptop(window, widget, states(widget))
    assert problems == [] and widget.warnings.text()
    canvas = window.centralWidget()
    assert canvas.width() > LAPTOP[0] / 4


def test_every_control_has_a_tooltip_and_is_reached_by_the_tab_key(on_laptop, qtbot) -> None:
    _, widget = on_laptop
    window = widget.window()
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow, timeout=5000)
    for _, show in list(states(widget))[:-1]:
        show()
    settle()
    controls = list(controls_of(widget))
    assert len(controls) > 20
    assert [f"{type(c).__name__} {text_of(c)}" for c in controls if len(c.toolTip()) < 10] == []
    assert all(bar.toolTip() for bar in widget.findChildren(QProgressBar))
    reachable = {c for c in controls if c.isVisible() and c.isEnabled()}
    widget.prompts.open.setFocus()
    reached = set()
    for _ in range(60):
        focused = QApplication.focusWidget()
        if focused is None or not widget.isAncestorOf(focused):
            break
        reached.add(focused)
        QTest.keyClick(focused, Qt.Key.Key_Tab)
    assert [f"{type(c).__name__} {text_of(c)}" for c in reachable - reached] == []


def test_keys_do_what_the_mouse_does(on_laptop) -> None:
    _, widget = on_laptop
    QTest.keyClick(widget.images.none, Qt.Key.Key_Return)
    assert widget.layers.ticked() == []
    widget.layers.setCurrentRow(1)
    QTest.keyClick(widget.layers, Qt.Key.Key_Space)
    assert [layer.name for layer in widget.layers.ticked()] == ["three planes"]
    QTest.keyClick(widget.images.axes, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    QTest.keyClicks(widget.images.axes, "tyx")
    QTest.keyClick(widget.images.axes, Qt.Key.Key_Return)
    assert widget.layers.item(1).text() == "three planes – TYX 3 x 64 x 64"
    QTest.keyClick(widget.prompts.list, Qt.Key.Key_Delete)
    assert [opened.name for opened in widget.prompts.opened] == ["nuclei"]
