"""Add Labels layers that fit an image, in the colours of its classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.annotation.scheme import IGNORED_NAME
from napari_ptsam.errors import InputError
from napari_ptsam.widgets.shared.layers import ONE_AT_A_TIME, PLUGIN, layer_axes, placement

if TYPE_CHECKING:
    import napari
    from napari.layers import Labels, Layer
    from napari.utils.colormaps import CyclicLabelColormap

    from napari_ptsam.annotation.scheme import Scheme
    from napari_ptsam.images.planes import Planes

INSTANCE_COLOURS = 49
"""Number of colours of napari's new Labels layers. The first ones of its longer list are dark."""
CYCLE = 1024
"""Number of labels of a colormap for classes, with 0."""
LARGE = 2 * 2**30
"""Size in bytes above which labels are kept in chunks, which take memory only once they are
written to."""
BACKGROUND = "#808080"
"""Colour of scribbles on the background."""


def add_annotation_layer(
    viewer: napari.Viewer,
    layer: Layer,
    image: Planes,
    scheme: Scheme,
    masks: np.ndarray | None = None,
) -> Labels:
    """Add a Labels layer that fits an image.

    Parameters
    ----------
    viewer
        The viewer.
    layer, image
        The Image layer, and its planes.
    scheme
        Classes and the meaning of the labels.
    masks
        Labels that were made elsewhere: integer, shape of the leading axes, then y and x. By
        default, the layer is empty, and is marked as made here.
    """
    axes = layer_axes(layer, image)
    sizes = dict(zip(image.axes, image.array_shape, strict=True))
    shape = tuple(1 if axis == "C" else sizes[axis] for axis in axes)
    where = placement(layer)
    if "C" in axes:  # one plane for all channels, as thick as they are together
        axis, count = axes.index("C"), sizes["C"]
        where = placement(layer, {axis: (count - 1) / 2})
        where["scale"][axis] *= count
    data = blank(shape) if masks is None else masks.reshape(shape)
    labels = viewer.add_labels(data, name=f"{layer.name} annotation", opacity=0.6, **where)
    if masks is None:
        labels.metadata[PLUGIN] = "annotation"
        style_labels(labels, scheme)
    if layer.metadata.get(ONE_AT_A_TIME):
        labels.visible = layer.visible
        layer.events.visible.connect(lambda: setattr(labels, "visible", layer.visible))
    return labels


def blank(shape: tuple[int, ...], dtype: Any = np.uint16) -> Any:
    """Return an array of zeros; a large one takes memory only where it is written to.

    Raises
    ------
    InputError
        If the array is large and zarr is not installed.
    """
    dtype = np.dtype(dtype)
    if np.prod(shape, dtype=np.int64) * dtype.itemsize < LARGE:
        return np.zeros(shape, dtype)
    try:
        import zarr
    except ImportError as error:
        raise InputError(
            "The image is so large that labels for it need the package zarr; install it "
            "(pip install zarr)."
        ) from error
    chunk = (*(1 for _ in shape[:-2]), *(min(side, 2048) for side in shape[-2:]))
    return zarr.create_array(zarr.storage.MemoryStore(), shape=shape, chunks=chunk, dtype=dtype)


def style_labels(labels: Labels, scheme: Scheme) -> None:
    """Set the colours and names of the classes; instances have the colours of new Labels layers."""
    from napari.utils.colormaps import label_colormap

    from napari_ptsam.widgets.shared.ignored_colour import with_grey

    names = {0: "not labelled" if scheme.sparse else "background"}
    if scheme.sparse:
        names[scheme.background] = "background"
    if scheme.instances:
        labels.colormap = with_grey(label_colormap(INSTANCE_COLOURS), scheme.ignored)
    else:
        names |= dict(zip(scheme.values, scheme.classes, strict=True))
        colours = dict(zip(scheme.values, scheme.colours, strict=True))
        if scheme.sparse:
            colours[scheme.background] = BACKGROUND
        labels.colormap = with_grey(class_colours(colours), scheme.ignored)
    if scheme.ignored:
        names[scheme.ignored] = IGNORED_NAME
    labels.features = {"index": list(names), "name": list(names.values())}


def class_colours(colours: dict[int, str]) -> CyclicLabelColormap:
    """Return a colormap with the colour ``#RRGGBB`` of each label; other labels are white.

    napari's `DirectLabelColormap` compiles code when it is first used, which
    blocks the window for seconds. A cyclic colormap looks the same here, up to the label
    `CYCLE`, after which its colours are repeated.
    """
    from napari.utils.colormaps import CyclicLabelColormap

    listed = np.ones((CYCLE, 4), np.float32)
    listed[0] = 0
    for label, colour in colours.items():
        listed[label, :3] = np.frombuffer(bytes.fromhex(colour[1:]), np.uint8) / 255
    return CyclicLabelColormap(colors=listed, name="classes")


def warm_up() -> None:
    """Let napari compile the code that draws and paints labels. Call this in a worker.

    The viewer must have had a layer before. The first layer of a process sets up pint's registry
    of units, and two threads that do so at the same time get errors.
    """
    from napari.layers import Labels

    labels = Labels(np.zeros((1, 8, 8), np.uint16))
    labels.paint((0, 2, 2), 1)
