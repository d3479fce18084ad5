"""The shared backbone, and the threads of background jobs."""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import replace
from time import perf_counter

import pytest
from napari.qt.threading import create_worker
from qtpy.QtCore import QThreadPool

from conftest_widgets import LONG
from napari_ptsam.backbones import loading as backbones
from napari_ptsam.errors import CheckpointError
from napari_ptsam.prompts import backbone as prompts_backbone
from napari_ptsam.widgets.shared.backbone_service import BackboneService
from napari_ptsam.widgets.shared.background_jobs import BackgroundJobs


@pytest.fixture
def backbone_service(qtbot):
    backbone_service = BackboneService("cpu")
    backbone_service.users = 1
    yield backbone_service
    backbone_service.release(10)


def test_backbones_share_a_cache_that_is_still_empty(
    backbone_service, backbone, prompt, monkeypatch
) -> None:
    other = replace(backbone, name="vit_b")
    monkeypatch.setattr(backbones, "load_backbone", lambda *_: backbone)
    monkeypatch.setattr(prompts_backbone, "backbone_of", lambda *_, **__: other)
    chosen = backbone_service.backbone()
    of_prompt = backbone_service.backbone_of(replace(prompt, backbone="vit_b"))
    assert of_prompt.encoder._cache is chosen.encoder._cache


class Loading:
    """A replacement of `load_backbone` whose first call waits for `go_on`."""

    def __init__(self, backbone, fails: bool = False) -> None:
        self.devices: list[str] = []
        self.started, self.go_on = threading.Event(), threading.Event()
        self._backbone, self._fails = backbone, fails

    def __call__(self, name, checkpoint, device):
        self.devices.append(device)
        if len(self.devices) == 1:
            self.started.set()
            self.go_on.wait(5)
            if self._fails:
                raise CheckpointError("There is no GPU.")
        return replace(self._backbone, name=device)


@pytest.mark.parametrize("fails", [False, True])
def test_another_device_can_be_chosen_while_weights_are_loaded(
    backbone_service, backbone, monkeypatch, fails: bool
) -> None:
    loading = Loading(backbone, fails)
    monkeypatch.setattr(backbones, "load_backbone", loading)
    names = []
    worker = threading.Thread(target=lambda: names.append(backbone_service.backbone().name))
    worker.start()
    assert loading.started.wait(60)
    start = perf_counter()
    backbone_service.use("mps")
    spent = perf_counter() - start
    loading.go_on.set()
    worker.join(10)
    assert spent < 1, "the GUI thread was blocked"
    assert names == ["mps"] and backbone_service.backbone().name == "mps"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems give a priority back")
def test_other_threads_keep_their_priority(qtbot) -> None:
    jobs, priorities = BackgroundJobs(), []

    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def steps():
        yield priority()

    jobs.submit("job", steps, priorities.append)
    qtbot.waitUntil(lambda: jobs._worker is None and bool(priorities), timeout=LONG)
    for _ in range(3):
        worker = create_worker(priority, _start_thread=False)
        with qtbot.waitSignal(worker.returned, timeout=LONG) as returned:
            worker.start()
        priorities += returned.args
    assert priorities == [priority() + 5, *[priority()] * 3]


def test_saving_does_not_wait_for_other_jobs(qtbot) -> None:
    """The thread pool of napari has one thread on a machine with one core."""
    pool, end = QThreadPool.globalInstance(), threading.Event()
    most = pool.maxThreadCount()
    pool.setMaxThreadCount(1)
    long, saving, saved = BackgroundJobs(), BackgroundJobs(), []

    def computes():
        end.wait(10)
        yield None

    def saves():
        yield "saved"

    try:
        long.submit("long", computes)
        saving.submit("save", saves, saved.append)
        qtbot.waitUntil(lambda: bool(saved), timeout=5000)
    finally:
        end.set()
        pool.setMaxThreadCount(most)
        qtbot.waitUntil(lambda: long._worker is None and saving._worker is None, timeout=LONG)
