"""Layers of all kinds as planes, layers that fit them, and only what is needed is read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from napari.layers import Image, Labels

from conftest_widgets import LONG, annotate, refreshed, settled, train
from napari_ptsam.annotation.scheme import Scheme
from napari_ptsam.errors import InputError
from napari_ptsam.images.planes import TimeStep
from napari_ptsam.widgets.annotate.annotate_and_train import AnnotateAndTrain
from napari_ptsam.widgets.shared import labels_layers
from napari_ptsam.widgets.shared.folders import read_folder
from napari_ptsam.widgets.shared.labels_layers import (
    BACKGROUND,
    add_annotation_layer,
    class_colours,
    style_labels,
)
from napari_ptsam.widgets.shared.layers import (
    guess_channel_axis,
    image_planes,
    is_displaced,
    labels_planes,
    planes_by_labels,
)
from napari_ptsam.widgets.shared.view import go_to_plane, plane_in_view

SHAPE = 40, 50
"""Of the planes here."""


@pytest.fixture
def asleep(monkeypatch) -> None:
    """The backbone is not loaded: most of this file does without."""
    monkeypatch.setattr(AnnotateAndTrain, "_load", lambda self: None)


def array(*leading: int, kind: str = "numpy") -> Any:
    whole = np.arange(np.prod([*leading, *SHAPE]), dtype=np.uint32).reshape(*leading, *SHAPE)
    if kind == "dask":
        return da.from_array(whole, chunks=(*(1 for _ in leading), *SHAPE))
    if kind == "zarr":
        stored = zarr.create_array(
            zarr.storage.MemoryStore(), shape=whole.shape, chunks=whole.shape, dtype=whole.dtype
        )
        stored[:] = whole
        return stored
    return whole


# Images


@pytest.mark.parametrize("kind", ["numpy", "dask", "zarr"])
@pytest.mark.parametrize("leading", [(), (5,), (2, 3)])
def test_planes_of_all_kinds(leading: tuple[int, ...], kind: str) -> None:
    layer = Image(array(*leading, kind=kind), name="image", contrast_limits=(0, 9))
    planes = image_planes(layer)
    assert planes.leading == leading and planes.shape == SHAPE and planes.name == "image"
    last = len(planes) - 1
    assert np.array_equal(planes[last], array(*leading).reshape(-1, *SHAPE)[last])
    assert isinstance(planes[last], np.ndarray)


def test_colours_and_channels() -> None:
    rgb = image_planes(Image(np.zeros((5, *SHAPE, 3), np.uint8), rgb=True))
    assert rgb.rgb and rgb.leading == (5,) and rgb[0].shape == (*SHAPE, 3)
    layer = Image(array(4, 3))
    assert image_planes(layer).leading == (4, 3)
    channels = image_planes(layer, channel_axis=1)
    assert channels.channels == 3 and channels.leading == (4,)
    assert np.array_equal(channels[2], np.moveaxis(array(4, 3)[2], 0, -1))


def test_a_pyramid_is_read_at_its_finest() -> None:
    fine = array(3)
    layer = Image([fine, fine[:, ::2, ::2]], multiscale=True)
    assert np.array_equal(image_planes(layer)[1], fine[1])


def test_axes_that_are_too_many() -> None:
    layer = Image(array(2, 3, 2), name="five")
    with pytest.raises(InputError, match="five has 5 axes; choose below the table"):
        image_planes(layer)
    assert image_planes(layer, 1).channels == 3
    with pytest.raises(InputError, match="six has 6 axes; take one with 2"):
        image_planes(Image(array(2, 3, 2, 2), name="six"))


def test_labels_tell_the_axes() -> None:
    for labels, axes in (
        (("time", "y", "x"), "TYX"), (("slice", "row", "column"), "ZYX"), (("c", "y", "x"), "CYX"),
        (("image", "y", "x"), "IYX"), (None, "ZYX"), (("t", "-2", "-1"), "TYX"),
        (("y", "z", "x"), "ZYX"),  # y and x are the last axes for those who annotate
    ):  # fmt: skip
        layer = Image(array(3), axis_labels=labels)
        assert image_planes(layer, guess_channel_axis(layer)).axes == axes
    samples = Image(np.zeros((*SHAPE, 3)), axis_labels=("y", "x", "samples"), rgb=False)
    assert planes_by_labels(samples).axes == "YXC"
    long = Image(array(1, 3, 1, 2), axis_labels=None)
    assert image_planes(long).extent == (3, 2, *SHAPE)
    series = Image(array(3), axis_labels=("t", "y", "x"), scale=(5, 1, 1), units=("min", "", ""))
    assert image_planes(series).time_step == TimeStep(5.0, "minute")


@pytest.mark.parametrize(
    ("units", "size"),
    [
        (("um", "um", "um"), (2.0, 0.5, 0.25)),
        (("s", "um", "um"), (None, 0.5, 0.25)),
        (("nm", "nm", "um"), (0.002, 0.0005, 0.25)),
        (("um", "um", "s"), None),
        (("pixel", "pixel", "pixel"), None),
    ],
)
def test_pixel_sizes(units: tuple[str, ...], size: tuple[Any, ...] | None) -> None:
    layer = Image(array(3), scale=(2, -0.5, 0.25), units=units)
    found = image_planes(layer).pixel_size
    assert (None if found is None else (found.z, found.y, found.x)) == size
    assert found is None or found.unit == "micrometer"


# Annotation layers


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
@pytest.mark.parametrize("leading", [(), (5,), (2, 3)])
def test_an_annotation_layer_fits_its_image(make_napari_viewer, leading) -> None:
    viewer = make_napari_viewer()
    ndim = len(leading) + 2
    rng = np.random.default_rng(ndim)
    affine = np.eye(ndim + 1)
    affine[:-1, :] += rng.normal(0, 0.1, (ndim, ndim + 1))
    layer = viewer.add_image(
        array(*leading), name="image", scale=rng.uniform(0.5, 2, ndim),
        translate=rng.normal(0, 9, ndim), affine=affine, units=("um",) * ndim,
        rotate=np.linalg.qr(rng.normal(0, 1, (ndim, ndim)))[0],
        shear=rng.normal(0, 0.2, ndim * (ndim - 1) // 2),
        axis_labels=("t", "z", "y", "x")[-ndim:],
    )  # fmt: skip
    labels = add_annotation_layer(viewer, layer, image_planes(layer), Scheme())
    assert labels.data.shape == layer.data.shape and not labels.data.any()
    for point in np.eye(ndim + 1, ndim) * 20:
        assert np.allclose(labels.data_to_world(point), layer.data_to_world(point))
    assert labels.units == layer.units and labels.axis_labels == layer.axis_labels
    for name in ("scale", "translate", "rotate", "shear"):
        assert np.allclose(getattr(labels, name), getattr(layer, name)), name
    assert np.allclose(labels.affine.affine_matrix, layer.affine.affine_matrix)
    assert not is_displaced(labels, layer)
    assert labels.name == "image annotation"


@pytest.mark.parametrize("axis", [0, 1])
def test_one_annotation_for_all_channels(make_napari_viewer, axis: int) -> None:
    viewer = make_napari_viewer()
    layer = viewer.add_image(array(*((3, 4) if axis == 0 else (4, 3))), scale=(2, 3, 0.5, 0.5))
    planes = image_planes(layer, axis)
    labels = add_annotation_layer(viewer, layer, planes, Scheme())
    assert labels.data.shape == ((1, 4, *SHAPE) if axis == 0 else (4, 1, *SHAPE))
    assert labels_planes(labels, planes).leading == (4,)
    # It covers the channels from the first to the last.
    first, last = np.zeros(4), np.zeros(4)
    last[axis] = 2
    for point in (first, last):
        at = labels.world_to_data(layer.data_to_world(point))
        assert -0.5 <= at[axis] <= 0.5


def test_a_large_annotation_takes_no_memory(monkeypatch, make_napari_viewer) -> None:
    monkeypatch.setattr(labels_layers, "LARGE", 1000)
    viewer = make_napari_viewer()
    layer = viewer.add_image(array(5))
    labels = add_annotation_layer(viewer, layer, image_planes(layer), Scheme())
    assert isinstance(labels.data, zarr.Array)
    labels.paint((2, 9, 9), 1)
    assert labels_planes(labels, image_planes(layer))[2].any()
    assert not labels_planes(labels, image_planes(layer))[1].any()


def test_labels_of_another_shape() -> None:
    planes = image_planes(Image(array(5), name="image"))
    with pytest.raises(InputError, match="shape 4 x 40 x 50, but image needs 5 x 40 x 50"):
        labels_planes(Labels(np.zeros((4, *SHAPE), int)), planes)
    with pytest.raises(InputError, match="shape 40 x 50"):
        labels_planes(Labels(np.zeros(SHAPE, int)), planes)


@pytest.mark.parametrize("change", [{"scale": (1, 2, 2)}, {"translate": (0, 0, 7)}, {}])
def test_labels_that_lie_elsewhere(change: dict[str, Any]) -> None:
    labels = Labels(np.zeros((5, *SHAPE), int), **change)
    assert is_displaced(labels, Image(array(5))) is bool(change)


def test_colours_of_classes() -> None:
    colours = class_colours({1: "#FF0000", 3: "#0000FF"})
    shown = colours.map(np.array([0, 1, 2, 3, 4]))
    assert shown[0][3] == 0
    assert np.allclose(shown[1], (1, 0, 0, 1)) and np.allclose(shown[3], (0, 0, 1, 1))
    assert np.allclose(shown[2], 1) and np.allclose(shown[4], 1)  # white: of no class


@pytest.mark.parametrize("colours", [{1: "#FF0000"}, {1: BACKGROUND, 2: "#FF0000"}])
def test_labels_of_no_class_are_white(colours: dict[int, str]) -> None:
    others = [label for label in range(1, 256) if label not in colours]
    assert np.allclose(class_colours(colours).map(np.array(others)), 1)


def test_objects_have_the_colours_of_new_labels_layers() -> None:
    labels = Labels(np.zeros((4, 4), np.uint16))
    expected = labels.colormap.map(np.arange(60))
    style_labels(labels, Scheme(("nucleus", "debris")))
    style_labels(labels, Scheme())
    assert np.allclose(labels.colormap.map(np.arange(60)), expected)


# The plane in view


@pytest.mark.parametrize("scale", [1.0, 0.3, 2.5])
def test_going_to_planes(make_napari_viewer, scale: float) -> None:
    viewer = make_napari_viewer()
    viewer.add_image(np.zeros((9, 2, 3, *SHAPE), np.uint8), name="with more axes")
    layer = viewer.add_image(array(2, 3), scale=(scale,) * 4, translate=(0.2,) * 4)
    planes = image_planes(layer)
    for number in (5, 0, 3):
        go_to_plane(viewer, layer, planes, number)
        assert plane_in_view(viewer, layer, planes) == number
    viewer.dims.order = (0, 1, 4, 2, 3)
    assert plane_in_view(viewer, layer, planes) is None


def test_a_plane_beyond_the_stack_is_none_of_it(make_napari_viewer) -> None:
    viewer = make_napari_viewer()
    short = viewer.add_image(array(3))
    viewer.add_image(array(9))
    viewer.dims.set_point(0, 2)
    assert plane_in_view(viewer, short, image_planes(short)) == 2
    viewer.dims.set_point(0, 3)
    assert plane_in_view(viewer, short, image_planes(short)) is None
    viewer.dims.ndisplay = 3
    viewer.dims.set_point(0, 1)
    assert plane_in_view(viewer, short, image_planes(short)) is None


# In the widget


def test_channels_are_chosen_in_the_table(qtbot, dock, told, asleep) -> None:
    viewer, widget = dock(image=array(3, 4).astype(np.uint16))
    images = widget.images
    source = widget.session_model.images[0]
    assert source.planes.leading == (3, 4) and not images.channels.isHidden()
    images.channels.axis.setCurrentIndex(1)
    images.channels.axis.activated.emit(1)
    assert source.planes.channels == 3 and source.planes.leading == (4,)
    images.channels.numbers.setText("0,2")
    images.channels.numbers.editingFinished.emit()
    assert source.channels == (0, 2) and told == []
    for words in ("0,7", "red", "0,1,2,0"):
        images.channels.numbers.setText(words)
        images.channels.numbers.editingFinished.emit()
        assert words in told[-1] and source.channels == (0, 2)
        assert images.channels.numbers.text() == "0,2"
    assert len(told) == 3
    refreshed(qtbot, widget)
    assert images.table.item(0, 1).text() == "4 planes, 3 channels"
    assert "40 x 50" in images.table.item(0, 1).toolTip()
    widget.annotate.add.click()
    assert widget.session_model.images[0].labels.data.shape == (1, 4, *SHAPE)
    assert len(viewer.layers) == 2


def test_named_channels_are_found(qtbot, dock, asleep) -> None:
    viewer, widget = dock()
    viewer.add_image(array(2, 3, 2).astype(np.uint8), axis_labels=("t", "z", "channel", "y", "x"))
    qtbot.waitUntil(lambda: len(widget.session_model.images) == 1)
    assert widget.session_model.images[0].planes.axes == "TZCYX"


@pytest.mark.parametrize("same", [True, False])
def test_a_folder_is_a_stack_or_a_list(qtbot, dock, told, asleep, tmp_path, same) -> None:
    for number in range(3):
        plane = array()[: SHAPE[0] - (0 if same else number)].astype(np.uint16) + number
        tifffile.imwrite(tmp_path / f"{number}.tif", plane)
    viewer, widget = dock()
    widget.images.open_folder(tmp_path)
    qtbot.waitUntil(lambda: len(widget.session_model.images) == (1 if same else 3), timeout=LONG)
    if same:
        assert viewer.layers[0].data.shape == (3, *SHAPE)
        assert np.array_equal(widget.session_model.images[0].planes[2], array() + 2)
    else:
        assert [layer.data.shape[0] for layer in viewer.layers] == [40, 39, 38]
        widget.session_model.add_annotation_layers()
        assert [layer.visible for layer in viewer.layers] == [True, False, False] * 2
        widget.session_model.show_plane(widget.session_model.images[1], 0)
        assert [layer.visible for layer in viewer.layers] == [False, True, False] * 2
    assert told == []


def test_a_folder_is_not_read_before_it_is_shown(tmp_path, monkeypatch) -> None:
    for number in range(4):
        tifffile.imwrite(tmp_path / f"{number}.tif", array().astype(np.uint16))
    (found,) = [result for result in read_folder(tmp_path) if result is not None]
    with dask.config.set(scheduler="sync"):
        Path(tmp_path / "3.tif").unlink()
        assert np.array_equal(np.asarray(found[0]["data"][1]), array())


def test_a_bright_pixel_does_not_make_a_folder_dark(tmp_path) -> None:
    for number in range(5):
        plane = np.full((64, 64), 100, np.uint16)
        plane[20:40, 20:40], plane[0, 0] = 200 + number, 65535
        tifffile.imwrite(tmp_path / f"{number}.tif", plane)
    (found,) = [result for result in read_folder(tmp_path) if result is not None]
    assert found[0]["contrast_limits"] == (100, 204)


def test_only_the_planes_needed_are_read(qtbot, dock, told, stack) -> None:
    """Choosing, annotating, saving, training and the preview of one plane read this plane."""
    read: Counter[int] = Counter()

    def plane(number: int) -> np.ndarray:
        read[number] += 1
        return stack.images[number % 6]

    planes = [da.from_delayed(dask.delayed(plane)(n), (128, 128), np.uint16) for n in range(50)]
    viewer, widget = dock()
    viewer.add_image(da.stack(planes), name="lazy", contrast_limits=(0, 4000))
    qtbot.waitUntil(lambda: len(widget.session_model.images) == 1)
    viewer.dims.set_point(0, 8)
    by_napari = set(read) | {8}  # what is shown, and its thumbnail
    assert len(by_napari) < 5
    annotate(qtbot, widget, stack, [2])
    qtbot.waitUntil(lambda: widget.saved.text().startswith("Saved in"), timeout=LONG)
    assert set(read) <= by_napari | {2}
    train(qtbot, widget, embeddings=1)
    assert widget.session_model.prompt is not None and told == []
    settled(qtbot, widget)
    assert set(read) == by_napari | {2}
