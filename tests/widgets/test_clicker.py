"""Clicking on real nuclei, with the mouse's own events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)
from scipy import ndimage
from wrapt import ObjectProxy

from conftest_widgets import LONG
from napari_ptsam.metrics import overlap


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
    widget.studio.engine.load()
    qtbot.waitUntil(lambda: "Ready" in widget.studio.engine.state, timeout=LONG)
    states = []
    widget.annotate.clicker.state_changed.connect(states.append)
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
    """Numbers of the largest nuclei that do not touch the edge."""
    inner = [v for v in np.unique(mask[1:-1, 1:-1]) if v and v not in edge_values(mask)]
    return sorted(inner, key=lambda v: -(mask == v).sum())[:count]


def edge_values(mask: np.ndarray) -> set[int]:
    return set(np.unique(np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])))


def middle(mask: np.ndarray, value: int) -> tuple[int, int]:
    """The point farthest from the nucleus's edge."""
    distance = ndimage.distance_transform_edt(mask == value)
    return np.unravel_index(distance.argmax(), mask.shape)


def answered(qtbot, widget):
    return qtbot.waitSignal(widget.annotate.clicker.answered, timeout=20_000)


def test_clicks_become_objects_that_can_be_undone(qtbot, clicking, stack) -> None:
    viewer, widget = clicking
    source, number = widget.studio.current()
    labels, mask = source.labels, stack.masks[number]
    nuclei = largest(mask, 2)
    for position, value in enumerate(nuclei, start=1):
        with answered(qtbot, widget):
            press(viewer, (number, *middle(mask, value)))
        assert overlap(mask == value, labels.data[number] == position).iou > 0.7
    assert labels.data[number].max() == 2
    qtbot.waitUntil(lambda: widget.studio.ledger.get(source.id, number).painted, timeout=LONG)
    labels.undo()
    assert labels.data[number].max() == 1
    labels.undo()
    assert not labels.data.any()


def test_a_negative_click_refines_the_same_object_in_one_undo(qtbot, clicking, stack) -> None:
    viewer, widget = clicking
    source, number = widget.studio.current()
    labels, mask = source.labels, stack.masks[number]
    (value,) = largest(mask, 1)
    y, x = middle(mask, value)
    with answered(qtbot, widget):
        press(viewer, (number, y, x))
    before = labels.data[number].copy()
    rows, columns = np.nonzero(before)
    with answered(qtbot, widget):
        press(viewer, (number, int(rows.max()) - 1, int(columns[rows.argmax()])), "Control")
    assert not np.array_equal(labels.data[number], before)
    assert set(np.unique(labels.data[number])) == {0, 1}
    labels.undo()
    assert not labels.data.any()


def test_a_box_finds_the_object_in_it(qtbot, clicking, stack) -> None:
    viewer, widget = clicking
    source, number = widget.studio.current()
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
    source, number = widget.studio.current()
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
    number = widget.studio.current()[1]
    press(viewer, (number, 60, 60), to=(number, 20, 20))
    qtbot.wait(200)
    assert not widget.studio.jobs.has("click")
    assert not widget.studio.sources[0].labels.data.any()


def test_senseless_clicks(qtbot, clicking, told, stack) -> None:
    viewer, widget = clicking
    number = widget.studio.current()[1]
    press(viewer, (number, -50, 20))  # beside the image: nothing happens
    press(viewer, (number, 60, 60), "Control")
    assert len(told) == 1 and "Click on an object first" in told[0]
    viewer.layers.remove(widget.studio.sources[0].labels)
    press(viewer, (number, 60, 60))
    assert "Add an annotation layer first" in told[-1]
    widget.annotate.click.click()
    assert widget.annotate.clicker._dragged not in viewer.mouse_drag_callbacks


def test_with_classes_a_click_paints_the_chosen_class(qtbot, clicking, stack) -> None:
    viewer, widget = clicking
    widget.annotate.classes._add()
    source, number = widget.studio.current()
    mask = stack.masks[number]
    (value,) = largest(mask, 1)
    widget.annotate.classes.list.setCurrentRow(0)
    widget.annotate.classes.list.setCurrentRow(1)
    with answered(qtbot, widget):
        press(viewer, (number, *middle(mask, value)))
    assert set(np.unique(source.labels.data[number])) == {0, 2}
