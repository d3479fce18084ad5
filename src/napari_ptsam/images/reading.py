"""Image files to planes: TIFF (ImageJ and OME included), PNG, JPEG, NPY."""

from __future__ import annotations

import re
import struct
import zlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from napari_ptsam.errors import InputError
from napari_ptsam.images.planes import PixelSize, Planes

TIFF = (".tif", ".tiff")
PICTURES = (".png", ".jpg", ".jpeg")
SUFFIXES = (*TIFF, *PICTURES, ".npy")

# What the readers raise on damaged files.
_DAMAGED = (
    OSError,
    ValueError,
    RuntimeError,
    TypeError,
    LookupError,
    EOFError,
    struct.error,
    zlib.error,
    SyntaxError,
)

_UNITS = {
    "µm": "micrometer", "μm": "micrometer", "um": "micrometer", "micron": "micrometer",
    "microns": "micrometer", "\\u00b5m": "micrometer", "nm": "nanometer", "mm": "millimeter",
    "cm": "centimeter", "inch": "inch", "pixel": "pixel", "": "pixel",
}  # fmt: skip


def list_images(folder: str | Path) -> list[Path]:
    """Image files of a folder, in the order of the numbers in their names.

    Raises
    ------
    InputError
        If there is no such folder, or no image in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}; check the path.")
    files = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
    ]
    if not files:
        raise InputError(f"The folder {folder} holds no images ({', '.join(SUFFIXES)}).")
    return sorted(files, key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    return [
        (int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)
    ]


def open_image(path: str | Path, axes: str | None = None, labels: bool = False) -> Planes:
    """Open an image file; planes are read when they are asked for.

    Parameters
    ----------
    path
        A TIFF, PNG, JPEG or NPY file.
    axes
        Overrides the axes that the file names, or that its shape suggests.
    labels
        Whether the file is a mask: then a palette's indices are its values,
        otherwise they stand for colours.

    Raises
    ------
    InputError
        If the file is missing, damaged, of another kind, or its axes make no sense.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no file {path}; check the path.")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path} is no image that can be read here ({', '.join(SUFFIXES)}).")
    try:
        if suffix in TIFF:
            array, found, pixel_size = _open_tiff(path)
        elif suffix == ".npy":
            array, found, pixel_size = np.load(path, mmap_mode="r", allow_pickle=False), None, None
        else:
            array, found = _open_picture(path, labels)
            pixel_size = None
    except _DAMAGED as error:
        raise InputError(_damaged(path, error)) from error
    return Planes(_Guarded(array, path), axes or found, path.name, pixel_size)


def _damaged(path: Path, error: BaseException) -> str:
    if "imagecodecs" in str(error):
        return f"{path} is compressed in a way that needs the package imagecodecs; install it."
    return f"{path} cannot be read: the file is truncated, damaged or of another kind."


class _Guarded:
    """An array whose reading errors name the file."""

    def __init__(self, array: Any, path: Path) -> None:
        self._array, self._path = array, path
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        try:
            return np.asarray(self._array[index])
        except _DAMAGED as error:
            raise InputError(_damaged(self._path, error)) from error


class _Pages:
    """A TIFF series that is read page by page, like an array.

    Parameters
    ----------
    path
        The file; it is opened for each reading, so that nothing stays open.
    shape, dtype
        Of the whole series.
    pages
        Number of trailing axes that one page covers.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype, page_axes: int) -> None:
        self.path, self.shape, self.dtype = path, shape, dtype
        self._leading = len(shape) - page_axes

    def __getitem__(self, index: tuple[int | slice, ...]) -> np.ndarray:
        import tifffile

        outer, inner = index[: self._leading], index[self._leading :]
        sizes = self.shape[: self._leading]
        wanted = np.arange(prod(sizes)).reshape(sizes)[outer]
        with tifffile.TiffFile(self.path) as file:
            pages = file.series[0].pages
            read = [_page(pages[int(number)])[inner] for number in np.ravel(wanted)]
        return np.stack(read).reshape(*np.shape(wanted), *read[0].shape)


def _page(page: Any) -> np.ndarray:
    if page is None:
        raise ValueError("a page is missing")
    return page.asarray()


def _open_tiff(path: Path) -> tuple[Any, str | None, PixelSize | None]:
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            if not file.series:
                raise ValueError("no image in the file")
            series = file.series[0]
            shape, dtype, axes = series.shape, series.dtype, series.axes
            if dtype is None:
                raise ValueError("pages of different dtype")
            if series.dataoffset is not None:
                end = series.dataoffset + prod(shape) * dtype.itemsize
                if end > file.filehandle.size:
                    raise ValueError("the file is shorter than its pixels")
                array: Any = np.memmap(
                    path, file.byteorder + dtype.str[1:], "r", series.dataoffset, shape
                )
            else:
                page = series.pages[0]
                array = _Pages(path, shape, dtype, len(page.shape) if page is not None else 2)
            return array, _known_axes(axes, shape), _pixel_size(file)
    except tifffile.TiffFileError as error:
        raise ValueError(str(error)) from error


def _known_axes(axes: str, shape: tuple[int, ...]) -> str | None:
    """The file's axes, or None where it only counts its pages (Q and I)."""
    if "Q" in axes or not {"Y", "X"} <= set(axes):
        return None
    return axes.replace("I", "Z") if "Z" not in axes else axes


def _pixel_size(file: Any) -> PixelSize | None:
    """From OME-XML or ImageJ's tags; other TIFFs' resolution means the paper's, not the sample's."""
    import tifffile

    if file.ome_metadata:
        image = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
        pixels = (image[0] if isinstance(image, list) else image)["Pixels"]
        if "PhysicalSizeX" not in pixels or "PhysicalSizeY" not in pixels:
            return None
        z = pixels.get("PhysicalSizeZ")
        return PixelSize(
            float(pixels["PhysicalSizeY"]),
            float(pixels["PhysicalSizeX"]),
            None if z is None else float(z),
            _unit(pixels.get("PhysicalSizeXUnit", "µm")),
        )
    if file.imagej_metadata is not None:
        tags = file.pages[0].tags
        found = [tags[name].value for name in ("YResolution", "XResolution") if name in tags]
        unit = _unit(str(file.imagej_metadata.get("unit", "")))
        if len(found) == 2 and all(numerator for numerator, _ in found) and unit != "pixel":
            y, x = (denominator / numerator for numerator, denominator in found)
            return PixelSize(y, x, file.imagej_metadata.get("spacing"), unit)
    return None


def _unit(name: str) -> str:
    return _UNITS.get(name.strip(), name.strip())


def _open_picture(path: Path, labels: bool) -> tuple[np.ndarray, str]:
    from PIL import Image

    with Image.open(path, formats=("PNG", "JPEG")) as picture:
        picture.load()
        colours = ("CMYK", "YCbCr", "LAB", "HSV", *(() if labels else ("P",)))
        pixels = np.asarray(picture.convert("RGB") if picture.mode in colours else picture)
    return pixels, "YX" if pixels.ndim == 2 else "YXS"
