"""Closing the dock: all that is there is saved first, whatever becomes of one part of it."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from conftest_widgets import LONG, annotate, paint, settled, training_under_way
from napari_ptsam.annotation.session_folder import SessionFolder
from napari_ptsam.prompts.files import load

pytestmark = pytest.mark.usefixtures("loaded")


@pytest.fixture
def library(tmp_path: Path, monkeypatch) -> Path:
    folder = tmp_path / "library"
    monkeypatch.setenv("NAPARI_PTSAM_PROMPTS", str(folder))
    return folder


@pytest.fixture
def under_way(qtbot, dock, stack):
    """A viewer and a widget in it, whose training has just begun to learn."""
    return training_under_way(qtbot, dock, stack)


def test_the_best_prompt_so_far_is_kept_in_the_session(
    qtbot, under_way, sessions, library, told
) -> None:
    viewer, widget = under_way
    worker = widget.train.run._worker
    viewer.window.remove_dock_widget(widget)
    qtbot.waitUntil(lambda: not worker.is_running, timeout=LONG)
    (folder,) = sessions.iterdir()
    session = SessionFolder(folder).read()
    assert session.closed and session.prompts == ("001.pt",) and session.problems == ()
    assert sum(bool(plane.held_out) for plane in session.planes) == 1
    prompt = load(folder / "prompts" / "001.pt")
    assert 0 < prompt.origin.steps < 5000 and prompt.origin.images == 4
    (words,) = told
    assert str(folder / "prompts" / "001.pt") in words and "best prompt so far" in words
    assert not library.exists()


def test_where_the_session_is_gone_the_prompt_is_kept_in_the_library(
    qtbot, under_way, sessions, library, told
) -> None:
    _, widget = under_way
    worker = widget.train.run._worker
    (folder,) = sessions.iterdir()
    shutil.rmtree(folder)
    folder.touch()  # so that nobody makes it again
    widget.close_down(20)  # as when napari is closed
    assert not worker.is_running
    (kept,) = library.iterdir()
    assert load(kept).origin.images == 4
    assert any(f"it is kept in {kept}" in words for words in told)


def test_a_prompt_that_was_not_delivered_yet_is_kept(qtbot, under_way, sessions, told) -> None:
    """The training ends while the window closes: its signal finds nobody any more."""
    _, widget = under_way
    worker = widget.train.run._worker
    widget.train.run.stop()
    while widget.train.run._undelivered is None:  # the window is busy: no events
        worker.wait(0.01)
        assert worker.is_running or widget.train.run._undelivered is not None
    widget.close_down(20)
    (folder,) = sessions.iterdir()
    assert SessionFolder(folder).read().prompts == ("001.pt",) and len(told) == 1


def test_one_bad_layer_keeps_nothing_else_from_being_saved(
    qtbot, dock, stack, sessions, told
) -> None:
    _, widget = dock(first=stack.images, second=stack.images)
    widget.session_model.use_images(list(widget.session_model.viewer.layers))
    annotate(qtbot, widget, stack, [0])
    qtbot.waitUntil(lambda: len(list(sessions.glob("*/masks/*.tif"))) == 1, timeout=LONG)
    first, second = widget.session_model.images
    for number in (1, 2):
        for source in (first, second):
            paint(source.labels, number, stack.masks[number])
    first.labels.events.data.disconnect()  # the label_watcher is not quick enough
    first.labels.data = np.zeros((6, 50, 50), np.uint8)
    widget.close_down()
    (folder,) = sessions.iterdir()
    session = SessionFolder(folder).read()
    assert session.closed
    assert [(p.image, *p.index) for p in session.planes if p.image == 1] == [(1, 1), (1, 2)]
    (words,) = told
    assert "Closed without saving everything" in words and "first" in words


def test_planes_that_wait_for_the_disk_are_saved(qtbot, dock, stack, sessions) -> None:
    _, widget = dock(nuclei=stack.images)
    annotate(qtbot, widget, stack, [0])
    qtbot.waitUntil(lambda: len(list(sessions.glob("*/masks/*.tif"))) == 1, timeout=LONG)
    disk, slow = widget.session_model.disk, threading.Event()
    labels = widget.session_model.images[0].labels

    def wait():
        slow.wait(60)
        yield None

    labels.data = stack.masks.copy()  # of a file, say: nothing is told of single strokes
    qtbot.waitUntil(lambda: len(widget.session_model.records) == 6, timeout=LONG)
    # Nothing may be written while the folder is removed.
    qtbot.waitUntil(lambda: len(list(sessions.glob("*/masks/*.tif"))) == 6, timeout=LONG)
    qtbot.waitUntil(lambda: disk._worker is None, timeout=LONG)
    for entry in widget.session_model.records:
        widget.autosave._written.pop((entry.image, entry.number), None)
    shutil.rmtree(next(sessions.glob("*/masks")))
    disk.submit("slow", wait)
    widget.autosave.write_session()
    threading.Timer(0.5, slow.set).start()
    widget.close_down()
    (folder,) = sessions.iterdir()
    assert len(SessionFolder(folder).read().planes) == 6
    assert len(list(folder.glob("masks/*.tif"))) == 6


def test_a_part_that_does_not_end_well_keeps_no_other_from_ending(
    qtbot, dock, stack, sessions, monkeypatch
) -> None:
    _, widget = dock(nuclei=stack.images)
    annotate(qtbot, widget, stack, [0])
    backbone_service = widget.session_model.backbone_service

    def fail() -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(widget.annotate, "close_tab", fail)
    with pytest.raises(RuntimeError, match="no"):
        widget.close_down(10)
    (folder,) = sessions.iterdir()
    assert SessionFolder(folder).read().closed and backbone_service.users == 0


def test_marks_of_a_deleted_annotation_layer_are_kept(qtbot, dock, stack, sessions) -> None:
    viewer, widget = dock(nuclei=stack.images)
    annotate(qtbot, widget, stack, [0, 1, 2])
    qtbot.waitUntil(lambda: len(list(sessions.glob("*/masks/*.tif"))) == 3, timeout=LONG)
    qtbot.waitUntil(lambda: not widget.session_model.disk.has("save session"), timeout=LONG)
    viewer.layers.remove(widget.session_model.images[0].labels)
    assert len(widget.session_model.records) == 0  # nothing to train on
    settled(qtbot, widget)
    folder = widget.autosave.folder
    assert [plane.done for plane in folder.read().planes] == [True] * 3
    # What is painted on another layer takes the place of what was there.
    widget.annotate.add.click()
    paint(widget.session_model.images[0].labels, 1, stack.masks[4])
    qtbot.waitUntil(
        lambda: np.array_equal(folder.read_labels(folder.read().planes[1]), stack.masks[4]),
        timeout=LONG,
    )
    settled(qtbot, widget)
    assert [plane.done for plane in folder.read().planes] == [True, False, True]
    viewer.layers.remove(widget.session_model.images[0].layer)
    widget.close_down(10)
    session = folder.read()
    assert [plane.done for plane in session.planes] == [True, False, True] and session.closed
