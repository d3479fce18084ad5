"""Threads for work that takes time. Each of them reports its events to the GUI thread."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from threading import Event, Thread, get_native_id
from time import perf_counter
from typing import Any

import napari
from qtpy.QtCore import QCoreApplication, QObject, QThread, Signal

from napari_ptsam.widgets.shared.failures import Failed, failure_of
from napari_ptsam.widgets.shared.qt_helpers import not_none

Steps = Generator[Any, None, Any]
"""Work as a generator: it yields between its steps, and may yield and return results."""

THREAD_NAME = "napari-ptsam worker"
QUIT_TIMEOUT = 15.0
"""Seconds that the application waits for threads when it quits."""
EXIT_TIMEOUT = 60.0
"""Seconds that Python then waits for threads that cannot stop yet, such as one that imports torch."""
NICENESS = 5
"""Number of steps by which the priority of workers is lowered on Linux."""


@dataclass(frozen=True, eq=False)
class Yielded:
    """The work has yielded a value."""

    value: Any


@dataclass(frozen=True, eq=False)
class Finished:
    """The work has ended; this is always the last event.

    Attributes
    ----------
    value
        What the work returned; None if it failed or was stopped.
    """

    value: Any = None


WorkerEvent = Yielded | Failed | Finished


_running: set[Worker] = set()
"""Workers whose `Finished` has not been delivered yet."""


class Worker(QObject):
    """Run a generator in a thread of its own and report its events in the GUI thread.

    Whatever is raised, `KeyboardInterrupt` and `MemoryError` included, is reported as
    `Failed`. `Finished` comes last, exactly once. The thread pools of Qt and napari are
    not used because the priority of the thread is lowered (see `lower_priority`).

    Parameters
    ----------
    steps
        Called in the thread; returns the generator to run.
    on_event
        Called in the GUI thread with each `Yielded`, `Failed` and `Finished`.
    title
        Name of the work, as the subject of a sentence.
    stop
        Makes the generator end by itself; by default the worker stops before its
        next step.
    """

    _event_posted = Signal(object)

    def __init__(
        self, steps: Callable[[], Steps], on_event: Callable[[WorkerEvent], object], title: str,
        stop: Callable[[], object] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._steps, self._on_event, self._title, self._stop = steps, on_event, title, stop
        self._quit = Event()
        self._end_status: Callable[[bool], None] | None = None
        self._failed = False
        self._thread = Thread(target=self._run, name=THREAD_NAME, daemon=True)
        self._event_posted.connect(self._deliver)

    @property
    def is_running(self) -> bool:
        """Whether the thread is alive."""
        return self._thread.is_alive()

    def start(self, announced: bool = False) -> None:
        """Start the thread; call this in the GUI thread.

        Parameters
        ----------
        announced
            Whether napari asks before it closes while the work is running. If the user
            closes it anyway, the work is stopped.
        """
        if not _running:
            _stop_workers_with_application()
        _running.add(self)
        if announced:
            self._end_status = _show_task_status(self._title, self.quit)
        try:
            self._thread.start()
        except RuntimeError as error:  # the system has no more threads
            self._post(failure_of(error, self._title))
            self._post(Finished())

    def quit(self) -> None:
        """Ask the work to end soon.

        Without a ``stop`` function, only `Finished` is reported from now on, without a
        value.
        """
        if self._stop is None:
            self._quit.set()
        else:
            self._stop()

    def wait(self, seconds: float) -> None:
        """Wait until the thread has ended, at most this many seconds."""
        if self._thread.is_alive():
            self._thread.join(max(0.0, seconds))

    # In the thread

    def _run(self) -> None:
        value = None
        try:
            try:
                lower_priority()
                value = self._run_steps()
            except BaseException as error:
                self._post(failure_of(error, self._title))
        finally:
            self._post(Finished(value))

    def _run_steps(self) -> Any:
        steps = self._steps()
        try:
            while not self._quit.is_set():
                try:
                    value = next(steps)
                except StopIteration as end:
                    return end.value
                self._post(Yielded(value))
        finally:
            steps.close()
        return None

    def _post(self, event: WorkerEvent) -> None:
        with suppress(RuntimeError):  # Qt has been shut down, so nobody receives the event
            self._event_posted.emit(event)

    # In the GUI thread

    def _deliver(self, event: WorkerEvent) -> None:
        self._failed |= isinstance(event, Failed)
        if isinstance(event, Finished):
            _running.discard(self)
            if self._end_status is not None:
                self._end_status(self._failed)
            self._on_event(Finished() if self._quit.is_set() else event)
        elif not self._quit.is_set():
            self._on_event(event)


def lower_priority() -> None:
    """Lower the priority of the current thread, so that the window stays responsive.

    Call this in a worker. Threads that torch starts from here inherit the priority.
    """
    # Linux ignores the priority that Qt sets. PyQt may return the object of a thread that has ended.
    with suppress(RuntimeError):
        not_none(QThread.currentThread()).setPriority(QThread.Priority.LowPriority)
    if sys.platform.startswith("linux"):
        with suppress(OSError):
            of_main_thread = os.getpriority(os.PRIO_PROCESS, os.getpid())
            os.setpriority(os.PRIO_PROCESS, get_native_id(), min(19, of_main_thread + NICENESS))


def stop_all_workers(timeout: float = QUIT_TIMEOUT) -> None:
    """Ask all workers to end, and wait until they have, at most ``timeout`` seconds."""
    deadline = perf_counter() + timeout
    for worker in tuple(_running):
        worker.quit()
    for worker in tuple(_running):
        worker.wait(deadline - perf_counter())


def _stop_workers_with_application() -> None:
    """Stop all workers when the application quits; threads must not outlive Qt."""
    application = QCoreApplication.instance()
    if application is not None and not application.property(THREAD_NAME):
        application.setProperty(THREAD_NAME, True)
        application.aboutToQuit.connect(stop_all_workers)


@atexit.register
def _stop_workers_with_process() -> None:
    """Stop all workers before Python exits; it would abort while torch is computing."""
    stop_all_workers(EXIT_TIMEOUT)


def _show_task_status(title: str, cancel: Callable[[], None]) -> Callable[[bool], None] | None:
    """Register the work in napari's task status, so that napari asks before it closes.

    Returns
    -------
    callable or None
        Function to call at the end of the work with whether it failed; None if this
        version of napari has no task status.
    """
    window = getattr(napari.current_viewer(), "window", None)
    register = getattr(window, "_register_task_status", None)
    update = getattr(window, "_update_task_status", None)
    if register is None or update is None:
        return None
    from napari.utils.task_status import Status

    task = register("napari-ptsam", Status.BUSY, f"{title} is under way", cancel)

    def end_status(failed: bool) -> None:
        update(task, Status.FAILED if failed else Status.COMPLETED, title)

    return end_status
