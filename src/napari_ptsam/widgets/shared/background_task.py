"""Long work in a thread, such as a training or a batch."""

from __future__ import annotations

import ctypes
import sys
from functools import partial
from threading import Event
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_ptsam.widgets.shared.activity import ActivityBar
from napari_ptsam.widgets.shared.failures import Failed, notify
from napari_ptsam.widgets.shared.worker import Finished, Steps, Worker, WorkerEvent


class BackgroundTask(QObject):
    """Run long work in a thread, one piece of work at a time, that can be stopped.

    A subclass implements `_work`, which runs in the thread, and `_show`, which gets what
    `_work` yields in the GUI thread. However the work ends, `finished` is emitted, and
    the task can be started again.

    Parameters
    ----------
    parent
        The owner of the task in Qt.
    """

    failed = Signal(str)
    """The work failed, with the reason in one sentence. The user has been notified of it, unless
    `notifies` is false and the failure is not a bug."""
    finished = Signal()

    title = "The work"
    """Name of the work, as the subject of a sentence."""
    notifies = True
    """Whether the user is notified of failures; if not, a receiver of `failed` shows them."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._worker: Worker | None = None
        self._stop = Event()
        self._closed = False
        self._activity = ActivityBar(self.title)

    @property
    def running(self) -> bool:
        """Whether the work is under way."""
        return self._worker is not None

    @property
    def stopping(self) -> bool:
        """Whether the work was asked to stop."""
        return self._stop.is_set()

    def start(self, request: Any) -> None:
        """Start the work described by ``request``."""
        self._stop.clear()
        self._worker = Worker(partial(self._steps, request), self._on_event, self.title, self.stop)
        self._worker.start(announced=True)

    def stop(self) -> None:
        """Ask the work to end soon; what is done is kept."""
        self._stop.set()

    def close(self, timeout: float = 0.0) -> None:
        """Stop the work, emit nothing more, and wait ``timeout`` seconds for the thread."""
        self._closed = True
        self._activity.close()
        self.stop()
        if self._worker is not None:
            self._worker.wait(timeout)

    def _on_event(self, event: WorkerEvent) -> None:
        if isinstance(event, Finished):
            self._worker = None
            self._activity.close()
        if self._closed:
            return
        if isinstance(event, Finished):
            self.finished.emit()
        elif isinstance(event, Failed):
            if self.notifies or event.bug is not None:
                notify(event)
            self.failed.emit(event.sentence)
        else:
            self._show(event.value)

    def _steps(self, request: Any) -> Steps:
        try:
            yield from self._work(request)
        finally:
            free_memory()

    def _work(self, request: Any) -> Steps:
        """Do the work, in the thread, and yield what `_show` gets."""
        raise NotImplementedError

    def _show(self, result: Any) -> None:
        """Show what the work has yielded, in the GUI thread; `_activity` takes its progress."""
        raise NotImplementedError


def free_memory() -> None:
    """Return freed memory to the system; glibc would keep it for the next allocation."""
    # No garbage collection, which would block the window for a third of a second.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
