"""Results as TIFFs: ImageJ's own kind, and OME-TIFF."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from napari_ptsam.batch.formats import IMAGEJ_LIMIT, MARK

if TYPE_CHECKING:
    import numpy as np

    from napari_ptsam.batch.formats import Layout
    from napari_ptsam.images.planes import PixelSize

_OME_UNITS = {
    "micrometer": "µm", "nanometer": "nm", "millimeter": "mm", "centimeter": "cm",
    "meter": "m", "inch": "in",
}  # fmt: skip


def write_tiff(
    path: Path,
    array: Any,
    layout: Layout,
    dtype: np.dtype,
    size: PixelSize | None,
    about: dict[str, Any],
    imagej: bool,
) -> None:
    """Write a TIFF page by page; the same values give the same bytes.

    Parameters
    ----------
    path
        A file that is not there yet.
    array
        Results of all planes: shape (planes, y, x) or (planes, classes, y, x).
    dtype
        Of the file.
    size
        Of a pixel, if known.
    about
        Where it comes from; plain values.
    imagej
        ImageJ's kind of TIFF, without compression so that it can be mapped into
        memory; else OME-TIFF.
    """
    import tifffile

    if imagej and (size is None or size.unit.isascii()):
        options = _imagej(layout.axes, size, about)
    else:
        large = array.nbytes > IMAGEJ_LIMIT // 2
        options = _ome(layout.axes, size, about, large)
    # tifffile takes the pages one by one.
    pages = (page.astype(dtype, copy=False) for _, page in layout.pages(array))
    tifffile.imwrite(
        path, pages, shape=layout.shape, dtype=dtype, photometric="minisblack", **options
    )


def _text(about: dict[str, Any]) -> str:
    names = ", ".join(f"{i} {name}" for i, name in enumerate(about["classes"], start=1))
    values = json.dumps(about, sort_keys=True)
    return f"{MARK}{about['run']}\nClasses: {names}\n{values}"


def _imagej(axes: str, size: PixelSize | None, about: dict[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = {"axes": axes, "Info": _text(about)}
    options: dict[str, Any] = {"imagej": True, "metadata": metadata}
    if size is not None:
        options["resolution"] = (1 / size.x, 1 / size.y)
        metadata["unit"] = "um" if size.unit == "micrometer" else size.unit
        if size.z is not None:
            metadata["spacing"] = size.z
    return options


def _ome(axes: str, size: PixelSize | None, about: dict[str, Any], large: bool) -> dict[str, Any]:
    # tifffile would make up another id each time.
    metadata: dict[str, Any] = {
        "axes": axes, "UUID": str(UUID(about["run"])), "Description": _text(about),
    }  # fmt: skip
    if "C" in axes and about["output"] == "probabilities":
        metadata["Channel"] = {"Name": about["classes"]}
    if size is not None:
        unit = _OME_UNITS.get(size.unit, size.unit)
        for axis, value in (("X", size.x), ("Y", size.y), ("Z", size.z)):
            if value is not None:
                metadata |= {f"PhysicalSize{axis}": value, f"PhysicalSize{axis}Unit": unit}
    return {
        "ome": True, "bigtiff": large, "metadata": metadata, "compression": "zlib",
        "maxworkers": 1,
    }  # fmt: skip
