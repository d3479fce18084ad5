"""The bridge from open layers to result files; everything here runs in a worker."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.errors import InputError, OutputError
from napari_ptsam.widgets.shared.remedies import in_form

if TYPE_CHECKING:
    from napari_ptsam.batch.result_files import PlaneDone
    from napari_ptsam.images.planes import Planes
    from napari_ptsam.inference.segment import Segmenter
    from napari_ptsam.widgets.batch.task import BatchRequest, FileOptions, ImageTask, OpenedPrompt

READ_BACK = 2 * 2**30
"""Bytes of a finished file that are read to be shown, at most."""


class ResultFiles:
    """The results of an image, written plane by plane.

    Parameters
    ----------
    task
        The image.
    request
        Says where to.
    segmenters
        One for each prompt, with the prompt.

    Raises
    ------
    OutputError
        If a result cannot be written, or is there already.
    """

    def __init__(
        self,
        task: ImageTask,
        request: BatchRequest,
        segmenters: Sequence[tuple[OpenedPrompt, Segmenter]],
    ) -> None:
        from napari_ptsam.batch.result_files import FileResult, segment_to_files, target_for

        options = request.files
        assert options is not None
        check(options)
        planes = task.planes
        self._task = task
        self._parts = [
            FileResult(
                segmenter,
                target_for(
                    options.folder, planes, _file_name(task), segmenter, options.format,
                    safe(opened.name),
                ),
            )
            for opened, segmenter in segmenters
        ]  # fmt: skip
        self._steps = segment_to_files(
            planes, self._parts, link=request.link,
            resume=options.resume, overwrite=options.overwrite,
        )  # fmt: skip
        self.skipped = False
        """Whether an earlier run had done some of it: these planes come without results."""

    def __iter__(self) -> Iterator[tuple[int, list[np.ndarray] | None, str]]:
        """Number, results and problem of each plane."""
        wrong = False
        try:
            for done in self._steps:
                problem = _plain(done, self._task.planes)
                wrong |= bool(problem)
                self.skipped |= done.results is None and not problem
                yield done.number, done.results, problem
        except InputError:
            if not wrong:  # otherwise no plane was good, and each has been reported
                raise
        finally:
            self._steps.close()

    def read_back(self) -> Iterator[tuple[int, list[np.ndarray]]]:
        """All planes as they are in the files; nothing if these are too large."""
        from napari_ptsam.batch.formats import format_of, layout_for
        from napari_ptsam.batch.result_files import where

        planes, arrays, layouts = self._task.planes, [], []
        for part in self._parts:
            probabilities = part.segmenter.output == "probabilities"
            classes = len(part.segmenter.prompt.classes) if probabilities else 0
            place = where(part.target)
            layout = layout_for(planes, classes, format_of(place))
            if np.prod(layout.shape, dtype=np.int64) * part.segmenter.dtype.itemsize > READ_BACK:
                return
            arrays.append(_read(place).reshape(layout.shape))
            layouts.append(layout)
        for number in range(len(planes)):
            index = list(planes.position(number).values())
            yield (
                number,
                [
                    np.asarray(array[_at(layout, index)])
                    for array, layout in zip(arrays, layouts, strict=True)
                ],
            )


def _at(layout: Any, index: list[int]) -> tuple[int | slice, ...]:
    where = dict(zip(layout.source, index, strict=False))
    return tuple(where.get(axis, slice(None)) for axis in layout.axes)


def _read(place: Path) -> np.ndarray:
    if place.is_dir():
        import zarr

        return np.asarray(zarr.open_group(place, mode="r")["0"])
    import tifffile

    return tifffile.imread(place)


def check(options: FileOptions) -> None:
    """Make sure that there is a folder that can be written to.

    Raises
    ------
    OutputError
        If there is none.
    """
    folder = options.folder
    if not folder.is_dir():
        raise OutputError(f"There is no folder {folder}; choose another one for the files.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"The folder {folder} cannot be written to; choose another one.")


def safe(name: str) -> str:
    """A name without what some file systems do not take."""
    return re.sub(r'[\\/:*?"<>|\x00-\x1f]+', "_", name).strip(" .") or "image"


def _file_name(task: ImageTask) -> str:
    """After the layer, and the part of it."""
    parts = [f"{axis.lower()}{start}" + f"-{stop - 1}" * (stop - start > 1)
             for axis, start, stop in task.parts]  # fmt: skip
    return "_".join([safe(task.layer.name), *parts])


def _plain(done: PlaneDone, planes: Planes) -> str:
    """What is wrong with a plane, without its name, which the form's message begins with."""
    words = in_form(done.problem).removeprefix(f"{planes.name}, plane {done.number}: ")
    return words.removeprefix(f"{planes.name}: ")
