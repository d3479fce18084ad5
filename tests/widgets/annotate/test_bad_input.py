"""What cannot work is told once, in a sentence that helps; the widget goes on working."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import tifffile
from qtpy.QtWidgets import QColorDialog, QFileDialog, QPushButton

from conftest_widgets import LONG, TOKENS_ONLY, annotate, paint, refreshed, settled, train
from napari_ptsam.annotation.scheme import Scheme
from napari_ptsam.widgets.annotate.annotate_and_train import AnnotateAndTrain
from napari_ptsam.widgets.annotate.prediction_preview import NAME as PREVIEW
from napari_ptsam.widgets.annotate.training_run import PlaneInView

pytestmark = pytest.mark.usefixtures("loaded")


@pytest.fixture
def no_dialogs(monkeypatch) -> None:
    """Dialogs are cancelled as soon as they come."""
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *args: "")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args: ("", ""))
    monkeypatch.setattr(QColorDialog, "getColor", lambda *args: _NoColour())


class _NoColour:
    @staticmethod
    def isValid() -> bool:  # noqa: N802, Qt's name
        return False


@pytest.fixture
def asleep(monkeypatch) -> None:
    """The backbone is not loaded: most of this file does without."""
    monkeypatch.setattr(AnnotateAndTrain, "_load", lambda self: None)


def works(qtbot, viewer: Any, widget: AnnotateAndTrain, stack) -> None:
    """It can be annotated with still."""
    layer = viewer.add_image(stack.images, name="fresh")
    refreshed(qtbot, widget)
    widget.images._use([layer])
    widget.annotate.add_layers()
    source = next(s for s in widget.session_model.images if s.layer is layer)
    paint(source.labels, 1, stack.masks[1])
    qtbot.waitUntil(lambda: widget.session_model.records.get(source.id, 1).painted, timeout=LONG)


# No layers


def test_every_button_without_any_layer(qtbot, dock, told, stack, no_dialogs, asleep) -> None:
    viewer, widget = dock()
    for button in widget.findChildren(QPushButton):
        if not button.isEnabled() or button.isHidden():
            continue
        before = len(told)
        button.click()
        settled(qtbot, widget)
        assert len(told) <= before + 1, (button.text(), told[before:])
        if button.isChecked():
            button.click()
    assert any("Choose an image first" in message for message in told)
    assert (
        widget.session_model.scheme.classes == ("object",)
        or len(widget.session_model.scheme.classes) == 1
    )
    widget.train.save_to(Path("nowhere.pt"))
    assert "no prompt to save" in told[-1]
    works(qtbot, viewer, widget, stack)


@pytest.mark.parametrize("name", ["click", "suggest", "train"])
def test_a_button_without_an_image_tells_where_to_choose_one(dock, told, asleep, name) -> None:
    _, widget = dock()
    assert not widget.annotate.add.isEnabled() and not widget.annotate.done.isEnabled()
    tab = widget.train if name == "train" else widget.annotate
    getattr(tab, name).click()
    assert told == ["Choose an image first, on the tab “Images”."]
    assert not getattr(tab, name).isChecked()


def test_done_without_an_annotation_layer(dock, told, asleep) -> None:
    _, widget = dock()
    widget.annotate.done_and_next()
    assert told == ["Show a plane of an image with an annotation layer."]


def test_training_without_annotation(dock, told, stack, asleep) -> None:
    _, widget = dock(nuclei=stack.images)
    widget.annotate.add.click()
    widget.train.train.click()
    assert len(told) == 1 and "No plane is marked as done yet" in told[0]
    widget.annotate.sparse.click()
    widget.train.train.click()
    assert len(told) == 2 and "scribble" in told[1]
    assert not widget.train.run.running and widget.train.train.isEnabled()


# Layers that are deleted


def test_labels_deleted_while_annotating(qtbot, dock, told, stack, asleep) -> None:
    viewer, widget = dock(nuclei=stack.images)
    widget.annotate.add.click()
    source = widget.session_model.images[0]
    for number in range(4):
        paint(source.labels, number, stack.masks[number])
    viewer.layers.remove(source.labels)  # before anything was looked at
    settled(qtbot, widget)
    assert told == [] and source.labels is None
    assert len(widget.session_model.records) == 0 and "NOT SAVED" not in widget.saved.text()
    assert "annotation layer" in widget.hint.text()
    assert widget.annotate.add.isEnabled()
    widget.annotate.add.click()
    paint(source.labels, 2, stack.masks[2])
    qtbot.waitUntil(lambda: widget.session_model.records.get(source.id, 2).painted, timeout=LONG)
    assert told == []


def test_labels_deleted_while_they_are_saved(qtbot, dock, told, stack, asleep) -> None:
    viewer, widget = dock(nuclei=stack.images)
    widget.annotate.add.click()
    source = widget.session_model.images[0]
    for number in range(4):
        paint(source.labels, number, stack.masks[number])
    with qtbot.waitSignal(widget.label_watcher.updated, timeout=LONG):
        pass
    viewer.layers.remove(source.labels)
    settled(qtbot, widget)
    assert told == [] and "NOT SAVED" not in widget.saved.text()


def test_what_was_saved_stays_when_its_layer_is_deleted(
    qtbot, dock, told, stack, asleep, sessions
) -> None:
    viewer, widget = dock(nuclei=stack.images)
    annotate(qtbot, widget, stack, [0, 1])
    qtbot.waitUntil(lambda: len(list(sessions.glob("*/masks/*.tif"))) == 2, timeout=LONG)
    source = widget.session_model.images[0]
    viewer.layers.remove(source.labels)
    settled(qtbot, widget)
    assert len(list(sessions.glob("*/masks/*.tif"))) == 2
    # What is erased by hand goes away there too.
    widget.annotate.add.click()
    annotate(qtbot, widget, stack, [3])
    qtbot.waitUntil(lambda: len(list(sessions.glob("*/masks/*.tif"))) == 3, timeout=LONG)
    source.labels.data_setitem((np.full(128 * 128, 3), *np.indices((128, 128)).reshape(2, -1)), 0)
    widget.session_model.records.mark(source.id, 3, False)
    qtbot.waitUntil(lambda: len(list(sessions.glob("*/masks/*.tif"))) == 2, timeout=LONG)


def test_image_deleted_while_annotating(qtbot, dock, told, stack, asleep) -> None:
    viewer, widget = dock(nuclei=stack.images)
    widget.annotate.add.click()
    labels = widget.session_model.images[0].labels
    paint(labels, 1, stack.masks[1])
    viewer.layers.remove("nuclei")
    paint(labels, 2, stack.masks[2])
    settled(qtbot, widget)
    assert told == [] and widget.session_model.images == []
    assert widget.images.table.rowCount() == 0
    viewer.layers.clear()
    refreshed(qtbot, widget)
    works(qtbot, viewer, widget, stack)
    assert told == []


def test_all_layers_deleted_while_planes_are_looked_at(qtbot, dock, told, stack) -> None:
    viewer, widget = dock(nuclei=stack.images)
    widget.annotate.add.click()
    widget.annotate.suggest.click()
    with qtbot.waitSignal(widget.annotate.suggester.progressed, timeout=LONG):
        pass
    viewer.layers.clear()
    qtbot.waitUntil(lambda: not widget.annotate.suggester.running, timeout=LONG)
    settled(qtbot, widget)
    assert len(told) <= 1
    assert widget.annotate.suggest.text() == "Suggest a plane"
    assert widget.annotate._state.text() == ""
    works(qtbot, viewer, widget, stack)


@pytest.mark.parametrize("what", ["labels", "all"])
def test_layers_deleted_while_training(qtbot, dock, told, stack, what: str) -> None:
    viewer, widget = dock(nuclei=stack.images)
    annotate(qtbot, widget, stack, [0, 1, 2, 3])
    widget.session_model.settings |= TOKENS_ONLY
    source = widget.session_model.images[0]
    with qtbot.waitSignal(widget.train.run.progressed, timeout=LONG):
        widget.train.train.click()
    gone = [source.labels] if what == "labels" else list(viewer.layers)
    for layer in gone:
        viewer.layers.remove(layer)
    qtbot.waitUntil(lambda: not widget.train.run.running, timeout=LONG)
    settled(qtbot, widget)
    assert (
        widget.session_model.prompt is not None and widget.session_model.prompt.origin.images == 4
    )
    assert told == []
    viewer.layers.clear()
    refreshed(qtbot, widget)
    works(qtbot, viewer, widget, stack)


def test_the_preview_is_made_again_after_it_was_deleted(qtbot, dock, told, stack, asleep) -> None:
    viewer, widget = dock(nuclei=stack.images)
    preview = widget.train.preview
    preview.prepare()
    viewer.layers.remove(PREVIEW)
    preview.prepare()
    assert PREVIEW in viewer.layers
    assert isinstance(preview.view(), PlaneInView) and told == []


# Layers of other kinds


def test_too_many_axes_are_told_and_can_be_named(qtbot, dock, told, asleep) -> None:
    viewer, widget = dock(flat=np.zeros((40, 50), np.uint8))
    layer = viewer.add_image(np.zeros((2, 3, 4, 40, 50), np.uint8), name="five")
    refreshed(qtbot, widget)
    widget.images._tick_all(True)
    assert len(told) == 1 and "five has 5 axes" in told[0] and "channels" in told[0]
    assert [source.layer.name for source in widget.session_model.images] == ["flat"]
    refreshed(qtbot, widget)
    assert widget.images.table.item(1, 1).text() == "cannot be used"
    # The way that the message names.
    widget.images.table.setCurrentCell(1, 0)
    assert not widget.images.channels.isHidden()
    widget.images.channels.axis.setCurrentIndex(2)
    widget.images.channels.axis.activated.emit(2)
    assert [source.layer for source in widget.session_model.images][1] is layer
    assert widget.session_model.images[1].planes.channels == 3
    assert len(told) == 1


def test_labels_of_fewer_axes(qtbot, dock, told, stack, asleep) -> None:
    viewer, widget = dock(nuclei=stack.images)
    labels = viewer.add_labels(stack.masks[0], name="plane")
    refreshed(qtbot, widget)
    choose(widget, labels)
    assert len(told) == 1 and "have the shape 128 x 128, but nuclei needs 6 x 128 x 128" in told[0]
    works(qtbot, viewer, widget, stack)


def test_labels_that_become_another_array(qtbot, dock, told, stack, asleep, sessions) -> None:
    _, widget = dock(nuclei=stack.images)
    annotate(qtbot, widget, stack, [0, 1])
    source = widget.session_model.images[0]
    labels = source.labels
    labels.data = np.zeros((2, 128, 128), np.uint16)
    assert len(told) == 1 and "have the shape 2 x 128 x 128" in told[0]
    assert source.labels is None
    widget.train.train.click()
    widget.annotate.done_and_next()
    settled(qtbot, widget)
    assert len(told) == 3 and not widget.train.run.running
    # What was saved may be what is wanted.
    assert len(list(sessions.glob("*/masks/*.tif"))) == 2


def choose(widget: AnnotateAndTrain, labels: Any, position: int = 0) -> None:
    """Choose an annotation layer in the table."""
    box = widget.images.table.cellWidget(position, 2)
    box.setCurrentIndex(box.findText(labels.name))
    box.activated.emit(box.currentIndex())


def test_labels_of_another_shape(qtbot, dock, told, stack, asleep) -> None:
    viewer, widget = dock(nuclei=stack.images)
    labels = viewer.add_labels(stack.masks[:, :100], name="other")
    refreshed(qtbot, widget)
    choose(widget, labels)
    assert len(told) == 1 and "6 x 100 x 128" in told[0] and "Add annotation layer" in told[0]
    assert widget.session_model.images[0].labels is None
    refreshed(qtbot, widget)
    assert widget.images.table.cellWidget(0, 2).currentText() == "none yet"


def test_labels_of_another_scale_are_taken_and_told(qtbot, dock, told, stack, asleep) -> None:
    viewer, widget = dock(nuclei=stack.images)
    labels = viewer.add_labels(stack.masks, name="other", scale=(1, 2, 2))
    refreshed(qtbot, widget)
    choose(widget, labels)
    assert len(told) == 1 and "lie elsewhere" in told[0] and "1 x 2 x 2" in told[0]
    assert widget.session_model.images[0].labels is labels
    qtbot.waitUntil(lambda: len(widget.session_model.counting()) == 6, timeout=LONG)
    assert len(told) == 1


def test_labels_of_no_class_are_told_once(qtbot, dock, told, stack, asleep) -> None:
    viewer, widget = dock(nuclei=stack.images)
    widget.session_model.use_scheme(Scheme(("nucleus", "other")))
    labels = viewer.add_labels(stack.masks.copy(), name="instances")
    refreshed(qtbot, widget)
    choose(widget, labels)
    qtbot.waitUntil(lambda: len(told) > 0, timeout=LONG)
    settled(qtbot, widget)
    assert len(told) == 1 and "stands for no class" in told[0] and "nuclei, plane 0" in told[0]
    # Once it is mended, the next mistake is told again.
    for number in range(6):
        paint(labels, number, (stack.masks[number] > 0) * np.int64(1))
    qtbot.waitUntil(lambda: len(widget.session_model.records) == 6, timeout=LONG)
    paint(labels, 3, np.eye(128, dtype=int) * 9)
    qtbot.waitUntil(lambda: len(told) == 2, timeout=LONG)
    assert "plane 3" in told[1] and "Label 9" in told[1]


# Annotation that is empty, or small


def test_an_empty_annotation(qtbot, dock, told, stack) -> None:
    _, widget = dock(nuclei=stack.images)
    widget.annotate.add.click()
    source = widget.session_model.images[0]
    widget.session_model.records.mark(source.id, 0, True)
    train(qtbot, widget, **TOKENS_ONLY)
    assert len(told) == 1 and "No annotated plane has any pixel of object" in told[0]
    assert widget.train.judgement.text() == told[0] and widget.session_model.prompt is None
    assert widget.train.train.isEnabled() and widget.train.bar.isHidden()


def test_one_annotated_plane_trains_with_a_warning(qtbot, dock, told, stack) -> None:
    _, widget = dock(nuclei=stack.images)
    annotate(qtbot, widget, stack, [1])
    train(qtbot, widget, **TOKENS_ONLY, embeddings=1)
    assert widget.session_model.prompt.origin.images == 1
    assert "measured on the 1 plane" in widget.train.judgement.text()
    assert "Annotate at least 4 planes" in widget.train.judgement.text()
    assert told == []


def test_a_plane_with_nan(qtbot, dock, told, stack) -> None:
    images = stack.images.astype(np.float32)
    images[2, 5, 5] = np.nan
    viewer, widget = dock(nuclei=images)
    annotate(qtbot, widget, stack, [1, 2])
    viewer.dims.set_point(0, 2)
    train(qtbot, widget, **TOKENS_ONLY, embeddings=1)
    assert widget.session_model.prompt is not None
    widget.annotate.suggest.click()
    qtbot.waitUntil(lambda: not widget.annotate.suggester.running, timeout=LONG)
    settled(qtbot, widget)
    assert told == []


# Files


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_what_cannot_be_saved_is_told_once_and_saved_later(
    qtbot, dock, told, stack, asleep, monkeypatch, sessions, code: int
) -> None:
    _, widget = dock(nuclei=stack.images)
    widget.autosave._retry.setInterval(300)
    full = [False]
    touch = Path.touch

    def fail(self: Path, *args: Any, **keywords: Any) -> None:
        if full[0]:
            raise OSError(code, os.strerror(code))
        touch(self, *args, **keywords)

    monkeypatch.setattr(Path, "touch", fail)  # what writes a file begins so
    annotate(qtbot, widget, stack, [0])
    qtbot.waitUntil(lambda: widget.saved.text().startswith("Saved in"), timeout=LONG)
    folder = widget.autosave.folder.path
    full[0] = True
    annotate(qtbot, widget, stack, [1, 2, 3, 4])
    qtbot.waitUntil(lambda: "NOT SAVED" in widget.saved.text(), timeout=LONG)
    tries: list[bool] = []
    widget.autosave._retry.timeout.connect(lambda: tries.append(True))
    qtbot.waitUntil(lambda: len(tries) > 2, timeout=LONG)  # in vain
    assert len(told) == 1 and os.strerror(code).lower() in told[0].lower()
    assert "NOT SAVED" in widget.saved.text()
    full[0] = False
    qtbot.waitUntil(lambda: widget.saved.text().startswith("Saved in"), timeout=LONG)
    qtbot.waitUntil(lambda: len(list((folder / "masks").glob("*.tif"))) == 5, timeout=LONG)
    assert len(told) == 1
    saved = tifffile.imread(folder / "masks" / "000-3.tif")
    assert np.array_equal(saved, stack.masks[3])


def test_no_folder_can_be_made(qtbot, dock, told, stack, asleep, sessions, tmp_path) -> None:
    sessions.write_text("a file stands where the folder should be", encoding="utf-8")
    _, widget = dock(nuclei=stack.images)
    annotate(qtbot, widget, stack, [0, 1])
    qtbot.waitUntil(lambda: "NOT SAVED" in widget.saved.text(), timeout=LONG)
    settled(qtbot, widget)
    assert len(told) == 1 and "choose another place" in told[0]
    widget.autosave.use_root(tmp_path / "elsewhere")
    masks = tmp_path / "elsewhere"
    qtbot.waitUntil(lambda: len(list(masks.glob("*/masks/*.tif"))) == 2, timeout=LONG)
    qtbot.waitUntil(lambda: widget.saved.text().startswith("Saved in"), timeout=LONG)
    assert len(told) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "is not a session folder"),
        ("{", "is damaged"),
        ("[]", "not the file of a session"),
        (json.dumps({"kind": "napari-ptsam session", "version": 99}), ""),
    ],
)
def test_a_broken_session(qtbot, dock, told, stack, asleep, tmp_path, content, words) -> None:
    viewer, widget = dock(nuclei=stack.images)
    folder = tmp_path / "broken"
    folder.mkdir()
    if content is not None:
        (folder / "session.json").write_text(content, encoding="utf-8")
    widget.session_restore.open(folder)
    qtbot.waitUntil(lambda: len(told) > 0, timeout=LONG)
    settled(qtbot, widget)
    assert len(told) == 1 and str(folder) in told[0] and words in told[0]
    works(qtbot, viewer, widget, stack)


def test_a_session_folder_that_is_not_there(qtbot, dock, told, asleep, tmp_path) -> None:
    _, widget = dock()
    widget.session_restore.open(tmp_path / "nothing")
    qtbot.waitUntil(lambda: len(told) > 0, timeout=LONG)
    assert told == [f"There is no folder {tmp_path / 'nothing'}; check the path."]


def test_a_session_with_broken_masks_is_told_once(qtbot, dock, told, stack, asleep) -> None:
    viewer, widget = dock(nuclei=stack.images)
    annotate(qtbot, widget, stack, [0, 1, 2])
    qtbot.waitUntil(lambda: widget.saved.text().startswith("Saved in"), timeout=LONG)
    qtbot.waitUntil(
        lambda: len(list(widget.autosave.folder.path.glob("masks/*.tif"))) == 3, timeout=LONG
    )
    folder = widget.autosave.folder.path
    widget.close_down(10)
    viewer.layers.remove(viewer.layers[1])
    for number in (0, 2):
        (folder / "masks" / f"000-{number}.tif").write_bytes(b"broken")
    _, again = dock(viewer)
    again.session_restore.open(folder)
    qtbot.waitUntil(lambda: len(again.session_model.records) == 1, timeout=LONG)
    assert len(told) == 1
    assert "000-0" in told[0] and "000-2" in told[0]


@pytest.mark.parametrize("kind", ["missing", "empty", "broken"])
def test_a_folder_without_images(qtbot, dock, told, stack, asleep, tmp_path, kind) -> None:
    viewer, widget = dock()
    folder = tmp_path / "pictures"
    if kind != "missing":
        folder.mkdir()
        (folder / "notes.txt").write_text("no image", encoding="utf-8")
    if kind == "broken":
        (folder / "image.tif").write_bytes(b"no image either")
    widget.images.open_folder(folder)
    qtbot.waitUntil(lambda: len(told) > 0, timeout=LONG)
    settled(qtbot, widget)
    assert len(told) == 1 and str(folder) in told[0] and len(viewer.layers) == 0
    works(qtbot, viewer, widget, stack)


def test_a_plane_that_cannot_be_read(qtbot, dock, told, stack) -> None:
    gone = [False]

    def read(number: int) -> np.ndarray:
        if gone[0] and number == 1:
            raise FileNotFoundError("1.tif")
        return stack.images[number]

    planes = [da.from_delayed(dask.delayed(read)(n), (128, 128), np.uint16) for n in range(6)]
    _, widget = dock(nuclei=da.stack(planes))
    gone[0] = True
    annotate(qtbot, widget, stack, [0, 1])
    qtbot.waitUntil(lambda: "NOT SAVED" in widget.saved.text(), timeout=LONG)
    settled(qtbot, widget)  # that the rest was saved does not hide it
    assert "NOT SAVED" in widget.saved.text()
    assert len(told) == 1 and "Plane 1 of nuclei cannot be read (1.tif)" in told[0]
    train(qtbot, widget, **TOKENS_ONLY)
    assert len(told) == 2 and "Plane 1 of nuclei" in told[1] and widget.session_model.prompt is None
