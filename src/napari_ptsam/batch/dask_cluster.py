"""Run a job on several processes or machines with dask.distributed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from napari_ptsam.batch.job import FileResult, Job, PlaneDone, plane_problem
from napari_ptsam.batch.measured_planes import keep_rows
from napari_ptsam.batch.work_folder import PLANES, largest, open_array
from napari_ptsam.errors import InputError, OutputError, PtsamError, Remedy

if TYPE_CHECKING:
    from napari_ptsam.batch.finishing import WrittenResult
    from napari_ptsam.images.addresses import Location
    from napari_ptsam.images.normalize import Limits
    from napari_ptsam.images.planes import Planes
    from napari_ptsam.inference.linking import LinkSettings
    from napari_ptsam.inference.result import ResultSettings
    from napari_ptsam.prompts.prompt import Prompt

log = logging.getLogger(__name__)

TIMEOUT = 10
"""Seconds to wait for the scheduler."""

RUN = 4
"""Number of planes in a task. A worker that dies loses at most these."""

Outcome = tuple[int, "list[int] | str"]
"""Number of a plane, and the largest value of each result or the reason why it was skipped."""


@dataclass(frozen=True)
class _WorkerTask:
    """The data that a worker needs to segment planes; all of it can be pickled.

    Attributes
    ----------
    image, axes, name, cut
        Path or address of the image, and how to open it; see `Planes`.
    prompts, settings, limits, arrays
        One item for each result. The arrays are paths.
    checkpoint, device
        The backbone's file and the device to run it on.
    measure
        Whether to measure each plane, into the folder of the array.
    """

    image: str
    axes: str
    name: str
    cut: tuple[tuple[str, int, int], ...]
    prompts: tuple[Prompt, ...]
    settings: tuple[ResultSettings, ...]
    limits: tuple[Limits | None, ...]
    arrays: tuple[str | None, ...]
    checkpoint: str | None
    device: str
    measure: bool = False


def segment_on_cluster(
    planes: Planes,
    parts: Sequence[FileResult],
    scheduler: str,
    *,
    link: LinkSettings | None = None,
    resume: bool = False,
    overwrite: bool = False,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    measure: bool = False,
    on_written: Callable[[int, WrittenResult], object] | None = None,
) -> Iterator[PlaneDone]:
    """Segment planes into files, as `segment_to_files`, on the workers of a dask cluster.

    The workers open the image and write into the work folder by their paths, so
    both must be on a disk that all workers share. If a worker dies, another one
    repeats its task. If a task fails for good, the run stays unfinished and can
    be resumed.

    Parameters
    ----------
    planes
        An image that was opened from a file.
    parts
        The results to write.
    scheduler
        The scheduler's address, for instance ``tcp://10.0.0.1:8786``.
    link, resume, overwrite, measure, on_written
        See `segment_to_files`.
    checkpoint, device
        The backbone's file and device on the workers.

    Yields
    ------
    PlaneDone
        One for each plane, in the order of completion, without results.

    Raises
    ------
    InputError
        If the image is no file, the package distributed is missing, or the
        scheduler cannot be reached.
    OutputError
        As in `segment_to_files`, and if tasks failed for good.
    """
    if planes.path is None:
        raise InputError(
            f"{planes.name} is no file that the workers could open; save it, or leave the "
            "scheduler out."
        )
    job = Job(planes, parts, link, resume, overwrite, measure, on_written)
    return _on_cluster(job, planes.path, scheduler, checkpoint, device)


def _on_cluster(
    job: Job, image: Location, scheduler: str, checkpoint: str | Path | None, device: str
) -> Iterator[PlaneDone]:
    from napari_ptsam.inference.shared_embedding import SharedSegmenter

    with job.claimed(), _client(scheduler) as client:
        segmenters = [part.segmenter for part in job.parts]
        limits = [] if all(job.finished) else SharedSegmenter(segmenters).limits(job.planes)
        todo = job.begin()
        remaining = set(todo)
        for number in range(len(job.planes)):
            if number not in remaining:
                yield job.report(number)
        failed: dict[int, str] = {}
        if todo:
            task = _task(job, image, limits, checkpoint, device)
            yield from _collect(job, client, task, todo, failed)
    if failed:
        raise _unfinished(job, failed)
    job.finish()


def _task(
    job: Job, image: Location, limits: Sequence[Limits | None], checkpoint: Any, device: str
) -> _WorkerTask:
    planes = job.planes
    arrays = (
        None if finished else str(work.path / PLANES)
        for work, finished in zip(job.works, job.finished, strict=True)
    )
    return _WorkerTask(
        str(image.absolute() if isinstance(image, Path) else image), planes.axes, planes.name, planes.cut,
        tuple(part.segmenter.prompt for part in job.parts),
        tuple(part.segmenter.settings for part in job.parts),
        tuple(limits), tuple(arrays),
        None if checkpoint is None else str(Path(checkpoint).absolute()), device, job.measure,
    )  # fmt: skip


@contextmanager
def _client(address: str) -> Iterator[Any]:
    """Connect to the scheduler."""
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError(
            "A cluster needs the package distributed; install it: "
            "pip install 'napari-ptsam[distributed]'."
        ) from error
    try:
        client = Client(address, timeout=TIMEOUT, set_as_default=False)
    except (OSError, ValueError) as error:  # TimeoutError is an OSError
        raise InputError(
            f"No scheduler answers at {address}; check the address, and that it is running."
        ) from error
    try:
        if not client.ncores():
            # Without a configured logger, Python prints warnings to the terminal.
            log.warning("No worker has joined %s yet; the first that does begins.", address)
        yield client
    finally:
        client.close()


def _collect(
    job: Job, client: Any, task: _WorkerTask, todo: Sequence[int], failed: dict[int, str]
) -> Iterator[PlaneDone]:
    """Submit the planes to the workers, and record which ones are finished and which fail."""
    from distributed import as_completed

    runs = [list(todo[start : start + RUN]) for start in range(0, len(todo), RUN)]
    # The scheduler computes it again if its worker dies; scattered data would be lost.
    common = client.submit(_same, task, pure=False)
    futures = {client.submit(_do, common, numbers, pure=False): numbers for numbers in runs}
    try:
        for future in as_completed(list(futures), loop=client.loop):
            if future.status != "finished":
                why = _in_words(future.exception())
                failed |= dict.fromkeys(futures[future], why)
                continue
            for number, outcome in future.result():
                yield _report(job, number, outcome)
            future.release()
    finally:
        client.cancel(list(futures))


def _report(job: Job, number: int, outcome: list[int] | str) -> PlaneDone:
    if isinstance(outcome, str):
        return job.report(number, problem=outcome)
    job.record(number, outcome)
    return job.report(number)


def _in_words(error: BaseException | None) -> str:
    if error is None:
        return "the scheduler cancelled their task"
    if type(error).__name__ == "KilledWorker":
        return "its workers died again and again"
    if isinstance(error, PtsamError):
        return str(error).rstrip(".")
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _unfinished(job: Job, failed: dict[int, str]) -> OutputError:
    numbers = sorted(failed)
    shown = ", ".join(map(str, numbers[:10])) + (", ..." if len(numbers) > 10 else "")
    return OutputError(
        f"{job.planes.name}: {len(numbers)} planes could not be segmented by the workers (planes "
        f"{shown}: {failed[numbers[0]]}).",
        Remedy.RESUME,
    )


# The functions below run on the workers.

_ONE_AT_A_TIME = Lock()
"""A process computes one plane at a time, with all threads that dask assigns to it."""


def _threads() -> int:
    from distributed import get_worker

    return int(get_worker().state.nthreads)


def _same(task: _WorkerTask) -> _WorkerTask:
    """Return the task; the planes share its copy on a worker."""
    return task


def _do(task: _WorkerTask, numbers: Sequence[int]) -> list[Outcome]:
    """Segment planes, and write the results into the work folders."""
    import torch

    with _ONE_AT_A_TIME:
        torch.set_num_threads(_threads())
        return _segment(task, numbers)


def _segment(task: _WorkerTask, numbers: Sequence[int]) -> list[Outcome]:
    from napari_ptsam.images.reading import open_image
    from napari_ptsam.inference.segment import Segmenter
    from napari_ptsam.inference.shared_embedding import SharedSegmenter
    from napari_ptsam.prompts.backbone import backbone_of

    planes = open_image(task.image, task.axes)
    for axis, start, stop in task.cut:
        planes = planes.part(axis, start, stop)
    planes.name = task.name
    # It is loaded once in each process.
    backbone = backbone_of(task.prompts[0], task.checkpoint, task.device)
    shared = SharedSegmenter(
        [Segmenter(p, backbone, s) for p, s in zip(task.prompts, task.settings, strict=True)]
    )
    arrays = [None if path is None else open_array(Path(path)) for path in task.arrays]
    outcomes: list[Outcome] = []
    for number, results in shared.planes(planes, numbers, task.limits):
        if isinstance(results, InputError):
            outcomes.append((number, plane_problem(planes, number, results)))
            continue
        for array, path, segmenter, result in zip(
            arrays, task.arrays, shared.segmenters, results, strict=True
        ):
            if array is None or path is None:
                continue
            array[number] = result
            if task.measure:
                keep_rows(Path(path).parent, planes, segmenter, number, result)
        outcomes.append((number, [largest(result) for result in results]))
    return outcomes
