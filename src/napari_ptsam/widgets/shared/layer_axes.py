"""The axes of napari's layers: by their labels, or else by their order; and the size of a pixel along them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_ptsam.images.axes import OTHER, PLANE_AXES, any_named, axes_of_names
from napari_ptsam.images.pixel_sizes import pixel_size_of, time_step_of

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_ptsam.images.planes import PixelSize, TimeStep

MOST_AXES = len(PLANE_AXES)
"""Largest number of axes without labels, besides channels, that are longer than 1."""


def axis_names(layer: Layer, array: Any) -> tuple[object, ...]:
    """Return the labels of a layer's axes or, if nobody has set them, the ``dims`` of its array."""
    labels: tuple[object, ...] = tuple(layer.axis_labels)
    names = getattr(array, "dims", None)
    return names[: layer.ndim] if isinstance(names, tuple) and not any_named(labels) else labels


def labelled_axes(layer: Layer, array: Any) -> str | None:
    """Return the axes of a layer by their labels; None if these do not tell which are y and x.

    Samples of a layer that is not RGB are channels, since napari counts their axis.
    """
    names, shape = axis_names(layer, array), array.shape[: layer.ndim]
    axes = axes_of_names(names, shape, own_letters=False)
    return axes if axes is None or "C" in axes else axes.replace("S", "C")


def default_axes(layer: Layer, array: Any, channel_axis: int | None) -> str | None:
    """Return the axes of a layer with a given channel axis.

    Labels count if y and x are the last axes besides channels, as they are for tools that work on
    what the viewer shows. Otherwise the axes are t, z, y and x, by their order. With more than
    four, those of length 1 are disregarded.

    Parameters
    ----------
    layer
        The layer.
    array
        Its pixels.
    channel_axis
        Axis that holds channels; None if there is none.

    Returns
    -------
    str or None
        None if there are too many or too few axes.
    """
    labelled = labelled_axes(layer, array) or ""
    is_as_told = labelled.find("C") == (-1 if channel_axis is None else channel_axis)
    if is_as_told and labelled.replace("C", "").endswith("YX"):
        return labelled
    shape = array.shape[: layer.ndim]
    plain = [axis for axis in range(layer.ndim) if axis != channel_axis]
    if len(plain) > MOST_AXES:
        plain = [axis for axis in plain if shape[axis] != 1 or axis in plain[-2:]]
    if not 2 <= len(plain) <= MOST_AXES:
        return None
    letters, others = dict(zip(plain, PLANE_AXES[-len(plain) :], strict=True)), iter(OTHER)
    return "".join(
        "C" if axis == channel_axis else letters.get(axis) or next(others)
        for axis in range(layer.ndim)
    )


def layer_pixel_size(layer: Layer, axes: str) -> PixelSize | None:
    """Return the pixel size of a layer, from the scale and the unit of each axis."""
    units = {axis: str(unit) for axis, unit in zip(axes, layer.units, strict=True)}
    sizes = {axis: float(abs(size)) for axis, size in zip(axes, layer.scale, strict=True)}
    return pixel_size_of(sizes, units)


def layer_time_step(layer: Layer, axes: str) -> TimeStep | None:
    """Return the time between frames of a layer; None if no axis is time, or has its unit."""
    if "T" not in axes:
        return None
    axis = axes.index("T")
    return time_step_of(float(abs(layer.scale[axis])), str(layer.units[axis]))
