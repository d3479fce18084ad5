"""Write the results of image layers to files, in a worker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_ptsam.errors import InputError, OutputError
from napari_ptsam.io.writing import probe_folder, safe_file_name
from napari_ptsam.widgets.shared.remedies import in_form

if TYPE_CHECKING:
    from napari_ptsam.batch.result_files import PlaneDone, WrittenResult
    from napari_ptsam.batch.result_format import Layout
    from napari_ptsam.images.planes import Planes
    from napari_ptsam.inference.segment import Segmenter
    from napari_ptsam.widgets.batch.task import BatchRequest, ImageTask, OpenedPrompt

MAX_BYTES_SHOWN = 2 * 2**30
"""Size up to which results that an earlier run has written are read to be shown."""

ENDINGS = {"instances": "-objects", "probabilities": "-probabilities"}
"""What the names of results end in, so that those of several kinds can lie in one folder."""


class ResultFiles:
    """Segment an image into files, plane by plane.

    Parameters
    ----------
    task
        The image.
    request
        Request that says where and how the files are written.
    segmenters
        A segmenter for each prompt.

    Raises
    ------
    OutputError
        If a result cannot be written, or exists already.
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
        check_folder(options.folder)
        planes = task.planes
        self._task = task
        self._results = [
            FileResult(
                segmenter,
                target_for(
                    options.folder, planes, _file_name(task), segmenter, options.format,
                    f"{safe_file_name(opened.name, 'prompt')}{ENDINGS.get(segmenter.output, '')}",
                ),
            )
            for opened, segmenter in segmenters
        ]  # fmt: skip
        self.written: dict[int, WrittenResult] = {}
        """The result of each prompt, once it is written."""
        task.targets = [result.target for result in self._results]
        self._steps = segment_to_files(
            planes, self._results, link=request.link_of(planes),
            resume=options.resume, overwrite=options.overwrite,
            measure=True, on_written=self.written.__setitem__,
        )  # fmt: skip
        self.has_skipped = False
        """Whether an earlier run had written some planes, which come without results."""

    def __iter__(self) -> Iterator[tuple[int, list[np.ndarray] | None, str]]:
        """Yield number, results and problem of each plane."""
        has_problems = False
        try:
            for done in self._steps:
                problem = _plain_problem(done, self._task.planes)
                has_problems |= bool(problem)
                self.has_skipped |= done.results is None and not problem
                yield done.number, done.results, problem
        except InputError:
            if not has_problems:  # otherwise each plane had a problem, which was reported
                raise
        finally:
            self._steps.close()

    def read_planes(self) -> Iterator[tuple[int, list[np.ndarray]]]:
        """Yield number and results of all planes from the files, unless these are too large."""
        from napari_ptsam.batch.formats import FORMATS, format_of
        from napari_ptsam.batch.result_files import written_path

        planes, arrays, layouts = self._task.planes, [], []
        for result in self._results:
            segmenter = result.segmenter
            is_probabilities = segmenter.output == "probabilities"
            classes = len(segmenter.prompt.classes) if is_probabilities else 0
            path = written_path(result.target)
            file_format = FORMATS[format_of(path)]
            layout = file_format.layout(planes, classes)
            size = np.prod(layout.shape, dtype=np.int64) * segmenter.dtype.itemsize
            if size > MAX_BYTES_SHOWN:
                return
            arrays.append(file_format.read(path).reshape(layout.shape))
            layouts.append(layout)
        for number in range(len(planes)):
            yield (
                number,
                [
                    np.asarray(array[_plane_index(layout, number)])
                    for array, layout in zip(arrays, layouts, strict=True)
                ],
            )


def _plane_index(layout: Layout, number: int) -> tuple[int | slice, ...]:
    """Return the index of a plane in the array of a file."""
    index = layout.position(number)
    return tuple(index.get(axis, slice(None)) for axis in layout.axes)


def check_folder(folder: Path) -> None:
    """Check that a folder exists and can be written to.

    Raises
    ------
    OutputError
        If it does not exist, or cannot be written to.
    """
    try:
        probe_folder(folder)
    except NotADirectoryError as error:
        message = f"There is no folder {folder}; choose another one for the files."
        raise OutputError(message) from error
    except OSError as error:
        message = f"The folder {folder} cannot be written to; choose another one."
        raise OutputError(message) from error


def _file_name(task: ImageTask) -> str:
    """Return a name made of the layer's name and the ranges of planes."""
    parts = [f"{axis.lower()}{start}" + f"-{stop - 1}" * (stop - start > 1)
             for axis, start, stop in task.parts]  # fmt: skip
    return "_".join([safe_file_name(task.layer.name, "image"), *parts])


def _plain_problem(done: PlaneDone, planes: Planes) -> str:
    """Return the problem of a plane without the plane's name, which the form adds itself."""
    problem = in_form(done.problem).removeprefix(f"{planes.name}, plane {done.number}: ")
    return problem.removeprefix(f"{planes.name}: ")
