"""The backbone that the docks share, and the threads that it is loaded in."""

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


def test_backbones_of_prompts_share_the_cache_before_anything_is_in_it(
    backbone_service, backbone, prompt, monkeypatch
) -> None:
    other = replace(backbone, name="vit_b")
    monkeypatch.setattr(backbones, "load_backbone", lambda *_: backbone)
    monkeypatch.setattr(prompts_backbone, "backbone_of", lambda *_, **__: other)
    chosen = backbone_service.backbone()
    of_prompt = backbone_service.backbone_of(replace(prompt, backbone="vit_b"))
    assert of_prompt.encoder._cache is chosen.encoder._cache


class Loading:
    """Stands in for `load_backbone`: what is asked for first takes until it is let go."""

    def __init__(self, backbone, fails: bool = False) -> None:
        self.asked: list[str] = []
        self.begun, self.go_on = threading.Event(), threading.Event()
        self._backbone, self._fails = backbone, fails

    def __call__(self, name, checkpoint, device):
        self.asked.append(device)
        if len(self.asked) == 1:
            self.begun.set()
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
    given = []
    worker = threading.Thread(target=lambda: given.append(backbone_service.backbone().name))
    worker.start()
    assert loading.begun.wait(60)
    begin = perf_counter()
    backbone_service.use("mps")
    spent = perf_counter() - begin
    loading.go_on.set()
    worker.join(10)
    assert spent < 1, "the window stood still"
    assert given == ["mps"] and backbone_service.backbone().name == "mps"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems give a priority back")
def test_threads_of_others_keep_their_priority(qtbot) -> None:
    jobs, seen = BackgroundJobs(), []

    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def steps():
        yield priority()

    jobs.submit("job", steps, seen.append)
    qtbot.waitUntil(lambda: jobs._worker is None and bool(seen), timeout=LONG)
    for _ in range(3):
        worker = create_worker(priority, _start_thread=False)
        with qtbot.waitSignal(worker.returned, timeout=LONG) as returned:
            worker.start()
        seen += returned.args
    assert seen == [priority() + 5, *[priority()] * 3]


def test_saving_waits_for_no_other_work(qtbot) -> None:
    """On a machine of one core, napari's pool has one thread."""
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
