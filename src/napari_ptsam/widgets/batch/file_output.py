"""The bridge from open layers to result files; everything here runs in a worker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.errors import InputError, OutputError
from napari_ptsam.io.writing import probe_folder, safe_file_name

if TYPE_CHECKING:
    from napari_ptsam.batch.result_files import PlaneDone
    from napari_ptsam.images.planes import Planes
    from napari_ptsam.inference.segment import Segmenter
    from napari_ptsam.widgets.batch.task import BatchRequest, FileOptions, ImageTask, OpenedPrompt

FORM_WORDS = (
    ("(--overwrite)", "(tick “Replace results that are there”)"),
    ("(--resume)", "(tick “Go on with an unfinished run”)"),
    ("with --resume", "with “Go on with an unfinished run”"),
)
"""Options of the command line, and what they are called in the form."""
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
                    safe_file_name(opened.name, "prompt"),
                ),
            )
            for opened, segmenter in segmenters
        ]  # fmt: skip
        with _in_form_words():
            self._steps = segment_to_files(
                planes, self._parts, link=request.link,
                resume=options.resume, overwrite=options.overwrite,
            )  # fmt: skip
        self.skipped = False
        """Whether an earlier run had done some of it: these planes come without results."""

    def __iter__(self) -> Iterator[tuple[int, list[np.ndarray] | None, str]]:
        """Number, results and problem of each plane."""
        wrong = False
        with _in_form_words():
            try:
                for done in self._steps:
                    problem = _plain(done, self._task.planes)
                    wrong |= bool(problem)
                    self.skipped |= done.results is None and not problem
                    yield done.number, done.results, problem
            except InputError:
                if not wrong:  # else no plane was good, and each has been told of
                    raise
            finally:
                self._steps.close()

    def read_back(self) -> Iterator[tuple[int, list[np.ndarray]]]:
        """All planes as they are in the files; nothing if these are too large."""
        from napari_ptsam.batch.formats import FORMATS, format_of
        from napari_ptsam.batch.result_files import where

        planes, arrays, layouts = self._task.planes, [], []
        for part in self._parts:
            probabilities = part.segmenter.output == "probabilities"
            classes = len(part.segmenter.prompt.classes) if probabilities else 0
            place = where(part.target)
            format = FORMATS[format_of(place)]
            layout = format.layout(planes, classes)
            if np.prod(layout.shape, dtype=np.int64) * part.segmenter.dtype.itemsize > READ_BACK:
                return
            arrays.append(format.read(place).reshape(layout.shape))
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


def check(options: FileOptions) -> None:
    """Make sure that there is a folder that can be written to.

    Raises
    ------
    OutputError
        If there is none.
    """
    folder = options.folder
    try:
        probe_folder(folder)
    except NotADirectoryError as error:
        raise OutputError(
            f"There is no folder {folder}; choose another one for the files."
        ) from error
    except OSError as error:
        raise OutputError(
            f"The folder {folder} cannot be written to; choose another one."
        ) from error


def _file_name(task: ImageTask) -> str:
    """After the layer, and the part of it."""
    parts = [f"{axis.lower()}{start}" + f"-{stop - 1}" * (stop - start > 1)
             for axis, start, stop in task.parts]  # fmt: skip
    return "_".join([safe_file_name(task.layer.name, "image"), *parts])


def _plain(done: PlaneDone, planes: Planes) -> str:
    """What is wrong with a plane, without its name, which the form's message begins with."""
    words = done.problem.removeprefix(f"{planes.name}, plane {done.number}: ")
    return words.removeprefix(f"{planes.name}: ")


@contextmanager
def _in_form_words() -> Iterator[None]:
    """Errors speak of what stands in the form."""
    try:
        yield
    except OutputError as error:
        words = str(error)
        for option, name in FORM_WORDS:
            words = words.replace(option, name)
        raise OutputError(words) from error
