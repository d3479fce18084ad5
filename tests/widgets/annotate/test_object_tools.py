"""Erasing, merging and splitting objects with the mouse's own events, and the keys of the dock."""

from __future__ import annotations

from html import unescape
from typing import Any

import numpy as np
import pytest
from napari.utils._proxies import PublicOnlyProxy
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLabel
from test_click_tool import (  # noqa: F401  (clicking is a fixture)
    answered,
    apart,
    clicking,
    drag_over,
    let_go,
    middle,
    press,
    press_down,
)

from napari_ptsam.annotation.scheme import IGNORED, Scheme
from napari_ptsam.evaluation.metrics import overlap
from napari_ptsam.widgets.annotate.annotate_and_train import AnnotateAndTrain
from napari_ptsam.widgets.annotate.planes_table import ANNOTATED
from napari_ptsam.widgets.annotate.tool_table import ACTIONS, GESTURES, TOOLS
from napari_ptsam.widgets.annotate.training_run import LivePrediction
from napari_ptsam.widgets.shared.ignored_colour import GREY

SIDE = 40
SQUARES = {3: (5, 5), 5: (5, 15), 9: (25, 25)}
"""Labels, and the upper left corners of their squares; those of 3 and 5 touch."""


@pytest.fixture
def quiet(monkeypatch) -> None:
    """Without a backbone."""
    monkeypatch.setattr(AnnotateAndTrain, "_load", lambda self: None)


def opened(dock, shape=(2, SIDE, SIDE), **placed: Any) -> tuple[Any, Any, Any, tuple[int, ...]]:
    """A dock with squares on the second plane: viewer, widget, labels, and the plane's index."""
    viewer, widget = dock()
    image = viewer.add_image(np.zeros(shape, np.uint8), **placed)
    widget.session_model.use_images([image])
    widget.annotate.add_layers()
    labels = widget.session_model.images[0].labels
    index = (1,) * (len(shape) - 2)
    for plane in (index, (0,) * len(index)):
        for label, (y, x) in SQUARES.items():
            labels.data[(*plane, slice(y, y + 10), slice(x, x + 10))] = label
    viewer.dims.point = image.data_to_world((*index, 0, 0))
    labels.refresh()
    return viewer, widget, labels, index


def at(labels: Any, index: tuple[int, ...], y: float, x: float) -> tuple[float, ...]:
    return tuple(labels.data_to_world((*index, y, x)))


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    ("shape", "placed"),
    [
        ((2, SIDE, SIDE), {}),
        ((2, SIDE, SIDE), {"scale": (2, 0.5, 0.5), "rotate": 30, "translate": (0, 9, 4)}),
        ((2, 3, SIDE, SIDE), {}),
        ((SIDE, SIDE), {"scale": (3, 3)}),
    ],
)
def test_objects_are_erased_merged_and_split_each_in_one_undo(dock, shape, placed) -> None:
    viewer, widget, labels, index = opened(dock, shape, **placed)
    tools, before = widget.annotate.tools, labels.data.copy()
    plane = labels.data[index] if index else labels.data

    def one_step(touched: list[int]) -> np.ndarray:
        """What the edit made of the plane; it is taken back in one step."""
        after, elsewhere = plane.copy(), labels.data.copy()
        others = ~np.isin(before[index], touched)
        assert np.array_equal(after[others], before[index][others])
        elsewhere[index] = before[index]
        assert np.array_equal(elsewhere, before)
        labels.undo()
        assert np.array_equal(labels.data, before)
        return after

    def place(y: float, x: float) -> tuple[float, ...]:
        return at(labels, index, y, x)

    tools.choose("erase")
    press(viewer, place(8, 8))
    assert set(np.unique(one_step([3]))) == {0, 5, 9}
    tools.choose("merge")
    press(viewer, place(8, 18))
    press(viewer, place(8, 8))
    assert ((one_step([3]) == 5) == np.isin(before[index], [3, 5])).all()
    press(viewer, place(30, 30), to=place(8, 8))  # a stroke
    after = one_step([3])
    assert ((after == 9) == np.isin(before[index], [3, 9])).all()
    tools.choose("split")
    press(viewer, place(0, 10), to=place(20, 10.4))
    after = one_step([3])
    assert set(np.unique(after)) == {0, 3, 5, 9, 10}
    assert 40 <= (after == 10).sum() <= 60
    assert set(np.unique(after[before[index] == 3])) == {3, 10}


