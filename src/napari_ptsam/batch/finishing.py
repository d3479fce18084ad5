"""From a work folder to the result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.batch.formats import (
    SUFFIXES,
    UINT16_LIMIT,
    fits_imagej,
    format_of,
    layout_for,
    other_target,
)
from napari_ptsam.batch.run_identity import digest_of_run
from napari_ptsam.batch.work_folder import OLD, RESULT, discard, largest, new_array, open_array
from napari_ptsam.errors import OutputError, Remedy
from napari_ptsam.io.writing import move_where_nothing_is

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_ptsam.batch.run_identity import RunIdentity
    from napari_ptsam.batch.work_folder import WorkFolder
    from napari_ptsam.images.planes import Planes
    from napari_ptsam.inference.linking import LinkSettings
    from napari_ptsam.inference.segment import Segmenter

LINKED = "linked.zarr"


def finish(
    planes: Planes,
    segmenter: Segmenter,
    target: Path,
    work: WorkFolder,
    run: RunIdentity,
    overwrite: bool,
    link: LinkSettings | None = None,
) -> Path:
    """Write the result inside the work folder, move it to its place, and remove the folder.

    Killed at any moment, it can be called again.

    Returns
    -------
    pathlib.Path
        Where the result is: the target, or ``NAME.ome.zarr`` where that was to
        be a TIFF and has too many objects for one.

    Raises
    ------
    OutputError
        If something came to be at the target meanwhile.
    """
    array, highest = work.array, max(work.done.values(), default=0)
    if link is not None:
        array, highest = _linked(planes, work, link)
    dtype = segmenter.dtype
    if segmenter.output == "instances" and highest <= UINT16_LIMIT:
        dtype = np.dtype(np.uint16)
    place = target
    if format_of(target) == "tiff" and highest > UINT16_LIMIT:
        place = other_target(target)
    format = format_of(place)
    temporary = work.path / f"{RESULT}{SUFFIXES[format]}"
    discard(temporary)
    classes = len(segmenter.prompt.classes) if segmenter.output == "probabilities" else 0
    layout = layout_for(planes, classes, format)
    left_out = [number for number in range(len(planes)) if number not in work.done]
    about = _about(segmenter, run, left_out)
    if format == "ome-zarr":
        from napari_ptsam.batch.ome_zarr import write_ome_zarr

        write_ome_zarr(temporary, array, layout, dtype, planes, segmenter, about)
    else:
        from napari_ptsam.batch.tiff_result import write_tiff

        imagej = format == "tiff" and fits_imagej(layout, dtype)
        write_tiff(temporary, array, layout, dtype, planes.pixel_size, about, imagej)
    _place(temporary, place, work, overwrite)
    if place != target and overwrite:
        target.unlink(missing_ok=True)  # what it replaces
    work.remove()
    return place


def _about(segmenter: Segmenter, run: RunIdentity, left_out: Sequence[int]) -> dict[str, Any]:
    """Where a result comes from: plain values, and nothing that differs from time to time."""
    from napari_ptsam import __version__

    return {
        "run": digest_of_run(run),
        "version": __version__,
        "output": segmenter.output,
        "classes": list(segmenter.prompt.classes),
        "settings": run,
        "left out": list(left_out),
    }


def _linked(planes: Planes, work: WorkFolder, link: LinkSettings) -> tuple[Any, int]:
    """The planes with objects that go on from one to the next, and the highest number."""
    from napari_ptsam.inference.linking import StackLinker

    path, highest = work.path / LINKED, 0
    discard(path)
    array = new_array(path, len(planes), planes.shape, np.dtype(np.uint32))
    linker = StackLinker(planes, link)
    for number in range(len(planes)):
        linked = linker.link(number, work.array[number])
        array[number] = linked
        highest = max(highest, largest(linked))
    return open_array(path), highest


def _place(source: Path, target: Path, work: WorkFolder, overwrite: bool) -> None:
    """Move a result to where it belongs, and what is there out of the way."""
    try:
        if source.is_dir() or target.is_dir():
            _place_folder(source, target, work, overwrite)
        elif overwrite:
            source.replace(target)
        else:
            move_where_nothing_is(source, target)
    except FileExistsError as error:
        raise OutputError(
            f"{target} has been made meanwhile by another program, and is kept.",
            Remedy.REPLACE_ON_RESUME,
        ) from error


def _place_folder(source: Path, target: Path, work: WorkFolder, overwrite: bool) -> None:
    """As `_place`, where a folder is moved or replaced, which takes two steps."""
    old = work.path / OLD
    if target.exists():
        if not overwrite:
            raise FileExistsError(target)
        discard(old)
        target.rename(old)
    try:
        source.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
