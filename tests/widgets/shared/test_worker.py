"""Workers, jobs and tasks: each exception in a thread becomes a sentence, and each thread ends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from napari.utils import progress
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QObject, QThreadPool

from conftest_failures import FAULTS, Fault, tracebacks
from napari_ptsam.widgets.shared import worker as worker_module
from napari_ptsam.widgets.shared.background_jobs import BackgroundJobs
from napari_ptsam.widgets.shared.background_task import BackgroundTask
from napari_ptsam.widgets.shared.failures import Failed
from napari_ptsam.widgets.shared.worker import THREAD_NAME, Finished, Worker, Yielded


@pytest.fixture(params=FAULTS)
def fault(request) -> Fault:
    if request.param == "GPU memory":
        import torch  # noqa: F401, else nobody asks it
    notification_manager.records.clear()
    return FAULTS[request.param]


def heard() -> list[str]:
    return [record.message for record in notification_manager.records]


def run_worker(qtbot, steps) -> list:
    """Run steps in a worker, and return its events."""
    events = []
    worker = Worker(steps, events.append, "Counting")
    worker.start()
    qtbot.waitUntil(lambda: worker not in worker_module._running, timeout=10_000)
    return events


@pytest.mark.parametrize("when", ["at once", "between steps", "at the end", "when closed"])
def test_every_exception_becomes_a_sentence_and_an_end(qtbot, fault: Fault, when: str) -> None:
    def steps():
        if when == "between steps":
            yield 1
        try:
            if when == "when closed":
                yield 1
                fault()
            elif when != "at the end":
                fault()
        finally:
            if when == "at the end":
                fault()
        yield 2

    if when == "at once":
        steps = fault  # raises instead of returning a generator
    *values, failed, finished = run_worker(qtbot, steps)
    assert [event.value for event in values] == [1] * (when in ("between steps", "when closed"))
    assert isinstance(failed, Failed) and isinstance(finished, Finished) and finished.value is None
    kind = type(fault.make())
    if when != "at once" or kind is not StopIteration:
        assert fault.expected in failed.sentence
    assert (failed.bug is not None) == fault.bug
    assert "\n" not in failed.sentence and failed.sentence.endswith(".")


def test_what_it_yields_and_returns_comes_in_order(qtbot) -> None:
    def steps():
        yield from range(100)
        return "done"

    *values, finished = run_worker(qtbot, steps)
    assert [event.value for event in values] == list(range(100))
    assert all(isinstance(event, Yielded) for event in values)
    assert isinstance(finished, Finished) and finished.value == "done"


def test_a_failure_keeps_no_pixels(qtbot) -> None:
    """The frames of a traceback would keep all arrays alive."""
    import gc
    import weakref

    class Pixels(np.ndarray):
        pass

    kept = []

    def steps():
        pixels = np.zeros(9).view(Pixels)
        kept.append(weakref.ref(pixels))
        yield None
        raise KeyError("tile")

    events = run_worker(qtbot, steps)
    gc.collect()
    assert kept[0]() is None and events[1].bug is not None


def test_a_worker_that_is_asked_to_quit_reports_only_its_end(qtbot) -> None:
    go_on = threading.Event()

    def steps():
        yield 1
        go_on.wait(10)
        yield 2
        raise KeyError("never")

    events = []
    worker = Worker(steps, events.append, "Counting")
    worker.start()
    qtbot.waitUntil(lambda: bool(events))
    worker.quit()
    go_on.set()
    qtbot.waitUntil(lambda: len(events) == 2)
    assert isinstance(events[1], Finished) and not worker.is_running


def test_a_thread_that_cannot_start(qtbot, monkeypatch) -> None:
    def none_left(self) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    failed, finished = run_worker(qtbot, lambda: iter(()))
    assert "can't start new thread" in failed.sentence and isinstance(finished, Finished)


def test_a_job_that_fails_does_not_affect_others(qtbot, fault: Fault) -> None:
    jobs, shown, failures = BackgroundJobs(), [], []

    def steps():
        yield "begun"
        fault()

    def other():
        yield "other"

    jobs.submit("bad", steps, shown.append, failures.append)
    jobs.submit("good", other, shown.append)
    qtbot.waitUntil(lambda: jobs._worker is None, timeout=10_000)
    assert shown == ["begun", "other"] and not jobs.has("bad")
    assert len(failures) == 1 and fault.expected in failures[0]
    assert tracebacks() == failures * fault.bug  # other failures are shown by the caller
    jobs.submit("bad", steps, shown.append, failures.append)
    qtbot.waitUntil(lambda: len(failures) == 2, timeout=10_000)
    assert len(tracebacks()) == fault.bug  # the same bug is notified once
    notification_manager.records.clear()
    jobs.submit("bad", steps)
    qtbot.waitUntil(lambda: bool(heard()) and jobs._worker is None, timeout=10_000)
    assert len(heard()) == 1 and fault.expected in heard()[0]
    assert len(tracebacks()) == fault.bug


class Counting(BackgroundTask):
    title = "Counting"

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.counted = []

    def _work(self, request):
        yield from range(3)
        if request is not None:
            request()

    def _show(self, result) -> None:
        self.counted.append(result)
        self._activity.show(len(self.counted), 3)


def test_the_activity_dock_shows_the_progress_of_a_task(qtbot) -> None:
    go_on, parent = threading.Event(), QObject()
    run = Counting(parent)
    run.start(lambda: go_on.wait(10))
    qtbot.waitUntil(lambda: len(run.counted) == 3, timeout=10_000)
    assert [(bar.desc, bar.n, bar.total) for bar in progress._all_instances] == [("Counting", 3, 3)]
    with qtbot.waitSignal(run.finished, timeout=10_000):
        go_on.set()
    assert not progress._all_instances


@pytest.mark.parametrize("notifies", [True, False])
def test_a_task_that_fails_can_be_started_again(qtbot, fault: Fault, notifies: bool) -> None:
    parent = QObject()
    run, failures = Counting(parent), []
    run.notifies = notifies
    run.failed.connect(failures.append)
    with qtbot.waitSignal(run.finished, timeout=10_000):
        run.start(fault)
    assert run.counted == [0, 1, 2] and not run.running
    assert len(failures) == 1 and fault.expected in failures[0]
    assert heard() == failures * (notifies or fault.bug) and len(tracebacks()) == fault.bug
    with qtbot.waitSignal(run.finished, timeout=10_000):
        run.start(None)
    assert run.counted == [0, 1, 2] * 2 and len(failures) == 1


def test_napari_asks_before_it_closes_during_a_task(qtbot, make_napari_viewer) -> None:
    window = make_napari_viewer().window
    if not hasattr(window, "_task_status_manager"):
        pytest.skip("this version of napari does not ask")
    go_on, parent = threading.Event(), QObject()
    run = Counting(parent)
    run.start(lambda: go_on.wait(10))
    assert window._task_status_manager.get_status() == ["napari-ptsam: Counting is under way"]
    with qtbot.waitSignal(run.finished, timeout=10_000):
        go_on.set()
    assert window._task_status_manager.get_status() == []


def test_only_the_worker_has_a_lower_priority(qtbot) -> None:
    """Qt's thread pool is also napari's, and its threads outlive a worker."""
    if not sys.platform.startswith("linux"):
        pytest.skip("os.getpriority of a thread is Linux's")
    nice = []

    def steps():
        yield nice.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    run_worker(qtbot, steps)
    main = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert nice == [main + worker_module.NICENESS]
    pool = QThreadPool.globalInstance()
    pool.start(lambda: nice.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id())))
    assert pool.waitForDone(10_000) and nice[1] == main
    assert THREAD_NAME not in [thread.name for thread in threading.enumerate()]


def test_an_application_that_ends_waits_for_its_threads() -> None:
    code = """
