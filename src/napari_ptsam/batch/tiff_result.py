"""Results as TIFF files: ImageJ's hyperstacks, and OME-TIFF."""

from __future__ import annotations

import json
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from napari_ptsam.batch.result_format import ResultFormat, axis_letters
from napari_ptsam.images.units import LENGTHS, TIMES, converted, length_name

if TYPE_CHECKING:
    import numpy as np

    from napari_ptsam.batch.result_format import StackResult
    from napari_ptsam.images.planes import PixelSize, Planes

IMAGEJ_LIMIT = 4 * 10**9
"""Largest size in bytes of an ImageJ hyperstack."""
_IMAGEJ_AXES = "TZCYX"
_MARK = "napari-ptsam run "
"""Text in front of a run's fingerprint in the file's description."""


class _Tiff(ResultFormat):
    """The common base of both kinds of TIFF."""

    def read(self, path: Path) -> np.ndarray:
        """Return the pages of a TIFF as one array."""
        import tifffile

        return tifffile.imread(path)

    def run_of(self, path: Path) -> str | None:
        """Return the fingerprint in the description of a TIFF."""
        if not path.is_file():
            return None
        import tifffile

        with tifffile.TiffFile(path) as file:
            text = file.ome_metadata or str((file.imagej_metadata or {}).get("Info", ""))
        return text.partition(_MARK)[2][:32] or None


class ImageJTiff(_Tiff):
    """A TIFF that ImageJ opens as a hyperstack, or an OME-TIFF if the result is not one.

    It is not compressed, so that it can be mapped into memory.
    """

    name = "tiff"
    title = "TIFF"
    endings = (".tif", ".tiff")
    largest_label = 65535
    alternative = "ome-zarr"

    def fits(self, planes: Planes, size: int) -> bool:
        """Return whether a result is small enough, with axes that ImageJ has."""
        letters = zip(axis_letters(planes), planes.leading, strict=True)
        return size <= IMAGEJ_LIMIT and all(letter or count == 1 for letter, count in letters)

    def write(self, path: Path, result: StackResult) -> None:
        """Write a hyperstack, or an OME-TIFF if ImageJ cannot hold size, axes or unit."""
        size = result.pixel_size
        if _fits_imagej(result) and (size is None or size.unit.isascii()):
            _write(path, result, _imagej_options(result))
        else:
            _write(path, result, _ome_options(result))


class OmeTiff(_Tiff):
    """A compressed OME-TIFF."""

    name = "ome-tiff"
    title = "OME-TIFF"
    hint = "OME-TIFF opens in Fiji and napari."
    endings = (".ome.tif", ".ome.tiff")
    axis_order = "TCZYX"
    any_axis = True

    def write(self, path: Path, result: StackResult) -> None:
        """Write an OME-TIFF."""
        _write(path, result, _ome_options(result))


def _fits_imagej(result: StackResult) -> bool:
    """Return whether ImageJ's kind of TIFF can hold a result's axes and size."""
    axes, shape = result.layout.axes, result.layout.shape
    ordered = all(_IMAGEJ_AXES.index(a) < _IMAGEJ_AXES.index(b) for a, b in pairwise(axes))
    return ordered and prod(shape) * result.dtype.itemsize <= IMAGEJ_LIMIT


def _write(path: Path, result: StackResult, options: dict[str, Any]) -> None:
    import tifffile

    pages = (page for _, page in result.pages())  # tifffile takes the pages one by one
    tifffile.imwrite(
        path, pages, shape=result.layout.shape, dtype=result.dtype, photometric="minisblack",
        **options,
    )  # fmt: skip


def _description(result: StackResult) -> str:
    names = ", ".join(f"{number} {name}" for number, name in enumerate(result.classes, start=1))
    values = json.dumps(result.about, sort_keys=True)
    return f"{_MARK}{result.about['run']}\nClasses: {names}\n{values}"


def _imagej_options(result: StackResult) -> dict[str, Any]:
    size: PixelSize | None = result.pixel_size
    metadata: dict[str, Any] = {"axes": result.layout.axes, "Info": _description(result)}
    options: dict[str, Any] = {"imagej": True, "metadata": metadata}
    if size is not None:
        options["resolution"] = (1 / size.x, 1 / size.y)
        metadata["unit"] = "um" if size.unit == "micrometer" else size.unit
        if size.z is not None:
            metadata["spacing"] = size.z
    step = result.time_step
    if step is not None and "T" in result.layout.axes:
        metadata["finterval"] = converted(step.value, step.unit, "second")
    return options


def _ome_options(result: StackResult) -> dict[str, Any]:
    # Without an id of our own, tifffile would invent another one each time.
    metadata: dict[str, Any] = {
        "axes": result.layout.axes, "UUID": str(UUID(result.about["run"])),
        "Description": _description(result),
    }  # fmt: skip
    if "C" in result.layout.axes and result.output == "probabilities":
        metadata["Channel"] = {"Name": list(result.classes)}
    size = result.pixel_size
    if size is not None:
        unit = LENGTHS.get(length_name(size.unit))  # OME knows no other units
        for axis, value in (("X", size.x), ("Y", size.y), ("Z", size.z)):
            if value is not None and unit is not None:
                metadata |= {f"PhysicalSize{axis}": value, f"PhysicalSize{axis}Unit": unit.symbol}
    step = result.time_step
    if step is not None and "T" in result.layout.axes:
        metadata |= {"TimeIncrement": step.value, "TimeIncrementUnit": TIMES[step.unit].symbol}
    return {
        "ome": True, "bigtiff": result.array.nbytes > IMAGEJ_LIMIT // 2, "metadata": metadata,
        "compression": "zlib", "maxworkers": 1,
    }  # fmt: skip
