"""What a prediction adds to an annotation."""

from __future__ import annotations

import numpy as np
import pytest

from napari_ptsam.annotation.accepting import (
    labels_to_add,
    new_objects,
    speck_size,
    unused_labels,
)
from napari_ptsam.annotation.scheme import Scheme
from napari_ptsam.errors import InputError

ONE, TWO = Scheme(), Scheme(("cell", "debris"))
SCRIBBLES = Scheme(("cell", "debris"), sparse=True)


def plane(*boxes: tuple[int, slice, slice], dtype: type = np.uint16) -> np.ndarray:
    made = np.zeros((20, 30), dtype)
    for value, rows, columns in boxes:
        made[rows, columns] = value
    return made


LEFT, MIDDLE, RIGHT = (1, slice(2, 8), slice(2, 8)), (2, slice(2, 8), slice(12, 18)), (3, slice(2, 8), slice(22, 28))  # fmt: skip
FOUND = plane(LEFT, MIDDLE, RIGHT, dtype=np.uint32)


def test_objects_that_are_annotated_leave_no_rim() -> None:
    labels = plane((7, slice(3, 8), slice(3, 8)))  # a pixel smaller at two sides
    assert np.array_equal(np.unique(new_objects(FOUND, labels)), [0, 1, 2])
    assert np.array_equal(new_objects(FOUND, labels) > 0, FOUND > 1)


def test_of_a_cut_object_the_largest_part_is_new() -> None:
    labels = plane((7, slice(0, 20), slice(4, 5)))  # a line that leaves 2 and 3 columns
    added = new_objects(FOUND, labels)
    assert np.array_equal(added == 1, plane((1, slice(2, 8), slice(5, 8))) == 1)
    assert added.max() == 3


@pytest.mark.parametrize("scheme", [ONE, TWO, SCRIBBLES], ids=["objects", "classes", "scribbles"])
def test_what_is_annotated_stays(scheme: Scheme) -> None:
    labels = plane((2, slice(0, 5), slice(0, 20)))
    found = FOUND if scheme.instances else np.minimum(FOUND, 2).astype(np.uint8)
    added = labels_to_add(found, scheme.classes, labels, scheme)
    assert added.dtype == labels.dtype and not added[labels > 0].any()
    assert not added[found == 0].any()
    if scheme.instances:  # half of two objects is annotated
        assert np.array_equal(added, np.where(FOUND == 3, 3, 0))
    else:
        expected = np.array([0, *scheme.values])[found] * (labels == 0)
        assert np.array_equal(added, expected)


def test_labels_of_scribbles_leave_out_the_background() -> None:
    added = labels_to_add(np.minimum(FOUND, 2), SCRIBBLES.classes, plane(), SCRIBBLES)
    assert np.array_equal(np.unique(added), [0, 2, 3])


def test_objects_get_labels_of_their_own() -> None:
    labels = plane((9, slice(12, 18), slice(0, 30)))
    added = labels_to_add(FOUND, ("nucleus",), labels, ONE)
    assert np.array_equal(np.unique(added), [0, 10, 11, 12])
    empty = labels_to_add(np.zeros_like(FOUND), ("nucleus",), labels, ONE)
    assert not empty.any()


def test_unused_labels_fill_gaps_when_the_dtype_is_full() -> None:
    labels = np.array([[0, 1, 4, 255]], np.uint8)
    assert unused_labels(labels, 3).tolist() == [2, 3, 5]
    with pytest.raises(InputError, match="All 255 labels"):
        unused_labels(np.arange(256, dtype=np.uint8)[None], 1)
    with pytest.raises(InputError, match="All 255 labels"):
        unused_labels(labels, 253)


def test_classes_have_to_agree() -> None:
    with pytest.raises(InputError, match="The prompt finds debris, cell, but"):
        labels_to_add(FOUND, ("debris", "cell"), plane(), TWO)
    with pytest.raises(InputError, match="have to be the same"):
        labels_to_add(FOUND, ("cell",), plane(), TWO)


def test_a_reserved_label_is_never_given_away() -> None:
    plane = np.array([[0, 5, 60_000]], np.uint16)
    assert unused_labels(plane, 2, reserved=60_000).tolist() == [6, 7]
    assert unused_labels(plane, 1).tolist() == [60_001]
    plane = np.array([[0, 59_998]], np.uint16)
    assert unused_labels(plane, 3, reserved=60_000).tolist() == [59_999, 60_001, 60_002]
    plane = np.array([[0, 1, 2, 65_535]], np.uint16)
    assert unused_labels(plane, 2, reserved=3).tolist() == [4, 5]


def test_specks_are_left_out() -> None:
    other = plane(
        (5, slice(0, 5), slice(0, 8)), (5, slice(10, 18), slice(0, 10))
    )  # 40 and 80 pixels
    stray = plane((6, slice(0, 1), slice(0, 1)), (7, slice(2, 20), slice(2, 30)))
    ignored = plane((9, slice(0, 2), slice(0, 2)), (3, slice(10, 20), slice(0, 10)))
    assert speck_size([other]) == 20 and speck_size([other, ignored], ignored=9) == 20
    assert speck_size([stray]) == 252 and speck_size([]) == speck_size([plane()]) == 0
    found = plane(LEFT, (2, slice(12, 16), slice(3, 7)), RIGHT, dtype=np.uint32)
    added = labels_to_add(found, ("nucleus",), plane(), ONE, speck=20)
    assert np.array_equal(added > 0, np.isin(found, (1, 3)))
    assert np.array_equal(np.unique(added), [0, 1, 2])
