"""Write the tables of file formats in docs/files.md, by writing and reading files of each kind.

The tables are between ``<!-- begin: images -->`` or ``<!-- begin: results -->`` and ``<!-- end -->``.
``--check`` writes nothing, and fails if the page differs.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from PIL import Image

from napari_ptsam.batch.formats import FORMATS
from napari_ptsam.batch.result_format import ResultFormat, StackResult
from napari_ptsam.errors import PtsamError
from napari_ptsam.images.planes import PixelSize, Planes, TimeStep
from napari_ptsam.images.reading import open_image

PAGE = Path(__file__).parents[1] / "docs" / "files.md"
BLOCK = re.compile(r"(<!-- begin: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
SIZES = {"T": 2, "C": 2, "Z": 3, "Y": 20, "X": 24, "S": 3}
AXES = ("YX", "YXS", "CYX", "ZYX", "TYX", "ZYXS", "ZCYX", "TZYX", "TZCYX", "TCZYX", "ZTYX")
DTYPES = ("bool", "uint8", "uint16", "uint32", "int16", "float32", "float64")
SIZE, STEP, NAMES = PixelSize(0.5, 0.25, 2.0), TimeStep(3.0), ("DAPI", "GFP")
KINDS = {"T": "time", "C": "channel"}

Writer = Callable[[Path, np.ndarray, str], None]


def pixels(axes: str, dtype: str) -> np.ndarray:
    """Return an array with these axes, and values that every dtype can hold."""
    shape = tuple(SIZES[axis] for axis in axes)
    values = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 100, shape)
    return values.astype(dtype)


def plain_tiff(path: Path, array: np.ndarray, axes: str) -> None:
    """Write pages without metadata."""
    photometric = "rgb" if axes.endswith("S") else "minisblack"
    tifffile.imwrite(path, array, photometric=photometric, metadata=None)


def imagej_tiff(path: Path, array: np.ndarray, axes: str) -> None:
    """Write a hyperstack of ImageJ."""
    if axes != "".join(axis for axis in "TZCYXS" if axis in axes):
        raise ValueError("ImageJ has another order")
    metadata = {"axes": axes, "unit": "um", "spacing": 2.0, "finterval": 3.0}
    if "C" in axes:
        planes = array.size // (SIZES["Y"] * SIZES["X"])
        metadata["Labels"] = [NAMES[number % 2] for number in range(planes)][:2]
    tifffile.imwrite(path, array, imagej=True, metadata=metadata, resolution=(4, 2))


def ome_tiff(path: Path, array: np.ndarray, axes: str) -> None:
    """Write an OME-TIFF."""
    metadata: dict[str, Any] = {"axes": axes}
    for axis, value in (("X", SIZE.x), ("Y", SIZE.y), ("Z", SIZE.z)):
        metadata |= {f"PhysicalSize{axis}": value, f"PhysicalSize{axis}Unit": "µm"}
    metadata |= {"TimeIncrement": STEP.value, "TimeIncrementUnit": "s"}
    if "C" in axes:
        metadata["Channel"] = {"Name": list(NAMES)}
    photometric = "rgb" if axes.endswith("S") else "minisblack"
    tifffile.imwrite(path, array, ome=True, photometric=photometric, metadata=metadata)


def ome_tiffs(path: Path, array: np.ndarray, axes: str) -> None:
    """Write an OME-TIFF for each plane; the first one has the text that describes all of them."""
    if axes.endswith("S") or array.dtype == bool:
        raise ValueError("not written here")
    ome_tiff(path, array, axes)
    with tifffile.TiffFile(path) as file:
        text = file.ome_metadata or ""
    order = re.search(r'DimensionOrder="XY(\w+)"', text)
    leading = order[1][::-1] if order else ""
    sizes = [SIZES[axis] if axis in axes else 1 for axis in leading]
    there = np.moveaxis(array, range(len(axes) - 2), [
        sorted(axes[:-2], key=leading.index).index(axis) for axis in axes[:-2]
    ]) if len(axes) > 2 else array  # fmt: skip
    parts = []
    for number, index in enumerate(np.ndindex(*sizes)):
        name = path.name if number == 0 else f"{path.stem}_{number}.tif"
        first = "".join(f' First{a}="{i}"' for a, i in zip(leading, index, strict=True))
        uuid = f'<UUID FileName="{name}">urn:uuid:{number}</UUID>'
        parts.append((name, f'<TiffData{first} IFD="0" PlaneCount="1">{uuid}</TiffData>'))
    text = re.sub(r"<TiffData.*?(/>|</TiffData>)", "", text, flags=re.DOTALL)
    text = text.replace("</Pixels>", "".join(part for _, part in parts) + "</Pixels>")
    planes = there.reshape(-1, SIZES["Y"], SIZES["X"])
    for number, ((name, _), plane) in enumerate(zip(parts, planes, strict=True)):
        description = text.encode() if number == 0 else None
        tifffile.imwrite(
            path.with_name(name), plane, description=description, metadata=None,
            photometric="minisblack",
        )  # fmt: skip


def picture(path: Path, array: np.ndarray, axes: str) -> None:
    """Write a PNG or JPEG."""
    if axes not in ("YX", "YXS"):
        raise ValueError("pictures are planes")
    if array.dtype == np.uint16 and axes == "YXS":
        import imagecodecs

        path.write_bytes(imagecodecs.png_encode(array))
        return
    options = {"quality": 95} if path.suffix == ".jpg" else {}
    Image.fromarray(array).save(path, **options)


def npy(path: Path, array: np.ndarray, axes: str) -> None:
    """Write an NPY file."""
    np.save(path, array)


def zarr_array(path: Path, array: np.ndarray, axes: str) -> None:
    """Write a zarr array without names of its axes."""
    zarr.create_array(path, data=array)


def named_zarr_array(path: Path, array: np.ndarray, axes: str) -> None:
    """Write a zarr array in format 3 with names of its axes."""
    if "S" in axes:
        raise ValueError("samples have no name")
    zarr.create_array(path, data=array, dimension_names=list(axes.lower()))


def ome_zarr(zarr_format: int) -> Writer:
    """Return a function that writes OME-Zarr 0.4 (zarr format 2) or 0.5 (3)."""

    def write(path: Path, array: np.ndarray, axes: str) -> None:
        if "S" in axes:
            raise ValueError("OME-Zarr has no samples")
        group: Any = zarr.open_group(path, mode="w", zarr_format=zarr_format)  # type: ignore[arg-type]
        group.create_array("0", data=array)
        units = {"T": "second", **dict.fromkeys("ZYX", "micrometer")}
        named: list[dict[str, str]] = [
            {"name": axis.lower(), "type": KINDS.get(axis, "space")}
            | ({"unit": units[axis]} if axis in units else {})
            for axis in axes
        ]
        scale = {"T": STEP.value, "C": 1.0, "Z": SIZE.z, "Y": SIZE.y, "X": SIZE.x}
        step = {"type": "scale", "scale": [scale[axis] for axis in axes]}
        scales = {
            "version": "0.4", "axes": named,
            "datasets": [{"path": "0", "coordinateTransformations": [step]}],
        }  # fmt: skip
        found: dict[str, Any] = {"multiscales": [scales]}
        if "C" in axes:
            found["omero"] = {"channels": [{"label": name} for name in NAMES]}
        group.attrs.update(found if zarr_format == 2 else {"ome": {"version": "0.5", **found}})

    return write


@dataclass(frozen=True)
class Kind:
    """A kind of image file: its name, the name of a file, and a function that writes it."""

    title: str
    file: str
    write: Writer
    tolerance: int = 0


IMAGES = (
    Kind("TIFF", "a.tif", plain_tiff),
    Kind("TIFF of ImageJ", "a.tif", imagej_tiff),
    Kind("OME-TIFF", "a.ome.tif", ome_tiff),
    Kind("OME-TIFF, several files", "a.ome.tif", ome_tiffs),
    Kind("PNG", "a.png", picture),
    Kind("JPEG (values change)", "a.jpg", picture, 255),
    Kind("NPY", "a.npy", npy),
    Kind("Zarr array", "a.zarr", zarr_array),
    Kind("Zarr array with named axes", "a.zarr", named_zarr_array),
    Kind("OME-Zarr 0.4", "a.ome.zarr", ome_zarr(2)),
    Kind("OME-Zarr 0.5", "a.ome.zarr", ome_zarr(3)),
)


def read_back(kind: Kind, axes: str, dtype: str) -> Planes | None:
    """Write an image and open it; None if the kind does not hold it or gives other values."""
    with tempfile.TemporaryDirectory() as folder:
        path, array = Path(folder) / kind.file, pixels(axes, dtype)
        try:
            kind.write(path, array, axes)
        except Exception:  # whatever the writer says of a dtype or axes that it does not know
            return None
        with suppress(PtsamError):
            planes = open_image(path)
            order = [axis for axis in axes if axis not in "YXCS"] + list("YX")
            order += [axis for axis in axes if axis in "CS"]
            expected = np.transpose(array, [axes.index(axis) for axis in order])
            found = np.stack(list(planes)).reshape(-1)
            same_size = found.size == expected.size
            if (
                same_size
                and np.abs(found.astype(float) - expected.reshape(-1)).max() <= kind.tolerance
            ):
                return planes
        return None


def image_row(kind: Kind) -> Iterator[str]:
    """Yield the cells of a kind of image."""
    yield kind.title
    opened = {axes: read_back(kind, axes, "uint8") for axes in AXES}
    yield ", ".join(
        axes if planes.axes == axes else f"{axes} (as {planes.axes})"
        for axes, planes in opened.items()
        if planes is not None
    )
    dtypes = [dtype for dtype in DTYPES if _keeps(read_back(kind, "YX", dtype), dtype)]
    yield ", ".join(dtypes)
    yield ", ".join(_kept([planes for planes in opened.values() if planes is not None])) or "–"


def _keeps(planes: Planes | None, dtype: str) -> bool:
    return planes is not None and planes.dtype == np.dtype(dtype)


def _kept(opened: list[Planes]) -> Iterator[str]:
    """Yield what is known of images besides pixels and axes."""
    sizes = [planes.pixel_size for planes in opened if planes.pixel_size is not None]
    if any((size.y, size.x, size.unit) == (SIZE.y, SIZE.x, SIZE.unit) for size in sizes):
        yield "pixel size"
    if any(size.z == SIZE.z for size in sizes):
        yield "distance of planes"
    if any(planes.time_step == STEP for planes in opened):
        yield "time between frames"
    if any(planes.channel_names[:2] == NAMES for planes in opened):
        yield "channel names"


def result(format: ResultFormat, axes: str, dtype: str, classes: int) -> StackResult:
    """Return a result as a run hands it to a format."""
    planes = Planes(pixels(axes, "uint8"), axes, "a", SIZE)
    shape = (len(planes), classes, *planes.shape) if classes else (len(planes), *planes.shape)
    values = np.random.default_rng(1).integers(0, 3, shape).astype(dtype)
    output = {"uint8": "labels", "float32": "probabilities"}.get(dtype, "instances")
    return StackResult(
        values, format.layout(planes, classes), np.dtype(dtype), "a", SIZE, output,
        ("nucleus", "debris"), ("#E69F00", "#56B4E9"), {"run": "0" * 32}, STEP,
    )  # fmt: skip


def result_row(name: str, format: ResultFormat) -> Iterator[str]:
    """Yield the cells of a format of results."""
    yield f"`{name}`"
    cells: list[str] = []
    opened: list[Planes] = []
    texts = ""
    for dtype, classes in (("uint8", 0), ("uint16", 0), ("uint32", 0), ("float32", 2)):
        found = []
        for axes in ("YX", "ZYX", "TYX", "TZYX"):
            with tempfile.TemporaryDirectory() as folder, suppress(PtsamError):
                path = Path(folder) / f"a{format.endings[0]}"
                given = result(format, axes, dtype, classes)
                if format.largest_label is not None and dtype == "uint32":
                    continue  # OME-Zarr is written in its place
                format.write(path, given)
                planes = open_image(path)
                whole = np.asarray(format.read(path)).reshape(given.layout.shape)
                pages = [np.array_equal(whole[index], page) for index, page in given.pages()]
                if all(pages) and planes.dtype == np.dtype(dtype):
                    found.append(planes.axes)
                    opened.append(planes)
                    texts += _texts(path)
        cells.append(", ".join(found) or "–")
    yield from cells
    kept = list(_kept(opened))
    kept += ["class names"] * ("nucleus" in texts) + ["class colours"] * (
        "E69F00" in texts or "230" in texts
    )
    yield ", ".join(kept)


def _texts(path: Path) -> str:
    """Return the metadata of a result as text."""
    if path.is_dir():
        files = [file for file in path.iterdir() if file.is_file()]
        return "".join(file.read_text(encoding="utf-8") for file in files)
    with tifffile.TiffFile(path) as file:
        return file.ome_metadata or str((file.imagej_metadata or {}).get("Info", ""))


def tables() -> dict[str, str]:
    """Return the tables by the names in the page."""
    images = [["Format", "Axes", "Pixels", "Also kept"], *map(list, map(image_row, IMAGES))]
    results = [["Format", "Areas (uint8)", "Objects (uint16)", "More than 65,535 objects (uint32)",
                "Probabilities (float32)", "Also kept"]]  # fmt: skip
    results += [list(result_row(name, format)) for name, format in FORMATS.items()]
    return {"images": _table(images), "results": _table(results)}


def _table(rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]) + "\n"


def page_with_tables(text: str) -> str:
    """Return the text of the page with its tables renewed."""
    made = tables()
    return BLOCK.sub(lambda block: block[1] + made[block[2]] + block[3], text)


if __name__ == "__main__":
    before = PAGE.read_text(encoding="utf-8")
    after = page_with_tables(before)
    if "--check" in sys.argv:
        sys.exit(0 if before == after else f"{PAGE.name} is not up to date; run {sys.argv[0]}.")
    PAGE.write_text(after, encoding="utf-8")
