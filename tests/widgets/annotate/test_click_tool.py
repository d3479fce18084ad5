"""Clicking on real nuclei, with the mouse's own events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from napari.utils._proxies import PublicOnlyProxy
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)
from scipy import ndimage
from wrapt import ObjectProxy

from conftest_widgets import LONG, settled
from napari_ptsam.errors import InputError
from napari_ptsam.evaluation.metrics import overlap
from napari_ptsam.widgets.annotate.box_band import BoxBand
from napari_ptsam.widgets.annotate.object_paint import ObjectPaint, stroke_under_way, unused_label

pytestmark = pytest.mark.usefixtures("loaded")


@dataclass
class Mouse:
    """What napari tells of the mouse."""

    type: str
    position: tuple[float, ...]
    pos: np.ndarray
    modifiers: tuple[str, ...] = ()
    button: int = 1
    is_dragging: bool = False
    handled: bool = False
    inverted: bool = False
    view_direction: Any = None
    dims_displayed: list[int] = field(default_factory=lambda: [1, 2])


@pytest.fixture
def clicking(qtbot, dock, stack):
    """The widget with clicking switched on, the plane in view embedded."""
    viewer, widget = dock(nuclei=stack.images)
    widget.session_model.backbone_service.load()
    qtbot.waitUntil(lambda: "Ready" in widget.session_model.backbone_service.state, timeout=LONG)
    states = []
    widget.annotate.click_tool.state_changed.connect(states.append)
    widget.annotate.click.click()
    qtbot.waitUntil(lambda: "Click on objects." in states, timeout=LONG)
    return viewer, widget


PLACE = np.array([300.0, 300.0])
"""Where the mouse is on the canvas, in pixels."""


def send(callbacks, viewer, event) -> None:
    """As the canvas does it: the viewer hears of it first, then the active layer."""
    proxy = ObjectProxy(event)  # callbacks see the later events through the first one
    callbacks(viewer, proxy)
    if viewer.layers.selection.active is not None:
        callbacks(viewer.layers.selection.active, proxy)


def displayed(viewer) -> list[int]:
    return list(viewer.dims.displayed)


def press_down(viewer, position, modifiers=()) -> None:
    event = Mouse("mouse_press", position, PLACE, modifiers, dims_displayed=displayed(viewer))
    send(mouse_press_callbacks, viewer, event)


def drag_over(viewer, position, modifiers=()) -> None:
    event = Mouse("mouse_move", position, PLACE + 80, modifiers, is_dragging=True)
    event.dims_displayed = displayed(viewer)
    send(mouse_move_callbacks, viewer, event)


def let_go(viewer, position, modifiers=(), moved: bool = False) -> None:
    event = Mouse("mouse_release", position, PLACE + 80 * moved, modifiers)
    event.dims_displayed = displayed(viewer)
    send(mouse_release_callbacks, viewer, event)


def press(viewer, position, *modifiers: str, to=None) -> None:
    """Press the button at (plane, y, x), maybe drag, and release it."""
    press_down(viewer, position, modifiers)
    if to is not None:
        drag_over(viewer, to, modifiers)
    let_go(viewer, position if to is None else to, modifiers, moved=to is not None)


def largest(mask: np.ndarray, count: int) -> list[int]:
    """Numbers of the largest nuclei that touch neither the edge nor, if possible, another one."""
    inner = [v for v in np.unique(mask[1:-1, 1:-1]) if v and v not in edge_values(mask)]
    return sorted(inner, key=lambda v: (touches(mask, v), -(mask == v).sum()))[:count]


def apart(mask: np.ndarray, count: int) -> list[int]:
    """The largest nuclei that lie apart."""
    found = largest(mask, count)
    assert len(found) == count and not any(touches(mask, value) for value in found)
    return found


def touches(mask: np.ndarray, value: int) -> bool:
    around = ndimage.binary_dilation(mask == value, iterations=2)
    return bool(np.setdiff1d(mask[around], [0, value]).size)


def edge_values(mask: np.ndarray) -> set[int]:
    return set(np.unique(np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])))


def middle(mask: np.ndarray, value: int) -> tuple[int, int]:
    """The point farthest from the nucleus's edge."""
    distance = ndimage.distance_transform_edt(mask == value)
    return np.unravel_index(distance.argmax(), mask.shape)


