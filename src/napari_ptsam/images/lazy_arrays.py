"""Arrays that look at another array: a part of it, its axes in another order, its colours.

Nothing is read before it is accessed. As `napari_ptsam.images.planes.Planes` does, the index
has to name every axis: an integer on axes that count planes, and a whole slice on y, x and channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import Any

import numpy as np

from napari_ptsam.errors import InputError

Index = tuple[int | slice, ...]

_FLIPS_ROWS, _FLIPS_COLUMNS, _SWAPS = (3, 4, 6, 7), (2, 3, 7, 8), (5, 6, 7, 8)
"""Values of the tag Orientation of TIFF and EXIF: the first stored row lies at the bottom or the
right, the first column lies at the right or the bottom, and rows are columns."""


def with_known_shape(array: Any, name: str) -> Any:
    """Return an array whose shape is known.

    The length of a dask array is not known if its planes were chosen by a condition.
    Then its chunks are computed once, to count them.

    Raises
    ------
    InputError
        If the shape is not known and cannot be computed.
    """
    if not any(size is None or isnan(size) for size in array.shape):
        return array
    try:
        known = array.copy()  # chunk sizes are set in place
        known.compute_chunk_sizes()
    except Exception as error:  # the computation may raise anything
        raise InputError(
            f"The length of {name} is not known and cannot be computed ({error}); compute the array "
            "before."
        ) from error
    return known


class Part:
    """A part of an array along one axis.

    Parameters
    ----------
    array
        The array.
    axis
        The axis that is cut.
    start, stop
        First position of the part, and the position after the last one.
    """

    def __init__(self, array: Any, axis: int, start: int, stop: int) -> None:
        self._array, self._axis, self._start = array, axis, start
        shape = list(array.shape)
        shape[axis] = stop - start
        self.shape, self.dtype = tuple(shape), array.dtype

    def __getitem__(self, index: Index) -> Any:
        """Read a plane."""
        at = index[self._axis]
        assert isinstance(at, int)
        return self._array[(*index[: self._axis], at + self._start, *index[self._axis + 1 :])]


class Reordered:
    """An array with the axes that count planes in another order.

    Parameters
    ----------
    array
        The array.
    order
        For each axis its position in the array. Y, x and channels keep their order.
    """

    def __init__(self, array: Any, order: Sequence[int]) -> None:
        self._array, self._order = array, list(order)
        self.shape, self.dtype = tuple(array.shape[axis] for axis in order), array.dtype

    def __getitem__(self, index: Index) -> Any:
        """Read a plane."""
        there = dict(zip(self._order, index, strict=True))
        return self._array[tuple(there[axis] for axis in range(len(index)))]


class Coloured:
    """An array of indices into a palette, shown as the colours of the palette.

    Parameters
    ----------
    array
        The indices.
    palette
        Colours, shape (colours, 3), or grey values, shape (colours,). Colours are on a
        further axis, the last one.
    """

    def __init__(self, array: Any, palette: np.ndarray) -> None:
        self._array, self._palette = array, palette
        self.shape, self.dtype = (*array.shape, *palette.shape[1:]), palette.dtype

    def __getitem__(self, index: Index) -> Any:
        """Read a plane."""
        indices = np.asarray(self._array[index[: len(self._array.shape)]])
        return self._palette[indices]


class Oriented:
    """An array of pictures that are stored turned or mirrored, as they are to be seen.

    Parameters
    ----------
    array
        The array.
    y, x
        Positions of the axes that are stored as rows and columns.
    orientation
        Value of the tag Orientation in TIFF and EXIF: 2 to 8.
    """

    def __init__(self, array: Any, y: int, x: int, orientation: int) -> None:
        self._array, self._axes, self._orientation = array, (y, x), orientation
        self._swaps = orientation in _SWAPS
        self.shape, self.dtype = self._swapped(tuple(array.shape)), array.dtype

    def _swapped(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        y, x = self._axes
        swapped = list(values)
        if self._swaps:
            swapped[y], swapped[x] = values[x], values[y]
        return tuple(swapped)

    def __getitem__(self, index: Index) -> np.ndarray:
        """Read a plane."""
        index = self._swapped(index)
        pixels = np.asarray(self._array[index])
        y, x = (sum(isinstance(i, slice) for i in index[:axis]) for axis in self._axes)
        return oriented(pixels, self._orientation, y, x)


def oriented(pixels: np.ndarray, orientation: int, y: int = 0, x: int = 1) -> np.ndarray:
    """Return pixels as they are to be seen, which may be a view.

    Parameters
    ----------
    pixels
        Pixels as stored.
    orientation
        Value of the tag Orientation in TIFF and EXIF: 1 to 8. Any other counts as 1.
    y, x
        Axes of the stored rows and columns.
    """
    if orientation in _FLIPS_ROWS:
        pixels = np.flip(pixels, y)
    if orientation in _FLIPS_COLUMNS:
        pixels = np.flip(pixels, x)
    return pixels.swapaxes(y, x) if orientation in _SWAPS else pixels
