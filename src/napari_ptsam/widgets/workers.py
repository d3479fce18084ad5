"""The only place where core generators meet napari's threads."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from itertools import count
from threading import Event, Lock
from time import perf_counter, sleep
from typing import Any

from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, Signal

from napari_ptsam.errors import PtsamError
from napari_ptsam.widgets.pool import start, step_back

Steps = Generator[Any, None, None]

URGENT, NORMAL, IDLE = 0, 1, 2
"""Priorities: clicks, what the user waits for, what may be useful later."""


def give_memory_back() -> None:
    """Return freed memory to the system, which glibc would keep for the next time."""
    # No garbage collection: it would hold up the window for a third of a second.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def wait_for(worker: Any, seconds: float) -> None:
    """Wait for a worker that was told to end; for when the window goes away."""
    end = perf_counter() + seconds
    while worker is not None and worker.is_running and perf_counter() < end:
        sleep(0.01)


def _ignore(result: object) -> None:
    """For jobs whose results or failures interest nobody."""


@dataclass(eq=False)
class _Job:
    name: str
    steps: Steps
    show: Callable[[Any], object]
    failed: Callable[[str], object]
    order: tuple[int, int]
    cancelled: bool = field(default=False)


class Jobs(QObject):
    """Short jobs in the background, the most urgent first, a step at a time.

    A job is a generator: between its steps a more urgent one may take over.
    The thread lives only as long as there are jobs, so that napari does not
    ask before it closes when nothing is going on.
    """

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._waiting: list[_Job] = []
        self._lock, self._counter = Lock(), count()
        self._worker: Any = None
        self._closed = False

    def submit(
        self,
        name: str,
        steps: Callable[[], Steps],
        show: Callable[[Any], object] = _ignore,
        failed: Callable[[str], object] = _ignore,
        priority: int = NORMAL,
        replace: bool = True,
    ) -> None:
        """Have a job done; call this from the GUI's thread.

        Parameters
        ----------
        name
            Of the job.
        steps
            Runs in the thread; what it yields, unless None, is shown.
        show
            Called in the GUI's thread with each result.
        failed
            Called in the GUI's thread with the message of a `PtsamError`.
        priority
            `URGENT`, `NORMAL` or `IDLE`.
        replace
            Whether a job of that name that is not finished yet is cancelled.
        """
        if self._closed:
            return
        if replace:
            self.cancel(name)
        job = _Job(name, steps(), show, failed, (priority, next(self._counter)))
        with self._lock:
            self._waiting.append(job)
        self._start()

    def cancel(self, name: str) -> None:
        """Drop jobs of that name; results on their way are not shown."""
        with self._lock:
            for job in self._waiting:
                job.cancelled |= job.name == name
            self._waiting = [job for job in self._waiting if not job.cancelled]

    def has(self, name: str) -> bool:
        """Whether a job of that name is not finished yet."""
        with self._lock:
            return any(job.name == name for job in self._waiting)

    def close(self, wait: float = 0.0) -> None:
        """Drop everything, take nothing more, and wait so many seconds for the thread to end."""
        self._closed = True
        with self._lock:
            for job in self._waiting:
                job.cancelled = True
            self._waiting = []
        wait_for(self._worker, wait)

    def _start(self) -> None:
        if self._worker is None and not self._closed:
            self._worker = create_worker(self._work, _start_thread=False)
            self._worker.yielded.connect(self._take_result)
            self._worker.finished.connect(self._finished)
            start(self._worker)

    def _work(self) -> Generator[Any, None, None]:
        """In the thread: advance the most urgent job by a step, until there is none."""
        step_back()
        while (job := self._most_urgent()) is not None:
            try:
                result = next(job.steps)
            except StopIteration:
                self._drop(job)
            except PtsamError as error:
                self._drop(job)
                yield job, error
            except BaseException:
                self._drop(job)
                raise
            else:
                yield job, result

    def _most_urgent(self) -> _Job | None:
        with self._lock:
            return min(self._waiting, key=lambda job: job.order, default=None)

    def _drop(self, job: _Job) -> None:
        with self._lock:
            if job in self._waiting:
                self._waiting.remove(job)

    def _take_result(self, delivered: tuple[_Job, Any]) -> None:
        job, result = delivered
        if job.cancelled or self._closed or result is None:
            return
        if isinstance(result, PtsamError):
            job.failed(str(result))
        else:
            job.show(result)

    def _finished(self) -> None:
        self._worker = None
        with self._lock:
            waiting = bool(self._waiting)
        if waiting:
            self._start()


class Run(QObject):
    """Long work in a thread, one at a time, that ends soon when it is told to.

    A subclass says what is to be done (`_work`, in the thread) and who is told
    of what it yields (`_show`, in the GUI's thread).
    """

    failed = Signal(str)
    ended = Signal()

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._worker: Any = None
        self._stop = Event()
        self._closed = False

    @property
    def running(self) -> bool:
        """Whether it is under way."""
        return self._worker is not None

    @property
    def stopping(self) -> bool:
        """Whether it was told to end."""
        return self._stop.is_set()

    def start(self, request: Any) -> None:
        """Begin."""
        self._stop.clear()
        self._worker = create_worker(self._steps, request, _start_thread=False)
        self._worker.yielded.connect(self._take)
        self._worker.finished.connect(self._finished)
        start(self._worker)

    def stop(self) -> None:
        """End soon; what is done stays."""
        self._stop.set()

    def close(self, wait: float = 0.0) -> None:
        """End soon, tell nobody, and wait so many seconds for the thread to end."""
        self._closed = True
        self.stop()
        wait_for(self._worker, wait)

    def _take(self, result: object) -> None:
        if self._closed:
            return
        if isinstance(result, str):
            self.failed.emit(result)
        else:
            self._show(result)

    def _finished(self) -> None:
        self._worker = None
        if not self._closed:
            self.ended.emit()

    def _steps(self, request: Any) -> Steps:
        """In the thread: the work; an error that is meant for people becomes a message."""
        step_back()
        try:
            yield from self._work(request)
        except PtsamError as error:
            yield str(error)
        finally:
            give_memory_back()

    def _work(self, request: Any) -> Steps:
        raise NotImplementedError

    def _show(self, result: Any) -> None:
        raise NotImplementedError
