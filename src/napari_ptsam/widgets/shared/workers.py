"""Threads of our own for all that takes time; whatever happens there comes back as an event."""

from __future__ import annotations

import atexit
import ctypes
import os
import sys
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from threading import Event, Lock, Thread, get_native_id
from time import perf_counter
from typing import Any

import napari
from qtpy.QtCore import QCoreApplication, QObject, QThread, Signal

from napari_ptsam.widgets.shared.failures import Failed, failure_of, tell
from napari_ptsam.widgets.shared.qt_helpers import present

Steps = Generator[Any, None, Any]

THREAD = "napari-ptsam worker"
"""Name of threads."""
WAIT = 15.0
"""Seconds that the application waits at its end for threads."""
LAST_WAIT = 60.0
"""Seconds that Python then waits for those that are not through yet, such as importing torch."""

URGENT, NORMAL, IDLE = 0, 1, 2
"""Priorities: clicks, what the user waits for, what may be useful later."""


NICE = 5
"""Of 19: how far the window goes before the work behind it, on Linux."""


def step_back() -> None:
    """Leave the processor to the window whenever it wants it; call this in a worker.

    What computes must not make painting stutter. The threads that torch starts
    from here are as polite.
    """
    present(QThread.currentThread()).setPriority(QThread.Priority.LowPriority)  # Linux ignores it
    if sys.platform.startswith("linux"):
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, get_native_id(), NICE)


def give_memory_back() -> None:
    """Return freed memory to the system, which glibc would keep for the next time."""
    # No garbage collection: it would hold up the window for a third of a second.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


@dataclass(frozen=True, eq=False)
class Progress:
    """A value that the work has yielded."""

    value: Any


@dataclass(frozen=True, eq=False)
class Finished:
    """The work is over, and nothing more comes; ``value`` is what it returned, None if it failed."""

    value: Any = None


Happened = Progress | Failed | Finished


_running: set[Worker] = set()
"""Workers whose end has not been told yet."""