def answered(qtbot, widget):
    return qtbot.waitSignal(widget.annotate.click_tool.answered, timeout=20_000)


def test_clicks_become_objects_that_can_be_undone(qtbot, clicking, stack) -> None:
    viewer, widget = clicking
    source, number = widget.session_model.current()
    labels, mask = source.labels, stack.masks[number]
    nuclei = apart(mask, 2)
    for position, value in enumerate(nuclei, start=1):
        with answered(qtbot, widget):
            press(viewer, (number, *middle(mask, value)))
        assert overlap(mask == value, labels.data[number] == position).iou > 0.7
    assert labels.data[number].max() == 2
    qtbot.waitUntil(
        lambda: widget.session_model.records.get(source.id, number).painted, timeout=LONG
    )
    labels.undo()
    assert labels.data[number].max() == 1
    labels.undo()
    assert not labels.data.any()


def rim(plane: np.ndarray) -> list[tuple[int, int]]:
    """Pixels of an object a little inside of its ends."""
    rows, columns = np.nonzero(plane)
    middle_row, middle_column = int(np.median(rows)), int(np.median(columns))
    return [
        (y, x)
        for inset in (1, 2, 4)
        for y, x in (
            (int(rows.max()) - inset, middle_column), (int(rows.min()) + inset, middle_column),
            (middle_row, int(columns.max()) - inset), (middle_row, int(columns.min()) + inset),
        )
    ]  # fmt: skip


def test_a_negative_click_refines_the_same_object_in_one_undo(qtbot, clicking, stack, told) -> None:
    viewer, widget = clicking
    source, number = widget.session_model.current()
    labels, mask = source.labels, stack.masks[number]
    (value,) = largest(mask, 1)
    y, x = middle(mask, value)
    with answered(qtbot, widget):
        press(viewer, (number, y, x))
    before = labels.data[number].copy()
    for at in rim(before):  # not every place can be told apart from the object
        count = len(told)
        press(viewer, (number, *at), "Control")
        qtbot.waitUntil(
            lambda count=count: (
                len(told) > count or not np.array_equal(labels.data[number], before)
            ),
            timeout=LONG,
        )
        if not np.array_equal(labels.data[number], before):
            break
    assert not np.array_equal(labels.data[number], before)
    assert set(np.unique(labels.data[number])) == {0, 1}
    labels.undo()
    assert not labels.data.any()


def test_a_box_finds_the_object_in_it(qtbot, clicking, stack) -> None:
    viewer, widget = clicking
    source, number = widget.session_model.current()
    mask = stack.masks[number]
    (value,) = largest(mask, 1)
    rows, columns = np.nonzero(mask == value)
    begin = (number, rows.min() - 2, columns.min() - 2)
    end = (number, rows.max() + 2, columns.max() + 2)
    with answered(qtbot, widget):
        press(viewer, begin, "Shift", to=end)
    assert overlap(mask == value, source.labels.data[number] == 1).iou > 0.7


def test_what_is_annotated_already_stays(qtbot, clicking, stack) -> None:
    viewer, widget = clicking
    source, number = widget.session_model.current()
    mask = stack.masks[number]
    (value,) = largest(mask, 1)
    y, x = middle(mask, value)
    half = np.zeros_like(mask, bool)
    half[:y] = mask[:y] == value
    source.labels.data_setitem((np.full(half.sum(), number), *np.nonzero(half)), 7)
    with answered(qtbot, widget):
        press(viewer, (number, y + 3, x))
    assert (source.labels.data[number][half] == 7).all()
    assert source.labels.data[number].max() == 8


def test_dragging_moves_the_view_and_paints_nothing(qtbot, clicking, stack) -> None:
    viewer, widget = clicking
    number = widget.session_model.current()[1]
    press(viewer, (number, 60, 60), to=(number, 20, 20))
    assert not widget.session_model.jobs.has("click")
    settled(qtbot, widget)
    assert not widget.session_model.images[0].labels.data.any()


