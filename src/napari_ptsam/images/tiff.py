"""Open TIFF files (with ImageJ and OME-TIFF), with their axes, pixel size and channel names."""

from __future__ import annotations

import re
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from napari_ptsam.images.inner_names import chosen_image, inner_names
from napari_ptsam.images.ome_files import (
    OmeImage,
    OmeText,
    describes_others,
    ome_text,
    page_count,
    spread_images,
)
from napari_ptsam.images.opened import OpenedImage
from napari_ptsam.images.planes import PixelSize
from napari_ptsam.images.tiff_pages import COMPLAINTS, FilePages, SeriesPages
from napari_ptsam.images.tiff_series import images_in_series, main_series
from napari_ptsam.io.safe_loading import read_or

TIFF = (".tif", ".tiff")
"""Suffixes of TIFF files."""

# Messages that tifffile logs, without an error, if pages or pixels are missing.
_TRUNCATED = re.compile("invalid page offset|failed to reshape|missing page")

_SENSIBLE = 1e-6, 1e6
"""Range of plausible pixel sizes, in any unit."""

_UNITS = {
    "µm": "micrometer", "μm": "micrometer", "um": "micrometer", "micron": "micrometer",
    "microns": "micrometer", "\\u00b5m": "micrometer", "nm": "nanometer", "mm": "millimeter",
    "cm": "centimeter", "inch": "inch", "pixel": "pixel", "": "pixel",
}  # fmt: skip


def open_tiff(path: Path, image: str | None = None, alone: bool = False) -> OpenedImage:
    """Open the image in a TIFF file. Its pixels are read when they are accessed.

    Parameters
    ----------
    path
        The file.
    image
        Name or number of the image, if the file holds several.
    alone
        Whether to leave out the planes of the image that lie in other files.

    Raises
    ------
    InputError
        If the file holds several images and none is chosen.
    Exception
        Any exception that tifffile raises on truncated, damaged or other files.
    """
    import tifffile

    with COMPLAINTS.collected() as complaints, tifffile.TiffFile(path) as file:
        if not len(file.pages):  # walks through the whole file
            raise ValueError("no image")
        text = ome_text(path, file)
        spread = [] if text is None else spread_images(path, text, page_count)
        if text is not None and spread:
            number = chosen_image(path, inner_names([one.name for one in spread]), image)
            return _open_spread(path, file, text, spread[number], alone)
        if text is not None and describes_others(path, text):
            return _open_renamed(path, file)
        if not file.series or any(map(_TRUNCATED.search, complaints)):
            raise ValueError("no image, or not all of it")
        number, note = main_series(path, file, image)
        series = file.series[number]
        axes = _known_axes(series.axes, _is_colour(series.keyframe))
        return OpenedImage(
            _array(path, file, number),
            axes,
            read_or(None, lambda: _sensible_pixel_size(file, text, number)),
            read_or((), lambda: _channel_names(file, text, number)),
            (note,) if note else (),
        )


def tiff_images(path: Path) -> list[str]:
    """Return the names of the images of a TIFF file, without thumbnails and the like.

    Raises
    ------
    Exception
        Any exception that tifffile raises on truncated, damaged or other files.
    """
    import tifffile

    with COMPLAINTS.collected(), tifffile.TiffFile(path) as file:
        text = ome_text(path, file)
        spread = [] if text is None else spread_images(path, text, page_count)
        if spread:
            return inner_names([one.name for one in spread])
        return images_in_series(file)


def _open_spread(path: Path, file: Any, text: OmeText, image: OmeImage, alone: bool) -> OpenedImage:
    """Open an image whose planes lie in several files."""
    missing, others = image.missing, len(image.paths) - 1
    is_left_alone = 0 < others == len(missing)
    part = image.part_in(path) if alone or is_left_alone else None
    note = ""
    if part is not None and is_left_alone and not alone:
        note = (
            f"{path.name} is one of {others + 1} files of an image; the others, such as "
            f"{missing[0].name}, are missing, and only its own planes are read."
        )
    elif part is None and missing:
        note = (
            f"{path.name} is one of {others + 1} files of an image, of which {len(missing)} are "
            f"missing, such as {missing[0].name}; their planes are left out."
        )
    elif part is None and others:
        note = f"{path.name} is one of {others + 1} files of an image; all of them are read."
    axes, where = (part or image).squeezed
    page = file.pages[image.first_page_in(path)]
    return OpenedImage(
        FilePages((part or image).paths, where, page.shape, page.dtype),
        _known_axes(axes + page.axes, _is_colour(page)),
        read_or(None, lambda: _sensible_pixel_size(file, text, image.number)),
        read_or((), lambda: _channel_names(file, text, image.number)),
        (note,) if note else (),
    )


