"""Nothing is lost: autosave, kill -9, going on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from conftest_widgets import LONG, TOKENS_ONLY, annotate, paint, settled, train
from napari_ptsam.annotation.scheme import Scheme
from napari_ptsam.annotation.session import Session, SessionImage, SessionPlane
from napari_ptsam.annotation.session_folder import SessionFolder
from napari_ptsam.images.planes import PixelSize

PAINTER = """
import sys, time
import napari, numpy as np, tifffile
from napari_ptsam.widgets.annotate.annotate_and_train import AnnotateAndTrain
from qtpy.QtCore import QTimer

viewer = napari.Viewer(show=False)
viewer.open(sys.argv[1])
widget = AnnotateAndTrain(viewer)
viewer.window.add_dock_widget(widget)
widget.annotate.add.click()
labels = widget.session_model.images[0].labels
row = iter(range(128 * 6))

def stroke():
    number, at = divmod(next(row), 128)
    labels.data_setitem((np.full(64, number), np.full(64, at), np.arange(64)), 3)
    print(number, at, time.time(), flush=True)

timer = QTimer()
timer.timeout.connect(stroke)
timer.start(50)
napari.run()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is Unix's")
def test_killed_while_painting_loses_at_most_five_seconds(
    qtbot, dock, stack, sessions, tmp_path: Path
) -> None:
    source = tmp_path / "nuclei.tif"
    tifffile.imwrite(source, stack.images, imagej=True, metadata={"axes": "ZYX"})
    process = subprocess.Popen(
        [sys.executable, "-c", PAINTER, str(source)], stdout=subprocess.PIPE, text=True
    )
    strokes = []
    while not strokes or strokes[-1][2] - strokes[0][2] < 9:
        number, at, when = process.stdout.readline().split()
        strokes.append((int(number), int(at), float(when)))
    killed = time.time()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()

    _, widget = dock()
    qtbot.waitUntil(lambda: not widget.offer.isHidden(), timeout=LONG)
    assert "was not closed" in widget._offer_text.text()
    widget.restore_button.click()
    qtbot.waitUntil(lambda: len(widget.session_model.records) > 0, timeout=LONG)
    assert widget.offer.isHidden()
    layer = widget.session_model.images[0].layer
    assert layer.name == "nuclei" and np.array_equal(np.asarray(layer.data), stack.images)
    labels = widget.session_model.images[0].labels.data
    old = [(number, at) for number, at, when in strokes if killed - when > 5]
    assert len(old) > 20
    assert all((labels[number, at, :64] == 3).all() for number, at in old)
    # What goes on is saved into the same folder.
    paint(widget.session_model.images[0].labels, 5, stack.masks[5])
    (folder,) = sessions.iterdir()
    qtbot.waitUntil(lambda: (folder / "masks" / "000-5.tif").exists(), timeout=LONG)


def test_everything_comes_back(qtbot, dock, stack, sessions) -> None:
    viewer, widget = dock(nuclei=stack.images)
    widget.annotate.classes.list.item(0).setText("nucleus")
    annotate(qtbot, widget, stack, [0, 1, 2, 3])
    paint(widget.session_model.images[0].labels, 4, stack.masks[4])
    train(qtbot, widget, **TOKENS_ONLY)
    saved = widget.session_model.prompt
    held_out = {e.number for e in widget.session_model.records if e.held_out}
    dice = {e.number: e.dice for e in widget.session_model.records}
    qtbot.waitUntil(lambda: len(list(sessions.glob("*/masks/*.tif"))) == 5, timeout=LONG)
    qtbot.waitUntil(lambda: len(list(sessions.glob("*/prompts/*.pt"))) == 1, timeout=LONG)
    settled(qtbot, widget)
    labels = widget.session_model.images[0].labels.data.copy()
    widget.close_down(10)
    (folder,) = sessions.iterdir()
    session = SessionFolder(folder).read()
    assert session.closed and session.problems == () and len(session.planes) == 5
    assert session.settings["backbone"] == "vit_t"
    viewer.layers.clear()

    _, again = dock(viewer)
    viewer.add_image(stack.images, name="nuclei")
    qtbot.waitUntil(lambda: len(again.session_model.images) == 1)
    assert again.offer.isHidden()
    again.session_restore.open(folder)
    qtbot.waitUntil(lambda: len(again.session_model.records) == 5, timeout=LONG)
    assert np.array_equal(again.session_model.images[0].labels.data, labels)
    assert again.session_model.scheme.classes == ("nucleus",)
    assert [e.number for e in again.session_model.counting()] == [0, 1, 2, 3]
    assert {e.number for e in again.session_model.records if e.held_out} == held_out
    assert {e.number: e.dice for e in again.session_model.records} == dice
    assert np.array_equal(again.session_model.prompt.tokens, saved.tokens)