@pytest.mark.usefixtures("quiet")
def test_what_an_edit_cannot_do_is_said(dock, told) -> None:
    viewer, widget, labels, index = opened(dock)
    tools, before = widget.annotate.tools, labels.data.copy()
    tools.choose("erase")
    press(viewer, at(labels, index, 1, 1))
    tools.choose("merge")
    press(viewer, at(labels, index, 1, 1))
    press(viewer, at(labels, index, 8, 8))
    press(viewer, at(labels, index, 9, 9))
    press(viewer, at(labels, index, 8, 8), to=at(labels, index, 12, 12))
    tools.choose("split")
    press(viewer, at(labels, index, 8, 8))
    press(viewer, at(labels, index, 1, 1), to=at(labels, index, 1, 9))
    labels.visible = False
    press(viewer, at(labels, index, 8, 8))
    words = [
        "Nothing is",
        "Nothing is",
        "same object",
        "one object only",
        "no object",
        "no object",
        "hidden",
    ]
    assert [word in message for word, message in zip(words, told, strict=True)] == [True] * 7
    assert np.array_equal(labels.data, before)


@pytest.mark.usefixtures("quiet")
def test_with_class_labels_the_connected_part_is_erased(dock, told) -> None:
    viewer, widget, labels, index = opened(dock)
    widget.session_model.use_scheme(Scheme(("one", "two")))
    labels.data[:] = np.where(labels.data > 0, 1, 0)
    before = labels.data.copy()
    tools = widget.annotate.tools
    tools.choose("erase")
    press(viewer, at(labels, index, 30, 30))
    assert not labels.data[1, 25:35, 25:35].any()
    assert np.array_equal(labels.data[1, :20], before[1, :20])
    for tool in ("merge", "split"):
        tools.choose(tool)
        press(viewer, at(labels, index, 0, 10), to=at(labels, index, 20, 10))
        press(viewer, at(labels, index, 8, 8))
    tools.choose("new")
    assert sum("no labels of their own" in message for message in told) == 2
    assert "Each class has one label" in told[-1]


@pytest.mark.usefixtures("quiet")
def test_the_view_stays_during_a_stroke(dock) -> None:
    viewer, widget, labels, index = opened(dock)
    # napari before 0.9 has no scene.
    camera = viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera
    for tool, start, panned in (("split", 1, False), ("merge", 8, False), ("merge", 1, True), ("erase", 8, True)):  # fmt: skip
        widget.annotate.tools.choose(tool)
        press_down(viewer, at(labels, index, start, start))
        drag_over(viewer, at(labels, index, 2, 2))
        assert camera.mouse_pan == panned, (tool, start)
        let_go(viewer, at(labels, index, 2, 2), moved=True)
        assert camera.mouse_pan


@pytest.mark.usefixtures("quiet")
def test_one_tool_at_a_time(dock) -> None:
    viewer, widget, labels, _ = opened(dock)
    tab, callbacks = widget.annotate, list(viewer.mouse_drag_callbacks)
    buttons = tab.tool_row.buttons

    def chosen() -> list[str]:
        return [name for name, button in buttons.items() if button.isChecked()]

    for tool, mode in (("split", "pan_zoom"), ("brush", "paint"), ("click", "pan_zoom"), ("eraser", "erase")):  # fmt: skip
        buttons[tool].click()
        assert (chosen(), str(labels.mode)) == ([tool], mode)
    assert not tab.click_tool.active
    buttons["eraser"].click()
    assert (chosen(), str(labels.mode)) == ([], "pan_zoom")
    buttons["click"].click()
    labels.mode = "paint"  # napari's own button
    assert chosen() == ["brush"] and tab.click_tool.active
    labels.mode = "pan_zoom"
    assert chosen() == ["click"]
    buttons["split"].click()
    labels.mode = "paint"
    labels.mode = "pan_zoom"  # as long as the space bar is held down
    assert chosen() == []
    labels.selected_label = 3
    buttons["new"].click()
    assert (chosen(), labels.selected_label) == (["brush"], 10)
    viewer.layers.selection.active = widget.session_model.images[0].layer
    assert chosen() == []
    widget.close_down()
    assert viewer.mouse_drag_callbacks == callbacks


