"""Combine layers that hold one channel each, as napari opens many files, into one image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.errors import InputError
from napari_ptsam.widgets.shared.layers import CHANNEL_NAMES, guess_channel_axis, placement

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

ROUNDING = 1e-3
"""Largest relative difference of pixel sizes that are the same but for rounding."""
MOST_CHANNELS = 3
"""Largest number of channels that a prompt is shown."""


def combine_channels(viewer: napari.Viewer, layers: Sequence[Image]) -> Image:
    """Add one image whose channels are layers, and hide these.

    The pixels are read when they are needed. The layers become the channels in the order of
    the layer list, from the bottom to the top, and give them their names.

    Parameters
    ----------
    viewer
        The viewer.
    layers
        Two or three Image layers with one channel each, of the same size and place.

    Returns
    -------
    napari.layers.Image
        The new layer, which has the channels on the axis before y and x, labelled ``channel``.

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
    at = first.ndim - 2
    arrays = [layer.data[0] if layer.multiscale else layer.data for layer in layers]
    stacked = da.stack([_lazy(array) for array in arrays], axis=at)
    where: dict[str, Any] = {
        "scale": np.insert(first.scale, at, 1.0),
        "translate": np.insert(first.translate, at, 0.0),
        "axis_labels": (*first.axis_labels[:at], "channel", *first.axis_labels[at:]),
        "units": (*map(str, first.units[:at]), "pixel", *map(str, first.units[at:])),
    }
    names = [layer.name for layer in layers]
    limits = [layer.contrast_limits for layer in layers]
    combined = viewer.add_image(
        stacked,
        name=" + ".join(names),
        contrast_limits=(min(low for low, _ in limits), max(high for _, high in limits)),
        metadata={CHANNEL_NAMES: names},
        **where,
    )
    for layer in layers:
        layer.visible = False
    return combined


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
