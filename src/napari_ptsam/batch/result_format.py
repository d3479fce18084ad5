"""The interface of a file format for results, and the data that it writes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from napari_ptsam.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_ptsam.images.planes import PixelSize, Planes, TimeStep


@dataclass(frozen=True)
class Layout:
    """The arrangement of the results of planes in one array with the axes of a format.

    Attributes
    ----------
    axes
        Axes of the array, one letter each; y and x are last.
    shape
        Shape of the array.
    source
        Axes of the planes' results in front of y and x: the leading axes in the
        letters of `axes`, then C if there is one result for each class.
    leading
        Sizes of the leading axes in `source`. Those of length 1 are left out if the format has
        no letter for them.
    """

    axes: str
    shape: tuple[int, ...]
    source: str
    leading: tuple[int, ...]

    def position(self, number: int) -> dict[str, int]:
        """Return the position of plane ``number`` on each leading axis, by its letter here."""
        index = np.unravel_index(number, self.leading) if self.leading else ()
        return dict(zip(self.source, map(int, index), strict=False))

    def pages(self, array: Any) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
        """Yield each index in front of y and x, with its page of shape (y, x).

        Parameters
        ----------
        array
            Results of all planes: shape (planes, y, x) or (planes, classes, y, x).
        """
        for index in np.ndindex(*self.shape[:-2]):
            at = dict(zip(self.axes, index, strict=False))
            where = tuple(at[axis] for axis in self.source[: len(self.leading)])
            number = int(np.ravel_multi_index(where, self.leading)) if where else 0
            page = array[number, at["C"]] if self._has_classes else array[number]
            yield index, np.asarray(page)

    @property
    def _has_classes(self) -> bool:
        return len(self.source) > len(self.leading)


@dataclass(frozen=True)
class StackResult:
    """The result of an image, ready to be written.

    Attributes
    ----------
    array
        Results of all planes: shape (planes, y, x) or (planes, classes, y, x).
    layout
        Axes and shape of the written array.
    dtype
        Data type of the written array.
    name
        Name of the image.
    pixel_size
        Pixel size of the image; None if unknown.
    output
        ``labels``, ``instances`` or ``probabilities``.
    classes, colours
        Name and colour (``#RRGGBB``) of each class.
    time_step
        Time between frames; None if unknown.
    about
        Origin of the result, as plain values. ``run`` is the fingerprint
        of the run, 32 hexadecimal digits.
    """

    array: Any
    layout: Layout
    dtype: np.dtype
    name: str
    pixel_size: PixelSize | None
    output: str
    classes: tuple[str, ...]
    colours: tuple[str, ...]
    about: dict[str, Any]
    time_step: TimeStep | None = None

    def pages(self) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
        """Yield each index in front of y and x, with its page of shape (y, x) in `dtype`."""
        for index, page in self.layout.pages(self.array):
            yield index, page.astype(self.dtype, copy=False)


class ResultFormat(ABC):
    """A file format for results."""

    name: ClassVar[str]
    """Name on the command line, such as ``ome-zarr``."""
    title: ClassVar[str]
    """Name in the form, such as ``OME-Zarr``."""
    hint: ClassVar[str] = ""
    """A sentence for the form's tooltip."""
    endings: ClassVar[tuple[str, ...]]
    """Endings of file names in this format, with dots; results get the first one."""
    is_folder: ClassVar[bool] = False
    """Whether a result is a folder."""
    axis_order: ClassVar[str] = ""
    """Letters of the axes in front of y and x, in the order of the format; empty keeps the
    image's order."""
    any_axis: ClassVar[bool] = False
    """Whether an axis that is neither time nor depth can be stored as C."""
    largest_label: ClassVar[int | None] = None
    """Largest number of an object that fits into the format; None without a limit."""
    alternative: ClassVar[str] = ""
    """Name of the format for results with more objects than that."""

    @abstractmethod
    def write(self, path: Path, result: StackResult) -> None:
        """Write a result, page by page; the same values must give the same bytes.

        Parameters
        ----------
        path
            A file or folder that does not exist yet.
        result
            The result to write.
        """

    @abstractmethod
    def read(self, path: Path) -> np.ndarray:
        """Return the array of a result, with the axes of its layout."""

    @abstractmethod
    def run_of(self, path: Path) -> str | None:
        """Return the fingerprint of the run that wrote a result; None if it holds none."""

    def prepare(self, target: Path) -> None:  # noqa: B027 - nothing to do for most formats
        """Prepare the place of a result, immediately before it is moved there."""

    def register(self, target: Path) -> None:  # noqa: B027 - as above
        """List a result that is in its place, where something keeps a list of results."""

    def may_replace(self, folder: Path) -> bool:
        """Return whether an existing folder looks like a result, so that it may be replaced."""
        return False

    def fits(self, planes: Planes, size: int) -> bool:
        """Return whether a result of ``size`` bytes fits into the format."""
        return True

    def layout(self, planes: Planes, classes: int) -> Layout:
        """Return the layout of an image's result.

        Parameters
        ----------
        planes
            The image.
        classes
            Number of results for each plane if there is one for each class, else 0.

        Raises
        ------
        OutputError
            If the image has more axes than the format.
        """
        both = zip(axis_letters(planes), planes.leading, strict=True)
        pairs = [(letter, size) for letter, size in both if letter or size > 1]
        letters, leading = [letter for letter, _ in pairs], tuple(size for _, size in pairs)
        if letters.count("") == 1 and not classes and self.any_axis:
            letters[letters.index("")] = "C"
        if "" in letters:
            raise OutputError(
                f"{planes.name} has too many axes ({planes.axes}) for one result; segment parts of it."
            )
        source = "".join(letters) + ("C" if classes else "")
        axes = "".join(a for a in self.axis_order if a in source) if self.axis_order else source
        sizes = dict(zip(source, (*leading, classes), strict=False))
        shape = (*(sizes[axis] for axis in axes), *planes.shape)
        return Layout(f"{axes}YX", shape, source, leading)


def axis_letters(planes: Planes) -> list[str]:
    """Return T or Z for each leading axis of an image; empty where both are taken.

    Axes that are longer than 1 have the first choice.
    """
    free = iter([axis for axis in "ZT" if axis not in planes.leading_axes])
    letters = {axis: axis for axis in planes.leading_axes if axis in "TZ"}
    sizes = zip(planes.leading_axes, planes.leading, strict=True)
    for axis, _ in sorted(sizes, key=lambda pair: pair[1] == 1):
        if axis not in letters:
            letters[axis] = next(free, "")
    return [letters[axis] for axis in planes.leading_axes]