@pytest.mark.usefixtures("quiet")
def test_ignored_pixels_have_a_brush_and_are_no_object(dock, told) -> None:
    viewer, widget, labels, index = opened(dock)
    tab, tools, model = widget.annotate, widget.annotate.tools, widget.session_model
    labels.selected_label, labels.brush_size = 4, 6
    tab.tool_row.buttons["ignore"].click()
    assert tools.tool == "ignore" and model.scheme.ignored == labels.selected_label == IGNORED
    press(viewer, at(labels, index, 30, 8))
    ignored = labels.data[index] == IGNORED
    assert 20 < ignored.sum() < 40
    assert model.scheme.counts(labels.data[index]) == {"object": 300, "ignored": ignored.sum()}
    assert labels.colormap.map(np.uint16(IGNORED)) == pytest.approx(GREY)
    assert labels.colormap.map(np.uint16(IGNORED - 49)) != pytest.approx(GREY)
    tab.tool_row.buttons["brush"].click()
    assert labels.selected_label == 4
    tab.tool_row.buttons["new"].click()
    assert labels.selected_label == 10
    before = labels.data.copy()
    tools.choose("merge")
    press(viewer, at(labels, index, 30, 8))
    press(viewer, at(labels, index, 8, 18), to=at(labels, index, 30, 8))
    tools.choose("split")
    press(viewer, at(labels, index, 20, 8), to=at(labels, index, 39, 8))
    assert len(told) == 3 and np.array_equal(labels.data, before)
    tools.choose("erase")
    press(viewer, at(labels, index, 30, 8))
    assert not (labels.data == IGNORED).any()
    labels.undo()
    assert np.array_equal(labels.data, before)


@pytest.mark.usefixtures("quiet")
def test_regions_are_dragged_shown_and_removed(dock, told) -> None:
    shape = (2, 3, SIDE, SIDE)
    viewer, widget, labels, index = opened(dock, shape, scale=(2, 2, 2, 2), rotate=30)
    model, tools = widget.session_model, widget.annotate.tools
    image, number = model.current()
    tools.choose("region")
    press(viewer, at(labels, index, 30, 3), to=at(labels, index, 5, 25))
    assert model.records.get(image.id, number).regions == ((5, 3, 30, 25),)
    (layer,) = [layer for layer in viewer.layers if layer.name.endswith("regions")]
    assert np.allclose(layer.data[0].min(axis=0), (*index, 4.5, 2.5))
    assert np.allclose(layer.data_to_world((*index, 5, 5)), at(labels, index, 5, 5))
    assert viewer.layers.selection.active is labels
    press(viewer, at(labels, index, 10, 10), to=at(labels, index, 39, 39))
    assert len(model.records.get(image.id, number).regions) == 2
    widget.annotate.table.refresh()
    assert widget.annotate.table.item(0, ANNOTATED).text() == "0 in 2 regions"
    press(viewer, at(labels, index, 20, 20))
    assert model.records.get(image.id, number).regions == ((5, 3, 30, 25),)
    press(viewer, at(labels, index, 36, 36))
    press(viewer, at(labels, index, 10, 10), to=at(labels, index, 12, 39))
    assert "no region here" in told[0] and "at least" in told[1] and len(told) == 2
    press(viewer, at(labels, index, 10, 10))
    assert not model.records.get(image.id, number).regions
    assert not [layer for layer in viewer.layers if layer.name.endswith("regions")]
    press(viewer, at(labels, index, 30, 3), to=at(labels, index, 5, 25))
    widget.close_down()
    assert not [layer for layer in viewer.layers if layer.name.endswith("regions")]


