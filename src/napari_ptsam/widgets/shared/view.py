"""What a viewer shows: images, and the plane in view."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.widgets.shared.layers import CHANNEL_LAYERS, ONE_AT_A_TIME, layer_axes

if TYPE_CHECKING:
    import napari
    from napari.layers import Layer

    from napari_ptsam.images.planes import Planes


def layers_in_view(layer: Layer) -> list[Layer]:
    """Return the layers that show an image: its own, and those of its channels if there are any."""
    return [layer, *layer.metadata.get(CHANNEL_LAYERS, ())]


def is_shown(layer: Layer) -> bool:
    """Return whether an image is shown, as a whole or by one of its channels."""
    return any(shown.visible for shown in layers_in_view(layer))


def show_image(layer: Layer, shown: bool = True) -> None:
    """Show or hide an image: its channels, if these lie in layers of their own."""
    own, *channels = layers_in_view(layer)
    for each in channels or [own]:
        each.visible = shown


def show_one_at_a_time(layers: Sequence[Layer]) -> None:
    """Show the first of several images that lie in one place; showing another hides the rest."""

    def hide_others(event: Any) -> None:
        shown = event.source
        for other in layers if shown.visible else ():
            if other is not shown:
                other.visible = False

    for number, layer in enumerate(layers):
        layer.visible = number == 0
        layer.metadata[ONE_AT_A_TIME] = True
        layer.events.visible.connect(hide_others)


def zoom_to(viewer: napari.Viewer, layer: Layer) -> None:
    """Fit a layer to the canvas."""
    if "layers" in signature(viewer.reset_view).parameters:
        viewer.reset_view(layers=[layer])
    else:  # napari before 0.9
        viewer.reset_view()


def plane_in_view(viewer: napari.Viewer, layer: Layer, image: Planes) -> int | None:
    """Return the number of the image's plane that the viewer shows; None if it shows none."""
    displayed = tuple(viewer.dims.displayed)
    if displayed != (viewer.dims.ndim - 2, viewer.dims.ndim - 1):
        return None
    position = np.asarray(layer.world_to_data(viewer.dims.point))
    axes = layer_axes(layer, image)
    index = [
        int(np.round(at)) for at, axis in zip(position, axes, strict=True) if axis not in "YXC"
    ]
    if any(not 0 <= at < size for at, size in zip(index, image.leading, strict=True)):
        return None
    return int(np.ravel_multi_index(index, image.leading)) if index else 0


def go_to_plane(viewer: napari.Viewer, layer: Layer, image: Planes, number: int) -> None:
    """Make the viewer show a plane of an image."""
    axes = layer_axes(layer, image)
    leading = image.position(number)
    position = [float(leading.get(axis, 0)) for axis in axes]
    world = layer.data_to_world(position)
    for axis in range(layer.ndim):
        if axes[axis] not in "YXC":
            viewer.dims.set_point(viewer.dims.ndim - layer.ndim + axis, world[axis])
    if layer.metadata.get(ONE_AT_A_TIME):
        layer.visible = True