class Worker(QObject):
    """Goes through steps in a thread of its own, and tells of them in the GUI's thread.

    Whatever is raised there, `KeyboardInterrupt` and `MemoryError` included, is told as
    `Failed`, and `Finished` always comes last, once. Qt's and napari's pools of threads
    are not used: the priority of the thread is lowered (see `step_back`).

    Parameters
    ----------
    steps
        Called in the thread; yields between its steps, and may return something.
    take
        Called in the GUI's thread with all that happens: `Progress`, `Failed`, `Finished`.
    title
        What runs, as the subject of a sentence.
    stop
        Has the steps end in good order; by default the worker takes no further step.
    """

    _happened = Signal(object)

    def __init__(
        self, steps: Callable[[], Steps], take: Callable[[Happened], object], title: str,
        stop: Callable[[], object] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._steps, self._take, self._title, self._stop = steps, take, title, stop
        self._quit = Event()
        self._ended: Callable[[bool], None] | None = None
        self._failed = False
        self._thread = Thread(target=self._run, name=THREAD, daemon=True)
        self._happened.connect(self._deliver)

    @property
    def is_running(self) -> bool:
        """Whether its thread lives."""
        return self._thread.is_alive()

    def start(self, announced: bool = False) -> None:
        """Begin; call this in the GUI's thread.

        Parameters
        ----------
        announced
            Whether napari is to ask before it closes meanwhile; closing ends the work.
        """
        if not _running:
            _end_with_application()
        _running.add(self)
        if announced:
            self._ended = _announce(self._title, self.quit)
        try:
            self._thread.start()
        except RuntimeError as error:  # the system gives no more threads
            self._post(failure_of(error, self._title))
            self._post(Finished())

    def quit(self) -> None:
        """End soon.

        Where the steps cannot be stopped, nothing is told any more but `Finished`, without a value.
        """
        if self._stop is None:
            self._quit.set()
        else:
            self._stop()

    def wait(self, seconds: float) -> None:
        """Wait for the thread to end."""
        if self._thread.is_alive():
            self._thread.join(max(0.0, seconds))

    # In the thread

    def _run(self) -> None:
        value = None
        try:
            try:
                step_back()
                value = self._go_through()
            except BaseException as error:
                self._post(failure_of(error, self._title))
        finally:
            self._post(Finished(value))

    def _go_through(self) -> Any:
        steps = self._steps()
        try:
            while not self._quit.is_set():
                try:
                    value = next(steps)
                except StopIteration as end:
                    return end.value
                self._post(Progress(value))
        finally:
            steps.close()
        return None

    def _post(self, event: Happened) -> None:
        with suppress(RuntimeError):  # Qt has gone, and nobody is left to be told
            self._happened.emit(event)

    # In the GUI's thread

    def _deliver(self, event: Happened) -> None:
        self._failed |= isinstance(event, Failed)
        if isinstance(event, Finished):
            _running.discard(self)
            if self._ended is not None:
                self._ended(self._failed)
            self._take(Finished() if self._quit.is_set() else event)
        elif not self._quit.is_set():
            self._take(event)


def _end_with_application() -> None:
    """Have all workers end before Qt does; threads must not outlive it."""
    application = QCoreApplication.instance()
    if application is not None and not application.property(THREAD):
        application.setProperty(THREAD, True)
        application.aboutToQuit.connect(end_all)


@atexit.register
def _end_with_process() -> None:
    """Have all workers end before Python does: it aborts if torch is at work then."""
    end_all(LAST_WAIT)


def end_all(wait: float = WAIT) -> None:
    """Tell all workers to end, and wait so many seconds for that."""
    end = perf_counter() + wait
    for worker in tuple(_running):
        worker.quit()
    for worker in tuple(_running):
        worker.wait(end - perf_counter())


def _announce(title: str, cancel: Callable[[], None]) -> Callable[[bool], None] | None:
    """Tell napari of work that it should not close upon unasked.

    Returns
    -------
    callable or None
        To be called at the end with whether it failed; None where napari cannot be told.
    """
    window = getattr(napari.current_viewer(), "window", None)
    register = getattr(window, "_register_task_status", None)
    update = getattr(window, "_update_task_status", None)
    if register is None or update is None:
        return None
    from napari.utils.task_status import Status

    task = register("napari-ptsam", Status.BUSY, f"{title} is under way", cancel)

    def ended(failed: bool) -> None:
        update(task, Status.FAILED if failed else Status.COMPLETED, title)

    return ended


# Short jobs


@dataclass(eq=False)
class _Job:
    name: str
    steps: Steps
    show: Callable[[Any], object]
    failed: Callable[[str], object] | None
    order: tuple[int, int]
    notify: bool
    cancelled: bool = field(default=False)


@dataclass(frozen=True, eq=False)
class _JobEvent:
    """What happened to a job."""

    job: _Job
    event: Progress | Failed


def silently(result: object) -> None:
    """For jobs whose results, or expected failures, interest nobody."""


class Jobs(QObject):
    """Short jobs in the background, the most urgent first, a step at a time.

    A job is a generator: between its steps a more urgent one may take over.
    A job that fails ends alone; the others go on. The thread lives only as
    long as there are jobs.
    """

    TITLE = "Work in the background"

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._waiting: list[_Job] = []
        self._lock, self._counter = Lock(), count()
        self._worker: Worker | None = None
        self._closed = False
        self._told: set[object] = set()

    def submit(
        self,
        name: str,
        steps: Callable[[], Steps],
        show: Callable[[Any], object] = silently,
        failed: Callable[[str], object] | None = None,
        priority: int = NORMAL,
        replace: bool = True,
        notify: bool = False,
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
            Called in the GUI's thread with a sentence, whatever was raised; by
            default the user is notified. Of a bug the user is notified in any
            case, so that its traceback can be seen: once, where ``failed`` is given.
        priority
            `URGENT`, `NORMAL` or `IDLE`.
        replace
            Whether a job of that name that is not finished yet is cancelled.
        notify
            Whether the user is notified of every failure although ``failed`` is given.
        """
        if self._closed:
            return
        if replace:
            self.cancel(name)
        job = _Job(
            name, steps(), show, failed, (priority, next(self._counter)), notify or failed is None
        )
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
        if self._worker is not None:
            self._worker.wait(wait)

    def _start(self) -> None:
        if self._worker is None and not self._closed:
            self._worker = Worker(self._work, self._take, self.TITLE)
            self._worker.start()

    def _work(self) -> Steps:
        """In the thread: advance the most urgent job by a step, until there is none."""
        while (job := self._most_urgent()) is not None:
            try:
                result = next(job.steps)
            except StopIteration:
                self._drop(job)
            except BaseException as error:
                self._drop(job)
                yield _JobEvent(job, failure_of(error, self.TITLE))
            else:
                yield _JobEvent(job, Progress(result))

    def _most_urgent(self) -> _Job | None:
        with self._lock:
            return min(self._waiting, key=lambda job: job.order, default=None)

    def _drop(self, job: _Job) -> None:
        with self._lock:
            if job in self._waiting:
                self._waiting.remove(job)

    def _take(self, event: Happened) -> None:
        if isinstance(event, Finished):
            self._finished()
        elif isinstance(event, Failed):  # between two jobs
            tell(event)
        elif isinstance(event.value, _JobEvent):
            self._take_result(event.value.job, event.value.event)

    def _take_result(self, job: _Job, event: Progress | Failed) -> None:
        if job.cancelled or self._closed:
            return
        if isinstance(event, Failed):
            self._take_failure(event, job)
        elif event.value is not None:
            job.show(event.value)

    def _take_failure(self, failed: Failed, job: _Job) -> None:
        if job.notify or (failed.bug is not None and failed.where not in self._told):
            self._told.add(failed.where)
            tell(failed)
        if job.failed is not None:
            job.failed(failed.sentence)

    def _finished(self) -> None:
        self._worker = None
        with self._lock:
            waiting = bool(self._waiting)
        if waiting:
            self._start()


# Long work


class BackgroundTask(QObject):
    """Long work in a thread, one at a time, that ends soon when it is told to.

    A subclass says what is to be done (`_work`, in the thread) and who is told
    of what it yields (`_show`, in the GUI's thread). However it ends, `ended` is
    emitted, and the next one can be started.
    """

    failed = Signal(str)
    """In one sentence; the user is notified of it, unless `notifies` is false and it is no bug."""
    ended = Signal()

    title = "The work"
    """What runs, as the subject of a sentence."""
    notifies = True
    """Whether failures are notified of; else the one who listens to `failed` shows them."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._worker: Worker | None = None
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
        self._worker = Worker(partial(self._steps, request), self._take, self.title, self.stop)
        self._worker.start(announced=True)

    def stop(self) -> None:
        """End soon; what is done stays."""
        self._stop.set()

    def close(self, wait: float = 0.0) -> None:
        """End soon, tell nobody, and wait so many seconds for the thread to end."""
        self._closed = True
        self.stop()
        if self._worker is not None:
            self._worker.wait(wait)

    def _take(self, event: Happened) -> None:
        if isinstance(event, Finished):
            self._worker = None
        if self._closed:
            return
        if isinstance(event, Finished):
            self.ended.emit()
        elif isinstance(event, Failed):
            if self.notifies or event.bug is not None:
                tell(event)
            self.failed.emit(event.sentence)
        else:
            self._show(event.value)

    def _steps(self, request: Any) -> Steps:
        """In the thread."""
        try:
            yield from self._work(request)
        finally:
            give_memory_back()

    def _work(self, request: Any) -> Steps:
        """In the thread: the work; what it yields is shown."""
        raise NotImplementedError

    def _show(self, result: Any) -> None:
        raise NotImplementedError