def test_where_the_images_are_gone_their_planes_come_back(qtbot, dock, stack, sessions) -> None:
    viewer, widget = dock(nuclei=stack.images)
    annotate(qtbot, widget, stack, [1, 4])
    qtbot.waitUntil(lambda: len(list(sessions.glob("*/masks/*.tif"))) == 2, timeout=LONG)
    settled(qtbot, widget)
    widget.close_down(10)
    (folder,) = sessions.iterdir()
    viewer.layers.clear()
    _, again = dock(viewer)
    again.session_restore.open(folder)
    qtbot.waitUntil(lambda: len(again.session_model.records) == 2, timeout=LONG)
    source = again.session_model.images[0]
    assert np.array_equal(np.asarray(source.layer.data), stack.images[[1, 4]])
    assert np.array_equal(source.labels.data, stack.masks[[1, 4]])
    qtbot.waitUntil(lambda: len(list(sessions.iterdir())) == 2, timeout=LONG)
    new = next(path for path in sessions.iterdir() if path != folder)
    qtbot.waitUntil(lambda: len(list(new.glob("masks/*.tif"))) == 2, timeout=LONG)


@pytest.mark.parametrize("z", [2.0, None])
def test_planes_of_a_session_have_units_that_agree(z, qtbot, dock, stack, sessions) -> None:
    """Otherwise napari says "Inconsistent units across layers", and ignores all of them."""
    size = PixelSize(0.5, 0.5, z, "um")
    folder = SessionFolder.create(sessions, "nuclei")
    image = SessionImage("nuclei", stack.images.shape, "ZYX", pixel_size=size)
    plane = SessionPlane(0, (1,), done=True)
    folder.write(Session(Scheme(("nucleus",)), (image,), (plane,), {}))
    folder.write_plane(plane, stack.images[1], stack.masks[1])
    viewer, widget = dock()
    lead = "pixel" if z is None else "um"
    place = {"scale": (z or 1, 0.5, 0.5), "units": (lead, "um", "um")}
    viewer.add_image(stack.images[:2], name="another", **place)
    widget.session_restore.open(folder.path)
    qtbot.waitUntil(lambda: len(widget.session_model.records) == 1, timeout=LONG)
    units = [[str(unit) for unit in layer.units] for layer in viewer.layers]
    assert len(units) == 3  # the image, its planes and their annotation
    assert all(len({of_layer[axis] for of_layer in units}) == 1 for axis in range(3))


def test_leaving_a_session_keeps_its_files_and_offers_it_no_more(
    qtbot, dock, stack, sessions
) -> None:
    viewer, widget = dock(nuclei=stack.images)
    annotate(qtbot, widget, stack, [0])
    qtbot.waitUntil(lambda: len(list(sessions.glob("*/masks/*.tif"))) == 1, timeout=LONG)
    settled(qtbot, widget)
    # As after a kill: nobody works on it, and it is not closed.
    folder = widget.autosave.folder
    widget.autosave.release()
    viewer.layers.clear()
    _, again = dock(viewer)
    qtbot.waitUntil(lambda: not again.offer.isHidden(), timeout=LONG)
    again.new_session_button.click()
    qtbot.waitUntil(lambda: folder.read().closed, timeout=LONG)
    assert len(folder.read().planes) == 1 and again.offer.isHidden()


def test_a_session_in_use_is_not_offered(qtbot, dock, stack, sessions, told) -> None:
    viewer, widget = dock(nuclei=stack.images)
    annotate(qtbot, widget, stack, [0])
    qtbot.waitUntil(lambda: len(list(sessions.glob("*/masks/*.tif"))) == 1, timeout=LONG)
    _, again = dock(viewer)
    settled(qtbot, widget, again)
    qtbot.waitUntil(lambda: not again.session_model.disk.has("unfinished"), timeout=LONG)
    assert again.offer.isHidden()
    again.session_restore.open(widget.autosave.folder.path)
    qtbot.waitUntil(lambda: any("Another napari" in message for message in told), timeout=LONG)


def test_what_is_erased_is_erased_on_disk(qtbot, dock, stack, sessions) -> None:
    _, widget = dock(nuclei=stack.images)
    annotate(qtbot, widget, stack, [0])
    paint(widget.session_model.images[0].labels, 3, stack.masks[3])
    qtbot.waitUntil(lambda: len(list(sessions.glob("*/masks/*.tif"))) == 2, timeout=LONG)
    labels = widget.session_model.images[0].labels
    while labels.data[3].any():
        labels.undo()
    qtbot.waitUntil(lambda: len(list(sessions.glob("*/masks/*.tif"))) == 1, timeout=LONG)
    assert len(widget.autosave.folder.read().planes) == 1


