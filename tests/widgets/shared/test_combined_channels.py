"""Channels that lie in several layers, as one image."""

from __future__ import annotations

import numpy as np
import pytest

from conftest_batch import run
from conftest_widgets import LONG, refreshed
from napari_ptsam.errors import InputError
from napari_ptsam.images.channels import channels_of
from napari_ptsam.widgets.shared.combined_channels import combine_channels
from napari_ptsam.widgets.shared.layers import guess_channel_axis, image_planes
from napari_ptsam.widgets.shared.view import is_shown, show_image

pytestmark = pytest.mark.usefixtures("loaded")


def test_two_layers_become_one_image(make_napari_viewer, nuclei) -> None:
    viewer, stack = make_napari_viewer(), np.stack(nuclei[0][:3])
    place = {"scale": (2, 0.5, 0.5), "translate": (0, 3, 4), "axis_labels": ("z", "y", "x")}
    layers = [
        viewer.add_image(stack, name="DAPI", units=("um",) * 3, **place),
        viewer.add_image(stack[::-1].astype(np.uint8), name="GFP", units=("um",) * 3, **place),
    ]
    layers[1].scale = (2, 0.5001, 0.5)  # rounded by another program
    combined = combine_channels(viewer, layers[::-1])
    planes = image_planes(combined, guess_channel_axis(combined))
    assert (planes.axes, planes.channels, planes.leading) == ("ZYXC", 2, (3,))
    assert channels_of(planes).names == ("DAPI", "GFP")
    assert np.array_equal(planes[0], np.stack([stack[0], stack[2].astype(np.uint8)], -1))
    assert planes.pixel_size == image_planes(layers[0]).pixel_size
    assert np.allclose(combined.data_to_world((1, 10, 20)), layers[0].data_to_world((1, 10, 20)))
    assert viewer.dims.ndim == 3  # no slider for channels
    shown = np.asarray(combined.data[0])
    assert shown.shape == (*stack.shape[1:], 3) and shown.max() == 255
    # The channels stay in view, in their colours.
    assert all(layer.visible for layer in layers) and not combined.visible and is_shown(combined)
    show_image(combined, False)
    assert not any(layer.visible for layer in (*layers, combined)) and not is_shown(combined)
    for layer in layers:
        viewer.layers.remove(layer)
    assert combined.visible and is_shown(combined)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"data": np.zeros((40, 40), np.uint8)}, "same size"),
        ({"data": np.zeros((40, 48), np.uint8), "scale": (2, 2)}, "lies elsewhere"),
        ({"data": np.zeros((40, 48), np.uint8), "rotate": 20}, "rotated"),
        ({"data": np.zeros((40, 48, 3), np.uint8), "rgb": True}, "several channels already"),
    ],
)
def test_layers_that_do_not_fit(other, words, make_napari_viewer) -> None:
    viewer = make_napari_viewer()
    layers = [viewer.add_image(np.zeros((40, 48), np.uint8)), viewer.add_image(**other)]
    with pytest.raises(InputError, match=words):
        combine_channels(viewer, layers)
    with pytest.raises(InputError, match="1 is ticked"):
        combine_channels(viewer, layers[:1])
    assert len(viewer.layers) == 2


def test_channels_are_combined_in_both_docks(qtbot, dock, batch, nuclei, prompt, told) -> None:
    stack = np.stack(nuclei[0][:2])
    _, widget = dock(DAPI=stack, GFP=stack[::-1])
    refreshed(qtbot, widget)
    model = widget.session_model
    widget.images._tick_all(True)
    assert len(model.images) == 2
    widget.images._combine()
    (image,) = model.images
    assert image.layer.name == "DAPI + GFP" and image.planes.channel_names == ("DAPI", "GFP")
    model.add_annotation_layers()
    assert np.squeeze(image.labels.data).shape == stack.shape
    widget.images._combine()
    assert "1 is ticked" in told[-1]

    viewer, segmenting = batch(DAPI=stack, GFP=stack[::-1])
    refreshed(qtbot, segmenting)
    segmenting.layers.tick_all(True)
    segmenting.images.combine.click()
    segmenting.layers.tick_all(True)  # its channels are no images of their own
    (layer,) = segmenting.layers.ticked()
    assert layer.name == "DAPI + GFP"
    segmenting.channels.numbers.setText("0")
    segmenting.channels.changed.emit()
    run(qtbot, segmenting)
    qtbot.waitUntil(lambda: len(viewer.layers) == 4, timeout=LONG)
    result = viewer.layers[-1]
    assert np.squeeze(result.data).any() and result.visible
    for channel in ("DAPI", "GFP"):  # a result is shown and hidden with its image
        viewer.layers[channel].visible = False
    assert not result.visible