def three(qtbot, viewer, widget, stack) -> tuple[Any, np.ndarray, list[tuple[int, int, int]]]:
    """Click on three nuclei; the annotation's plane, its mask, and where was clicked."""
    source, number = widget.session_model.current()
    mask = stack.masks[number]
    places = [(number, *middle(mask, value)) for value in apart(mask, 3)]
    for place in places:
        with answered(qtbot, widget):
            press(viewer, place)
    plane = source.labels.data[number]
    assert [plane[place[1:]] for place in places] == [1, 2, 3]
    return source.labels, plane, places


def test_after_an_undo_the_next_click_leaves_the_other_objects_alone(
    qtbot, clicking, stack
) -> None:
    viewer, widget = clicking
    labels, plane, places = three(qtbot, viewer, widget, stack)
    before = plane.copy()
    labels.undo()
    with answered(qtbot, widget):
        press(viewer, places[2])
    assert np.array_equal(plane, before)
    for count in (2, 1, 0):
        labels.undo()
        assert plane.max() == count


@pytest.mark.parametrize("tool", ["paint", "erase", "fill"])
def test_clicks_are_left_to_napari_while_one_of_its_tools_is_chosen(
    qtbot, clicking, stack, tool
) -> None:
    viewer, widget = clicking
    states = []
    widget.annotate.click_tool.state_changed.connect(states.append)
    source, number = widget.session_model.current()
    mask, labels = stack.masks[number], source.labels
    (value,) = largest(mask, 1)
    place = (number, *middle(mask, value))
    labels.data[number, place[1] - 4 : place[1] + 5, place[2] - 4 : place[2] + 5] = 9
    labels.mode, labels.brush_size, labels.selected_label = tool, 3, 5
    assert tool in states[-1]
    press(viewer, place)
    assert not widget.session_model.jobs.has("click")
    expected = {"paint": {0, 5, 9}, "erase": {0, 9}, "fill": {0, 5}}[tool]
    assert set(np.unique(labels.data[number])) == expected
    assert labels.data[place] == (0 if tool == "erase" else 5)
    assert (labels.data[number] > 0).sum() <= 81  # a dab, no nucleus
    labels.mode = "pan_zoom"
    assert states[-1] == "Click on objects."


def test_a_stroke_is_left_alone_by_clicks_on_the_object_before_it(
    qtbot, clicking, stack, told
) -> None:
    viewer, widget = clicking
    source, number = widget.session_model.current()
    mask, labels = stack.masks[number], source.labels
    places = [(number, *middle(mask, value)) for value in largest(mask, 2)]
    with answered(qtbot, widget):
        press(viewer, places[0])
    labels.mode, labels.brush_size, labels.selected_label = "paint", 4, 7
    press_down(viewer, places[1])
    drag_over(viewer, (number, places[1][1] + 3, places[1][2]))
    let_go(viewer, (number, places[1][1] + 3, places[1][2]), moved=True)
    labels.mode = "pan_zoom"
    before = labels.data.copy()
    assert (before == 7).sum() > 10
    press(viewer, places[0])  # the object before
    press(viewer, places[1])  # the stroke
    assert ["label 1" in told[0], "label 7" in told[1]] == [True, True]
    press(viewer, places[0], "Control")
    assert "Click on an object first" in told[2]
    assert not widget.session_model.jobs.has("click")
    assert np.array_equal(labels.data, before)


def test_an_answer_in_the_middle_of_a_stroke_is_a_step_of_its_own(qtbot, clicking, stack) -> None:
    viewer, widget = clicking
    source, number = widget.session_model.current()
    mask, labels = stack.masks[number], source.labels
    places = [(number, *middle(mask, value)) for value in largest(mask, 2)]
    press(viewer, places[0])
    labels.mode, labels.brush_size, labels.selected_label = "paint", 4, 7
    press_down(viewer, places[1])
    qtbot.waitUntil(lambda: not widget.session_model.jobs.has("click"), timeout=LONG)
    with qtbot.waitSignal(widget.annotate.click_tool._delay.timeout, timeout=LONG):
        pass  # it has seen that the stroke is not over yet
    assert set(np.unique(labels.data[number])) == {0, 7}
    with answered(qtbot, widget):
        let_go(viewer, places[1])
    assert set(np.unique(labels.data[number])) == {0, 7, 8}
    labels.undo()
    assert set(np.unique(labels.data[number])) == {0, 7}
    labels.undo()
    assert not labels.data.any()


