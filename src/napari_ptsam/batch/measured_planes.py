"""Measurements of a run's planes: kept in the work folder, and written as a CSV beside the result."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np

from napari_ptsam.batch.formats import FORMATS, format_for, format_of
from napari_ptsam.batch.places import beside, is_in_image
from napari_ptsam.inference.measurements import Measurements, PlaneRows, kind_of

if TYPE_CHECKING:
    from pathlib import Path

    from napari_ptsam.batch.work_folder import WorkFolder
    from napari_ptsam.images.planes import Planes
    from napari_ptsam.inference.linking import LinkSettings
    from napari_ptsam.inference.segment import Segmenter

MEASURED = "measured"
"""Name of the folder in the work folder."""


def table_path(target: Path) -> Path:
    """Return the path of the CSV file beside a result, or beside the zarr for labels in an image."""
    if is_in_image(target):
        place = beside(target)
        return place.with_name(f"{place.name}.csv")
    endings = FORMATS[format_of(target)].endings
    ending = next(ending for ending in endings if target.name.lower().endswith(ending))
    return target.with_name(f"{target.name[: -len(ending)]}.csv")


def measurements_of(
    planes: Planes, segmenter: Segmenter, link: LinkSettings | None
) -> Measurements | None:
    """Return empty measurements for a result; None for probabilities."""
    kind = kind_of(segmenter.output, link is not None, planes)
    return None if kind is None else Measurements(planes, segmenter.prompt.classes, kind)


def keep_rows(
    work: Path, planes: Planes, segmenter: Segmenter, number: int, result: np.ndarray
) -> None:
    """Measure a plane's result, before it is linked, and keep the rows in a work folder."""
    measurements = measurements_of(planes, segmenter, None)
    if measurements is None:
        return
    rows = measurements.measure(number, result, planes[number])
    file = _file(work, number)
    file.parent.mkdir(exist_ok=True)
    with file.open("wb") as stream:
        np.savez(stream, **{item.name: getattr(rows, item.name) for item in fields(PlaneRows)})


def read_measurements(
    planes: Planes,
    segmenter: Segmenter,
    link: LinkSettings | None,
    work: WorkFolder,
    linked: object,
) -> Measurements | None:
    """Return the measurements of all finished planes.

    Planes without rows, of a run that was started without measuring, are measured now.

    Parameters
    ----------
    planes, segmenter, link
        The image, and how it was segmented and linked.
    work
        The work folder.
    linked
        The linked planes; those of the work folder if they are not linked.
    """
    measurements = measurements_of(planes, segmenter, link)
    if measurements is None:
        return None
    for number in sorted(work.done):
        file = _file(work.path, number)
        if file.exists():
            with np.load(file, allow_pickle=False) as stored:
                rows = PlaneRows(**stored)
        else:
            rows = measurements.measure(number, np.asarray(work.array[number]), planes[number])
        if linked is not work.array:
            before, after = work.array[number], linked[number]  # type: ignore[index]
            rows = rows.relabelled(before, after)
        measurements.add(number, rows)
    return measurements


def measure_file(
    planes: Planes, segmenter: Segmenter, link: LinkSettings | None, path: Path
) -> Measurements | None:
    """Measure a result that is in its place."""
    measurements = measurements_of(planes, segmenter, link)
    if measurements is None:
        return None
    file_format = format_for(path)
    layout = file_format.layout(planes, 0)
    array = file_format.read(path).reshape(layout.shape)
    for number in range(len(planes)):
        position = layout.position(number)
        labels = array[tuple(position.get(axis, slice(None)) for axis in layout.axes)]
        if labels.any():  # a plane that was left out, because it cannot be read, is empty
            measurements.measure(number, labels, planes[number])
    return measurements


def _file(work: Path, number: int) -> Path:
    return work / MEASURED / f"{number}.npz"
