"""Results to TIFF files, plane by plane."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.errors import OutputError
from napari_ptsam.images.planes import PixelSize, Planes
from napari_ptsam.writing import replacing

if TYPE_CHECKING:
    from napari_ptsam.segmenting.segment import Segmenter

IMAGEJ_LIMIT = 4 * 10**9
"""Bytes; ImageJ's own kind of TIFF ends there, larger results become OME-TIFF."""
IMAGEJ_AXES = "TZCYXS"


def write_result(
    planes: Planes,
    segmenter: Segmenter,
    path: Path,
    overwrite: bool = False,
    after_plane: Callable[[int], object] = lambda done: None,
) -> None:
    """Segment planes into a TIFF that opens in Fiji and napari.

    The file has the image's axes (without channels) and pixel size. It is
    written beside and moved into place when it is whole.

    Parameters
    ----------
    after_plane
        Called with the number of planes that are done.

    Raises
    ------
    InputError
        If a plane cannot be read.
    OutputError
        If the file exists or cannot be written, or has too many instances.
    """
    import tifffile

    dtype = np.dtype(np.uint16) if segmenter.output == "instances" else segmenter.dtype
    shape = (*planes.leading, *segmenter.result_shape(planes.shape))
    axes = _axes(planes, segmenter.output == "probabilities")

    def results() -> Iterator[np.ndarray]:
        for done, result in enumerate(segmenter.planes(planes), start=1):
            if result.dtype != dtype and result.max() > np.iinfo(dtype).max:
                raise OutputError(
                    f"{planes.name} has more than 65,535 objects in a plane, too many for {path.name}."
                )
            # tifffile takes the pages one by one.
            yield from result.astype(dtype, copy=False).reshape(-1, *planes.shape)
            after_plane(done)

    with replacing(path, overwrite) as beside:
        large = prod(shape) * dtype.itemsize > IMAGEJ_LIMIT
        options = _ome(axes, planes.pixel_size) if large else _imagej(axes, planes.pixel_size)
        tifffile.imwrite(
            beside, results(), shape=shape, dtype=dtype, photometric="minisblack", **options
        )


def _axes(planes: Planes, classes: bool) -> str:
    """The image's axes in TIFF's letters; one that TIFF does not know becomes T or Z."""
    free = iter([axis for axis in "ZT" if axis not in planes.leading_axes])
    leading = [axis if axis in "TZ" else next(free, "") for axis in planes.leading_axes]
    if "" in leading:
        raise OutputError(
            f"{planes.name} has too many axes ({planes.axes}) for a TIFF; segment its parts."
        )
    return "".join(leading) + ("C" if classes else "") + "YX"


def _imagej(axes: str, size: PixelSize | None) -> dict[str, Any]:
    ordered = all(IMAGEJ_AXES.index(a) < IMAGEJ_AXES.index(b) for a, b in pairwise(axes))
    if not ordered or (size is not None and not size.unit.isascii()):
        return _ome(axes, size)  # ImageJ knows one order of axes, and plain letters
    metadata: dict[str, Any] = {"axes": axes}
    options: dict[str, Any] = {"imagej": True, "metadata": metadata}
    if size is not None:
        options["resolution"] = (1 / size.x, 1 / size.y)
        metadata["unit"] = "um" if size.unit == "micrometer" else size.unit
        if size.z is not None:
            metadata["spacing"] = size.z
    return options


def _ome(axes: str, size: PixelSize | None) -> dict[str, Any]:
    metadata: dict[str, Any] = {"axes": axes}
    if size is not None:
        unit = {"micrometer": "µm", "nanometer": "nm", "millimeter": "mm"}.get(size.unit, size.unit)
        for axis, value in (("X", size.x), ("Y", size.y), ("Z", size.z)):
            if value is not None:
                metadata |= {f"PhysicalSize{axis}": value, f"PhysicalSize{axis}Unit": unit}
    return {"ome": True, "bigtiff": True, "metadata": metadata}
