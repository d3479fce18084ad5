"""The widget on a small screen, in both themes, with small and large letters, and by keyboard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QProgressBar, QPushButton, QRadioButton, QWidget

from conftest_widgets import refreshed
from layout import LAPTOP, advance, controls_of, cut, cut_on_a_laptop, settle, text_of
from napari_ptsam.annotation.plane_records import PlaneRecord
from napari_ptsam.annotation.scheme import Scheme
from napari_ptsam.training.settings import Progress
from napari_ptsam.training.verdict import verdict
from napari_ptsam.widgets.annotate.annotate_and_train import AnnotateAndTrain
from napari_ptsam.widgets.annotate.old_or_new import JudgedPrompt
from napari_ptsam.widgets.shared.qt_helpers import NameBox, text_label

ORIGIN = SimpleNamespace(
    held_out_dice=0.62,
    images=4,
    held_out_images=1,
    steps=200,
    measured_on_training=False,
    dice_error=0.03,
    cross_validated=False,
)
SAVED = (
    "Saved in /home/somebody/.local/share/napari-ptsam/sessions/2026-01-31-a-nuclei-stack-of-a-"
    "rather-long-name"
)


@pytest.fixture
def on_laptop(make_napari_viewer, dock, qtbot, monkeypatch) -> tuple[Any, AnnotateAndTrain]:
    """A window of a laptop's size, with two images that are annotated in part."""
    monkeypatch.setattr(AnnotateAndTrain, "_load", lambda self: None)
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(*LAPTOP)
    noise = np.random.default_rng(0).integers(0, 999, (20, 64, 64)).astype(np.uint16)
    viewer.add_image(noise, name="a nuclei stack of a rather long name")
    viewer.add_image(noise[:3], name="three channels")
    _, widget = dock(viewer)
    refreshed(qtbot, widget)  # the table of images follows in a moment
    widget.images._tick_all(True)
    widget.annotate.add_layers()
    for number in (0, 2, 17):
        entry = PlaneRecord(
            widget.session_model.images[0].id,
            number,
            {"object": 12345},
            done=True,
            held_out=False,
            dice=0.87,
        )
        widget.session_model.records.put(entry)
    widget.session_model.touch()
    refreshed(qtbot, widget)
    widget.images.table.setCurrentCell(1, 0)
    return viewer, widget


