"""Keep track of a run that writes files: targets, finished planes and results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ptsam.batch.finishing import WrittenResult, finish
from napari_ptsam.batch.formats import format_for, is_result_of, places, target_exists
from napari_ptsam.batch.measured_planes import keep_rows, measure_file, table_path
from napari_ptsam.batch.places import beside, is_in_image
from napari_ptsam.batch.run_identity import (
    RunIdentity,
    describe_run,
    differences,
    digest_of_pixels,
    digest_of_run,
)
from napari_ptsam.batch.work_folder import WorkFolder, no_space
from napari_ptsam.errors import InputError, OutputError, Remedy, framed
from napari_ptsam.images.recent_planes import RecentPlanes
from napari_ptsam.inference.linking import check_linkable
from napari_ptsam.inference.measurements import write_table
from napari_ptsam.io.locking import claim
from napari_ptsam.io.writing import check_parent

if TYPE_CHECKING:
    import numpy as np

    from napari_ptsam.images.planes import Planes
    from napari_ptsam.inference.linking import LinkSettings
    from napari_ptsam.inference.segment import Segmenter


@dataclass(frozen=True)
class FileResult:
    """A result to write, and its target.

    Attributes
    ----------
    segmenter
        The prompt, the backbone and the result settings.
    target
        A file or folder. Its ending determines the format: ``.tif``, ``.ome.tif`` or
        ``.ome.zarr``. See `target_for`.
    """

    segmenter: Segmenter
    target: Path


@dataclass(frozen=True)
class PlaneDone:
    """A plane that is finished or was skipped.

    Attributes
    ----------
    number
        Number of the plane, from 0 (last leading axis fastest).
    done, total
        Count of finished or skipped planes, and of all planes.
    results
        One array for each `FileResult`. None if the plane was finished in an
        earlier run, was skipped, or was computed by another process.
    problem
        The reason why it was skipped. Its result stays empty (0).
    """

    number: int
    done: int
    total: int
    results: list[np.ndarray] | None = None
    problem: str = ""


class Job:
    """The state of a run, independent of what computes the planes.

    The constructor checks everything. Nothing is written before `begin`. See
    `segment_to_files` for the parameters and errors.
    """

    def __init__(
        self,
        planes: Planes,
        parts: Sequence[FileResult],
        link: LinkSettings | None = None,
        resume: bool = False,
        overwrite: bool = False,
        measure: bool = False,
        on_written: Callable[[int, WrittenResult], object] | None = None,
    ) -> None:
        # Each plane is read once, although it is segmented and measured.
        self.planes = RecentPlanes(planes) if measure else planes
        self.parts, self.link = list(parts), link
        self.overwrite, self.measure, self._resume = overwrite, measure, resume
        self._on_written = on_written
        targets = [part.target.absolute() for part in parts]
        if not parts or len(set(targets)) < len(parts):
            raise InputError("Each result needs a target of its own; name at least one.")
        if link is not None and any(part.segmenter.output != "instances" for part in parts):
            raise InputError("Only instances can be linked from plane to plane.", Remedy.INSTANCES)
        if link is not None:
            check_linkable(planes)
        self.works = [WorkFolder(target) for target in targets]
        self.finished = [self._check(position) for position in range(len(parts))]
        self.problems: dict[int, str] = {}
        """Skipped planes, and the reasons."""
        self._reported = 0
        self.results = [written_path(part.target) for part in self.parts]
        """The path of each result, also before it is written."""

    @cached_property
    def runs(self) -> list[RunIdentity]:
        """The identity of each result's run. Planes are read for it, so it is computed only if needed."""
        pixels = digest_of_pixels(self.planes)
        return [describe_run(self.planes, part.segmenter, self.link, pixels) for part in self.parts]

    def _check(self, position: int) -> bool:
        """Return whether a result is finished; raise an error if it must not be started."""
        target, work = self.parts[position].target, self.works[position]
        check_parent(beside(target))
        if is_in_image(target):
            check_parent(target if target.parent.exists() else target.parent)
            segmenter = self.parts[position].segmenter
            classes = segmenter.output == "probabilities" and len(segmenter.prompt.classes)
            format_for(target).layout(self.planes, classes)
        there = target_exists(target)
        if (self._resume or not self.overwrite) and is_result_of(
            target, digest_of_run(self.runs[position]), elsewhere=self._resume
        ):
            return True  # the result of this very run: the same image, prompt and settings
        if there and not self.overwrite:
            if self._resume:
                raise OutputError(
                    f"{target} is the result of another run, or of none.", Remedy.REPLACE
                )
            raise OutputError(f"{target} exists and is kept.", Remedy.REPLACE)
        is_measured = self.measure and self.parts[position].segmenter.output != "probabilities"
        if is_measured and not self.overwrite and table_path(target).exists():
            raise OutputError(f"{table_path(target)} exists and is kept.", Remedy.REPLACE)
        if work.exists:
            self._check_work(target, work, position)
        return False

    def _check_work(self, target: Path, work: WorkFolder, position: int) -> None:
        other = work.run()
        if self.overwrite or other is None:
            return
        if not self._resume:
            raise OutputError(f"There is an unfinished run for {target}.", Remedy.RESUME_OR_REPLACE)
        run = self.runs[position]
        if other != run:
            raise OutputError(
                f"The unfinished run for {target} is another one, it differs in: "
                f"{differences(run, other)}.",
                Remedy.START_ANEW,
            )

    def claimed(self) -> AbstractContextManager[None]:
        """Return a context that keeps other runs from the targets; see `claim`."""
        return claim([beside(part.target.absolute()) for part in self.parts])

    def begin(self) -> list[int]:
        """Create or open the work folders, and return the planes to compute."""
        for part, work, run, finished in self._all():
            if finished:
                continue
            with writing(part.target):
                if not (self._resume and work.exists and work.run() == run):
                    work.create(run)
                shape = part.segmenter.result_shape(self.planes.shape)
                work.open(len(self.planes), shape, part.segmenter.dtype)
        open_ones = [work for work, done in zip(self.works, self.finished, strict=True) if not done]
        numbers = range(len(self.planes))
        return [number for number in numbers if any(number not in work.done for work in open_ones)]

    def _all(self) -> Iterator[tuple[FileResult, WorkFolder, RunIdentity, bool]]:
        return zip(self.parts, self.works, self.runs, self.finished, strict=True)

    def keep(self, number: int, results: Sequence[np.ndarray]) -> None:
        """Write the results of a plane, one for each `FileResult`."""
        for position, part, work in self._unfinished_results(number):
            with writing(part.target):
                highest = work.write(number, results[position])
                if self.measure:
                    keep_rows(work.path, self.planes, part.segmenter, number, results[position])
                work.record(number, highest)

    def record(self, number: int, highest: Sequence[int]) -> None:
        """Record that a plane was written, with the largest value of each result."""
        for position, part, work in self._unfinished_results(number):
            with writing(part.target):
                work.record(number, highest[position])

    def _unfinished_results(self, number: int) -> Iterator[tuple[int, FileResult, WorkFolder]]:
        """Yield the results for which a plane is not finished yet."""
        for position, (part, work, _, finished) in enumerate(self._all()):
            if not finished and number not in work.done:
                yield position, part, work

    def report(
        self, number: int, results: list[np.ndarray] | None = None, problem: str = ""
    ) -> PlaneDone:
        """Count a plane as finished or skipped, and return its report."""
        if problem:
            self.problems[number] = problem
        self._reported += 1
        return PlaneDone(number, self._reported, len(self.planes), results, problem)

    def finish(self) -> None:
        """Write the results from the finished planes, and remove the work folders.

        Raises
        ------
        InputError
            If no plane could be segmented.
        """
        unfinished = [work for _, work, _, finished in self._all() if not finished]
        if unfinished and not any(work.done for work in unfinished):
            for work in unfinished:
                work.remove()
            raise InputError(next(iter(self.problems.values())))
        for number, (part, work, run, finished) in enumerate(self._all()):
            with writing(part.target):
                if not finished:
                    written = finish(
                        self.planes, part.segmenter, part.target, work, run, self.overwrite,
                        self.link, self.measure,
                    )  # fmt: skip
                    self.results[number] = written.path
                else:
                    format_for(written_path(part.target)).register(written_path(part.target))
                    if work.exists:  # the run was killed after the result was in place
                        work.remove()
                    written = self._finished_before(part)
            if self._on_written is not None:
                self._on_written(number, written)

    def _finished_before(self, part: FileResult) -> WrittenResult:
        """Return a result of an earlier run; measure it if that has not been done."""
        path = written_path(part.target)
        if not self.measure:
            return WrittenResult(path)
        measurements = measure_file(self.planes, part.segmenter, self.link, path)
        if measurements is not None and not table_path(path).exists():
            write_table(measurements.table(), table_path(path))
        is_counted = measurements is not None and part.segmenter.output == "instances"
        count = measurements.object_count if measurements is not None and is_counted else None
        return WrittenResult(path, count, measurements)


def written_path(target: Path) -> Path:
    """Return the path at which the result for a target is, or will be.

    It is the target itself, except where a ``.tif`` turned out to have more
    than 65,535 objects. Then an ``.ome.zarr`` of the same name is written.
    """
    return next((place for place in places(target) if place.exists()), target)


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn errors of the operating system into errors with a remedy."""
    try:
        yield
    except OSError as error:
        raise no_space(error, target) from error


def plane_problem(planes: Planes, number: int, error: InputError) -> str:
    """Return the reason why a plane was skipped, with its name."""
    return framed(error, before=f"{planes.name_of(number)}: ")
