"""The table of formats in docs/files.md: what is read of each, found by writing and reading it.

``python tests/images/test_formats_table.py`` writes the table anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tifffile
import zarr
from PIL import Image

from napari_ptsam.errors import InputError
from napari_ptsam.images.planes import PixelSize, Planes, TimeStep
from napari_ptsam.images.reading import open_image

PAGE = Path(__file__).parents[2] / "docs" / "files.md"
BLOCK = re.compile(r"(<!-- begin: formats -->\n).*?(<!-- end -->)", re.DOTALL)
SIZES = {"T": 3, "C": 2, "Z": 4, "Y": 20, "X": 24, "S": 3}
AXES = ("YX", "ZYX", "TYX", "CYX", "YXS", "TZYX", "ZCYX", "TZCYX", "ZTYX", "CZYX", "YXZ")
DTYPES = {
    "bool": ("?",), "int 8–32": ("i1", "i2", "i4"), "int 64": ("i8",), "uint 8": ("u1",),
    "uint 16": ("u2",), "uint 32": ("u4",), "uint 64": ("u8",), "float 16": ("f2",),
    "float 32": ("f4",), "float 64": ("f8",),
}  # fmt: skip
SIZE, STEP, NAMES = PixelSize(0.2, 0.25, 2.0), TimeStep(5.0), ("DAPI", "GFP")
SCALE = {"T": 5.0, "Z": 2.0, "Y": 0.2, "X": 0.25}
UNITS = {"T": "second", "Z": "micrometer", "Y": "micrometer", "X": "micrometer"}
KINDS = {"T": "time", "C": "channel"}

Writer = Callable[[Path, np.ndarray, str], Path]


def write_tiff(folder: Path, array: np.ndarray, axes: str) -> Path:
    colour = "rgb" if "S" in axes else "minisblack"
    tifffile.imwrite(folder / "a.tif", array, photometric=colour, metadata={"axes": axes})
    return folder / "a.tif"


def write_imagej(folder: Path, array: np.ndarray, axes: str) -> Path:
    metadata: dict[str, Any] = {"axes": axes, "unit": "um", "spacing": 2.0, "finterval": 5.0}
    if "C" in axes:
        planes = np.prod([SIZES[axis] for axis in axes if axis in "TZ"], dtype=int)
        metadata["Labels"] = list(NAMES) * int(planes)
    tifffile.imwrite(
        folder / "a.tif", array, imagej=True, resolution=(4, 5), metadata=metadata,
        photometric="rgb" if "S" in axes else "minisblack",
    )  # fmt: skip
    return folder / "a.tif"


def write_ome(folder: Path, array: np.ndarray, axes: str) -> Path:
    metadata: dict[str, Any] = {
        "axes": axes, "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.2, "PhysicalSizeZ": 2.0,
        "TimeIncrement": 5.0, "Channel": {"Name": list(NAMES)},
    }  # fmt: skip
    if "C" not in axes:
        del metadata["Channel"]
    tifffile.imwrite(
        folder / "a.ome.tif", array, ome=True, metadata=metadata,
        photometric="rgb" if "S" in axes else "minisblack",
    )  # fmt: skip
    return folder / "a.ome.tif"


def write_png(folder: Path, array: np.ndarray, axes: str) -> Path:
    assert axes in ("YX", "YXS")
    if array.dtype == np.uint16 and axes == "YXS":
        import imagecodecs

        (folder / "a.png").write_bytes(imagecodecs.png_encode(array))
    else:
        assert array.dtype in (bool, np.uint8, np.uint16)
        Image.fromarray(array).save(folder / "a.png")
    return folder / "a.png"


def write_jpeg(folder: Path, array: np.ndarray, axes: str) -> Path:
    assert axes in ("YX", "YXS") and array.dtype == np.uint8
    Image.fromarray(array).save(folder / "a.jpg", quality=100, subsampling=0)
    return folder / "a.jpg"


def write_npy(folder: Path, array: np.ndarray, axes: str) -> Path:
    np.save(folder / "a.npy", array)
    return folder / "a.npy"


def write_zarr(folder: Path, array: np.ndarray, axes: str) -> Path:
    names = [axis.lower() for axis in axes]
    zarr.create_array(folder / "a.zarr", data=array, dimension_names=names)
    return folder / "a.zarr"


def write_ome_zarr(folder: Path, array: np.ndarray, axes: str) -> Path:
    assert "S" not in axes
    group = zarr.open_group(folder / "a.zarr", mode="w")
    group.create_array("0", data=array)
    described = [
        {"name": axis.lower(), "type": KINDS.get(axis, "space")}
        | ({"unit": UNITS[axis]} if axis in UNITS else {})
        for axis in axes
    ]
    scale = {"type": "scale", "scale": [SCALE.get(axis, 1.0) for axis in axes]}
    level = {"path": "0", "coordinateTransformations": [scale]}
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [{"axes": described, "datasets": [level]}],
        "omero": {"channels": [{"label": name} for name in NAMES]},
    }
    return folder / "a.zarr"


FORMATS: dict[str, Writer] = {
    "OME-TIFF": write_ome, "ImageJ's TIFF": write_imagej, "other TIFF": write_tiff,
    "OME-Zarr": write_ome_zarr, "zarr array": write_zarr, "NPY": write_npy, "PNG": write_png,
    "JPEG": write_jpeg,
}  # fmt: skip


def opened(write: Writer, axes: str, dtype: str, named: bool = False) -> Planes | None:
    """Write and read an image, naming its axes or not; None if that fails or pixels differ."""
    numbers = np.arange(np.prod([SIZES[axis] for axis in axes])) // 7 % 100
    array = numbers.reshape([SIZES[axis] for axis in axes]).astype(dtype)
    with TemporaryDirectory() as folder:
        try:
            path = write(Path(folder), array, axes)
        except Exception:  # each format refuses in its own way
            return None
        expected = Planes(array, axes)
        try:
            planes = open_image(path, axes if named else None)
            pixels = list(planes)
        except InputError:
            return None
        if planes.axes != axes:
            return None
        near = 3.0 * (write is write_jpeg)
        same = planes.dtype == array.dtype and all(
            one.shape == other.shape
            and np.abs(one.astype(float) - other.astype(float)).max() <= near
            for one, other in zip(pixels, expected, strict=True)
        )
        return planes if same else None


def row(name: str, write: Writer) -> str:
    """Return the row of a format."""
    found = {axes: opened(write, axes, "u1") for axes in AXES}
    kept = [axes for axes, planes in found.items() if planes is not None]
    named = [axes for axes in AXES if found[axes] is None and opened(write, axes, "u1", True)]
    dtypes = [
        words
        for words, kinds in DTYPES.items()
        if all(opened(write, "YX", kind) is not None for kind in kinds)
    ]
    facts = []
    full = found["TZCYX"] or found["YX"]
    assert full is not None
    if full.pixel_size == SIZE:
        facts.append("pixel size")
    if full.time_step == STEP:
        facts.append("time between frames")
    if full.channel_names[:2] == NAMES:
        facts.append("channel names")
    axes = ", ".join(each.lower() for each in kept)
    if named:
        axes += f"; with `--axes`: {', '.join(each.lower() for each in named)}"
    every = "every dtype" if len(dtypes) == len(DTYPES) else ", ".join(dtypes)
    return f"| {name} | {axes} | {every} | {', '.join(facts) or '–'} |\n"


def table() -> str:
    """Return the table."""
    head = "| Format | Axes | Dtypes | Kept |\n|---|---|---|---|\n"
    return head + "".join(row(name, write) for name, write in FORMATS.items())


def test_the_table_is_what_is_read() -> None:
    (stated,) = BLOCK.finditer(PAGE.read_text(encoding="utf-8"))
    assert stated[0] == f"{stated[1]}{table()}{stated[2]}", "run this file to write the table anew"


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    written = BLOCK.sub(lambda found: f"{found[1]}{table()}{found[2]}", text)
    PAGE.write_text(written, encoding="utf-8", newline="\n")
