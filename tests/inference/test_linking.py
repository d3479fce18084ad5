"""Objects that keep their numbers from plane to plane."""

from __future__ import annotations

import numpy as np
import pytest

from napari_ptsam.errors import InputError
from napari_ptsam.images.planes import Planes
from napari_ptsam.inference.linking import Linker, LinkSettings, StackLinker


def plane(*boxes: tuple[int, int, int]) -> np.ndarray:
    """Squares of 10 x 10 pixels: (number, y, x) each."""
    made = np.zeros((64, 64), np.uint32)
    for number, y, x in boxes:
        made[y : y + 10, x : x + 10] = number
    return made


def test_an_object_keeps_its_number_though_the_order_changes() -> None:
    linker = Linker()
    first = linker.link(plane((1, 5, 5), (2, 30, 30)))
    second = linker.link(plane((7, 31, 31), (9, 6, 4), (11, 50, 5)))
    assert np.array_equal(first, plane((1, 5, 5), (2, 30, 30)))
    assert np.array_equal(second, plane((2, 31, 31), (1, 6, 4), (3, 50, 5)))
    assert second.dtype == np.uint32 and linker.object_count == 3


@pytest.mark.parametrize("axis", "IP")
def test_independent_images_are_not_linked(axis) -> None:
    images = Planes(np.zeros((3, 64, 64)), f"{axis}YX", "wells")
    with pytest.raises(InputError, match=f"The axis {axis} of wells counts independent images"):
        StackLinker(images)
    assert StackLinker(Planes(np.zeros((3, 64, 64)), "TYX"))


def test_the_overlap_in_all_decides_not_the_first_that_comes() -> None:
    linker = Linker(LinkSettings(threshold=0.1))
    linker.link(plane((1, 10, 10), (2, 10, 20)))
    # A greedy choice gives the upper one the better partner and leaves the other without any.
    moved = np.zeros((64, 64), np.uint32)
    moved[10:20, 16:26] = 1
    moved[10:20, 26:36] = 2
    linked = linker.link(moved)
    assert linked[15, 18] == 1 and linked[15, 30] == 2


@pytest.mark.parametrize(("gap", "number"), [(0, 3), (1, 1)])
def test_an_object_may_be_missing_on_as_many_planes_as_the_gap(gap: int, number: int) -> None:
    linker = Linker(LinkSettings(gap=gap))
    linker.link(plane((1, 5, 5), (2, 30, 30)))
    linker.link(plane((1, 30, 30)))
    linked = linker.link(plane((1, 5, 5), (2, 30, 30)))
    assert linked[7, 7] == number and linked[32, 32] == 2


def test_a_number_is_given_once_on_a_plane() -> None:
    linker = Linker(LinkSettings(threshold=0.1))
    linker.link(plane((1, 10, 10)))
    linker.link(plane((1, 14, 10)))
    # Two that overlap with the object: one with where it was, one with where it is.
    linked = linker.link(plane((1, 22, 10), (2, 5, 10)))
    assert sorted(np.unique(linked)) == [0, 1, 2] and linked[24, 12] == 1


def test_too_little_overlap_is_another_object() -> None:
    linker = Linker(LinkSettings(threshold=0.5))
    linker.link(plane((1, 10, 10)))
    assert linker.link(plane((1, 15, 10))).max() == 2  # an IoU of a third


def test_empty_planes_and_new_stacks() -> None:
    linker = Linker()
    linker.link(plane((1, 10, 10)))
    assert not linker.link(plane()).any()
    linker.start_stack()
    assert linker.link(plane((1, 10, 10))).max() == 2


def test_real_nuclei_that_move_keep_their_numbers(nuclei) -> None:
    mask = nuclei[1][0]
    linker = Linker()
    first = linker.link(mask)
    moved = linker.link(np.roll(mask, 2, axis=1))
    inner = [v for v in np.unique(first[8:-8, 8:-8]) if v]
    kept = [np.median(moved[np.roll(first == v, 2, axis=1)]) == v for v in inner]
    assert len(inner) > 2 and all(kept)


def test_tens_of_thousands_of_objects_are_linked_within_little_memory() -> None:
    side = 200
    numbers = np.arange(1, side * side + 1, dtype=np.uint32).reshape(side, side)
    plane = np.zeros((side * 4, side * 4), np.uint32)
    for y in range(3):
        for x in range(3):
            plane[y::4, x::4] = numbers
    linker = Linker()
    first = linker.link(plane)
    shuffled = np.random.default_rng(0).permutation(side * side) + 1
    again = linker.link(np.concatenate([[0], shuffled])[plane])
    # A table of all pairs would take 12 GB.
    assert np.array_equal(first, again)


@pytest.mark.parametrize("values", [{"threshold": 0}, {"threshold": 1.5}, {"gap": -1}, {"gap": 50}])
def test_values_without_sense(values) -> None:
    with pytest.raises(InputError, match=r"threshold is a number|gap is a whole number"):
        LinkSettings(**values)