def test_what_is_cut_is_found(on_laptop) -> None:
    _, widget = on_laptop
    settle()
    assert cut(widget) == []
    widget.tabs.setCurrentWidget(widget.train)
    widget.train.train.setFixedWidth(10)
    settle()
    assert cut(widget) == ["QPushButton Train"]
    widget.train.train.setMaximumWidth(9999)
    settle()
    assert cut(widget) == []
    widget.train.train.move(widget.width() // 2, widget.train.train.y())
    assert cut(widget) == ["QPushButton Train"]


def test_the_tabs_stay_where_they_are_when_the_hint_changes(on_laptop) -> None:
    _, widget = on_laptop
    tops = set()
    for text in ("Short.", "A hint that is so long that it takes up a second line of the form."):
        widget.hint.setText(text)
        for button in (True, False):
            widget._go_button.setVisible(button)
            settle()
            tops.add(widget.tabs.y())
    assert len(tops) == 1


def test_buttons_stay_where_they_are_when_a_training_begins_and_ends(on_laptop) -> None:
    _, widget = on_laptop
    widget.tabs.setCurrentWidget(widget.train)
    train, tops = widget.train, set()
    train.options._toggle.setChecked(True)
    for show in (train.refresh, partial(begin, widget), partial(end, widget)):
        show()
        settle()
        tops.add(train.save.y() - train.options.y() - train.options.height())
    widget.session_model.prompt = None
    assert max(tops) - min(tops) <= 3


def test_the_columns_of_the_planes_fill_the_table(on_laptop) -> None:
    _, widget = on_laptop
    widget.tabs.setCurrentWidget(widget.annotate)
    table = widget.annotate.table
    for images in (2, 1):
        if images == 1:
            widget.session_model.use_images([widget.session_model.images[0].layer])
        settle()
        assert table.isColumnHidden(0) == (images == 1)
        left = table.viewport().width() - table.horizontalHeader().length()
        assert 0 <= left <= 4, images


def test_go_adds_the_annotation_layer(make_napari_viewer, dock, qtbot, monkeypatch) -> None:
    monkeypatch.setattr(AnnotateAndTrain, "_load", lambda self: None)
    viewer = make_napari_viewer()
    viewer.add_image(np.zeros((3, 64, 64), np.uint16), name="nuclei")
    _, widget = dock(viewer)
    refreshed(qtbot, widget)
    widget._go_button.click()
    assert widget.tabs.currentWidget() is widget.annotate
    assert widget.session_model.images[0].labels is viewer.layers.selection.active
    # A note on the last step stays beside what the tools report, until an object is annotated.
    widget.annotate._note = "Nothing is annotated on plane 0. "
    widget.annotate.click_tool.state_changed.emit("Click on objects.")
    assert widget.annotate._state.text() == "Nothing is annotated on plane 0. Click on objects."
    widget.annotate.click_tool.answered.emit()
    widget.annotate.click_tool.state_changed.emit("Click on objects.")
    assert widget.annotate._state.text() == "Click on objects."


def test_it_fits_a_small_screen(on_laptop, appearance) -> None:
    """In one window, whose theme and font change as they do in napari's preferences."""
    _, widget = on_laptop
    window = widget.window()
    for theme, size in product(("dark", "light"), (9, 12, 14)):
        appearance.theme, appearance.font_size = theme, size
        begin_anew(widget)
        problems = cut_on_a_laptop(window, widget, states(widget))
        assert problems == [], (theme, size)
        canvas = window.centralWidget()
        assert canvas.width() > LAPTOP[0] / 4  # there is room to paint on


def begin_anew(widget: AnnotateAndTrain) -> None:
    """Let the widget look as it does before the first training."""
    widget.offer.hide()
    widget.session_model.use_scheme(Scheme())
    widget.annotate._state.setText("")
    widget.train.judgement.setText("")
    widget.train.plot.hide()
    widget.train.refresh()


def states(widget: AnnotateAndTrain) -> Iterator[tuple[str, Callable[[], object]]]:
    """What the widget can look like, one after the other."""
    train, session_model = widget.train, widget.session_model
    fold = train.options._toggle.setChecked
    widget._show_saved(SAVED, False)

    def tab(number: int) -> Callable[[], None]:
        return lambda: widget.tabs.setCurrentIndex(number)

    yield "images", tab(0)
    yield "annotate", tab(1)
    sparse = Scheme(("nucleus", "mitotic cell"), sparse=True)
    yield "scribbles", lambda: session_model.use_scheme(sparse)
    widget.annotate._state.setText("Next: Plane 17 of a nuclei stack of a rather long name.")
    yield "suggested", tab(1)
    yield "train", tab(2)
    yield "train, unfolded", lambda: fold(True)
    yield "training", lambda: begin(widget)
    yield "trained, unfolded", lambda: end(widget)
    yield "trained", lambda: fold(False)
    widget._offer_text.setText(
        "A session was not closed – 2026-01-31-a-nuclei-stack: 12 annotated planes, saved "
        "2026-01-31 12:30 UTC."
    )
    yield "a session on offer", widget.offer.show
    yield "images, a session on offer", tab(0)
    session_model.prompt = None


def begin(widget: AnnotateAndTrain) -> None:
    """As if a training was in full swing."""
    train = widget.train
    train.run._worker = SimpleNamespace(wait=lambda seconds: None)
    widget.session_model.training = True
    train.plot.clear_lines(200)
    train.plot.show()
    train.bar.show()
    train.refresh()
    for step in range(1, 121):
        train._progress(Progress("training", step, 200, 1 / step, 0.87, 33.0, "a note of it"))
    train._drawn = 0.0
    train._progress(Progress("training", 121, 200, 0.123, 0.88, 33.0))
    assert train.options._advanced.isHidden()  # nothing can be changed now


def end(widget: AnnotateAndTrain) -> None:
    """As if it had ended, with a long judgement."""
    train = widget.train
    train.run._worker = None
    widget.session_model.training = False
    train.bar.hide()
    widget.session_model.prompt = SimpleNamespace(
        images=None
    )  # not applied: no plane comes into view
    train.judgement.setText(verdict(ORIGIN, stopped=True).text)  # type: ignore[arg-type]
    judged = JudgedPrompt(widget.session_model.prompt, "", "fair")
    train.old_or_new.offer(judged, judged)
    train.refresh()
    assert not train.options._advanced.isHidden()


# By hand


def test_every_control_says_what_it_is_for(on_laptop) -> None:
    _, widget = on_laptop
    controls = list(controls_of(widget))
    assert len(controls) > 30
    assert [f"{type(c).__name__} {text_of(c)}" for c in controls if len(c.toolTip()) < 10] == []
    for bar in widget.findChildren(QProgressBar):
        assert bar.toolTip()
    for number in range(3):
        assert widget.tabs.tabToolTip(number)


def test_every_control_is_reached_by_the_tab_key(on_laptop, qtbot) -> None:
    _, widget = on_laptop
    window = widget.window()
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow, timeout=5000)
    widget.train.options._toggle.setChecked(True)
    widget.images.channels.show()
    for number in range(3):
        widget.tabs.setCurrentIndex(number)
        settle()
        wanted = {
            c
            for c in controls_of(widget.tabs.widget(number))
            if c.isVisible()
            and c.isEnabled()
            and not (isinstance(c, QRadioButton) and not c.isChecked())  # arrow keys lead there
        }
        assert wanted
        widget.tabs.tabBar().setFocus()
        reached = set()
        for _ in range(40):
            at = QApplication.focusWidget()
            if at is None or not widget.isAncestorOf(at):
                break
            reached.add(at)
            QTest.keyClick(at, Qt.Key.Key_Tab)
        missed = [f"{type(c).__name__} {text_of(c)}" for c in wanted - reached]
        assert missed == [], number