@pytest.mark.usefixtures("quiet")
def test_a_region_is_shown_in_all_channels(dock) -> None:
    viewer, widget = dock()
    image = viewer.add_image(np.zeros((2, 3, SIDE, SIDE), np.uint8))
    widget.session_model.use_images([image])
    source = widget.session_model.images[0]
    widget.session_model.use_channels(source, 1, None)
    widget.annotate.tools.choose("region")
    viewer.dims.point = (1, 2, 0, 0)
    press(viewer, (1, 2, 5, 3), to=(1, 2, 30, 25))
    assert widget.session_model.records.get(source.id, 1).regions == ((5, 3, 30, 25),)
    (layer,) = [layer for layer in viewer.layers if layer.name.endswith("regions")]
    assert [tuple(corners[0, :2]) for corners in layer.data] == [(1, 0), (1, 1), (1, 2)]


@pytest.mark.usefixtures("quiet")
def test_where_nothing_can_be_ignored_is_said(dock, told) -> None:
    _, widget, labels, _ = opened(dock)
    tools, model = widget.annotate.tools, widget.session_model
    model.use_scheme(Scheme(sparse=True))
    tools.choose("ignore")
    assert "With scribbles" in told[-1]
    model.use_scheme(Scheme())
    labels.data = labels.data.astype(np.uint8)
    tools.choose("ignore")
    assert "convert it to uint16" in told[-1]
    assert not model.scheme.ignored and tools.tool == ""


@pytest.mark.usefixtures("quiet")
def test_tools_are_known_through_the_proxy_of_a_plugins_viewer(
    dock, make_napari_viewer, told
) -> None:
    viewer, widget = dock(PublicOnlyProxy(make_napari_viewer()), plane=np.zeros((SIDE, SIDE)))
    widget.images._tick_all(True)
    for tool in TOOLS[:-1]:
        widget.annotate.tools.choose(tool.name)
        assert widget.annotate.tools.tool == tool.name
    assert told == []
    # The annotation layer is known as such in the table, and when it is removed.
    widget.images.refresh()
    box = widget.images.table.cellWidget(0, 2)
    assert box.currentText() == "plane annotation"
    viewer.layers.remove("plane annotation")
    assert widget.session_model.images[0].labels is None


# Keys


def press_key(viewer: Any, key: str) -> None:
    viewer.window._qt_viewer._key_map_handler.press_key(key)


@pytest.mark.usefixtures("quiet")
def test_no_key_of_naparis_is_used(dock) -> None:
    """Otherwise it would not be bound."""
    _, widget = dock()
    assert set(widget.shortcuts.keys) == {action.name for action in ACTIONS}


@pytest.mark.usefixtures("quiet")
def test_keys_choose_tools_while_the_dock_is_open(dock, told) -> None:
    viewer, widget, labels, _ = opened(dock)
    tools = widget.annotate.tools
    for action in TOOLS[1:6]:
        press_key(viewer, action.key)
        assert tools.tool == action.name
    press_key(viewer, "S")
    assert tools.tool == ""
    press_key(viewer, "P")  # napari's
    assert tools.tool == "brush"
    viewer.layers.selection.active = widget.session_model.images[0].layer
    press_key(viewer, "E")  # the image has no such key
    assert tools.tool == "eraser" and viewer.layers.selection.active is labels
    press_key(viewer, "J")
    assert not labels.visible
    press_key(viewer, "J")
    press_key(viewer, "T")  # without a prompt there is nothing to take
    assert "prompt" in widget.annotate._state.text() or told
    press_key(viewer, "Shift-N")
    assert widget.session_model.records.get(widget.session_model.images[0].id, 1).done
    widget.close_down()
    mode = str(labels.mode)
    press_key(viewer, "S")
    press_key(viewer, "J")
    assert labels.visible and str(labels.mode) == mode and not viewer.keymap


@pytest.mark.usefixtures("quiet")
def test_a_key_that_is_taken_is_left_alone(dock, make_napari_viewer) -> None:
    viewer = make_napari_viewer()
    pressed = []
    viewer.bind_key("S", lambda viewer: pressed.append("S"))
    _, widget = dock(viewer)
    assert "split" not in widget.shortcuts.keys and widget.shortcuts.keys["merge"] == "G"
    assert "Key" not in widget.annotate.tool_row.buttons["split"].toolTip()
    press_key(viewer, "S")
    widget.close_down()
    press_key(viewer, "S")
    assert pressed == ["S", "S"]


