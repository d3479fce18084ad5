"""Edits of painted objects, on small arrays."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest
from scipy import ndimage

from napari_ptsam.annotation import object_edits
from napari_ptsam.annotation.object_edits import (
    Change,
    labels_along,
    merge,
    nearest_object,
    object_pixels,
    split,
)
from napari_ptsam.annotation.strokes import stroke_pixels


def disk(side: int, centre: tuple[int, int], radius: int) -> np.ndarray:
    y, x = np.ogrid[:side, :side]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


@pytest.fixture
def plane() -> np.ndarray:
    """Two touching discs of labels 3 and 5, and a second piece of 3 far away."""
    labels = np.zeros((60, 60), np.uint16)
    labels[disk(60, (20, 15), 10)] = 3
    labels[disk(60, (20, 36), 10)] = 5
    labels[disk(60, (50, 50), 4)] = 3
    return labels


def applied(labels: np.ndarray, change: Change) -> np.ndarray:
    after = labels.copy()
    after[change.rows, change.columns] = change.labels
    return after


@pytest.mark.parametrize("window", [2, 256])
def test_the_object_under_a_pixel_is_its_label_or_its_component(plane, monkeypatch, window) -> None:
    monkeypatch.setattr(object_edits, "FIRST_WINDOW", window)
    mask = np.zeros(plane.shape, bool)
    mask[object_pixels(plane, (20, 15), whole=True)] = True
    assert np.array_equal(mask, plane == 3)
    mask[:] = False
    mask[object_pixels(plane, (20, 15), whole=False)] = True
    assert np.array_equal(mask, disk(60, (20, 15), 10) & (plane == 3))
    assert not len(object_pixels(plane, (0, 0), whole=True)[0])


def test_the_nearest_object_is_found_within_reach(plane) -> None:
    assert nearest_object(plane, (20, 15), 5) == 3
    assert nearest_object(plane, (20, 49), 5) == 5
    assert nearest_object(plane, (20, 55), 5) == 0
    assert nearest_object(plane, (0, 0), 50) == 3


def test_a_stroke_has_no_diagonal_gaps_and_ends_at_the_edge() -> None:
    rows, columns = stroke_pixels([(-5, -5), (9, 9), (0, 12.4)], (10, 10))
    steps = np.abs(np.diff(rows)) + np.abs(np.diff(columns))
    assert steps.max() == 1
    assert (rows.min(), columns.min(), rows.max(), columns.max()) == (0, 0, 9, 9)
    assert len(stroke_pixels([(3, 3)], (10, 10))[0]) == 1


def test_labels_along_a_stroke_come_in_its_order(plane) -> None:
    assert labels_along(plane, [(20, 59), (20, 0)]) == [5, 3]
    assert labels_along(plane, [(0, 0), (0, 59)]) == []


def test_merged_objects_get_the_first_label_and_nothing_else_changes(plane) -> None:
    change = merge(plane, [5, 3])
    assert np.array_equal(applied(plane, change) == 5, plane > 0)
    assert len(change.rows) == (plane == 3).sum()


def test_a_stroke_splits_the_object_that_it_crosses(plane) -> None:
    before = plane.copy()
    change = split(plane, [(5, 36), (35, 37)], count(6))
    after = applied(plane, change)
    assert np.array_equal(plane, before)
    assert np.array_equal(after > 0, plane > 0)  # no gap under the stroke
    assert np.array_equal(after[plane != 5], plane[plane != 5])
    assert set(after[plane == 5]) == {5, 6}
    halves = (after == 5).sum(), (after == 6).sum()
    assert halves[0] >= halves[1] > 0.4 * sum(halves)
    assert ndimage.label(after == 6, np.ones((3, 3)))[1] == 1


def test_a_stroke_over_two_objects_splits_both(plane) -> None:
    after = applied(plane, split(plane, [(20, 0), (21, 59)], count(6)))
    assert set(np.unique(after)) == {0, 3, 5, 6, 7}
    assert (after[disk(60, (50, 50), 4)] == 3).all()  # the other piece of 3


@pytest.mark.parametrize("points", [[(17, 36), (23, 36)], [(20, 30), (20, 30)], [(0, 0), (0, 40)]])
def test_a_short_stroke_is_extended_if_it_has_a_direction(plane, points) -> None:
    change = split(plane, points, count(6))
    if points[0] == (17, 36):
        assert set(applied(plane, change)[plane == 5]) == {5, 6}
    else:
        assert change is None


def test_slivers_stay_with_their_neighbour() -> None:
    labels = np.full((40, 40), 2, np.uint8)
    points = [(0, 0), (0, 39), (1, 38), (20, 39)]  # along the border: it cuts off a few pixels
    assert split(labels, points, count(3)) is None


def test_pieces_that_did_not_hang_together_are_not_split() -> None:
    labels = np.zeros((20, 20), np.uint8)
    labels[2:8, 2:8] = labels[12:18, 2:8] = 1
    assert split(labels, [(10, 0), (10, 19)], count(2)) is None
    after = applied(labels, split(labels, [(15, 0), (15, 19)], count(2)))
    assert (after[2:8, 2:8] == 1).all() and set(after[12:18, 2:8].ravel()) == {1, 2}
