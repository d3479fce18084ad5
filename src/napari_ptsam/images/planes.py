"""Access the planes of an array of any number of axes, one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.errors import InputError, PtsamError
from napari_ptsam.images.axes import (
    CHANNEL_AXES,
    INDEPENDENT,
    axes_of_names,
    fitting_axes,
    guess_axes,
)
from napari_ptsam.images.lazy_arrays import Part, Reordered, with_known_shape
from napari_ptsam.images.tiling import MINIMUM_SIDE

if TYPE_CHECKING:
    from napari_ptsam.images.addresses import Location


@dataclass(frozen=True)
class PixelSize:
    """Size of a pixel in a unit; ``z`` is the distance between planes, if it is known."""

    y: float
    x: float
    z: float | None = None
    unit: str = "micrometer"


@dataclass(frozen=True)
class TimeStep:
    """Time between two frames of a series, in a unit."""

    value: float
    unit: str = "second"


def _is_lazy(array: Any) -> bool:
    """Return whether an object has a shape and a numpy dtype, so that parts of it can be read."""
    try:
        return hasattr(array, "shape") and np.dtype(array.dtype) is not None
    except (AttributeError, TypeError):
        return False


def _known_axes(array: Any, axes: str | None) -> str | None:
    """Return the axes of an array: as given, or by its ``dims`` (of xarray); None without any."""
    if axes:
        return fitting_axes(axes.upper(), array.shape)
    names = getattr(array, "dims", None)
    return axes_of_names(names, array.shape) if isinstance(names, tuple) else None


class Planes(Sequence[np.ndarray]):
    """The planes of an image or stack. Each plane is read when it is accessed.

    Parameters
    ----------
    array
        Any array with ``shape``, ``dtype`` and numpy-like indexing, such as a
        numpy, dask or zarr array or a memory map.
    axes
        One letter per axis, Y and X among them. C or S marks channels; all other
        axes count planes. Axes of length 1 may be left out. By default, the axes are
        those that the array names (xarray's ``dims``), or are guessed from the shape.
    name
        The name of the image in messages.
    pixel_size
        The pixel size, if it is known.

    Raises
    ------
    InputError
        If the axes do not fit the array, or the planes are too small or of a
        dtype that is not supported.
    """

    def __init__(
        self,
        array: Any,
        axes: str | None = None,
        name: str = "the array",
        pixel_size: PixelSize | None = None,
    ) -> None:
        lazy = array if _is_lazy(array) else np.asarray(array)
        self._array = with_known_shape(lazy, name)
        known = _known_axes(self._array, axes)
        self.axes = known or guess_axes(self._array.shape)
        self.axes_are_guessed = known is None
        """Whether the axes follow from the shape alone."""
        self.name, self.pixel_size = name, pixel_size
        self.dtype = np.dtype(self._array.dtype)
        self._check()
        self.rgb = "S" in self.axes
        self.leading_axes = "".join(axis for axis in self.axes if axis not in "YX" + CHANNEL_AXES)
        self.leading = tuple(self._size(axis) for axis in self.leading_axes)
        """Sizes of all axes but y, x and channels, such as (t, z). It is () for a single plane."""
        self.shape = (self._size("Y"), self._size("X"))
        """Shape of a plane: (y, x)."""
        self.channels = max([self._size(axis) for axis in self.axes if axis in CHANNEL_AXES] or [1])
        self.time_step: TimeStep | None = None
        """Time between frames, if it is known."""
        self.channel_names: tuple[str, ...] = ()
        """One name for each channel, if the image has them."""
        self.notes: tuple[str, ...] = ()
        """Sentences for the user about how the file was read."""
        self.path: Location | None = None
        """The file, folder or address of the image, if it has one."""
        self.cut: tuple[tuple[str, int, int], ...] = ()
        """Axis, start and stop of each call of `part`."""

    @property
    def array_shape(self) -> tuple[int, ...]:
        """Shape of the whole array, in the order of `axes`."""
        return tuple(int(size) for size in self._array.shape)

    @property
    def data_axes(self) -> str:
        """`axes` without colour samples, which napari does not count."""
        return self.axes.replace("S", "")

    @property
    def stack_axis(self) -> str:
        """The axis along which planes are linked and chosen; an empty string for a single plane.

        It is the last leading axis that is longer than 1. See also `is_linkable`.
        """
        return self._long_axes[-1:]

    @property
    def _long_axes(self) -> str:
        """The leading axes that are longer than 1."""
        sizes = zip(self.leading_axes, self.leading, strict=True)
        return "".join(axis for axis, size in sizes if size > 1)

    @property
    def is_linkable(self) -> bool:
        """Whether planes along `stack_axis` may show the same objects, unlike independent images."""
        return self.stack_axis not in INDEPENDENT

    @property
    def stack_length(self) -> int:
        """Number of planes along `stack_axis`."""
        return self._size(self.stack_axis) if self.stack_axis else 1

    @property
    def extent(self) -> tuple[int, ...]:
        """Sizes of the leading axes that are longer than 1, then y and x."""
        return (*(size for size in self.leading if size > 1), *self.shape)

    def in_order_of(self, other: Planes) -> Planes:
        """Return the planes in the order of another image that has the same leading axes.

        If the leading axes that are longer than 1 have other letters, or the letters are guessed,
        they are taken to be in the same order already.
        """
        mine, theirs = self._long_axes, other._long_axes
        is_guessed = self.axes_are_guessed or other.axes_are_guessed
        if is_guessed or mine == theirs or sorted(mine) != sorted(theirs):
            return self
        order = iter(theirs)
        axes = "".join(next(order) if axis in mine else axis for axis in self.axes)
        array = Reordered(self._array, [self.axes.index(axis) for axis in axes])
        return self._same_image(array, axes)

    def _same_image(self, array: Any, axes: str) -> Planes:
        """Return planes of an array that shows the same image."""
        planes = Planes(array, axes, self.name, self.pixel_size)
        planes.path, planes.channel_names, planes.notes = self.path, self.channel_names, self.notes
        planes.time_step, planes.cut = self.time_step, self.cut
        planes.axes_are_guessed = self.axes_are_guessed
        return planes

    def name_of(self, number: int) -> str:
        """Return the name of plane ``number`` in messages."""
        return f"{self.name}, plane {number}" if len(self) > 1 else self.name

    def position(self, number: int) -> dict[str, int]:
        """Return the position of plane ``number`` on each leading axis."""
        if not self.leading:
            return {}
        index = np.unravel_index(number, self.leading)
        return dict(zip(self.leading_axes, map(int, index), strict=True))

    def _size(self, axis: str) -> int:
        return int(self._array.shape[self.axes.index(axis)])

    def _check(self) -> None:
        axes, shape = self.axes, tuple(self._array.shape)
        channels = (
            [axis for axis in axes if axis in CHANNEL_AXES and self._size(axis) > 1]
            if len(axes) == len(shape)
            else []
        )
        if len(axes) != len(shape) or not {"Y", "X"} <= set(axes) or len(set(axes)) != len(axes):
            raise InputError(
                f"The axes {axes!r} do not fit {self.name} of shape {shape}; "
                "give one letter for each axis, Y and X among them (for instance ZCYX)."
            )
        if len(channels) > 1:
            raise InputError(f"{self.name} has two channel axes ({axes}); keep one of them.")
        if 0 in shape:
            raise InputError(
                f"{self.name} of shape {shape} has an axis of length 0; nothing is in it."
            )
        if min(self._size("Y"), self._size("X")) < MINIMUM_SIDE:
            raise InputError(
                f"{self.name} of shape {shape} (axes {axes}) has planes smaller than "
                f"{MINIMUM_SIDE} x {MINIMUM_SIDE} pixels; name the axes if these are wrong."
            )
        if self.dtype.kind not in "buif":
            raise InputError(
                f"{self.name} has the dtype {self.dtype}; use bool, integer or float pixels."
            )

    def part(self, axis: str, start: int, stop: int) -> Planes:
        """Return the part of the image from ``start`` up to, but not including, ``stop`` on an axis.

        Raises
        ------
        InputError
            If there is no such leading axis, or the part is empty.
        """
        if axis not in self.leading_axes:
            raise InputError(
                f"{self.name} (axes {self.axes}) has no planes along {axis!r} to take a part of."
            )
        size = self._size(axis)
        if not 0 <= start < stop <= size:
            raise InputError(
                f"{self.name} has positions 0 to {size - 1} along {axis}; there is nothing from "
                f"{start} up to {stop - 1}."
            )
        array = Part(self._array, self.axes.index(axis), start, stop)
        part = self._same_image(array, self.axes)
        part.cut = (*self.cut, (axis, start, stop))
        return part

    def __len__(self) -> int:
        return int(np.prod(self.leading, dtype=int))

    def __getitem__(self, index: Any) -> Any:
        """Return plane ``index`` (last leading axis fastest): (y, x) or (y, x, channels)."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = int(index)
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        where = self.position(index % len(self))
        picked = tuple(where.get(axis, slice(None)) for axis in self.axes)
        try:
            plane = np.asarray(self._array[picked])
        except PtsamError:
            raise
        except Exception as error:  # the reader of a lazy array may raise anything
            raise InputError(
                f"Plane {index} of {self.name} cannot be read ({error}); check the file or folder "
                "that it comes from."
            ) from error
        plane_axes = [axis for axis in self.axes if axis not in where]
        plane = plane.transpose([plane_axes.index(axis) for axis in "YXCS" if axis in plane_axes])
        # A channel axis of length 1 is dropped.
        extra = tuple(i for i in range(2, plane.ndim) if plane.shape[i] == 1)
        return plane.squeeze(extra) if extra else plane

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))
