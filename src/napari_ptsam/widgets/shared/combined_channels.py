"""Combine layers that hold one channel each, as napari opens many files, into one image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.errors import InputError
from napari_ptsam.widgets.shared.layers import (
    CHANNEL_LAYERS,
    CHANNEL_NAMES,
    CHANNEL_PIXELS,
    guess_channel_axis,
    placement,
)

if TYPE_CHECKING:
    import napari
    from napari.layers import Image, Layer

ROUNDING = 1e-3
"""Largest relative difference of pixel sizes that are the same but for rounding."""
MOST_CHANNELS = 3
"""Largest number of channels that a prompt is shown."""


def combine_channels(viewer: napari.Viewer, layers: Sequence[Image]) -> Image:
    """Add one image whose channels are layers.

    The pixels are read when they are needed. The layers become the channels in the order of
    the layer list, from the bottom to the top, and give them their names. They stay in view, in
    their colours, and the new layer is hidden until they are removed.

    Parameters
    ----------
    viewer
        The viewer.
    layers
        Two or three Image layers with one channel each, of the same size and place.

    Returns
    -------
    napari.layers.Image
        The new layer. It has the axes of the others, so that the viewer needs no slider for
        channels, and shows them together in their present colours. The channels are in its metadata.

    Raises
    ------
    InputError
        If the layers do not fit each other.
    """
    order = {id(layer): position for position, layer in enumerate(viewer.layers)}
    layers = sorted(layers, key=lambda layer: order.get(id(layer), -1))
    _check(layers)
    import dask.array as da

    first = layers[0]
    arrays = [layer.data[0] if layer.multiscale else layer.data for layer in layers]
    pixels = da.stack([_lazy(array) for array in arrays], axis=-1).rechunk({first.ndim: -1})
    names = [layer.name for layer in layers]
    combined = viewer.add_image(
        _in_colours(pixels, layers),
        rgb=True,
        name=" + ".join(names),
        metadata={CHANNEL_PIXELS: pixels, CHANNEL_NAMES: names, CHANNEL_LAYERS: list(layers)},
        visible=False,
        **placement(first),
    )
    _show_without_channels(viewer, combined)
    return combined


def _in_colours(pixels: Any, layers: Sequence[Image]) -> Any:
    """Return channels as the viewer shows them now, added up: uint8, shape (..., y, x, 3)."""
    shown = [(layer.contrast_limits, layer.colormap) for layer in layers]

    def add_up(block: np.ndarray) -> np.ndarray:
        colours = np.zeros((*block.shape[:-1], 3), np.float32)
        for channel, ((low, high), colormap) in enumerate(shown):
            bright = (block[..., channel].astype(np.float32) - low) / max(high - low, 1e-9)
            mapped = colormap.map(np.clip(np.nan_to_num(bright), 0, 1).ravel())
            colours += mapped[:, :3].reshape(colours.shape)
        return (255 * np.clip(colours, 0, 1)).astype(np.uint8)

    return pixels.map_blocks(
        add_up, chunks=(*pixels.chunks[:-1], (3,)), meta=np.empty((0,) * pixels.ndim, np.uint8)
    )


def _show_without_channels(viewer: napari.Viewer, combined: Image) -> None:
    """Show an image once the layers that show its channels are removed."""

    def removed(event: Any) -> None:
        channels: list[Layer] = combined.metadata[CHANNEL_LAYERS]
        if event.value is combined:
            viewer.layers.events.removed.disconnect(removed)
        elif event.value in channels:
            channels.remove(event.value)
            if not channels and combined in viewer.layers:
                combined.visible = True

    viewer.layers.events.removed.connect(removed)


def _lazy(array: Any) -> Any:
    import dask.array as da

    # A chunk for each plane, so that showing or segmenting one does not read the others.
    chunks = (1,) * (array.ndim - 2) + tuple(array.shape[-2:])
    return array if isinstance(array, da.Array) else da.from_array(array, chunks, name=False)


def _check(layers: Sequence[Image]) -> None:
    if not 2 <= len(layers) <= MOST_CHANNELS:
        raise InputError(
            f"Tick the 2 or {MOST_CHANNELS} images that are the channels of one image; "
            f"{len(layers) or 'none'} {'is' if len(layers) == 1 else 'are'} ticked."
        )
    first = layers[0]
    for layer in layers:
        if layer.rgb or guess_channel_axis(layer) is not None:
            raise InputError(
                f"{layer.name} has several channels already; tick images with one each."
            )
        if layer.data.shape != first.data.shape:
            raise InputError(
                f"{layer.name} has the size {_size(layer)}, but {first.name} has {_size(first)}; "
                "channels of one image have the same size."
            )
        same_scale = np.allclose(layer.scale, first.scale, rtol=ROUNDING)
        if not same_scale or not np.allclose(layer.translate, first.translate):
            raise InputError(
                f"{layer.name} lies elsewhere than {first.name}; give both layers the same scale and "
                "position."
            )
        where = placement(layer)
        turned = not np.allclose(where["rotate"], np.eye(layer.ndim)) or np.any(where["shear"])
        if turned or not np.allclose(layer.affine.affine_matrix, np.eye(layer.ndim + 1)):
            raise InputError(
                f"{layer.name} is rotated, sheared or moved by a transform; combine the channels before "
                "that."
            )


def _size(layer: Image) -> str:
    return " x ".join(map(str, layer.data.shape))