@pytest.mark.usefixtures("quiet")
def test_keys_are_shown_in_tooltips_and_on_the_card(dock) -> None:
    viewer, widget, *_ = opened(dock)
    keys = widget.shortcuts.keys
    assert keys["split"] == "S" and keys["brush"] == "2 or P" and keys["done"] == "Shift+N"
    for tool in TOOLS:
        assert (
            widget.annotate.tool_row.buttons[tool.name]
            .toolTip()
            .endswith(f"Key: {keys[tool.name]}.")
        )
    for button, key in ((widget.annotate.suggest, "N"), (widget.annotate.done, "Shift+N")):
        assert button.toolTip().endswith(f"Key: {key}.")
    widget.annotate.tool_row.card.click()
    card = widget.shortcuts._card
    assert card.isVisible()
    text = unescape(" ".join(label.text() for label in card.findChildren(QLabel)))
    for action in ACTIONS:
        assert action.name not in keys or (action.label in text and keys[action.name] in text)
    assert all(mouse in text and result in text for mouse, result in GESTURES)
    press_key(viewer, "F1")
    assert not card.isVisible()
    press_key(viewer, "F1")
    QTest.keyClick(card, Qt.Key.Key_F1)
    assert not card.isVisible()


@pytest.mark.usefixtures("quiet")
def test_the_prediction_is_hidden_and_outlined_by_keys(dock, monkeypatch) -> None:
    viewer, widget, *_ = opened(dock)
    preview = widget.train.preview
    press_key(viewer, "H")  # without a prediction there is nothing to hide
    view = preview.view()
    preview.show(LivePrediction(view, np.ones((SIDE, SIDE), np.uint8)))
    (layer,) = [layer for layer in viewer.layers if layer.name.startswith("preview")]
    press_key(viewer, "H")
    press_key(viewer, "U")
    assert not layer.visible and layer.contour > 0
    preview.show(LivePrediction(view, np.zeros((SIDE, SIDE), np.uint8)))
    assert not layer.visible and layer.contour > 0
    press_key(viewer, "H")
    press_key(viewer, "U")
    assert layer.visible and layer.contour == 0


# With SAM


@pytest.mark.usefixtures("loaded")
def test_a_missed_part_is_added_to_the_object_that_lacks_it(qtbot, clicking, stack, told) -> None:  # noqa: F811
    viewer, widget = clicking
    source, number = widget.session_model.current()
    labels, mask = source.labels, stack.masks[number]
    value, other = apart(mask, 2)
    rows = np.nonzero((mask == value).any(axis=1))[0]
    cut = int(np.median(rows))
    half = mask == value
    half[cut:] = False
    labels.data[number][half], labels.data[number][mask == other] = 4, 7
    labels.refresh()
    before = labels.data.copy()
    rest = (mask == value) & ~half
    widget.annotate.tools.choose("add")
    with answered(qtbot, widget):
        press(viewer, (number, *middle(rest.astype(int), 1)))
    after = labels.data[number]
    assert overlap(mask == value, after == 4).iou > 0.75
    assert (after[half] == 4).all() and np.array_equal(after == 7, mask == other)
    assert set(np.unique(after)) == {0, 4, 7}
    labels.undo()
    assert np.array_equal(labels.data, before)


@pytest.mark.usefixtures("loaded")
def test_a_key_shows_the_other_outlines_of_the_last_click(qtbot, clicking, stack, told) -> None:  # noqa: F811
    viewer, widget = clicking
    source, number = widget.session_model.current()
    labels, mask = source.labels, stack.masks[number]
    press_key(viewer, "R")
    assert "Click on an object first" in told[-1]
    for value in apart(mask, 3):
        with answered(qtbot, widget):
            press(viewer, (number, *middle(mask, value)))
        outline = widget.annotate.click_tool._object.outline
        if outline.others:
            break
        labels.undo()
    first = labels.data[number].copy()
    count = len(outline.others) + 1
    for turn in range(1, count + 1):
        with answered(qtbot, widget):
            press_key(viewer, "R")
        assert np.array_equal(labels.data[number], first) == (turn == count)
        assert (
            widget.annotate._state.text()
            == f"Outline {turn % count + 1} of {count} for the last object."
        )
    labels.undo()
    assert not labels.data.any()