def _open_renamed(path: Path, file: Any) -> OpenedImage:
    """Open the pages of a file whose OME-XML text describes other files only."""
    page = file.pages[0]
    where = np.array([(0, number) for number in range(len(file.pages))])
    if len(where) == 1:
        where = where[0]
    note = (
        f"{path.name} was renamed: its OME-XML names other files. Only its own planes are read, "
        "without their axes and pixel size."
    )
    axes = _known_axes("Q" * (where.ndim - 1) + page.axes, _is_colour(page))
    return OpenedImage(FilePages([path], where, page.shape, page.dtype), axes, notes=(note,))


def _array(path: Path, file: Any, number: int) -> Any:
    """Return a memory map if the pixels are contiguous, and otherwise an array that reads pages."""
    series = file.series[number]
    shape, dtype = series.shape, series.dtype
    if dtype is None:
        raise ValueError("pages of different dtype")
    if series.dataoffset is None:
        page = series.pages[0]
        page_axes = len(page.shape) if page is not None else 2
        return SeriesPages(path, shape, dtype, page_axes, number)
    if series.dataoffset + prod(shape) * dtype.itemsize > file.filehandle.size:
        raise ValueError("the file is shorter than its pixels")
    return np.memmap(path, file.byteorder + dtype.str[1:], "r", series.dataoffset, shape)


def _is_colour(page: Any) -> bool:
    """Return whether samples are colours, or grey and alpha. Otherwise they are channels."""
    alpha = any(int(extra) in (1, 2) for extra in page.extrasamples)
    return int(page.photometric) in (2, 6) or (page.samplesperpixel == 2 and alpha)


def _known_axes(axes: str, colour: bool) -> str | None:
    """Return the axes of the file, or None if it only counts pages and states no channels."""
    if not colour and "C" not in axes:
        axes = axes.replace("S", "C")
    if "Q" in axes and not set(axes) & set("CS"):
        return None
    free = iter([axis for axis in "ZTABDE" if axis not in axes])
    return "".join(next(free) if axis in "QI" else axis for axis in reversed(axes))[::-1]


def _sensible_pixel_size(file: Any, text: OmeText | None, number: int) -> PixelSize | None:
    """Return the pixel size, or None if the metadata are implausible."""
    size = _pixel_size(file, text, number)
    if size is None or not (_sensible(size.y) and _sensible(size.x)):
        return None
    return size if size.z is None or _sensible(size.z) else replace(size, z=None)


def _sensible(size: float) -> bool:
    return _SENSIBLE[0] < size < _SENSIBLE[1]


def _pixel_size(file: Any, text: OmeText | None, number: int) -> PixelSize | None:
    """Read the pixel size from OME-XML or the tags of ImageJ or Aperio.

    Other TIFFs state the resolution of a print.

    Parameters
    ----------
    file
        What tifffile has opened.
    text, number
        The OME-XML text, if there is one, and the number of the image in it.
    """
    if text is not None:
        pixels = _ome_pixels(text, number)
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
        resolutions = [tags[name].value for name in ("YResolution", "XResolution") if name in tags]
        unit = _unit(str(file.imagej_metadata.get("unit", "")))
        if (
            len(resolutions) == 2
            and all(numerator for numerator, _ in resolutions)
            and unit != "pixel"
        ):
            y, x = (denominator / numerator for numerator, denominator in resolutions)
            return PixelSize(y, x, file.imagej_metadata.get("spacing"), unit)
    return None


def _ome_pixels(text: OmeText, number: int) -> dict[str, Any]:
    """Return the Pixels element of an image of an OME-XML text as a dictionary."""
    import tifffile

    image = tifffile.xml2dict(text.text)["OME"]["Image"]
    pixels: dict[str, Any] = (image[number] if isinstance(image, list) else image)["Pixels"]
    return pixels


def _channel_names(file: Any, text: OmeText | None, number: int) -> tuple[str, ...]:
    """Read the channel names from OME-XML, or from ImageJ's labels."""
    if text is not None:
        channels = _ome_pixels(text, number).get("Channel", [])
        channels = channels if isinstance(channels, list) else [channels]
        return tuple(str(channel.get("Name", "")) for channel in channels)
    return tuple(map(str, (file.imagej_metadata or {}).get("Labels", ())))


def _unit(name: str) -> str:
    return _UNITS.get(name.strip().lower(), name.strip())