def test_the_last_strokes_are_saved_when_it_is_closed(qtbot, dock, stack, sessions) -> None:
    _, widget = dock(nuclei=stack.images)
    widget.annotate.add.click()
    paint(widget.session_model.images[0].labels, 2, stack.masks[2])
    widget.close_down(10)  # before anything was looked at
    (folder,) = sessions.iterdir()
    session = SessionFolder(folder).read()
    assert session.closed and [plane.index for plane in session.planes] == [(2,)]
    assert np.array_equal(SessionFolder(folder).read_labels(session.planes[0]), stack.masks[2])


def test_planes_that_are_not_understood_are_told_of_once(
    qtbot, dock, stack, sessions, told, monkeypatch
) -> None:
    from napari_ptsam.annotation.scheme import Scheme
    from napari_ptsam.errors import InputError

    viewer, widget = dock(nuclei=stack.images)
    annotate(qtbot, widget, stack, [0, 1, 2])
    qtbot.waitUntil(lambda: len(list(sessions.glob("*/masks/*.tif"))) == 3, timeout=LONG)
    settled(qtbot, widget)
    widget.close_down(10)
    (folder,) = sessions.iterdir()
    counts = Scheme.counts

    def strict(self: Scheme, labels: np.ndarray) -> dict[str, int]:
        if not np.array_equal(labels, stack.masks[0]):
            raise InputError("There are labels of no class.")
        return counts(self, labels)

    _, again = dock(viewer)
    again.label_watcher.close()  # it would tell of them too when somebody looks
    monkeypatch.setattr(Scheme, "counts", strict)
    again.session_restore.open(folder)
    qtbot.waitUntil(lambda: len(again.session_model.records) == 1 and bool(told), timeout=LONG)
    (message,) = told
    assert message.count("There are labels of no class.") == 2 and "nuclei, plane 2" in message
    monkeypatch.setattr(Scheme, "counts", counts)


def test_a_damaged_prompt_does_not_keep_the_annotations(
    qtbot, dock, stack, sessions, told, prompt, monkeypatch
) -> None:
    from napari_ptsam.widgets.annotate import session_restore

    viewer, widget = dock(nuclei=stack.images)
    annotate(qtbot, widget, stack, [0, 1])
    for _ in range(2):
        widget.autosave.keep_prompt(prompt)
    qtbot.waitUntil(lambda: len(list(sessions.glob("*/prompts/*.pt"))) == 2, timeout=LONG)
    widget.close_down(10)
    (folder,) = sessions.iterdir()
    last = folder / "prompts" / "002.pt"
    last.write_bytes(last.read_bytes()[:500])
    loaded: list[str] = []
    load = session_restore.load
    monkeypatch.setattr(session_restore, "load_torch", lambda: loaded.append("torch"))
    monkeypatch.setattr(
        session_restore, "load", lambda path: loaded.append(path.name) or load(path)
    )
    viewer.layers.clear()
    viewer.add_image(stack.images, name="nuclei")
    _, again = dock(viewer)
    again.session_restore.open(folder)
    qtbot.waitUntil(lambda: len(again.session_model.records) == 2 or bool(told), timeout=LONG)
    assert len(again.session_model.records) == 2
    assert len(told) == 1 and "002.pt is" in told[0]
    assert again.session_model.prompt is not None and loaded == ["torch", "002.pt", "001.pt"]


def test_an_image_without_annotation_that_is_gone_does_not_keep_the_others(
    qtbot, dock, stack, sessions, told
) -> None:
    viewer, widget = dock(nuclei=stack.images, other=stack.images[:2])
    widget.session_model.use_images(list(viewer.layers)[::-1])
    widget.annotate.add.click()
    source = widget.session_model.images[1]
    assert source.layer.name == "nuclei"
    paint(source.labels, 3, stack.masks[3])
    widget.close_down(10)
    (folder,) = sessions.iterdir()
    viewer.layers.clear()
    viewer.add_image(stack.images, name="nuclei")
    _, again = dock(viewer)
    again.session_restore.open(folder)
    qtbot.waitUntil(lambda: len(again.session_model.records) == 1, timeout=LONG)
    (source,) = again.session_model.images
    assert np.array_equal(source.labels.data[3], stack.masks[3])
    assert any("other: cannot be found" in words for words in told)
    qtbot.waitUntil(lambda: len(list(sessions.iterdir())) == 2, timeout=LONG)
