"""Threads of our own, polite towards the window."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from threading import get_native_id
from typing import TYPE_CHECKING

from qtpy.QtCore import QCoreApplication, QThread, QThreadPool

if TYPE_CHECKING:
    from qtpy.QtCore import QRunnable

NICE = 5
"""Of 19: how far the window goes before the work behind it, on Linux."""
MOST = 16
"""Threads at a time: far more than there is long work, so that saving never waits for a training."""

_pool: QThreadPool | None = None


def start(worker: QRunnable) -> None:
    """Run a worker in one of our threads; call this from the GUI's thread.

    They have a lower priority than the window, and on Linux a thread cannot get
    its former one back. So they are not those that napari and its other plugins
    work in.
    """
    global _pool
    if _pool is None:
        _pool = QThreadPool()
        _pool.setMaxThreadCount(MOST)
        _pool.setThreadPriority(QThread.Priority.LowPriority)  # Linux ignores it
        application = QCoreApplication.instance()
        if application is not None:  # as napari does with its own threads
            application.aboutToQuit.connect(_pool.waitForDone)
    _pool.start(worker)


def step_back() -> None:
    """Leave the processor to the window whenever it wants it; call this in a worker.

    What computes must not make painting stutter. The threads that torch starts
    from here are as polite.
    """
    if sys.platform.startswith("linux"):
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, get_native_id(), NICE)