def test_a_box_on_a_rotated_image_is_drawn_as_it_is_read(qtbot, dock, stack) -> None:
    from scipy.spatial import ConvexHull

    viewer, widget = dock()
    image = viewer.add_image(stack.images, rotate=30, scale=(1, 0.5, 0.5), translate=(0, 9, 4))
    widget.session_model.use_images([image])
    widget.annotate.click.click()
    source, number = widget.session_model.current()
    mask = stack.masks[number]
    (value,) = largest(mask, 1)
    rows, columns = np.nonzero(mask == value)
    corners = [(rows.min() - 2, columns.min() - 2), (rows.max() + 2, columns.max() + 2)]
    begin, end = (tuple(image.data_to_world((number, *corner))) for corner in corners)
    zoom = 2.5  # canvas pixels to a unit of the world

    def event(kind: str, world: tuple[float, ...]) -> Mouse:
        pos = PLACE + zoom * (np.array(world) - begin)[:0:-1]
        return Mouse(kind, world, pos, ("Shift",))

    band = BoxBand(image, event("mouse_press", begin))
    band.stretch(event("mouse_move", end))
    polygon = band.polygon()
    sides = np.linalg.norm(np.diff(polygon, axis=0, append=polygon[:1]), axis=1)
    height, width = np.subtract(corners[1], corners[0]) * 0.5 * zoom
    assert np.allclose(sides, [width, height, width, height])
    assert np.allclose(polygon[0], PLACE)
    assert np.allclose(ConvexHull(polygon).volume, height * width)
    slope = np.subtract(polygon[1], polygon[0])
    assert np.isclose(abs(np.degrees(np.arctan2(*slope[::-1]))), 30)
    assert np.allclose(polygon[2], event("mouse_move", end).pos)
    band.hide()

    with answered(qtbot, widget):
        send(mouse_press_callbacks, viewer, event("mouse_press", begin))
        send(mouse_move_callbacks, viewer, event("mouse_move", end))
        send(mouse_release_callbacks, viewer, event("mouse_release", end))
    assert overlap(mask == value, source.labels.data[number] == 1).iou > 0.7


def test_what_stands_in_the_way_of_a_click_is_said(qtbot, clicking, told, stack) -> None:
    viewer, widget = clicking
    source, number = widget.session_model.current()
    labels, place = source.labels, (number, 60, 60)
    viewer.dims.ndisplay = 3
    press(viewer, place)
    assert "2D view" in told[-1]
    count = len(told)
    press(viewer, place, to=(number, 90, 90))  # the view is turned
    assert len(told) == count
    viewer.dims.ndisplay = 2
    viewer.dims.order = (1, 0, 2)
    press(viewer, place)
    assert "No plane" in told[-1]
    viewer.dims.order = (0, 1, 2)
    labels.editable = False
    press(viewer, place)
    assert "locked" in told[-1]
    labels.editable, labels.visible = True, False
    press(viewer, place)
    assert "hidden" in told[-1]
    labels.visible = True
    widget.annotate.classes._add()
    labels.selected_label = 0
    press(viewer, place)
    assert "choose a class" in told[-1]
    assert not widget.session_model.jobs.has("click") and not labels.data.any()


def test_other_layers_tools_keep_their_clicks(qtbot, clicking, stack) -> None:
    viewer, widget = clicking
    number = widget.session_model.current()[1]
    shapes = viewer.add_shapes(ndim=3)
    shapes.mode = "add_rectangle"
    press(viewer, (number, 60, 60), to=(number, 80, 80))
    press(viewer, (number, 60, 60))
    assert not widget.session_model.jobs.has("click")


