"""Open TIFF files (with ImageJ and OME-TIFF), with their axes, pixel size and channel names."""

from __future__ import annotations

import re
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from napari_ptsam.errors import InputError
from napari_ptsam.images.inner_names import chosen_image, inner_names
from napari_ptsam.images.lazy_arrays import Coloured, Oriented
from napari_ptsam.images.ome_files import (
    OmeImage,
    OmeText,
    describes_others,
    ome_text,
    page_count,
    spread_images,
)
from napari_ptsam.images.opened import OpenedImage
from napari_ptsam.images.palettes import shown_values
from napari_ptsam.images.tiff_metadata import channel_names, pixel_size, time_step
from napari_ptsam.images.tiff_pages import COMPLAINTS, FilePages, SeriesPages
from napari_ptsam.images.tiff_series import images_in_series, main_series
from napari_ptsam.io.safe_loading import read_or

TIFF = (".tif", ".tiff")
"""Suffixes of TIFF files."""
SCANS = (".svs", ".ndpi", ".scn", ".qptiff", ".lsm", ".btf", ".tf8")
"""Suffixes of TIFF files that scanners and microscopes write."""

# Messages that tifffile logs, without an error, if pages or pixels are missing.
_TRUNCATED = re.compile("invalid page offset|failed to reshape|missing page")


def open_tiff(
    path: Path, labels: bool = False, image: str | None = None, alone: bool = False
) -> OpenedImage:
    """Open the image in a TIFF file. Its pixels are read when they are accessed.

    Parameters
    ----------
    path
        The file.
    labels
        Whether the indices of a palette are the values of a mask.
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
            return _open_spread(path, file, text, spread[number], labels, alone)
        if text is not None and describes_others(path, text):
            return _open_renamed(path, file, labels)
        if not file.series or any(map(_TRUNCATED.search, complaints)):
            raise ValueError("no image, or not all of it")
        number, note = main_series(path, file, image)
        series = file.series[number]
        array = _array(path, file, number)
        return _described(file, array, series.axes, series.keyframe, labels, text, number, note)


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


def _open_spread(
    path: Path, file: Any, text: OmeText, image: OmeImage, labels: bool, alone: bool
) -> OpenedImage:
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
    array = FilePages((part or image).paths, where, page.shape, page.dtype)
    return _described(file, array, axes + page.axes, page, labels, text, image.number, note)


def _open_renamed(path: Path, file: Any, labels: bool) -> OpenedImage:
    """Open the pages of a file whose OME-XML text describes other files only."""
    page = file.pages[0]
    where = np.array([(0, number) for number in range(len(file.pages))])
    if len(where) == 1:
        where = where[0]
    note = (
        f"{path.name} was renamed: its OME-XML names other files. Only its own planes are read, "
        "without their axes and pixel size."
    )
    array = FilePages([path], where, page.shape, page.dtype)
    axes = "Q" * (where.ndim - 1) + page.axes
    return _described(file, array, axes, page, labels, None, 0, note)


def _described(
    file: Any,
    array: Any,
    axes: str,
    page: Any,
    labels: bool,
    text: OmeText | None,
    number: int,
    note: str,
) -> OpenedImage:
    """Return an image with what its metadata say; `number` is that of the image in the text."""
    shown, shown_axes = _as_shown(file, array, axes, page, labels)
    xml = None if text is None else text.text
    return OpenedImage(
        shown,
        _known_axes(shown_axes, _is_colour(page) or shown_axes != axes),
        read_or(None, lambda: pixel_size(file, xml, number)),
        read_or((), lambda: channel_names(file, xml, number)),
        read_or(None, lambda: time_step(file, xml, number)),
        (note,) if note else (),
    )


def _array(path: Path, file: Any, number: int) -> Any:
    """Return a memory map if the pixels are contiguous, and otherwise an array that reads pages."""
    series = file.series[number]
    shape, dtype = series.shape, series.dtype
    if dtype is None:
        raise ValueError("pages of different dtype")
    if series.dataoffset is None:
        page = series.pages[0]
        page_axes = 2 if page is None else _page_axes(shape, page.shape)
        return SeriesPages(path, shape, dtype, page_axes, number)
    if series.dataoffset + prod(shape) * dtype.itemsize > file.filehandle.size:
        raise ValueError("the file is shorter than its pixels")
    return np.memmap(path, file.byteorder + dtype.str[1:], "r", series.dataoffset, shape)


def _page_axes(shape: tuple[int, ...], page_shape: tuple[int, ...]) -> int:
    """Return the number of trailing axes of a series that one page covers.

    Pages have no axes of length 1, which the series may have anywhere.
    """
    count = 1
    while prod(shape[-count:]) < prod(page_shape):
        count += 1
    return count


def _has_other_palette(page: Any, than: Any) -> bool:
    """Return whether a page has the shape of another one, but a palette of its own."""
    if page.shape != than.shape or page.colormap is None:
        return False
    return not np.array_equal(page.colormap, than.colormap)


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


def _as_shown(file: Any, array: Any, axes: str, page: Any, labels: bool) -> tuple[Any, str]:
    """Return an array and its axes with the colours of a palette, as the tag Orientation has it.

    Raises
    ------
    InputError
        If pages have different palettes.
    """
    if int(page.photometric) == 3 and page.colormap is not None and not labels:
        values = shown_values(page.colormap.T, file.is_imagej)
        if values is not None:
            if any(_has_other_palette(other, page) for other in file.pages):
                raise InputError(
                    f"The pages of {file.filename} have different palettes; save the pages in colours "
                    "(RGB)."
                )
            array = Coloured(array, values)
            axes += "S" * (values.ndim - 1)
    tag = page.tags.get("Orientation")
    orientation = 1 if tag is None else int(tag.value)
    if 2 <= orientation <= 8:
        array = Oriented(array, axes.index("Y"), axes.index("X"), orientation)
    return array, axes
