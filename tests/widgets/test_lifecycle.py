"""Starting, ending, and what is left behind."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile

from conftest_widgets import LONG, annotate, settled, train, training_under_way
from napari_ptsam.widgets.annotate.prediction_preview import NAME as PREVIEW
from napari_ptsam.widgets.shared.worker import THREAD_NAME


def long_training(qtbot, dock, stack):
    """A widget whose training is under way, with the preview shown."""
    viewer, widget = training_under_way(qtbot, dock, stack)
    assert PREVIEW in viewer.layers
    return viewer, widget


def wait_for_end(qtbot, widget) -> None:
    worker = widget.train.run._worker
    qtbot.waitUntil(lambda: worker is None or not worker.is_running, timeout=LONG)


def test_closing_the_widget_ends_the_training(qtbot, dock, stack) -> None:
    viewer, widget = long_training(qtbot, dock, stack)
    viewer.window.remove_dock_widget(widget)
    assert PREVIEW not in viewer.layers and len(viewer.layers) == 2
    wait_for_end(qtbot, widget)
    viewer.layers.remove(widget.session_model.images[0].labels)
    viewer.dims.set_point(0, 3)  # nobody listens any more
    settled(qtbot, widget)
    assert len(viewer.layers) == 1


def test_closing_the_viewer_ends_the_training(qtbot, dock, stack, sessions) -> None:
    viewer, widget = long_training(qtbot, dock, stack)
    worker = widget.train.run._worker
    viewer.close()
    qtbot.waitUntil(lambda: widget._closed, timeout=LONG)
    assert not worker.is_running
    (folder,) = sessions.iterdir()
    assert '"closed": true' in (folder / "session.json").read_text(encoding="utf-8")


def test_layers_deleted_while_training(qtbot, dock, stack) -> None:
    viewer, widget = long_training(qtbot, dock, stack)
    viewer.layers.clear()
    steps, shown = widget.train.plot._losses[0], len(widget.train.plot._losses[0])
    qtbot.waitUntil(lambda: len(steps) > shown + 20, timeout=LONG)
    assert list(viewer.layers) == [] and "Choose an image" in widget.hint.text()
    widget.train.stop.click()
    qtbot.waitUntil(lambda: not widget.train.run.running, timeout=LONG)
    settled(qtbot, widget)
    assert list(viewer.layers) == [] and widget.session_model.prompt is not None


def embeddings() -> list:
    """All that are in memory."""
    import torch

    gc.collect()
    return [
        found for found in gc.get_objects()
        if type(found) is torch.Tensor and found.shape == (4096, 256)
    ]  # fmt: skip


def test_no_embedding_but_the_caches_outlives_a_training(qtbot, dock, stack) -> None:
    before = embeddings()  # of other tests
    _, widget = dock(nuclei=stack.images)
    annotate(qtbot, widget, stack, [0, 1])
    train(qtbot, widget, steps=4)
    qtbot.waitUntil(lambda: not widget.session_model.jobs.has("preview"), timeout=LONG)
    settled(qtbot, widget)
    cache = widget.session_model.backbone_service._cache
    assert 0 < cache.size <= cache.limit
    kept = {id(embedding) for embedding in (*cache._kept.values(), *before)}
    assert [found for found in embeddings() if id(found) not in kept] == []
    widget.close_down(10)
    assert cache.size == 0


@pytest.mark.parametrize("when", ["loading", "training"])
def test_the_form_does_not_wait_for_torch_and_napari_ends_without_a_word(
    when: str, stack, tmp_path: Path
) -> None:
    """A process of its own, with a window that is drawn: graphics driver and torch side by side."""
    tifffile.imwrite(tmp_path / "images.tif", stack.images)
    tifffile.imwrite(tmp_path / "masks.tif", stack.masks)
    code = """
import sys, threading, napari, pint, tifffile
from qtpy.QtCore import QTimer
from napari_ptsam.widgets.annotate.annotate_and_train import AnnotateAndTrain
from napari_ptsam.widgets.batch.batch_segment import BatchSegment
folder, when = sys.argv[1:]

threads, set_up = [], pint.UnitRegistry._after_init
def noted(registry):  # napari's units are not set up in two threads at a time
    threads.append(threading.current_thread() is threading.main_thread())
    set_up(registry)
pint.UnitRegistry._after_init = noted

viewer = napari.Viewer()
widget = AnnotateAndTrain(viewer)

def open_images():
    assert "torch" not in sys.modules, "torch"
    assert not widget.train.train.isHidden() and "when it is needed" in widget.backbone.state.text()
    viewer.add_image(tifffile.imread(folder + "/images.tif"), name="nuclei")
    viewer.add_labels(tifffile.imread(folder + "/masks.tif"), name="nuclei annotation")

if when == "loading":
    for each in (widget, BatchSegment(viewer)):
        viewer.window.add_dock_widget(each)
    QTimer.singleShot(20_000, viewer.close)  # if an assertion fails
    states = widget.session_model.backbone_service.state_changed
    states.connect(lambda: QTimer.singleShot(500, viewer.close))
    QTimer.singleShot(1500, open_images)
else:
    open_images()
    viewer.window.add_dock_widget(widget)
    widget.session_model.settings |= {
        "steps": 500, "embeddings": 2, "tile": "whole", "detail": "off", "markers": "no"
    }
    widget.train.run.progressed.connect(
        lambda progress: progress.phase == "training" and QTimer.singleShot(0, viewer.close)
    )
    QTimer.singleShot(2000, widget.train.train.click)
napari.run()
print("closed", widget._closed, "torch" in sys.modules, threads)
"""
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), when], capture_output=True, text=True,
        timeout=200, env=environment(tmp_path),
    )  # fmt: skip
    assert run.returncode == 0 and run.stdout.splitlines()[-1] == "closed True True [True]", run
    assert "Traceback" not in run.stderr and "Error" not in run.stderr, run.stderr


def environment(folder: Path) -> dict[str, str]:
    import os

    return {**os.environ, "NAPARI_PTSAM_SESSIONS": str(folder / "sessions")}


def test_threads_end_when_there_is_nothing_to_do(qtbot, dock, stack) -> None:
    _, widget = dock(nuclei=stack.images)
    qtbot.waitUntil(lambda: "Ready" in widget.backbone.state.text(), timeout=LONG)
    qtbot.waitUntil(
        lambda: (
            widget.session_model.jobs._worker is None and widget.session_model.disk._worker is None
        ),
        timeout=LONG,
    )
    qtbot.waitUntil(lambda: THREAD_NAME not in [thread.name for thread in threading.enumerate()])


def test_the_annotation_fits_in_memory_that_is_not_there(dock) -> None:
    """A stack of 200 GB: its annotation takes memory only where it is painted."""
    import dask.array as da

    viewer, widget = dock()
    huge = da.zeros((50_000, 2048, 2048), dtype=np.uint8, chunks=(1, 2048, 2048))
    layer = viewer.add_image(huge, name="huge", contrast_limits=(0, 1))
    widget.session_model.use_images([layer])
    widget.annotate.add.click()
    labels = widget.session_model.images[0].labels
    assert labels.data.shape == huge.shape
    labels.data_setitem((np.full(9, 7), np.arange(9), np.arange(9)), 2)
    assert np.asarray(labels.data[7])[3, 3] == 2
