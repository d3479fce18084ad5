"""The widget as a user drives it, on real nuclei."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QMessageBox

from conftest_widgets import LONG, TOKENS_ONLY, annotate, paint, settled, train
from napari_ptsam.evaluation.metrics import overlap
from napari_ptsam.prompts.files import load
from napari_ptsam.widgets.annotate.prediction_preview import NAME as PREVIEW

pytestmark = pytest.mark.usefixtures("loaded")

LEARNS = {"steps": 40, "embeddings": 5, "batch_size": 2}
"""Of a training that finds most of the nuclei."""


def test_from_images_to_a_saved_prompt(qtbot, dock, stack, told, tmp_path) -> None:
    viewer, widget = dock()
    viewer.add_image(
        stack.images, name="nuclei", scale=(2, 0.5, 0.5), translate=(0, 10, 20),
        units=("um",) * 3, axis_labels=("z", "y", "x"),
    )  # fmt: skip
    qtbot.waitUntil(lambda: len(widget.session_model.images) == 1)
    assert "Add an annotation layer" in widget.hint.text()

    widget.annotate.add.click()
    labels = widget.session_model.images[0].labels
    assert labels.data.shape == stack.images.shape and not labels.data.any()
    for name in ("scale", "translate", "units", "axis_labels"):
        assert np.array_equal(getattr(labels, name), getattr(viewer.layers["nuclei"], name))
    assert viewer.layers.selection.active is labels

    annotate(qtbot, widget, stack, [0, 1, 2, 3, 4])
    table = widget.annotate.table
    assert table.rowCount() == 5 and widget.annotate._counter.text() == "5 of 6 planes annotated"
    assert table.item(2, 2).text() == str(len(np.unique(stack.masks[2])) - 1)  # objects
    assert f"{(stack.masks[2] > 0).sum():,} pixels" in table.item(2, 2).toolTip()
    assert "train now" in widget.hint.text()

    viewer.dims.set_point(0, 2 * 5)
    train(qtbot, widget, **LEARNS)
    assert widget.train.judgement.text().startswith(("Good", "Fair"))
    assert "Encoder tokens were left out" in widget.train.judgement.text()
    assert widget.train.status.text() == ""  # nothing is said twice
    held_out = [row for row in range(5) if table.item(row, 4).checkState() == Qt.CheckState.Checked]
    assert len(held_out) == 1
    dice = [float(table.item(row, 5).text()) for row in range(5)]
    assert min(dice) > 0.6
    assert f"{dice[held_out[0]]:.2f}" in widget.train.judgement.text()

    settled(qtbot, widget)  # the preview is that of the finished prompt now
    preview = viewer.layers[PREVIEW]
    assert preview.data.shape == (1, 128, 128)
    corner = preview.data_to_world((0, 0, 0))
    assert np.allclose(corner, viewer.layers["nuclei"].data_to_world((5, 0, 0)))
    assert overlap(stack.masks[5] > 0, preview.data[0] > 0).dice > 0.7

    assert widget.train.default_name() == "nuclei-object.pt"
    widget.train.save_to(tmp_path / "nuclei.pt")
    prompt = load(tmp_path / "nuclei.pt")
    assert prompt.origin.images == 5 and prompt.origin.held_out_images == 1
    assert prompt.pixel_size.x == 0.5 and prompt.classes == ("object",)
    (head,) = prompt.detail
    assert 0 < head.share <= 1
    widget.train.save_to(tmp_path / "nuclei.pt")
    assert "exists and is kept" in told[-1]


def test_train_on_takes_the_new_planes_and_keeps_the_split(qtbot, dock, stack) -> None:
    _, widget = dock(nuclei=stack.images)
    annotate(qtbot, widget, stack, [0, 1, 2, 3])
    train(qtbot, widget, **TOKENS_ONLY)
    first = widget.session_model.prompt
    before = {e.number for e in widget.session_model.records if e.held_out}
    annotate(qtbot, widget, stack, [4])
    assert "1 more planes" in widget.hint.text() or "Save the prompt" in widget.hint.text()
    assert widget.train.train_on.isEnabled()
    widget.train.train_on.click()
    qtbot.waitUntil(lambda: not widget.train.run.running, timeout=LONG)
    second = widget.session_model.prompt
    assert second is not first and second.origin.images == 5 and second.origin.start == "a prompt"
    after = {e.number for e in widget.session_model.records if e.held_out}
    assert (
        before <= after
        and {e.number for e in widget.session_model.records} - after >= {0, 1, 2, 3} - before
    )


def test_annotation_goes_on_while_training(qtbot, dock, stack) -> None:
    _, widget = dock(nuclei=stack.images)
    annotate(qtbot, widget, stack, [0, 1, 2, 3])
    widget.session_model.settings |= TOKENS_ONLY
    widget.train.train.click()
    paint(widget.session_model.images[0].labels, 4, stack.masks[4])
    source = widget.session_model.images[0]
    qtbot.waitUntil(lambda: widget.session_model.records.get(source.id, 4).painted, timeout=LONG)
    qtbot.waitUntil(lambda: not widget.train.run.running, timeout=LONG)
    assert widget.session_model.prompt.origin.images == 4
    assert widget.session_model.records.get(source.id, 4).dice is None


def test_stop_keeps_the_best_so_far(qtbot, dock, stack) -> None:
    viewer, widget = dock(nuclei=stack.images)
    annotate(qtbot, widget, stack, [0, 1, 2, 3])
    widget.session_model.settings |= {"steps": 5000, **TOKENS_ONLY}
    shown = []
    widget.train.run.predicted.connect(shown.append)
    widget.train.train.click()
    assert widget.train.stop.isEnabled() and not widget.train.train.isEnabled()
    assert not widget.train.stop.hasFocus()  # the space bar would press it
    assert widget.train.bar.text() == "Getting ready…"
    qtbot.waitUntil(lambda: len(shown) > 2, timeout=LONG)
    assert PREVIEW in viewer.layers
    qtbot.waitUntil(lambda: len(widget.train.plot._losses[0]) > 20, timeout=LONG)
    widget.train.stop.click()
    qtbot.waitUntil(lambda: not widget.train.run.running, timeout=LONG)
    assert widget.train.judgement.text().startswith("Stopped after")
    assert (
        widget.session_model.prompt is not None
        and 0 < widget.session_model.prompt.origin.steps < 5000
    )
    assert widget.train.train.isEnabled()


def test_a_preview_that_is_deleted_stays_away(qtbot, dock, stack) -> None:
    viewer, widget = dock(nuclei=stack.images)
    widget.train.preview.prepare()
    viewer.layers.remove(PREVIEW)
    qtbot.waitUntil(lambda: not widget.train.shown.isChecked())
    widget.train.preview.prepare()
    assert PREVIEW not in viewer.layers
    widget.train.shown.click()
    widget.train.preview.prepare()
    assert PREVIEW in viewer.layers


def test_suggestions_lead_from_plane_to_plane(qtbot, dock, stack) -> None:
    _, widget = dock(nuclei=stack.images)
    widget.annotate.add.click()
    visited = []
    for _ in range(3):
        source, number = widget.session_model.current()
        paint(source.labels, number, stack.masks[number])
        visited.append(number)
        with qtbot.waitSignal(widget.annotate.suggester.suggested, timeout=LONG):
            widget.annotate.done.click()
    assert len(set(visited)) == 3
    qtbot.waitUntil(lambda: len(widget.session_model.counting()) == 3, timeout=LONG)
    qtbot.waitUntil(lambda: widget.annotate.table.rowCount() == 3)
    widget.annotate.table.cellClicked.emit(0, 1)
    assert widget.session_model.current()[1] == min(visited)


def test_switching_the_scheme_is_asked_about(qtbot, dock, stack, monkeypatch) -> None:
    _, widget = dock(nuclei=stack.images)
    annotate(qtbot, widget, stack, [0])
    tab, model, asked = widget.annotate, widget.session_model, []
    answers = [QMessageBox.StandardButton.Cancel, QMessageBox.StandardButton.Yes]

    def question(*arguments):
        asked.append(arguments[2])
        return answers[len(asked) - 1]

    monkeypatch.setattr(QMessageBox, "question", question)
    tab.sparse.click()
    assert not model.scheme.sparse and tab.dense.isChecked() and "label 1 stands for" in asked[0]
    tab.sparse.click()
    assert model.scheme.sparse and tab.sparse.isChecked() and len(asked) == 2


def test_scribbles_with_two_classes(qtbot, dock, stack, tmp_path) -> None:
    _, widget = dock(nuclei=stack.images)
    widget.annotate.sparse.click()
    widget.annotate.classes._add()
    widget.annotate.classes.list.item(1).setText("nucleus")
    assert widget.session_model.scheme.classes == ("nucleus", "class 2")
    widget.annotate.classes.list.setCurrentRow(2)
    widget.annotate.classes._remove()
    assert widget.session_model.scheme.classes == ("nucleus",)
    widget.annotate.add.click()
    labels = widget.session_model.images[0].labels
    assert labels.selected_label == 2
    widget.annotate.classes.list.setCurrentRow(1)
    widget.annotate.classes.list.setCurrentRow(0)
    assert labels.selected_label == 1
    for number in range(4):
        inside = stack.masks[number] > 0
        strokes = np.zeros(inside.shape, int)
        strokes[::6] = np.where(inside[::6], 2, 1)  # every sixth row is scribbled on
        paint(labels, number, strokes)
    qtbot.waitUntil(lambda: len(widget.session_model.counting()) == 4, timeout=LONG)
    entry = widget.session_model.counting()[0]
    assert set(entry.counts) == {"background", "nucleus"}
    train(qtbot, widget, **LEARNS, **TOKENS_ONLY)
    prompt = widget.session_model.prompt
    assert prompt.classes == ("nucleus",) and prompt.origin.held_out_dice > 0.5


def test_single_images_have_an_annotation_layer_each(qtbot, dock, stack) -> None:
    images = {f"image {n}": stack.images[n][: 128 - n] for n in range(4)}
    _, widget = dock(**images)
    widget.images._tick_all(True)
    assert len(widget.session_model.images) == 4
    widget.annotate.add.click()
    for n, source in enumerate(widget.session_model.images):
        rows, columns = np.nonzero(stack.masks[n][: 128 - n])
        source.labels.data_setitem((rows, columns), 1)
    qtbot.waitUntil(lambda: len(widget.session_model.records) == 4, timeout=LONG)
    for source in widget.session_model.images:
        widget.session_model.show_plane(source, 0)
        assert widget.session_model.current()[0] is source
        widget.session_model.records.mark(source.id, 0, True)
    assert not widget.annotate.table.isColumnHidden(0)
    train(qtbot, widget, **TOKENS_ONLY)
    assert widget.session_model.prompt.origin.images == 4


def test_labels_that_are_there_are_taken_over(qtbot, dock, stack) -> None:
    viewer, widget = dock(nuclei=stack.images)
    masks = stack.masks.copy()
    masks[4:] = 0
    labels = viewer.add_labels(masks, name="my masks")
    widget.session_model.attach(widget.session_model.images[0], labels)
    qtbot.waitUntil(lambda: len(widget.session_model.counting()) == 4, timeout=LONG)
    assert np.array_equal(labels.data, masks)


def test_undo_is_noticed(qtbot, dock, stack) -> None:
    viewer, widget = dock(nuclei=stack.images)
    widget.annotate.add.click()
    source = widget.session_model.images[0]
    paint(source.labels, 2, (stack.masks[2] > 0).astype(int))
    qtbot.waitUntil(lambda: widget.session_model.records.get(source.id, 2).painted, timeout=LONG)
    viewer.dims.set_point(0, 4)
    source.labels.undo()
    qtbot.waitUntil(
        lambda: not widget.session_model.records.get(source.id, 2).painted, timeout=LONG
    )
    source.labels.redo()
    qtbot.waitUntil(lambda: widget.session_model.records.get(source.id, 2).painted, timeout=LONG)