from time import sleep
from qtpy.QtCore import QCoreApplication, QTimer
from napari_ptsam.widgets.shared.worker import Worker

def steps():
    while True:
        yield None
        sleep(0.3)
        print("step", flush=True)

application = QCoreApplication([])
Worker(steps, lambda event: None, "Counting").start()
QTimer.singleShot(400, application.quit)
application.exec()
print("end", flush=True)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert run.returncode == 0 and not run.stderr, run
    assert run.stdout.split()[-1] == "end"


def test_a_process_that_ends_waits_for_torch() -> None:
    """Python would end the thread during a computation in C++, which aborts the process."""
    code = """
from time import sleep
import torch
from qtpy.QtCore import QCoreApplication
from napari_ptsam.widgets.shared.worker import Worker

def steps():
    while True:
        yield torch.rand(1500, 1500) @ torch.rand(1500, 1500)

application = QCoreApplication([])
Worker(steps, lambda event: None, "Counting").start()
sleep(0.5)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert run.returncode == 0 and not run.stderr, run


def test_a_task_finishes_when_napari_closes(qtbot, make_napari_viewer) -> None:
    """A training must reach its end to keep the best prompt so far."""
    viewer = make_napari_viewer()
    if not hasattr(viewer.window, "_task_status_manager"):
        pytest.skip("this version of napari has no task status")

    class Stopped(Counting):
        def _work(self, request):
            self._stop.wait(10)
            yield "the best so far"

    parent = QObject()
    run = Stopped(parent)
    run.start(None)
    with qtbot.waitSignal(run.finished, timeout=10_000):
        viewer.window._task_status_manager.cancel_all()
    assert run.counted == ["the best so far"]


def test_only_our_workers_are_used() -> None:
    """The workers of superqt end silently on a RuntimeError, and run in napari's threads."""
    foreign = (
        "create_worker",
        "thread_worker",
        "from superqt",
        "QThreadPool",
        "QRunnable",
        "import Thread",
    )
    for path in Path(worker_module.__file__).parents[1].rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert [name for name in foreign if name in source] == [], path.name