def test_keys_do_what_the_mouse_does(on_laptop) -> None:
    _, widget = on_laptop
    for key in (Qt.Key.Key_Space, Qt.Key.Key_Return):
        widget.images._tick_all(True)
        none = next(b for b in widget.images.findChildren(QPushButton) if b.text() == "None")
        QTest.keyClick(none, key)
        assert widget.session_model.images == []
    widget.images._tick_all(True)
    table = widget.images.table
    table.setCurrentCell(0, 0)
    QTest.keyClick(table, Qt.Key.Key_Space)
    assert [s.layer.name for s in widget.session_model.images] == ["three channels"]
    QTest.keyClick(widget.annotate.sparse, Qt.Key.Key_Space)
    assert widget.session_model.scheme.sparse


def test_enter_in_the_table_of_planes_goes_there(on_laptop) -> None:
    _, widget = on_laptop
    widget.tabs.setCurrentWidget(widget.annotate)
    table = widget.annotate.table
    table.setCurrentCell(2, 1)
    QTest.keyClick(table, Qt.Key.Key_Return)
    assert widget.session_model.current()[1] == 17


# Small pieces


def test_an_empty_text_takes_no_room(qtbot) -> None:
    outer = QWidget()
    qtbot.addWidget(outer)
    label = text_label()
    label.setText("no window of its own")
    assert not label.isVisible()
    label.setParent(outer)
    outer.show()
    label.setText("here")
    assert label.isVisible()
    label.setText("")
    assert not label.isVisible()


def test_long_names_are_shortened_in_the_middle(on_laptop) -> None:
    _, widget = on_laptop
    widget.tabs.setCurrentWidget(widget.images)
    settle()
    (box, *_) = [c for c in widget.findChildren(NameBox) if "a nuclei stack" in c.currentText()]
    assert advance(box, box.currentText()) > box.width()
    before = box.grab().toImage()
    box.setItemText(box.currentIndex(), box.currentText()[:30] + " something else")
    assert box.grab().toImage() != before  # the end is to be seen
