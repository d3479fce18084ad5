"""Read napari's layers as planes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from napari.layers import Image, Labels

from napari_ptsam.errors import InputError
from napari_ptsam.images.axes import NAMES
from napari_ptsam.images.planes import Planes
from napari_ptsam.widgets.shared.layer_axes import (
    MOST_AXES,
    axis_names,
    default_axes,
    labelled_axes,
    layer_pixel_size,
    layer_time_step,
)

if TYPE_CHECKING:
    import napari
    from napari.layers import Layer


Wrapped = TypeVar("Wrapped")


PLUGIN, RESULT = "napari-ptsam", "result"
"""Key in a layer's metadata for its purpose, and the value for results of a segmentation."""
CHANNEL_NAMES = "napari-ptsam channels"
"""Key in a layer's metadata for the names of its channels."""
CHANNEL_LAYERS = "napari-ptsam channel layers"
"""Key in a layer's metadata for the layers that show its channels in its place."""
CHANNEL_PIXELS = "napari-ptsam channel pixels"
"""Key in a layer's metadata for an array with the axes of the layer, then one of channels. It is
read in place of the layer's own pixels, which only show the channels in colours."""
ONE_AT_A_TIME = "napari-ptsam one at a time"
"""Key in the metadata of images of which only one is shown."""


class TooManyAxesError(InputError):
    """A layer has more axes than can be told apart without labels, or fewer than a plane."""


@dataclass(frozen=True)
class LayerPixels:
    """The pixels of a layer.

    Attributes
    ----------
    array
        An array with ``shape``, ``dtype`` and indexing, such as numpy, dask or
        zarr. Its axes are those of the layer; if `rgb` or `channels` is set, colours or
        channels follow.
    rgb
        Whether the last axis holds red, green and blue.
    channels
        Whether the last axis holds channels that the layer does not have as an axis.
    """

    array: Any
    rgb: bool = False
    channels: bool = False


def _pixels_of_image(layer: Image) -> LayerPixels:
    """Return the full resolution of an Image layer, or its channels if these are combined."""
    if CHANNEL_PIXELS in layer.metadata:
        return LayerPixels(layer.metadata[CHANNEL_PIXELS], channels=True)
    return LayerPixels(layer.data[0] if layer.multiscale else layer.data, layer.rgb)


LAYER_CLASSES: dict[type[Layer], Callable[[Any], LayerPixels]] = {
    Image: _pixels_of_image,
}
"""The classes of layers that can be read as images, each with a function that returns the
pixels. Subclasses are read like their base."""


def _reader_of(layer: Layer) -> Callable[[Any], LayerPixels] | None:
    return next((read for kind, read in LAYER_CLASSES.items() if isinstance(layer, kind)), None)


def without_proxy(it: Wrapped) -> Wrapped:
    """Return a viewer or a layer itself, in place of the proxy that napari passes to plugins.

    Layers that are added through a proxy are proxies, too. They are equal to the layers that
    events and the layer list give, but not the same objects. At every access to a private
    attribute, a proxy shows the user a warning.
    """
    plain: Wrapped = getattr(it, "__wrapped__", it)
    return plain


def is_image_layer(layer: Layer) -> bool:
    """Return whether a layer's class can be read as an image."""
    return _reader_of(layer) is not None


def image_layers(viewer: napari.Viewer) -> list[Any]:
    """Return the images of a viewer, in its order: layers whose class can be read as an image.

    Results, such as probabilities, are left out.
    """
    return [
        layer
        for layer in viewer.layers
        if is_image_layer(layer) and layer.metadata.get(PLUGIN) != RESULT
    ]


def without_channels(layers: Sequence[Any]) -> list[Any]:
    """Return images without those that are shown as channels of another one."""
    channels = [channel for layer in layers for channel in layer.metadata.get(CHANNEL_LAYERS, ())]
    return [layer for layer in layers if all(layer is not channel for channel in channels)]


def layer_axes(layer: Layer, image: Planes) -> str:
    """Return the letters of a layer's axes: those of its image, without channels it has not."""
    axes = image.data_axes
    return axes if len(axes) == layer.ndim else axes.replace("C", "")


def guess_channel_axis(layer: Layer) -> int | None:
    """Return the axis of the layer that is labelled as channels, if any."""
    reader = _reader_of(layer)
    if reader is None or layer.data is None:
        return None
    names = [str(name).lower() for name in axis_names(layer, reader(layer).array)]
    return next((i for i, name in enumerate(names) if name in NAMES["C"]), None)


def planes_by_labels(layer: Layer) -> Planes:
    """Return the planes of a layer, with y and x where the labels of its axes name them.

    Without such labels, the axes are taken in their order; see `image_planes`, also for errors.
    """
    reader, axes = _reader_of(layer), None
    if reader is not None and layer.data is not None:
        axes = labelled_axes(layer, reader(layer).array)
    return image_planes(layer, guess_channel_axis(layer), axes)


