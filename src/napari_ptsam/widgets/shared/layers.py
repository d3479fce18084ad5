"""napari's layers as planes, and layers that fit them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.errors import InputError
from napari_ptsam.images.planes import PixelSize, Planes

if TYPE_CHECKING:
    import napari
    from napari.layers import Image, Labels, Layer
    from napari.utils.colormaps import CyclicLabelColormap

    from napari_ptsam.annotation.scheme import Scheme

LETTERS = "TZYX"
MOST_AXES = len(LETTERS)
LARGE = 2 * 2**30
"""Bytes; larger labels are kept in chunks, of which only those written to take memory."""


def guess_channel_axis(layer: Image) -> int | None:
    """The axis that is labelled as channels, if any."""
    names = [str(name).lower() for name in layer.axis_labels]
    return next((i for i, name in enumerate(names) if name in ("c", "channel", "channels")), None)


def image_planes(layer: Image, channel_axis: int | None = None, axes: str | None = None) -> Planes:
    """An Image layer's planes; nothing is read yet.

    Parameters
    ----------
    layer
        2D, RGB, (z|t, y, x) or (t, z, y, x); numpy, dask or zarr behind it.
    channel_axis
        Axis that holds channels.
    axes
        A letter for each axis, where they are known; then any number will do.

    Raises
    ------
    InputError
        If the layer has another number of axes, or its planes cannot be used.
    """
    plain = layer.ndim - (channel_axis is not None)
    if axes is None and not 2 <= plain <= MOST_AXES:
        hint = "choose below the table which of its axes holds channels, or "
        raise InputError(
            f"The layer {layer.name} has {layer.ndim} axes; "
            f"{hint * (plain == MOST_AXES + 1)}take one with 2 (y, x) to 4 (t, z, y, x)."
        )
    if layer.data is None:
        raise InputError(f"The layer {layer.name} is empty; choose another.")
    array = layer.data[0] if layer.multiscale else layer.data
    axes = axes or _axes(layer.ndim, channel_axis)
    planes = Planes(array, axes + "S" * layer.rgb, layer.name)
    planes.pixel_size = _pixel_size(layer, axes)
    source = layer.source.path
    planes.path = Path(source) if source is not None else None
    return planes


def _axes(ndim: int, channel_axis: int | None) -> str:
    letters = list(LETTERS[-(ndim - (channel_axis is not None)) :])
    if channel_axis is not None:
        letters.insert(channel_axis, "C")
    return "".join(letters)


def _pixel_size(layer: Layer, axes: str) -> PixelSize | None:
    units = {axis: str(unit) for axis, unit in zip(axes, layer.units, strict=True)}
    sizes = {axis: float(abs(size)) for axis, size in zip(axes, layer.scale, strict=True)}
    unit = units["X"]
    if units["Y"] != unit or unit in ("pixel", ""):
        return None
    z = sizes["Z"] if units.get("Z") == unit else None
    return PixelSize(sizes["Y"], sizes["X"], z, unit)


def in_words(planes: Planes) -> tuple[str, str]:
    """How an image is understood, in short and exactly."""
    count = "1 plane" if not planes.leading else f"{len(planes)} planes"
    colours = ", RGB" if planes.rgb else f", {planes.channels} channels" * (planes.channels > 1)
    short = f"{count}{colours}"
    return short, f"{short}, {planes.shape[0]} x {planes.shape[1]} pixels"


def labels_planes(layer: Labels, image: Planes) -> Planes:
    """An annotation layer's planes.

    Raises
    ------
    InputError
        If it does not fit the image.
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
    """Whether labels can annotate an image."""
    try:
        labels_planes(labels, image)
    except InputError:
        return False
    return True


def lies_elsewhere(labels: Labels, image: Image) -> bool:
    """Whether labels of the right shape are drawn at another place or scale than the image."""
    corners = np.array([np.zeros(2), [labels.data.shape[-2], labels.data.shape[-1]]])
    own, other = (_corners(layer, corners) for layer in (labels, image))
    return not np.allclose(own, other, rtol=1e-3, atol=1e-6)


def _corners(layer: Layer, corners: np.ndarray) -> np.ndarray:
    lead = np.zeros(layer.ndim - 2)
    return np.array([layer.data_to_world([*lead, *corner])[-2:] for corner in corners])


