"""The file formats of results: a table of them, and the format and state of a target."""

from __future__ import annotations

import os
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_ptsam.batch.image_label import ImageLabel
from napari_ptsam.batch.ome_zarr import OmeZarr
from napari_ptsam.batch.places import is_in_image
from napari_ptsam.batch.tiff_result import ImageJTiff, OmeTiff
from napari_ptsam.errors import InputError, OutputError
from napari_ptsam.io.safe_loading import read_or

if TYPE_CHECKING:
    from napari_ptsam.batch.result_format import ResultFormat
    from napari_ptsam.images.planes import Planes
    from napari_ptsam.inference.segment import Segmenter

FORMATS: dict[str, ResultFormat] = {
    format.name: format
    for format in (
        ImageJTiff(),
        OmeTiff(),
        OmeZarr(),
    )
}
"""Every format by its name."""
AUTO = "auto"
"""Name that stands for the first format, or for its alternative if the result does not fit."""
_DEFAULT = next(iter(FORMATS.values()))


def choices() -> dict[str, str]:
    """Return the formats that the form offers: names, each with its title.

    The first format is offered as ``auto``.
    """
    titles = {name: format.title for name, format in FORMATS.items() if format is not _DEFAULT}
    return {AUTO: "Automatic", **titles}


def kinds_of_results() -> str:
    """Name the files and folders that results can be, such as ``.tif files or .ome.zarr folders``."""
    *others, last = (
        f"{format.endings[0]} {'folders' if format.is_folder else 'files'}"
        for format in FORMATS.values()
    )
    return f"{', '.join(others)} or {last}"


def result_endings() -> str:
    """List the endings of results, such as ``.tif or .ome.zarr``."""
    *others, last = (format.endings[0] for format in FORMATS.values())
    return f"{', '.join(others)} or {last}"


def format_if_any(target: Path) -> str | None:
    """Return the name of the format that a target's ending stands for; None if it has none."""
    name = target.name.lower()
    endings = [
        (ending, format.name) for format in FORMATS.values() for ending in format.endings
    ]  # the longest first: .ome.tif is no .tif
    endings.sort(key=lambda pair: -len(pair[0]))
    return next((format for ending, format in endings if name.endswith(ending)), None)


def format_of(target: Path) -> str:
    """Return the name of the format that a target's ending stands for.

    Raises
    ------
    OutputError
        If the ending belongs to no format.
    """
    if name := format_if_any(target):
        return name
    raise OutputError(
        f"The name {target.name} does not tell the format; results are {kinds_of_results()}."
    )


def format_for(target: Path) -> ResultFormat:
    """Return the format of a target: that of its ending, or of labels in an image.

    Raises
    ------
    OutputError
        If the ending belongs to no format.
    """
    if is_in_image(target):
        return ImageLabel(target.parent.parent)
    return FORMATS[format_of(target)]


def suffix_for(planes: Planes, segmenter: Segmenter, format: str) -> str:
    """Return the ending of a result, with its dot.

    Parameters
    ----------
    planes
        The image.
    segmenter
        Segmenter that computes the results of the planes.
    format
        A key of `FORMATS`, or ``auto``.

    Raises
    ------
    InputError
        If the format is unknown.
    OutputError
        If the image has more axes than the format.
    """
    if format not in (AUTO, *FORMATS):
        raise InputError(f"Unknown format {format!r}; choose one of {', '.join((AUTO, *FORMATS))}.")
    classes = int(segmenter.output == "probabilities")
    chosen = _DEFAULT if format == AUTO else FORMATS[format]
    if format == AUTO:
        dtype = np.dtype(np.uint16) if segmenter.output == "instances" else segmenter.dtype
        size = len(planes) * prod(segmenter.result_shape(planes.shape)) * dtype.itemsize
        if not chosen.fits(planes, size):
            chosen = FORMATS[chosen.alternative]
    chosen.layout(planes, classes)
    return chosen.endings[0]


def alternative_target(target: Path) -> Path | None:
    """Return where a result goes that has too many objects for its format; None if none has."""
    alternative = format_for(target).alternative
    if not alternative:
        return None
    return target.with_name(
        target.name.removesuffix(target.suffix) + FORMATS[alternative].endings[0]
    )


def places(target: Path) -> list[Path]:
    """Return all paths where the result of a target may be in the end."""
    alternative = alternative_target(target)
    return [target] if alternative is None else [target, alternative]


def target_exists(target: Path) -> bool:
    """Return whether something exists at a target.

    Raises
    ------
    OutputError
        If it is a folder that is not a result, which must not be replaced.
    """
    if target.is_dir() and not format_for(target).may_replace(target):
        raise OutputError(f"{target} is a folder; choose another name.")
    return os.path.lexists(target)


def is_result_of(target: Path, digest: str, elsewhere: bool = True) -> bool:
    """Return whether a target holds the result of a run.

    Parameters
    ----------
    target
        File or folder.
    digest
        Fingerprint of the run.
    elsewhere
        Whether the result may also be at the place that is used for large results.
    """
    return any(
        read_or(None, partial(format_for(place).run_of, place)) == digest
        for place in (places(target) if elsewhere else [target])
        if place.exists()
    )