def image_planes(layer: Layer, channel_axis: int | None = None, axes: str | None = None) -> Planes:
    """Return the planes of a layer, without reading any pixels yet.

    Parameters
    ----------
    layer
        A layer of a class in `LAYER_CLASSES`, with the axes (y, x), (z or t, y, x)
        or (t, z, y, x), and colours or channels.
    channel_axis
        Axis of the layer that holds channels; None if there is none.
    axes
        One letter for each axis, if they are known. The number of axes is then
        not limited. By default, the labels of the axes tell them, or their order.

    Raises
    ------
    InputError
        If the layer's class cannot be read, the layer is empty, or its axes
        cannot be used.
    """
    read = _reader_of(layer)
    if read is None:
        kinds = " or ".join(kind.__name__ for kind in LAYER_CLASSES)
        raise InputError(
            f"The layer {layer.name} cannot be read as an image; choose a layer of the type {kinds}."
        )
    if layer.data is None:
        raise InputError(f"The layer {layer.name} is empty; choose another.")
    pixels = read(layer)
    if pixels.channels:
        axes, channel_axis = axes and axes.replace("C", ""), None
    axes = axes or default_axes(layer, pixels.array, channel_axis)
    if axes is None:
        plain = layer.ndim - (channel_axis is not None)
        hint = "choose below the table which of its axes holds channels, or "
        raise TooManyAxesError(
            f"The layer {layer.name} has {layer.ndim} axes; "
            f"{hint * (plain == MOST_AXES + 1)}take one with 2 (y, x) to 4 (t, z, y, x)."
        )
    planes = Planes(pixels.array, axes + "S" * pixels.rgb + "C" * pixels.channels, layer.name)
    planes.pixel_size = layer_pixel_size(layer, axes)
    planes.time_step = layer_time_step(layer, axes)
    if channel_axis is not None or pixels.channels:
        planes.channel_names = tuple(map(str, layer.metadata.get(CHANNEL_NAMES, ())))
    source = layer.source.path
    planes.path = Path(source) if source is not None else None
    return planes


def in_words(planes: Planes) -> tuple[str, str]:
    """Describe how an image is read: in a few words, and in full."""
    count = "1 plane" if len(planes) == 1 else f"{len(planes)} planes"
    colours = ", RGB" if planes.rgb else f", {planes.channels} channels" * (planes.channels > 1)
    short = f"{count}{colours}"
    return short, f"{short}, {planes.shape[0]} x {planes.shape[1]} pixels"


def labels_planes(layer: Labels, image: Planes) -> Planes:
    """Return the planes of an annotation layer.

    Raises
    ------
    InputError
        If the labels do not fit the image.
    """
    axes = image.data_axes
    expected = tuple(
        1 if a == "C" else n for a, n in zip(image.axes, image.array_shape, strict=True) if a != "S"
    )
    shape = tuple(layer.data.shape)
    without = tuple(n for a, n in zip(axes, expected, strict=True) if a != "C")
    if layer.multiscale or shape not in (expected, without):
        raise InputError(
            f"The labels {layer.name} have the shape {_times(shape)}, but {image.name} needs "
            f"{_times(without)}; choose other labels, or press “Add annotation layer”."
        )
    return Planes(layer.data, axes if shape == expected else axes.replace("C", ""), layer.name)


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def fits(labels: Labels, image: Planes) -> bool:
    """Return whether labels can annotate an image."""
    try:
        labels_planes(labels, image)
    except InputError:
        return False
    return True


def is_displaced(labels: Labels, image: Layer) -> bool:
    """Return whether labels are drawn at another position or scale than the image they fit."""
    corners = np.array([np.zeros(2), [labels.data.shape[-2], labels.data.shape[-1]]])
    of_labels, of_image = (_corners(layer, corners) for layer in (labels, image))
    return not np.allclose(of_labels, of_image, rtol=1e-3, atol=1e-6)


def _corners(layer: Layer, corners: np.ndarray) -> np.ndarray:
    lead = np.zeros(layer.ndim - 2)
    return np.array([layer.data_to_world([*lead, *corner])[-2:] for corner in corners])


def placement(layer: Layer, offset: dict[int, float] | None = None) -> dict[str, Any]:
    """Return the keywords that place another layer where a layer is.

    Parameters
    ----------
    layer
        Layer whose position is used.
    offset
        Position of the other layer's origin along axes, in pixels of this layer.
    """
    start = np.zeros(layer.ndim)
    for axis, pixels in (offset or {}).items():
        start[axis] = pixels
    translate = layer.translate
    if offset:
        # The affine is applied after the translation, so its effect on the offset is undone.
        translate = layer.affine.inverse(np.asarray(layer.data_to_world(start)))
    return {
        "scale": np.array(layer.scale), "translate": np.array(translate), "rotate": layer.rotate,
        "shear": layer.shear, "affine": layer.affine, "units": layer.units,
        "axis_labels": layer.axis_labels,
    }  # fmt: skip