def placement(layer: Layer, offset: dict[int, float] | None = None) -> dict[str, Any]:
    """What lets another layer lie where this one does.

    Parameters
    ----------
    layer
        To be matched.
    offset
        Where the other one begins, in pixels of this one, by axis.
    """
    start = np.zeros(layer.ndim)
    for axis, pixels in (offset or {}).items():
        start[axis] = pixels
    translate = layer.translate
    if offset:
        # The affine comes after the translation, so what it does to the offset is taken back.
        translate = layer.affine.inverse(np.asarray(layer.data_to_world(start)))
    return {
        "scale": np.array(layer.scale), "translate": np.array(translate), "rotate": layer.rotate,
        "shear": layer.shear, "affine": layer.affine, "units": layer.units,
        "axis_labels": layer.axis_labels,
    }  # fmt: skip


def add_annotation_layer(
    viewer: napari.Viewer, layer: Image, image: Planes, scheme: Scheme
) -> Labels:
    """Add labels that fit an image, with nothing painted yet."""
    axes = image.data_axes
    sizes = dict(zip(image.axes, image.array_shape, strict=True))
    shape = tuple(1 if axis == "C" else sizes[axis] for axis in axes)
    where = placement(layer)
    if "C" in axes:  # one plane for all channels, as thick as they are together
        axis, count = axes.index("C"), sizes["C"]
        where = placement(layer, {axis: (count - 1) / 2})
        where["scale"][axis] *= count
    labels = viewer.add_labels(blank(shape), name=f"{layer.name} annotation", opacity=0.6, **where)
    labels.metadata["napari-ptsam"] = "annotation"
    dress(labels, scheme)
    return labels


def blank(shape: tuple[int, ...], dtype: Any = np.uint16) -> Any:
    """An array of zeros; if it is large, one that takes memory only where something is written.

    Raises
    ------
    InputError
        If it is large, and zarr is not installed.
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


def dress(labels: Labels, scheme: Scheme) -> None:
    """Give labels the colours and names of the classes; objects keep napari's own colours."""
    from napari.utils.colormaps import label_colormap

    names = {0: "not labelled" if scheme.sparse else "background"}
    if scheme.sparse:
        names[scheme.background] = "background"
    if scheme.instances:
        labels.colormap = label_colormap()
    else:
        names |= dict(zip(scheme.values, scheme.classes, strict=True))
        colours = dict(zip(scheme.values, scheme.colours, strict=True))
        if scheme.sparse:
            colours[scheme.background] = BACKGROUND
        labels.colormap = class_colours(colours)
    labels.features = {"index": list(names), "name": list(names.values())}


def class_colours(colours: dict[int, str]) -> CyclicLabelColormap:
    """A colour for each label; white tells of labels that have none.

    napari's colormap for given colours compiles code when it is first used,
    which keeps the window waiting for seconds; a cyclic one does the same here.
    """
    from napari.utils.colormaps import CyclicLabelColormap

    count = max(colours)
    listed = ["transparent", *(colours.get(label, "#FFFFFF") for label in range(1, count + 2))]
    return CyclicLabelColormap(colors=listed, name="classes")


def warm_up() -> None:
    """Let napari compile what it draws and paints labels with; call this in a worker."""
    from napari.layers import Labels

    labels = Labels(np.zeros((1, 8, 8), np.uint16))
    labels.paint((0, 2, 2), 1)


BACKGROUND = "#808080"
"""Colour of strokes on the background."""


def plane_in_view(viewer: napari.Viewer, layer: Layer, image: Planes) -> int | None:
    """Number of the image's plane that the viewer shows; None if it shows none of them."""
    displayed = tuple(viewer.dims.displayed)
    if displayed != (viewer.dims.ndim - 2, viewer.dims.ndim - 1):
        return None
    position = np.asarray(layer.world_to_data(viewer.dims.point))
    axes = image.data_axes
    index = [
        int(np.round(at)) for at, axis in zip(position, axes, strict=True) if axis not in "YXC"
    ]
    if any(not 0 <= at < size for at, size in zip(index, image.leading, strict=True)):
        return None
    return int(np.ravel_multi_index(index, image.leading)) if index else 0


def go_to_plane(viewer: napari.Viewer, layer: Layer, image: Planes, number: int) -> None:
    """Let the viewer show a plane of an image."""
    axes = image.data_axes
    leading = image.position(number)
    position = [float(leading.get(axis, 0)) for axis in axes]
    world = layer.data_to_world(position)
    for axis in range(layer.ndim):
        if axes[axis] not in "YXC":
            viewer.dims.set_point(viewer.dims.ndim - layer.ndim + axis, world[axis])
