"""Batch segment: axes, ranges of planes, and the layers of the results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from napari.layers import Image

import napari_ptsam as ptsam
from conftest_batch import choose, notifications, run
from conftest_widgets import refreshed, settled
from napari_ptsam.images.planes import Planes
from napari_ptsam.images.tiling import Tiling
from napari_ptsam.inference.linking import Linker, LinkSettings
from napari_ptsam.inference.result import ResultSettings
from napari_ptsam.inference.segment import Segmenter
from napari_ptsam.widgets.batch import segmentation_run
from napari_ptsam.widgets.batch.layer_list import ImagePicker, planes_of
from napari_ptsam.widgets.batch.plane_features import show_features
from napari_ptsam.widgets.batch.task import ImageTask

pytestmark = pytest.mark.usefixtures("loaded")


def test_axes_are_typed_and_remembered(batch, stack) -> None:
    viewer, widget = batch(prompt=None, two=np.stack([stack.images[:2]] * 3))
    axes, item = widget.images.axes, widget.layers.item
    assert item(0).text() == "two – TZYX 3 x 2 x 128 x 128" and axes.text() == "TZYX"
    axes.setText("zcyx")
    axes.editingFinished.emit()
    assert item(0).text() == "two – ZCYX 3 x 2 x 128 x 128" and notifications() == []
    for wrong in ("ZZYX", "ZYX", "Z1YX", ""):
        axes.setText(wrong)
        axes.editingFinished.emit()
        assert axes.text() == "ZCYX"
    assert len(notifications()) == 4 and "The axes 'ZZYX' do not fit two" in notifications()[0]
    again = ImagePicker(viewer)  # as when the widget is opened again
    assert again.list.item(0).text() == "two – ZCYX 3 x 2 x 128 x 128"
    again.list.disconnect_viewer()
    task = ImageTask(viewer.layers[0], planes_of(viewer.layers[0]))
    series = viewer.add_image(np.stack([stack.images[:2]] * 2, axis=1), name="series")
    series.axis_labels = ("time", "c", "y", "x")
    assert planes_of(series).data_axes == "TCYX"
    assert task.shape == (3, 1, 128, 128) and task.planes.channels == 2


def test_transposed_planes(qtbot, batch, stack, prompt, device) -> None:
    viewer, widget = batch(transposed=stack.images[:2].transpose(0, 2, 1))
    widget.images.axes.setText("ZXY")
    widget.images.axes.editingFinished.emit()
    run(qtbot, widget)
    expected = ptsam.segment(stack.images[:2], prompt, device=device)
    assert (
        np.array_equal(viewer.layers[-1].data, expected.transpose(0, 2, 1))
        and notifications() == []
    )


def test_a_range_of_planes(qtbot, batch, stack, prompt, device) -> None:
    series = np.stack([stack.images, stack.images[::-1]])
    viewer, widget = batch(plane=stack.images[0], short=stack.images[:2], series=series)
    viewer.layers["series"].translate = (0, 7, 0, 0)
    choose(widget.planes.which, "range")
    assert (widget.planes.first.maximum(), widget.planes.last.value()) == (5, 5)
    widget.planes.first.setValue(3)
    widget.planes.last.setValue(4)
    run(qtbot, widget)
    assert notifications() == ["short has no planes 3 to 4: it has 0 to 1 along Z."]
    assert [layer.name for layer in viewer.layers[3:]] == ["plane – nuclei", "series – nuclei"]
    result = viewer.layers["series – nuclei"]
    expected = ptsam.segment(series[:, 3:5], prompt, device=device)
    assert np.array_equal(result.data, expected) and expected.any()
    assert np.allclose(result.data_to_world((1, 0, 2, 3)), (1, 10, 2, 3))


def test_objects_are_cleaned_and_linked_as_the_core_does(
    qtbot, batch, stack, prompt, backbone
) -> None:
    series = np.stack([stack.images[[0, 0, 1]], stack.images[[0, 0, 1]]])
    viewer, widget = batch(series=series)
    choose(widget.results.output, "instances")
    objects = widget.results.objects
    choose(objects.split, "components")
    objects.min_size.setValue(30)
    objects.fill_holes.setChecked(True)
    objects.remove_border.setChecked(True)
    objects.linked.setChecked(True)
    objects.gap.setValue(0)
    run(qtbot, widget)
    settings = ResultSettings("instances", "components", 30, True, True)
    segmenter, linker = Segmenter(prompt, backbone, settings), Linker(LinkSettings(gap=0))
    result = viewer.layers[-1].data
    for t in range(2):
        linker.start_stack()
        for z in range(3):
            assert np.array_equal(result[t, z], linker.link(segmenter.plane(series[t, z])))
    assert np.array_equal(result[0, 0], result[0, 1]) and result[0].any()
    assert not set(np.unique(result[0])) & set(np.unique(result[1])) - {0} and notifications() == []


def test_images_of_a_folder_are_not_linked(qtbot, batch, stack) -> None:
    folder = Image(stack.images[:2], name="folder", axis_labels=("image", "y", "x"))
    viewer, widget = batch(stack=stack.images[[0, 0]])
    choose(widget.results.output, "instances")
    linked = widget.results.objects.linked
    linked.setChecked(True)
    assert linked.isEnabled()
    viewer.add_layer(folder)
    refreshed(qtbot, widget)
    assert widget.layers.item(1).text() == "folder – IYX 2 x 128 x 128"
    widget.layers.tick_all(True)
    run(qtbot, widget)
    assert notifications() == []
    linked_result, other = viewer.layers[-2].data, viewer.layers[-1].data
    assert np.array_equal(linked_result[0], linked_result[1]) and linked_result.any()
    for plane in other:  # each counts from 1
        assert np.array_equal(np.unique(plane), np.arange(plane.max() + 1)) and plane.any()
    widget.layers._tick([folder])
    assert not linked.isEnabled() and widget.results.link() is None
    assert "independent" in linked.toolTip()


def test_probabilities_become_an_image_for_each_class(qtbot, batch, stack, prompt, device) -> None:
    two = replace(
        prompt, tokens=np.concatenate([prompt.tokens, prompt.tokens[:, ::-1]]),
        classes=("nucleus", "other"), colours=("#FF0000", "#00FF00"), markers=None,
    )  # fmt: skip
    viewer, widget = batch(prompt=None, nuclei=stack.images[:2])
    widget.use_prompt(two, Path("two.pt"))
    choose(widget.results.output, "probabilities")
    run(qtbot, widget)
    names = ["nuclei – two – nucleus", "nuclei – two – other"]
    assert [layer.name for layer in viewer.layers[1:]] == names
    expected = ptsam.segment(stack.images[:2], two, output="probabilities", device=device)
    for number, layer in enumerate(viewer.layers[1:]):
        assert np.allclose(layer.data, expected[number], atol=0.02)  # threads round otherwise
        assert layer.contrast_limits == [0, 1] and layer.blending == "additive"
        assert layer.colormap.colors[-1][number] == 1


def test_tiles_of_a_large_plane_are_counted(qtbot, batch, stack, prompt, monkeypatch) -> None:
    monkeypatch.setattr(segmentation_run, "TILE_REPORT_INTERVAL", 0.0)
    small = replace(prompt, images=replace(prompt.images, tiling=Tiling(64)))
    _, widget = batch(prompt=None, nuclei=stack.images[0])
    widget.use_prompt(small, Path("small.pt"))
    counted: list[tuple[int, int]] = []
    widget.run.tile_started.connect(lambda done, total: counted.append((done, total)))
    run(qtbot, widget)
    settled(qtbot, widget)
    assert counted == [(number, 9) for number in range(9)]


def test_two_docks_share_the_backbone(qtbot, batch, dock, stack) -> None:
    viewer, widget = batch(nuclei=stack.images[:2])
    _, other = dock(viewer)
    backbone_service = other.session_model.backbone_service
    assert backbone_service is widget.backbone_service and backbone_service.users == 2
    run(qtbot, widget)
    backbone = backbone_service.backbone()
    other.close_down(10)
    assert widget.backbone_service.backbone() is backbone and backbone_service._cache.size > 0
    widget.close_down(10)
    assert backbone_service.users == 0 and backbone_service._cache.size == 0


def test_results_are_measured_and_shown_with_their_image(qtbot, batch, stack) -> None:
    pyramid = [stack.images[:3], stack.images[:3, ::2, ::2], stack.images[:3, ::4, ::4]]
    viewer, widget = batch()
    where = {"scale": (2, 0.5, 0.5), "units": ("um",) * 3}
    image = viewer.add_image(pyramid, name="nuclei", multiscale=True, visible=False, **where)
    widget.layers.refresh()
    widget.layers.tick_all(True)
    choose(widget.results.output, "instances")
    widget.results.objects.linked.setChecked(True)
    run(qtbot, widget)
    result = viewer.layers["nuclei – nuclei"]
    assert result.multiscale and [level.shape for level in result.data] == [
        level.shape for level in pyramid
    ]
    # The nearest pixel of the full resolution, at an even number of pixels that below the centre.
    assert np.array_equal(result.data[1], result.data[0][:, 1::2, 1::2]) and result.data[2].any()
    assert not result.visible
    image.visible = True
    assert result.visible
    features, volume = result.features, result.data[0]
    assert features["index"].tolist() == list(range(volume.max() + 1))
    assert features["pixels"].tolist()[1:] == np.bincount(volume.ravel())[1:].tolist()
    assert np.allclose(features["volume_um3"][1:], features["pixels"][1:] * 0.5)
    assert f"{volume.max()} 3D objects" in widget.status.text()
    assert [layer.name for layer in widget.layers._layers] == ["nuclei"]


def test_labels_of_each_plane_are_described_on_that_plane(make_napari_viewer) -> None:
    """Where labels begin anew on each plane, the rows of the plane in view have their labels."""
    viewer = make_napari_viewer()
    planes = Planes(np.zeros((5, 16, 16), np.uint8), "ZYX", "nuclei").part("Z", 2, 5)
    labels = np.zeros((3, 16, 16), np.uint8)
    labels[:, 2:4, 2:4] = 1
    layer = viewer.add_labels(labels, translate=(2, 0, 0))
    sizes = {2: 4, 3: 7, 4: 9}
    features = {
        "index": np.array([f"z{z} label 1" for z in sizes], dtype=object),
        "label": np.ones(3, int), "z": np.array(list(sizes)), "pixels": np.array(list(sizes.values())),
    }  # fmt: skip
    show_features(viewer, layer, planes, features)
    for z, pixels in sizes.items():
        viewer.dims.set_point(0, z)
        status = layer.get_status(
            (z, 2, 2), view_direction=(1, 0, 0), dims_displayed=[1, 2], world=True
        )
        assert f"pixels: {pixels}" in status["coordinates"]
        rows = zip(sizes, layer.features["index"], strict=True)
        assert all(name == (1 if row == z else f"z{row} label 1") for row, name in rows)
    viewer.layers.remove(layer)
    viewer.dims.set_point(0, 0)


def test_own_results_are_not_offered_as_images(qtbot, batch, stack, prompt) -> None:
    viewer, widget = batch(nuclei=stack.images[0])
    choose(widget.results.output, "probabilities")
    run(qtbot, widget)
    widget.layers.refresh()
    assert len(viewer.layers) == 2 and widget.layers.count() == 1
    choose(widget.results.output, "labels")
    run(qtbot, widget)
    features = viewer.layers[-1].features
    assert features["name"].tolist() == ["background", *prompt.classes]
    assert features["pixels"][1] > 0
