"""Exceptions in workers are shown as one sentence, and the widgets stay usable.

Each test breaks one function with every kind of exception in turn, then repairs it and repeats the
action.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from napari.utils.notifications import notification_manager

from conftest_batch import tick
from conftest_failures import FAULTS, Fault, tracebacks
from conftest_prompts import make
from conftest_widgets import LONG, TOKENS_ONLY, annotate, paint, train
from napari_ptsam.annotation.session_folder import SessionFolder
from napari_ptsam.widgets.annotate import images_tab
from napari_ptsam.widgets.batch import reader
from napari_ptsam.widgets.library.library_dialog import LibraryDialog
from napari_ptsam.widgets.shared import backbone_run, samples
from napari_ptsam.widgets.shared.backbone_service import BackboneService
from napari_ptsam.widgets.shared.backbones_dialog import BackbonesDialog


class Heard:
    """The notifications that the user has got."""

    def __init__(self, told: list[str]) -> None:
        self._told = told

    def clear(self) -> None:
        self._told.clear()
        notification_manager.records.clear()

    def all(self) -> list[str]:
        """Return the messages, with or without the fixture `told`."""
        return [*self._told, *(record.message for record in notification_manager.records)]

    def one(self, fault: Fault) -> None:
        """Check for exactly one notification of a fault, with a traceback if it is a bug."""
        (sentence,) = self.all()
        assert fault.expected in sentence
        assert tracebacks() == [sentence] * fault.bug
        self.clear()

    def only_traceback(self, fault: Fault) -> None:
        """Check that only a bug is notified, since the widget itself shows the sentence."""
        assert len(self.all()) == len(tracebacks()) == fault.bug
        self.clear()


@pytest.fixture
def heard(told) -> Heard:
    heard = Heard(told)
    heard.clear()
    return heard


@pytest.fixture
def ready(qtbot, loaded, heard, dock, stack) -> tuple[Any, Any]:
    """Return the widget with an annotation layer and a loaded backbone."""
    viewer, widget = dock(nuclei=stack.images)
    widget.annotate.add.click()
    qtbot.waitUntil(lambda: "Ready" in widget.session_model.backbone_service.state, timeout=LONG)
    heard.clear()
    return viewer, widget


def idle(qtbot, *all_jobs: Any) -> None:
    """Wait until all jobs are finished and their results are shown."""
    qtbot.waitUntil(lambda: all(jobs._worker is None for jobs in all_jobs), timeout=LONG)


def faults() -> Iterator[Fault]:
    """Yield one fault of each kind; test_worker.py has more of them."""
    for name in (
        "RuntimeError",
        "KeyError",
        "KeyboardInterrupt",
        "MemoryError",
        "OSError",
        "PtsamError",
    ):
        print(name)  # shown if the test fails
        yield FAULTS[name]


def break_backbone_service(monkeypatch, fault: Fault) -> None:
    monkeypatch.setattr(BackboneService, "backbone", fault)
    monkeypatch.setattr(BackboneService, "backbone_of", fault)


def test_clicks(qtbot, ready, heard, stack) -> None:
    _, widget = ready
    source, click_tool = widget.session_model.images[0], widget.annotate.click_tool
    at = tuple(np.argwhere(stack.masks[0])[0].astype(float))
    for fault in faults():
        with pytest.MonkeyPatch.context() as patch:
            break_backbone_service(patch, fault)
            click_tool.click(source, 0, at)
            idle(qtbot, widget.session_model.jobs)
        heard.one(fault)
    with qtbot.waitSignal(click_tool.answered, timeout=LONG):
        click_tool.click(source, 0, at)
    assert source.labels.data[0].any() and heard.all() == []


def test_embedding_for_clicks(qtbot, ready, heard) -> None:
    _, widget = ready
    click_tool, states = widget.annotate.click_tool, []
    click_tool.active = True
    click_tool.state_changed.connect(states.append)
    for fault in faults():
        with pytest.MonkeyPatch.context() as patch:
            break_backbone_service(patch, fault)
            click_tool.embed_view()
            idle(qtbot, widget.session_model.jobs)
        assert fault.expected in states[-1]
        assert len(heard.all()) == len(tracebacks())
        heard.clear()
    click_tool.embed_view()
    qtbot.waitUntil(lambda: states[-1] == "Click on objects.", timeout=LONG)
    click_tool.active = False


def test_suggestions(qtbot, ready, heard) -> None:
    _, widget = ready
    annotate_tab = widget.annotate
    for fault in faults():
        with pytest.MonkeyPatch.context() as patch:
            break_backbone_service(patch, fault)
            annotate_tab.suggest.click()
            idle(qtbot, widget.session_model.jobs)
        assert fault.expected in annotate_tab._state.text()
        assert annotate_tab.suggest.text() == "Suggest a plane"
        assert len(heard.all()) == len(tracebacks())
        heard.clear()
    annotate_tab.suggest.click()
    qtbot.waitUntil(lambda: annotate_tab._state.text().startswith("Next:"), timeout=LONG)


def test_loading_the_backbone(qtbot, ready, heard) -> None:
    _, widget = ready
    backbone_service = widget.session_model.backbone_service
    for fault in faults():
        with pytest.MonkeyPatch.context() as patch:
            break_backbone_service(patch, fault)
            backbone_service.load()
            idle(qtbot, backbone_service._jobs)
        assert fault.expected in widget.backbone.state.text()
    backbone_service.load()
    qtbot.waitUntil(lambda: "Ready" in widget.backbone.state.text(), timeout=LONG)


def test_training(qtbot, ready, heard, stack) -> None:
    _, widget = ready
    annotate(qtbot, widget, stack, [0, 1, 2])
    tab = widget.train
    tab.shown.setChecked(False)  # the preview asks for the backbone, too
    heard.clear()
    for fault in faults():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tab.run, "_backbone", fault)
            train(qtbot, widget, **TOKENS_ONLY)
        heard.one(fault)
        assert fault.expected in tab.judgement.text()
        assert tab.train.isEnabled() and not widget.session_model.training and tab.bar.isHidden()
    train(qtbot, widget, **TOKENS_ONLY)
    assert widget.session_model.prompt is not None and heard.all() == []


def test_training_that_fails_midway(qtbot, ready, heard, stack) -> None:
    from napari_ptsam.training.trainer import Training

    _, widget = ready
    annotate(qtbot, widget, stack, [0, 1, 2])
    heard.clear()
    fault = FAULTS["RuntimeError"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "plane_scores", fault)
        train(qtbot, widget, **TOKENS_ONLY)
    heard.one(fault)
    assert widget.session_model.prompt is not None  # it was there before
    assert widget.train.run._training is None and widget.train.train.isEnabled()


def test_preview(qtbot, ready, heard, prompt) -> None:
    viewer, widget = ready
    # What the new dock made the preview look at comes first, and is not counted.
    qtbot.waitUntil(lambda: not widget.train.preview._settled.isActive(), timeout=LONG)
    for fault in faults():
        with pytest.MonkeyPatch.context() as patch:
            break_backbone_service(patch, fault)
            widget.train.take(prompt, Path("nuclei.pt"))
            idle(qtbot, widget.session_model.jobs)
        heard.one(fault)
    widget.train.preview.refresh()
    qtbot.waitUntil(lambda: len(viewer.layers) == 3, timeout=LONG)
    assert viewer.layers[-1].data.any()


def test_autosave(qtbot, ready, heard, stack, sessions) -> None:
    _, widget = ready
    session_model = widget.session_model
    (source,) = session_model.images
    for value, fault in enumerate(faults(), start=1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SessionFolder, "write_plane", fault)
            paint(source.labels, 0, (stack.masks[0] > 0) * value)
            widget.label_watcher.read_pending()
            qtbot.waitUntil(lambda: "NOT SAVED" in widget.saved.text(), timeout=LONG)
            idle(qtbot, session_model.disk)
        assert fault.expected in widget.saved.text()
        warned = [
            message for message in heard.all() if message.startswith("Not everything is saved")
        ]
        assert len(warned) == 1 and len(heard.all()) - 1 == len(tracebacks()) <= 1
        widget.autosave.write_session()
        qtbot.waitUntil(lambda: widget.saved.text().startswith("Saved in"), timeout=LONG)
        idle(qtbot, session_model.disk)
        heard.clear()
    paint(source.labels, 0, stack.masks[0])
    widget.label_watcher.read_pending()
    idle(qtbot, session_model.disk)
    (folder,) = sessions.iterdir()
    qtbot.waitUntil(
        lambda: any(
            np.array_equal(SessionFolder(folder).read_labels(plane), stack.masks[0])
            for plane in SessionFolder(folder).read().planes
        ),
        timeout=LONG,
    )


def test_counting_what_is_painted(qtbot, ready, heard, stack) -> None:
    _, widget = ready
    (source,) = widget.session_model.images
    for value, fault in enumerate(faults(), start=1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(widget.session_model.scheme), "counts", fault)
            paint(source.labels, 0, (stack.masks[0] > 0) * value)
            widget.label_watcher.read_pending()
            idle(qtbot, widget.session_model.disk)
        if not fault.expected.startswith("The plane"):  # that one is about the labels
            heard.one(fault)
        heard.clear()
    paint(source.labels, 1, stack.masks[1])
    annotated = widget.session_model.records
    qtbot.waitUntil(lambda: annotated.get(source.id, 1).painted, timeout=LONG)


def test_opening_sessions_and_folders(qtbot, ready, heard, stack, tmp_path: Path) -> None:
    viewer, widget = ready
    folder = tmp_path / "scans"
    folder.mkdir()
    tifffile.imwrite(folder / "scan.tif", stack.images[0])
    for fault in faults():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SessionFolder, "read", fault)
            widget.session_restore.open(tmp_path)
            idle(qtbot, widget.session_model.disk)
            heard.one(fault)
            patch.setattr(images_tab, "read_folder", lambda *_, fault=fault: broken_steps(fault))
            widget.images.open_folder(folder)
            idle(qtbot, widget.session_model.disk)
            heard.one(fault)
    widget.images.open_folder(folder)
    qtbot.waitUntil(lambda: "scan" in viewer.layers, timeout=LONG)


def broken_steps(fault: Fault) -> Iterator[None]:
    yield None
    fault()


def test_batch(qtbot, loaded, heard, batch, stack, prompt) -> None:
    viewer, widget = batch(nuclei=stack.images[:2])
    qtbot.waitUntil(lambda: "Ready" in widget.backbone_service.state, timeout=LONG)
    for fault in faults():
        heard.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(widget.run, "_backbone_of", fault)
            widget.start_button.click()
            qtbot.waitUntil(lambda: not widget.run.running, timeout=LONG)
        heard.one(fault)
        assert widget.status.text().startswith(
            "Failed, finished planes are kept: no images segmented"
        )
        assert widget.start_button.isEnabled() and widget.bar.isHidden()
    tick(widget, 0)
    widget.start_button.click()
    qtbot.waitUntil(lambda: not widget.run.running, timeout=LONG)
    assert widget.status.text().startswith("Done: 1 image segmented") and len(viewer.layers) == 2


def test_opening_prompts(qtbot, loaded, heard, batch, tmp_path: Path) -> None:
    from napari_ptsam.prompts import files

    _, widget = batch(prompt=None)
    path = tmp_path / "nuclei.pt"
    make().save(path)
    for fault in faults():
        heard.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(files, "load", fault)
            widget.open_prompt(path)
            idle(qtbot, widget.jobs)
            heard.one(fault)
            reader.read(str(path))
            qtbot.waitUntil(lambda: bool(heard.all()), timeout=LONG)
            heard.one(fault)
    reader.read(str(path))
    qtbot.waitUntil(lambda: len(widget.prompts.opened) == 1, timeout=LONG)


def test_backbone_downloads(qtbot, heard) -> None:
    backbone_service = BackboneService("cpu")
    dialog = BackbonesDialog(backbone_service)
    qtbot.addWidget(dialog)
    idle(qtbot, backbone_service._jobs)
    dialog.select("vit_t_lm")
    for fault in faults():
        heard.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(backbone_run, "download", fault)
            dialog.download.click()
            qtbot.waitUntil(lambda: not dialog.run.running, timeout=LONG)
        assert fault.expected in dialog.message.text()
        heard.only_traceback(fault)
        assert dialog.download.isEnabled() and dialog.bar.isHidden()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbone_run, "download", lambda *_: None)
        dialog.download.click()
        qtbot.waitUntil(lambda: "was downloaded" in dialog.message.text(), timeout=LONG)
    dialog.close_down(10)


def test_library(qtbot, heard, tmp_path: Path, monkeypatch) -> None:
    from napari_ptsam.prompts.library import FOLDER_VARIABLE, Library, LibraryFolders, put
    from napari_ptsam.widgets.library import library_dialog

    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "own"))
    put(make(), "nuclei")
    dialog = LibraryDialog(lambda *_: None, None, LibraryFolders(tmp_path / "config.json"))
    qtbot.addWidget(dialog)
    jobs = dialog.library_list.jobs
    for fault in faults():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Library, "refresh", fault)
            dialog.library_list.refresh()
            idle(qtbot, jobs)
            assert fault.expected in dialog.message.text()
            dialog.message.setText("")
            patch.setattr(library_dialog, "load_torch", fault)
            dialog.paste_text()
            idle(qtbot, jobs)
            assert fault.expected in dialog.message.text()
        assert len(heard.all()) == len(tracebacks()) <= 2
        heard.clear()
    with qtbot.waitSignal(dialog.library_list.refreshed, timeout=LONG):
        dialog.library_list.refresh()
    assert dialog.library_list.list.count() == 1
    dialog.close_down(10)


def test_samples(qtbot, heard, make_napari_viewer) -> None:
    from qtpy.QtCore import QTimer

    viewer = make_napari_viewer()
    for fault in faults():
        heard.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(samples, "make_sample", fault)
            QTimer.singleShot(0, samples.make_bundled_sample)
            qtbot.waitUntil(lambda: bool(heard.all()) and not samples._running, timeout=LONG)
        heard.one(fault)
    QTimer.singleShot(0, samples.make_bundled_sample)
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=LONG)
