"""The kinds of files that results go into: which one fits, its axes, and whose result it is."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from napari_ptsam.errors import InputError, OutputError
from napari_ptsam.images.zarrs import holds_zarr
from napari_ptsam.io.user_files import read_or

if TYPE_CHECKING:
    from napari_ptsam.images.planes import Planes
    from napari_ptsam.inference.segment import Segmenter

Format = Literal["auto", "tiff", "ome-tiff", "ome-zarr"]

SUFFIXES: dict[str, str] = {"tiff": ".tif", "ome-tiff": ".ome.tif", "ome-zarr": ".ome.zarr"}
_ENDINGS: dict[str, Format] = {
    ".ome.zarr": "ome-zarr", ".ome.tif": "ome-tiff", ".ome.tiff": "ome-tiff", ".tif": "tiff",
    ".tiff": "tiff",
}  # fmt: skip
IMAGEJ_LIMIT = 4 * 10**9
"""Bytes; ImageJ's own kind of TIFF ends there."""
IMAGEJ_AXES, OME_AXES = "TZCYX", "TCZYX"
UINT16_LIMIT = 65535
MARK = "napari-ptsam run "
"""What comes before a run's fingerprint in a TIFF."""


def format_if_any(target: Path) -> Format | None:
    """The format that a name's ending tells; None where it tells none."""
    name = target.name.lower()
    return next((kind for ending, kind in _ENDINGS.items() if name.endswith(ending)), None)


def format_of(target: Path) -> str:
    """``tiff``, ``ome-tiff`` or ``ome-zarr``, by the ending.

    Raises
    ------
    OutputError
        If it is none of these.
    """
    if kind := format_if_any(target):
        return kind
    raise OutputError(
        f"{target.name} tells no format; results are .tif files, .ome.tif files or .ome.zarr folders."
    )


def suffix_for(planes: Planes, segmenter: Segmenter, format: Format) -> str:
    """Ending of a result, with its dot; ``auto`` chooses what fits.

    Raises
    ------
    InputError
        If the format is unknown.
    OutputError
        If the image has more axes than the format knows.
    """
    if format not in get_args(Format):
        raise InputError(f"Unknown format {format!r}; choose one of {', '.join(get_args(Format))}.")
    chosen: str = format
    classes = segmenter.output == "probabilities"
    if chosen == "auto":
        dtype = np.dtype(np.uint16) if segmenter.output == "instances" else segmenter.dtype
        size = len(planes) * prod(segmenter.result_shape(planes.shape)) * dtype.itemsize
        fits = size <= IMAGEJ_LIMIT and "" not in _letters(planes)
        chosen = "tiff" if fits else "ome-zarr"
    layout_for(planes, classes, chosen)
    return SUFFIXES[chosen]


def other_target(target: Path) -> Path:
    """Where a result goes that turns out to have too many objects for ImageJ's kind of TIFF."""
    return target.with_name(target.name.removesuffix(target.suffix) + SUFFIXES["ome-zarr"])


def places(target: Path) -> list[Path]:
    """Where the result of a target may be in the end."""
    return [target, other_target(target)] if format_of(target) == "tiff" else [target]


@dataclass(frozen=True)
class Layout:
    """How planes become an array of the axes that a format knows.

    Attributes
    ----------
    axes
        Of the result, a letter each, y and x last.
    shape
        Of the result.
    source
        Axes of the planes' results before y and x: leading axes in the letters
        of `axes`, then C where there is one result a class.
    leading
        Sizes of the leading axes.
    """

    axes: str
    shape: tuple[int, ...]
    source: str
    leading: tuple[int, ...]

    def pages(self, array: Any) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
        """Positions in the result, each with its page of shape (y, x).

        Parameters
        ----------
        array
            Results of all planes: shape (planes, y, x) or (planes, classes, y, x).
        """
        for index in np.ndindex(*self.shape[:-2]):
            at = dict(zip(self.axes, index, strict=False))
            where = tuple(at[axis] for axis in self.source[: len(self.leading)])
            number = int(np.ravel_multi_index(where, self.leading)) if where else 0
            page = array[number, at["C"]] if self._classes else array[number]
            yield index, np.asarray(page)

    @property
    def _classes(self) -> bool:
        return len(self.source) > len(self.leading)


def layout_for(planes: Planes, classes: bool | int, format: str) -> Layout:
    """How planes are laid out in a format.

    Parameters
    ----------
    classes
        Number of results a plane where there is one for each class, else 0.

    Raises
    ------
    OutputError
        If the image has more axes than the format knows.
    """
    letters = _letters(planes)
    if letters.count("") == 1 and not classes and format != "tiff":
        letters[letters.index("")] = "C"  # neither time nor depth: any axis of its own will do
    if "" in letters:
        raise OutputError(
            f"{planes.name} has too many axes ({planes.axes}) for one result; segment its parts."
        )
    leading = "".join(letters)
    source = leading + ("C" if classes else "")
    axes = source if format == "tiff" else "".join(a for a in OME_AXES if a in source)
    sizes = dict(zip(source, (*planes.leading, int(classes)), strict=False))
    shape = (*(sizes[axis] for axis in axes), *planes.shape)
    return Layout(f"{axes}YX", shape, source, planes.leading)


def fits_imagej(layout: Layout, dtype: np.dtype) -> bool:
    """Whether ImageJ's own kind of TIFF can hold a result."""
    ordered = all(IMAGEJ_AXES.index(a) < IMAGEJ_AXES.index(b) for a, b in pairwise(layout.axes))
    return ordered and prod(layout.shape) * dtype.itemsize <= IMAGEJ_LIMIT


def _letters(planes: Planes) -> list[str]:
    """The leading axes in letters that all formats know: one that is unknown becomes T or Z."""
    free = iter([axis for axis in "ZT" if axis not in planes.leading_axes])
    return [axis if axis in "TZ" else next(free, "") for axis in planes.leading_axes]


def is_there(target: Path) -> bool:
    """Whether something is at a target.

    Raises
    ------
    OutputError
        If a folder is there that is no result at all, which nothing may replace.
    """
    if target.is_dir() and (format_of(target) != "ome-zarr" or not holds_zarr(target)):
        raise OutputError(f"{target} is a folder; choose another name.")
    return os.path.lexists(target)


def is_result_of(target: Path, digest: str) -> bool:
    """Whether what is at a target, or where its result may be instead, is the result of a run."""
    return any(read_or(None, partial(_run_of, path)) == digest for path in places(target))


def _run_of(path: Path) -> str | None:
    """Fingerprint of the run that wrote a file or folder, if it was written here."""
    if path.is_dir():
        attributes = json.loads((path / "zarr.json").read_text(encoding="utf-8"))["attributes"]
        return attributes["napari-ptsam"]["run"]
    if not path.is_file():
        return None
    import tifffile

    with tifffile.TiffFile(path) as file:
        text = file.ome_metadata or str((file.imagej_metadata or {}).get("Info", ""))
    return text.partition(MARK)[2][:32] or None
