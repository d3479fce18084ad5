"""Short jobs that share one thread, the most urgent first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from threading import Lock
from typing import Any

from qtpy.QtCore import QObject

from napari_ptsam.widgets.shared.failures import Failed, failure_of, notify
from napari_ptsam.widgets.shared.worker import Finished, Steps, Worker, WorkerEvent, Yielded

URGENT, NORMAL, IDLE = 0, 1, 2
"""Priorities: clicks, work that the user waits for, work that may be useful later."""


@dataclass(eq=False)
class _Job:
    name: str
    steps: Steps
    on_result: Callable[[Any], object]
    on_failure: Callable[[str], object] | None
    order: tuple[int, int]
    notifies: bool
    cancelled: bool = False


@dataclass(frozen=True, eq=False)
class _JobEvent:
    """An event of one of the jobs."""

    job: _Job
    event: Yielded | Failed


def ignore(result: object) -> None:
    """Do nothing with a result or an expected failure."""


class BackgroundJobs(QObject):
    """Run short jobs in the background, the most urgent first, a step at a time.

    A job is a generator. Between its steps a more urgent job may run. A job that fails
    does not affect the others. The thread lives only as long as there are jobs.
    """

    TITLE = "Work in the background"

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._unfinished: list[_Job] = []
        self._lock, self._counter = Lock(), count()
        self._worker: Worker | None = None
        self._closed = False
        self._notified_bugs: set[object] = set()

    def submit(
        self,
        name: str,
        steps: Callable[[], Steps],
        on_result: Callable[[Any], object] = ignore,
        on_failure: Callable[[str], object] | None = None,
        priority: int = NORMAL,
        replace: bool = True,
        notify: bool = False,
    ) -> None:
        """Add a job; call this in the GUI thread.

        Parameters
        ----------
        name
            Name of the job.
        steps
            Returns the generator to run in the thread. Each value that it yields,
            except None, is a result.
        on_result
            Called in the GUI thread with each result.
        on_failure
            Called in the GUI thread with one sentence, whatever was raised. By default
            the user is notified. A bug is notified in any case, so that its traceback
            can be seen, but only once if ``on_failure`` is given.
        priority
            `URGENT`, `NORMAL` or `IDLE`.
        replace
            Whether unfinished jobs of the same name are cancelled.
        notify
            Whether the user is notified of every failure even if ``on_failure`` is given.
        """
        if self._closed:
            return
        if replace:
            self.cancel(name)
        notifies = notify or on_failure is None
        order = priority, next(self._counter)
        job = _Job(name, steps(), on_result, on_failure, order, notifies)
        with self._lock:
            self._unfinished.append(job)
        self._start()

    def cancel(self, name: str) -> None:
        """Cancel the jobs of a name, and drop results that are not delivered yet."""
        with self._lock:
            for job in self._unfinished:
                job.cancelled |= job.name == name
            self._unfinished = [job for job in self._unfinished if not job.cancelled]

    def has(self, name: str) -> bool:
        """Return whether a job of this name is unfinished."""
        with self._lock:
            return any(job.name == name for job in self._unfinished)

    def close(self, timeout: float = 0.0) -> None:
        """Cancel all jobs, accept no more, and wait ``timeout`` seconds for the thread."""
        self._closed = True
        with self._lock:
            for job in self._unfinished:
                job.cancelled = True
            self._unfinished = []
        if self._worker is not None:
            self._worker.wait(timeout)

    # In the thread

    def _steps(self) -> Steps:
        """Advance the most urgent job by one step until none is left."""
        while (job := self._most_urgent()) is not None:
            try:
                result = next(job.steps)
            except StopIteration:
                self._remove(job)
            except BaseException as error:
                self._remove(job)
                yield _JobEvent(job, failure_of(error, self.TITLE))
            else:
                yield _JobEvent(job, Yielded(result))

    def _most_urgent(self) -> _Job | None:
        with self._lock:
            return min(self._unfinished, key=lambda job: job.order, default=None)

    def _remove(self, job: _Job) -> None:
        with self._lock:
            if job in self._unfinished:
                self._unfinished.remove(job)

    # In the GUI thread

    def _start(self) -> None:
        if self._worker is None and not self._closed:
            self._worker = Worker(self._steps, self._on_event, self.TITLE)
            self._worker.start()

    def _on_event(self, event: WorkerEvent) -> None:
        if isinstance(event, Finished):
            self._on_finished()
        elif isinstance(event, Failed):  # between two jobs
            notify(event)
        elif isinstance(event.value, _JobEvent):
            self._on_job_event(event.value.job, event.value.event)

    def _on_job_event(self, job: _Job, event: Yielded | Failed) -> None:
        if job.cancelled or self._closed:
            return
        if isinstance(event, Failed):
            self._on_job_failed(job, event)
        elif event.value is not None:
            job.on_result(event.value)

    def _on_job_failed(self, job: _Job, failure: Failed) -> None:
        is_new_bug = failure.bug is not None and failure.bug_location not in self._notified_bugs
        if job.notifies or is_new_bug:
            self._notified_bugs.add(failure.bug_location)
            notify(failure)
        if job.on_failure is not None:
            job.on_failure(failure.sentence)

    def _on_finished(self) -> None:
        self._worker = None
        with self._lock:
            jobs_left = bool(self._unfinished)
        if jobs_left:
            self._start()
