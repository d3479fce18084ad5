"""Turn a work folder into the result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.batch.formats import alternative_target, format_for
from napari_ptsam.batch.measured_planes import read_measurements, table_path
from napari_ptsam.batch.result_format import StackResult
from napari_ptsam.batch.run_identity import digest_of_run
from napari_ptsam.batch.work_folder import OLD, RESULT, discard, largest, new_array, open_array
from napari_ptsam.errors import OutputError, Remedy
from napari_ptsam.inference.measurements import write_table
from napari_ptsam.io.writing import move_without_replacing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_ptsam.batch.run_identity import RunIdentity
    from napari_ptsam.batch.work_folder import WorkFolder
    from napari_ptsam.images.planes import Planes
    from napari_ptsam.inference.linking import LinkSettings
    from napari_ptsam.inference.measurements import Measurements
    from napari_ptsam.inference.segment import Segmenter

LINKED = "linked.zarr"
UINT16_LIMIT = 65535


@dataclass(frozen=True)
class WrittenResult:
    """A result in its place.

    Attributes
    ----------
    path
        Path of the result.
    objects
        Number of objects; linked objects count once. None for other results than instances.
    measurements
        The measurements; None if there are none.
    """

    path: Path
    objects: int | None = None
    measurements: Measurements | None = None


def finish(
    planes: Planes,
    segmenter: Segmenter,
    target: Path,
    work: WorkFolder,
    run: RunIdentity,
    overwrite: bool,
    link: LinkSettings | None = None,
    measure: bool = False,
) -> WrittenResult:
    """Write the result in the work folder, move it to its target, and remove the work folder.

    If the process is killed, the function can be called again.

    Parameters
    ----------
    planes
        The image.
    segmenter
        Segmenter that computed the results of the planes.
    target
        File or folder of the result.
    work
        The work folder, with the results of the planes.
    run
        Identity of the run.
    overwrite
        Whether an existing result is replaced.
    link
        Settings for linking objects from plane to plane; None leaves them unlinked.
    measure
        Whether to write a CSV with measurements beside the result.

    Returns
    -------
    WrittenResult
        The result. Its path is the target, or `alternative_target` if there are
        more objects than the target's format can hold.

    Raises
    ------
    OutputError
        If something has appeared at the target meanwhile.
    """
    array, highest = work.array, max(work.done.values(), default=0)
    if link is not None:
        array, highest = _linked(planes, work, link)
    dtype = segmenter.dtype
    if segmenter.output == "instances" and highest <= UINT16_LIMIT:
        dtype = np.dtype(np.uint16)
    place, format = target, format_for(target)
    if format.largest_label is not None and highest > format.largest_label:
        place = alternative_target(target) or target
        format = format_for(place)
    temporary = work.path / f"{RESULT}{format.endings[0]}"
    discard(temporary)
    prompt = segmenter.prompt
    classes = len(prompt.classes) if segmenter.output == "probabilities" else 0
    left_out = [number for number in range(len(planes)) if number not in work.done]
    result = StackResult(
        array, format.layout(planes, classes), dtype, planes.name, planes.pixel_size,
        segmenter.output, prompt.classes, prompt.colours, _about(segmenter, run, left_out),
        planes.time_step,
    )  # fmt: skip
    format.write(temporary, result)
    measurements = read_measurements(planes, segmenter, link, work, array) if measure else None
    format.prepare(place)
    _place(temporary, place, work, overwrite)
    format.register(place)
    if place != target and overwrite:
        target.unlink(missing_ok=True)
    if measurements is not None:
        table = table_path(place)
        write_table(measurements.table(), work.path / table.name)
        _place(work.path / table.name, table, work, overwrite)
    objects = None
    if segmenter.output == "instances":
        objects = sum(work.done.values()) if link is None else highest
    work.remove()
    return WrittenResult(place, objects, measurements)


def _about(segmenter: Segmenter, run: RunIdentity, left_out: Sequence[int]) -> dict[str, Any]:
    """Return the origin of a result as plain values, which are the same each time."""
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
    """Link objects from plane to plane; return the linked planes and the largest number."""
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
    """Move a result to its target; with ``overwrite``, replace what is there."""
    try:
        if source.is_dir() or target.is_dir():
            _place_folder(source, target, work, overwrite)
        elif overwrite:
            source.replace(target)
        else:
            move_without_replacing(source, target)
    except FileExistsError as error:
        raise OutputError(
            f"{target} was created by another program during the run, and is kept.",
            Remedy.REPLACE_ON_RESUME,
        ) from error


def _place_folder(source: Path, target: Path, work: WorkFolder, overwrite: bool) -> None:
    """Move or replace a folder, which takes two steps."""
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
