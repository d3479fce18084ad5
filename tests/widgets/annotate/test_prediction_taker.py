"""The prediction becomes annotation that can be corrected and undone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest_prompts import head
from conftest_widgets import LONG, paint, settled
from napari_ptsam.annotation.scheme import Scheme
from napari_ptsam.inference.objects import connected_components
from napari_ptsam.inference.segment import Segmenter
from napari_ptsam.widgets.annotate import annotate_tab, prediction_taker
from napari_ptsam.widgets.annotate.prediction_preview import NAME as PREVIEW
from napari_ptsam.widgets.annotate.training_run import LivePrediction

pytestmark = pytest.mark.usefixtures("loaded")


def use(widget: Any, prompt: Any) -> None:
    """Use a prompt whose class is that of the session."""
    widget.train.take(prompt, Path("nuclei.pt"))


def take(qtbot, widget: Any) -> None:
    """Press the button, and wait until the prediction is written."""
    with qtbot.waitSignal(widget.annotate.taker.taken, timeout=LONG):
        widget.annotate.take.click()


def test_it_says_what_is_missing(qtbot, dock, stack, prompt) -> None:
    _, widget = dock(nuclei=stack.images)
    state = widget.annotate._state
    widget.annotate.take.click()  # adds the annotation layer, too
    assert state.text() == prediction_taker.NO_PROMPT
    assert widget.session_model.images[0].labels is not None
    widget.session_model.training = True
    widget.annotate.take.click()
    assert state.text() == prediction_taker.NOT_YET
    widget.train.preview.prepare()
    widget.annotate.take.click()
    assert state.text() == prediction_taker.NOT_YET
    labels = widget.session_model.images[0].labels
    first = np.zeros((128, 128), np.uint8)  # of the first training
    first[10:20, 10:20] = first[40:50, 10:20] = 1
    widget.train.preview.show(LivePrediction(widget.train.preview.view(), first))
    take(qtbot, widget)
    number = widget.session_model.current()[1]
    assert np.array_equal(labels.data[number], connected_components(first))
    labels.undo()
    widget.session_model.training = False
    use(widget, prompt)
    for name in ("editable", "visible"):
        setattr(labels, name, False)
        widget.annotate.take.click()
        assert "in the layer list" in state.text()
        setattr(labels, name, True)
    widget.session_model.use_scheme(Scheme(("cell", "debris")))
    widget.annotate.take.click()
    settled(qtbot, widget)
    assert "have to be the same" in state.text() and not labels.data.any()
    widget.session_model.use_images([])
    widget.annotate.taker.take()
    assert state.text() == prediction_taker.NO_PLANE


def test_objects_are_added_in_one_undo_step(qtbot, dock, stack, prompt) -> None:
    viewer, widget = dock(nuclei=stack.images)
    widget.annotate.add.click()
    labels = widget.session_model.images[0].labels
    number = 2
    viewer.dims.set_point(0, number)
    use(widget, prompt)
    settled(qtbot, widget)
    predicted = viewer.layers[PREVIEW].data[0].copy()
    first = connected_components(predicted) == 1
    paint(labels, number, np.where(first, 5, 0))
    before = labels.data.copy()
    take(qtbot, widget)

    added = np.where(before[number] == 0, labels.data[number], 0)
    assert np.array_equal(labels.data[number] > 0, predicted > 0)
    assert np.array_equal(labels.data[number] == 5, first)
    objects = connected_components(predicted)
    assert len(np.unique(added)) == objects.max() and added[added > 0].min() == 6
    for label in np.unique(added[added > 0]):
        assert len(np.unique(objects[added == label])) == 1
    assert not np.delete(labels.data, number, axis=0).any()
    assert viewer.layers.selection.active is labels
    assert labels.selected_label == labels.data.max() + 1
    count = objects.max() - 1
    assert f"{count} objects were added" in widget.annotate._state.text()
    assert not viewer.layers[PREVIEW].visible  # until another plane is shown
    settled(qtbot, widget)
    assert widget.session_model.records.get(widget.session_model.images[0].id, number).painted

    widget.annotate.take.click()
    settled(qtbot, widget)
    assert widget.annotate._state.text() == prediction_taker.NOTHING
    labels.undo()
    assert np.array_equal(labels.data, before)
    assert viewer.layers[PREVIEW].visible and not widget.annotate._state.text()
    labels.redo()
    assert np.array_equal(labels.data[number] > 0, predicted > 0)
    labels.undo()
    take(qtbot, widget)
    assert not viewer.layers[PREVIEW].visible
    viewer.dims.set_point(0, 3)
    settled(qtbot, widget)
    assert viewer.layers[PREVIEW].visible


@pytest.mark.parametrize("kind", ["markers", "detail", "encoder tokens", "flips"])
def test_any_prompt_gives_the_objects_that_it_segments(
    kind: str, qtbot, dock, stack, prompt, backbone
) -> None:
    if kind == "markers":
        prompt = replace(prompt, markers=prompt.tokens)
    elif kind == "detail":
        prompt = replace(prompt, detail=(head(),))
    elif kind == "flips":
        prompt = replace(prompt, flips=("x",))
    else:
        widths = backbone.encoder.plain.token_widths
        tokens = tuple(np.full((1, width), 0.1, np.float32) for width in widths)
        prompt = replace(prompt, encoder_tokens=tokens)
    _, widget = dock(nuclei=stack.images[:1])
    use(widget, prompt)
    take(qtbot, widget)
    expected = Segmenter(prompt, backbone, "instances").plane(stack.images[0])
    assert np.array_equal(widget.session_model.images[0].labels.data[0], expected)


def test_classes_of_a_plane_in_time_and_depth(qtbot, dock, stack, two_classes, backbone) -> None:
    """On a layer that is scaled and turned, and with scribbles of the background."""
    viewer, widget = dock()
    image = np.stack([stack.images[:2], stack.images[2:4]])
    viewer.add_image(image, name="nuclei", scale=(1, 2, 0.5, 0.5), rotate=30)
    widget.images._tick_all(True)
    two = Scheme(two_classes.classes, sparse=True)
    widget.session_model.use_scheme(two)
    widget.annotate.add.click()
    labels = widget.session_model.images[0].labels
    widget.session_model.show_plane(widget.session_model.images[0], 3)
    stroke = (np.ones(20, int), np.ones(20, int), np.full(20, 60), np.arange(20, 40))
    labels.data_setitem(stroke, two.background)
    before = labels.data.copy()
    use(widget, two_classes)
    take(qtbot, widget)
    found = Segmenter(two_classes, backbone).plane(stack.images[3])
    expected = np.where(before[1, 1] > 0, before[1, 1], np.array([0, *two.values])[found])
    assert len(np.unique(expected)) > 2
    assert np.array_equal(labels.data[1, 1], expected)
    assert not labels.data[0].any() and not labels.data[1, 0].any()
    labels.undo()
    assert np.array_equal(labels.data, before)


def test_paint_that_comes_in_between_stays(qtbot, dock, stack, prompt) -> None:
    _, widget = dock(nuclei=stack.images[:1])
    widget.annotate.add.click()
    labels = widget.session_model.images[0].labels
    use(widget, prompt)
    settled(qtbot, widget)
    computed = widget.annotate.taker._computed

    def meanwhile(addition: Any) -> None:
        widget.annotate.taker._computed = computed
        corner = np.zeros(4, int), np.arange(4), np.arange(4)
        labels.data_setitem(corner, 1)
        computed(addition)

    widget.annotate.taker._computed = meanwhile
    take(qtbot, widget)
    assert (labels.data[0] == 1).sum() == 4 and labels.data.max() > 2


def test_done_asks_about_a_plane_that_is_only_predicted(
    qtbot, dock, stack, prompt, monkeypatch
) -> None:
    viewer, widget = dock(nuclei=stack.images[:3])
    widget.annotate.add.click()
    source = widget.session_model.images[0]
    use(widget, prompt)
    settled(qtbot, widget)
    asked, chosen = [], ["Cancel"]

    class Asked(annotate_tab.QMessageBox):
        def exec(self) -> int:
            asked.append(self.text())
            (button,) = [b for b in self.buttons() if b.text().replace("&", "") == chosen[0]]
            button.click()
            return 0

    monkeypatch.setattr(annotate_tab, "QMessageBox", Asked)
    widget.annotate.done.click()
    assert asked == [annotate_tab.EMPTY_OR_NOT]
    assert not widget.session_model.counting() and not widget.annotate.suggester.running
    chosen[0] = "Take the prediction"
    with qtbot.waitSignal(widget.annotate.taker.taken, timeout=LONG):
        widget.annotate.done.click()
    assert source.labels.data.any() and not widget.session_model.counting()
    with qtbot.waitSignal(widget.annotate.suggester.suggested, timeout=LONG):
        widget.annotate.done.click()
    assert len(asked) == 2  # it is painted now
    chosen[0] = "No objects here"
    settled(qtbot, widget)
    assert viewer.layers[PREVIEW].visible and viewer.layers[PREVIEW].data.any()
    widget.annotate.done.click()
    assert len(asked) == 3 and len(widget.session_model.counting()) == 2


def test_done_says_that_a_plane_counts_as_empty(qtbot, dock, stack, told) -> None:
    _, widget = dock(nuclei=stack.images[:2])
    widget.annotate.add.click()
    with qtbot.waitSignal(widget.annotate.suggester.suggested, timeout=LONG):
        widget.annotate.done.click()
    text = widget.annotate._state.text()
    assert "Nothing is annotated on plane 0 of nuclei" in text and "Next: plane 1 of" in text
    assert "untick Done" in text
    settled(qtbot, widget)
    counter = widget.annotate._counter
    assert counter.text() == "1 of 2 planes annotated" and counter.maximum() == 2

    paint(widget.session_model.images[0].labels, 1, stack.masks[1])
    widget.annotate.suggest.click()  # the plane is painted, but not done, as far as is known
    settled(qtbot, widget)
    widget.annotate.suggest.click()
    assert "but 1 plane is not marked as done" in told[-1]
    widget.annotate.done.click()
    assert (
        told[-1].startswith("All 2 planes are annotated")
        and told[-1] in widget.annotate._state.text()
    )
    settled(qtbot, widget)
    assert widget.hint.text() == "2 planes are annotated: press Train."


def test_the_next_plane_is_one_that_the_prompt_is_unsure_of(
    qtbot, dock, stack, prompt, monkeypatch
) -> None:
    """It comes predicted."""
    viewer, widget = dock(nuclei=stack.images)
    widget.annotate.add.click()
    source, suggester = widget.session_model.images[0], widget.annotate.suggester
    doubts = iter([0.1, 0.2, 0.9, 0.3, 0.8])
    judged = []

    def doubt(logits: Any) -> float:
        judged.append(tuple(logits.shape))
        return next(doubts)

    monkeypatch.setattr("napari_ptsam.annotation.suggestions.doubt", doubt)
    use(widget, prompt)
    number = widget.session_model.current()[1]
    paint(source.labels, number, stack.masks[number])
    with qtbot.waitSignal(suggester.suggested, timeout=LONG) as suggested:
        widget.annotate.done.click()
    others = [other for other in range(6) if other != number]
    assert judged == [(1, 256, 256)] * 5
    assert suggested.args[0].number in (others[2], others[4], others[3])
    settled(qtbot, widget)
    assert viewer.layers[PREVIEW].data.any()
    assert widget.train.preview.prediction_of(source, suggested.args[0].number) is not None

    suggester.suggest()  # all is known by now
    settled(qtbot, widget)
    assert len(judged) == 5
    doubts = iter([0.5] * 5)
    use(widget, replace(prompt))  # another prompt judges them again, before it is asked
    settled(qtbot, widget)
    assert len(judged) == 10