def test_an_object_is_one_step_and_takes_back_only_its_own_pixels(labels_8x8) -> None:
    labels = labels_8x8
    rows = np.arange(6)
    paint = ObjectPaint(labels)
    labels.data[2, 2] = 9  # of the user's
    assert paint.write((rows, rows), 1) == 5 and paint.intact and not paint.covers((2, 2))
    assert paint.write((rows[:4], rows[:4]), 1) == 3
    assert np.array_equal(np.diag(labels.data), [1, 1, 9, 1, 0, 0, 0, 0])
    labels.undo()
    assert not paint.intact and labels.data.sum() == 9
    labels.redo()
    assert np.array_equal(np.diag(labels.data), [1, 1, 9, 1, 0, 0, 0, 0])
    assert not paint.intact  # finished when it was undone


def test_without_a_look_at_the_history_what_is_taken_back_is_a_step_of_its_own(
    labels_8x8, monkeypatch
) -> None:
    from napari_ptsam.widgets.annotate import object_paint

    labels, rows = labels_8x8, np.arange(6)
    monkeypatch.setattr(object_paint, "_last_step_is", lambda labels, step: None)
    paint = ObjectPaint(labels)
    paint.write((rows, rows), 1)
    paint.write((rows[:2], rows[:2]), 1)
    assert np.diag(labels.data).sum() == 2
    for left in (0, 6, 0):
        labels.undo()
        assert labels.data.sum() == left


def test_a_layer_of_a_plugins_viewer_is_painted_without_warnings(labels_8x8) -> None:
    labels, rows = PublicOnlyProxy(labels_8x8), np.arange(3)
    paint = ObjectPaint(labels)
    paint.write((rows, rows), 1)
    assert paint.intact and not stroke_under_way(labels)
    with labels.block_history():
        assert stroke_under_way(labels)
    labels.undo()
    assert not paint.intact


def test_an_object_is_finished_by_any_other_edit(labels_8x8) -> None:
    labels, rows = labels_8x8, np.arange(3)

    def written() -> ObjectPaint:
        labels.data[:] = 0
        paint = ObjectPaint(labels)
        paint.write((rows, rows), 1)
        assert paint.intact
        return paint

    for edit in (
        lambda: labels.paint((7, 0), 2),
        lambda: labels.fill((7, 0), 3),
        lambda: labels.data_setitem((np.array([7]), np.array([0])), 4),
        labels.undo,
        lambda: setattr(labels, "data", labels.data.copy()),
    ):
        paint = written()
        edit()
        assert not paint.intact


def test_labels_that_are_not_used_yet() -> None:
    assert unused_label(np.zeros((2, 2), np.uint16)) == 1
    assert unused_label(np.array([[0, 7]], np.uint8)) == 8
    assert unused_label(np.array([[0, 1, 255]], np.uint8)) == 2  # as masks of 0 and 255 have it
    with pytest.raises(InputError, match="All 255 labels"):
        unused_label(np.arange(256, dtype=np.uint8).reshape(16, 16))


@pytest.fixture
def labels_8x8(qapp) -> Any:
    from napari.layers import Labels

    return Labels(np.zeros((8, 8), np.uint16))


def test_senseless_clicks(qtbot, clicking, told, stack) -> None:
    viewer, widget = clicking
    number = widget.session_model.current()[1]
    press(viewer, (number, -50, 20))  # beside the image: nothing happens
    press(viewer, (number, 60, 60), "Control")
    assert len(told) == 1 and "Click on an object first" in told[0]
    viewer.layers.remove(widget.session_model.images[0].labels)
    press(viewer, (number, 60, 60))
    assert "Add an annotation layer first" in told[-1]
    widget.annotate.click.click()
    assert widget.annotate.click_tool._dragged not in viewer.mouse_drag_callbacks


def test_with_classes_a_click_paints_the_chosen_class(qtbot, clicking, stack) -> None:
    viewer, widget = clicking
    widget.annotate.classes._add()
    source, number = widget.session_model.current()
    mask = stack.masks[number]
    (value,) = largest(mask, 1)
    widget.annotate.classes.list.setCurrentRow(0)
    widget.annotate.classes.list.setCurrentRow(1)
    with answered(qtbot, widget):
        press(viewer, (number, *middle(mask, value)))
    assert set(np.unique(source.labels.data[number])) == {0, 2}
