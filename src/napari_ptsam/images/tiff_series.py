"""Tell the main image of a TIFF file from thumbnails, labels, overviews and reduced copies."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from napari_ptsam.images.inner_names import chosen_image, inner_names

_SECONDARY = re.compile(
    "(label|macro|thumbnail|thumb|overview|preview|map)( image| image [0-9]+)?", re.IGNORECASE
)
"""Names that scanners and converters give to images beside the main one."""

_SMALL = 0.3
"""Largest area of an unnamed page, in areas of the largest page, that counts as a reduced copy."""


def main_images(file: Any) -> list[int]:
    """Return the numbers of the series of a TIFF file that are no thumbnail, label or overview.

    Parameters
    ----------
    file
        What tifffile has opened.
    """
    every = range(len(file.series))
    unnamed = [n for n in every if not _SECONDARY.fullmatch(file.series[n].name.strip())]
    full = [n for n in unnamed or every if not _is_reduced(file.series[n].keyframe)]
    found = full or unnamed or list(every)
    if file.is_ome:  # which describes each of its images
        return found
    largest = max(_area(file.series[n]) for n in found)
    return [n for n in found if not _is_small(file.series[n], largest)]


def images_in_series(file: Any) -> list[str]:
    """Return the names of the main images of a TIFF file."""
    series = [file.series[number] for number in main_images(file)]
    return inner_names([one.name if file.is_ome else "" for one in series])


def main_series(path: Path, file: Any, image: str | None) -> tuple[int, str]:
    """Return the number of the series to read, and a sentence if other series are left out.

    Parameters
    ----------
    path, file
        The file, and what tifffile has opened.
    image
        Name or number of the image, if it is chosen.

    Raises
    ------
    InputError
        If there are several images and none is chosen, or there is no such image.
    """
    numbers = main_images(file)
    number = numbers[chosen_image(path, images_in_series(file), image)]
    others = [n for n in range(len(file.series)) if n not in numbers]
    if not others or image is not None:
        return number, ""
    left_out = ", ".join(_described(file.series[n]) for n in others)
    return number, (
        f"{path.name}: the main image ({_size(file.series[number])} pixels) is read, other images "
        f"in the file are not: {left_out}."
    )


def _is_reduced(page: Any) -> bool:
    """Return whether a page is marked as a smaller copy or a mask of another one."""
    return bool(page.subfiletype & 0b101)


def _is_small(series: Any, largest: int) -> bool:
    return len(series) == 1 and _area(series) <= _SMALL * largest


def _area(series: Any) -> int:
    return int(series.keyframe.imagewidth * series.keyframe.imagelength)


def _size(series: Any) -> str:
    return f"{series.keyframe.imagelength} x {series.keyframe.imagewidth}"


def _described(series: Any) -> str:
    named = _SECONDARY.fullmatch(series.name.strip())
    return f"{series.name.strip().lower() if named else 'a page'} ({_size(series)})"
