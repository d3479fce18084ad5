"""Batch segment: results in layers, stopping, closing, and bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from napari.utils.notifications import notification_manager

import napari_ptsam as ptsam
from conftest_batch import Slow, choose, notifications, run, tick
from conftest_data import unreadable
from conftest_widgets import LONG, refreshed, settled
from napari_ptsam.images.planes import Planes
from napari_ptsam.widgets.batch.task import ImageTask
from napari_ptsam.widgets.shared import labels_layers, layers

pytestmark = pytest.mark.usefixtures("loaded")


@pytest.mark.parametrize("output", ["labels", "instances"])
def test_the_result_is_that_of_the_library(qtbot, batch, stack, prompt, device, output) -> None:
    viewer, widget = batch(nuclei=stack.images)
    viewer.layers[0].scale = (2, 0.5, 0.5)
    choose(widget.results.output, output)
    run(qtbot, widget)
    expected = ptsam.segment(stack.images, prompt, output=output, device=device)
    result = viewer.layers["nuclei – nuclei"]
    assert result.data.dtype == expected.dtype and np.array_equal(result.data, expected)
    assert result.scale.tolist() == [2, 0.5, 0.5] and expected.any()
    # What is drawn is what was written to the array meanwhile.
    shown = result._slice.image.raw
    assert np.array_equal(shown, expected[viewer.dims.current_step[0]])
    assert viewer.layers.selection.active is not result and notifications() == []
    assert widget.status.text().startswith("Done: 1 image segmented")
    if output == "labels":
        assert result.features["name"].tolist() == ["background", *prompt.classes]


def test_prompts_with_encoder_tokens(qtbot, batch, stack, prompt, backbone, device) -> None:
    rng = np.random.default_rng(0)
    tokens = tuple(
        rng.normal(0, 0.5, (2, width)).astype(np.float32)
        for width in backbone.encoder.plain.token_widths
    )
    prompted = replace(prompt, encoder_tokens=tokens)
    viewer, widget = batch(prompt=prompted, nuclei=stack.images[:2])
    run(qtbot, widget)
    assert widget.status.text().startswith("Done: 1 image segmented") and notifications() == []
    expected = ptsam.segment(stack.images[:2], prompted, device=device)
    assert np.array_equal(viewer.layers[-1].data, expected)
    assert (expected != ptsam.segment(stack.images[:2], prompt, device=device)).any()


def test_only_the_plane_in_view(qtbot, batch, stack, prompt, device) -> None:
    viewer, widget = batch(nuclei=stack.images)
    image = viewer.layers[0]
    image.scale, image.translate, image.rotate = (2, 0.5, 0.5), (3, 4, 5), (0, 0, 10)
    viewer.dims.set_point(0, image.data_to_world((4, 0, 0))[0])
    choose(widget.planes.which, "view")
    run(qtbot, widget)
    result = viewer.layers[-1]
    assert np.array_equal(result.data[0], ptsam.segment(stack.images[4], prompt, device=device))
    assert np.allclose(result.data_to_world((0, 9, 7)), image.data_to_world((4, 9, 7)))


def test_a_result_lies_where_its_image_does(batch, stack) -> None:
    _, widget = batch(prompt=None, nuclei=np.stack([stack.images] * 2, axis=1))
    layer = widget.viewer.layers[0]
    layer.axis_labels, layer.scale = ("z", "c", "y", "x"), (2, 3, 0.5, 0.5)
    layer.units = ("um", "pixel", "um", "um")
    affine = np.eye(5)
    affine[2, 3], affine[:4, 4] = 0.2, (1, 2, 3, 4)
    layer.affine = affine
    planes = layers.image_planes(layer, 1)
    for task, first in (
        (ImageTask(layer, planes), 0),
        (ImageTask(layer, planes, [("Z", 4, 5)]), 4),
    ):
        labels = widget.viewer.add_labels(np.zeros(task.shape, np.uint8), **task.placement())
        assert task.shape == ((6 if first == 0 else 1), 1, 128, 128)
        assert labels.units == layer.units and labels.axis_labels == layer.axis_labels
        here, there = labels.data_to_world((0, 0, 9, 7)), layer.data_to_world((first, 0.5, 9, 7))
        assert np.allclose(here, there)
        assert labels.scale[1] == 6  # as thick as both channels


def test_stop_keeps_what_is_done_and_reads_a_plane_at_a_time(qtbot, batch, stack, prompt) -> None:
    slow = Slow(stack.images, 0.1)
    viewer, widget = batch()
    viewer.add_image(slow.lazy(), name="lazy", contrast_limits=(0, 3000))
    refreshed(qtbot, widget)
    slow.read.clear()
    done: list[int] = []
    widget.run.plane_segmented.connect(lambda step: done.append(step.number))
    widget.start_button.click()
    qtbot.waitUntil(lambda: len(done) >= 3, timeout=LONG)
    assert not widget.stop_button.hasFocus()  # the space bar would press it
    assert " left" in widget.bar.format() and not widget.stop_button.isHidden()
    widget.stop_button.click()
    qtbot.waitUntil(lambda: not widget.run.running, timeout=LONG)
    result = viewer.layers[-1].data
    assert len(slow.read) <= len(done) + 2  # one on its way, one that napari draws
    assert result.shape == (300, 128, 128) and not result[len(done) + 1 :].any()
    assert result[: len(done)].any() and "Stopped" in widget.status.text() and notifications() == []
    assert widget.start_button.isEnabled() and widget.bar.isHidden()


@pytest.mark.parametrize("how", ["widget", "viewer", "image", "result"])
def test_closing_while_it_runs(qtbot, batch, stack, how: str) -> None:
    viewer, widget = batch()
    viewer.add_image(Slow(stack.images, 0.05).lazy(), name="lazy", contrast_limits=(0, 3000))
    viewer.add_image(stack.images[:2], name="other")
    refreshed(qtbot, widget)
    for position in range(2):
        tick(widget, position)
    widget.start_button.click()
    worker = widget.run._worker
    qtbot.waitUntil(lambda: "lazy – nuclei" in viewer.layers, timeout=LONG)
    if how == "widget":
        viewer.window.remove_dock_widget(widget)
        assert widget._closed and "lazy – nuclei" in viewer.layers
    elif how == "viewer":
        viewer.close()
        qtbot.waitUntil(lambda: widget._closed, timeout=LONG)
        assert not worker.is_running
    else:
        viewer.layers.remove("lazy" if how == "image" else "lazy – nuclei")
    qtbot.waitUntil(lambda: not worker.is_running, timeout=LONG)
    settled(qtbot)
    if how in ("image", "result"):  # the other image is not concerned
        assert viewer.layers["other – nuclei"].data.any()
        assert ("lazy – nuclei" in viewer.layers) == (how == "image")
        assert "Done" in widget.status.text()
    assert notifications() == []


# Bad input


def test_nothing_to_do(qtbot, batch, stack, prompt) -> None:
    viewer, widget = batch(prompt=None, nuclei=stack.images)
    widget.start_button.click()
    assert notifications() == ["There is no prompt yet; open a prompt file first."]
    widget.use_prompt(prompt)
    tick(widget, 0, False)
    widget.start_button.click()
    assert notifications()[1:] == ["No image is ticked; tick the images to segment."]
    assert not widget.run.running and len(viewer.layers) == 1


def test_bad_planes_do_not_affect_the_others(qtbot, batch, stack, prompt, device) -> None:
    two = np.stack([stack.images] * 2, axis=-1)
    viewer, widget = batch(prompt=None, one=stack.images[0], two=two[:1])
    spoilt = unreadable(stack.images, 2, 4)
    viewer.add_image(spoilt, name="spoilt", contrast_limits=(0, 3000), visible=False)
    refreshed(qtbot, widget)
    widget.layers.tick_all(True)
    viewer.layers["two"].axis_labels = ("z", "y", "x", "c")
    wanting = replace(prompt, images=replace(prompt.images, channels=(0,)))
    widget.use_prompt(wanting, Path("a.pt"))
    run(qtbot, widget)
    (message,) = notifications()
    assert "spoilt, plane 2: Plane 2 of spoilt cannot be read (bad sector)" in message
    assert "1 more were left out too: 4" in message
    result = viewer.layers["spoilt – a"].data
    good = [0, 1, 3, 5]
    assert np.array_equal(result[good], ptsam.segment(stack.images[good], wanting, device=device))
    assert not result[[2, 4]].any()
    notification_manager.records.clear()
    widget.prompts.remove()
    widget.use_prompt(replace(prompt, images=replace(prompt.images, channels=(1,))), Path("b.pt"))
    run(qtbot, widget)
    assert len(notifications()) == 2 and all(
        "the prompt takes channel 1" in words for words in notifications()
    )
    assert [layer.name for layer in viewer.layers if "– b" in layer.name] == ["two – b"]


def test_a_layer_that_cannot_be_used(batch) -> None:
    _, widget = batch(prompt=None, five=np.zeros((2, 2, 2, 32, 32), np.uint8))
    assert "cannot be used" in widget.layers.item(0).text()
    assert "type a letter for each into the field Axes" in widget.layers.item(0).toolTip()
    widget.viewer.layers[0].axis_labels = ("t", "channel", "z", "y", "x")
    widget.layers.refresh()
    assert widget.layers.item(0).text() == "five – TCZYX 2 x 2 x 2 x 32 x 32"
    assert "4 planes, 2 channels" in widget.layers.item(0).toolTip()


def test_large_results_take_memory_only_where_written(monkeypatch) -> None:
    monkeypatch.setattr(labels_layers, "LARGE", 1000)
    large = labels_layers.blank((3, 40, 40), np.uint32)
    assert large.dtype == np.uint32 and not isinstance(large, np.ndarray)
    planes = Planes(np.zeros((3, 40, 40), np.uint8), "ZYX")
    large[1, :, :] = np.ones((40, 40), np.uint32)
    assert np.asarray(large[1]).all() and not np.asarray(large[0]).any() and len(planes) == 3
    assert isinstance(labels_layers.blank((3, 10, 10), np.uint8), np.ndarray)
