"""Turn masks with channels into masks of values: one-hot channels and colour-coded classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from napari_ptsam.errors import InputError
from napari_ptsam.images.planes import Planes

Coding = Literal["values", "channels", "colours"]
"""What a mask writes its labels as: grey values, one-hot channels, or colours."""

MOST_CHANNELS = 64
"""Largest number of one-hot channels."""
MOST_COLOURS = 4096
"""Largest number of colours of a mask; more of them are a picture."""
LEAST_CONTRAST = 16
"""Smallest difference between two colours, in their most different channel, that people see."""


def without_channels(
    planes: Sequence[np.ndarray], rgb: Sequence[bool], names: Sequence[str]
) -> tuple[list[np.ndarray], Coding]:
    """Return the values of masks that were read from files.

    Parameters
    ----------
    planes
        Pixels as read, each of shape (y, x) or (y, x, channels).
    rgb
        Whether the channels of each plane are red, green and blue.
    names
        Name of each plane in messages.

    Returns
    -------
    values : list of numpy.ndarray
        Grey values as they are. Of one-hot channels, the number of the channel: from 0 if
        every pixel is in one, and otherwise from 1, where 0 is in none. Colours are numbers
        that grow with red, then green, then blue, and black is 0.
    coding : str
        What the values come from.

    Raises
    ------
    InputError
        If a mask is a colour picture, or its channels overlap.
    """
    grey = [grey_values(plane, colour) for plane, colour in zip(planes, rgb, strict=True)]
    if all(values is not None for values in grey):
        return [values for values in grey if values is not None], "values"
    first = next(number for number, values in enumerate(grey) if values is None)
    if any(plane.ndim == 2 for plane in planes):
        raise colour_picture(names[first])
    if all(_is_one_hot(plane) for plane in planes):
        everywhere = all((plane != 0).any(-1).all() for plane in planes)
        return [_channel_numbers(plane, everywhere) for plane in planes], "channels"
    if not all(rgb):
        raise InputError(
            f"The mask {names[first]} has {planes[first].shape[-1]} channels that overlap; save one "
            "channel of it, whose values are the labels."
        )
    return _colour_numbers(planes, names), "colours"


def grey_values(plane: np.ndarray, rgb: bool) -> np.ndarray | None:
    """Return the values of a plane whose channels are all the same; None if they differ."""
    if plane.ndim == 2:
        return plane
    colours = _without_alpha(plane) if rgb else plane
    return None if (colours != colours[..., :1]).any() else colours[..., 0]


def colour_picture(name: str) -> InputError:
    """Return the error for a mask that is a picture."""
    return InputError(
        f"The mask {name} is a colour picture; save it as a grey one whose values are the labels, or "
        "as one with a colour for each class, without soft edges."
    )


def colour_of(number: int) -> tuple[int, int, int]:
    """Return red, green and blue of a colour's number."""
    return number >> 32, (number >> 16) & 0xFFFF, number & 0xFFFF


def _without_alpha(plane: np.ndarray) -> np.ndarray:
    return plane[..., : plane.shape[-1] - (plane.shape[-1] in (2, 4))]


def _is_one_hot(plane: np.ndarray) -> bool:
    """Return whether each pixel is in one channel at most, and all have the same value there."""
    if plane.ndim != 3 or not 2 <= plane.shape[-1] <= MOST_CHANNELS:
        return False
    inside = plane != 0
    if (inside.sum(-1) > 1).any():
        return False
    values = plane[inside]
    return values.size == 0 or bool((values == values[0]).all() and values[0] > 0)


def _channel_numbers(plane: np.ndarray, everywhere: bool) -> np.ndarray:
    inside = plane != 0
    numbers = inside.argmax(-1).astype(np.int32)
    return numbers if everywhere else np.where(inside.any(-1), numbers + 1, 0).astype(np.int32)


def _colour_numbers(planes: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
    numbers, all_colours = [], np.zeros(0, np.int64)
    for plane, name in zip(planes, names, strict=True):
        if plane.dtype.kind not in "bu" or plane.dtype.itemsize > 2:
            raise colour_picture(name)
        red, green, blue = np.moveaxis(_without_alpha(plane).astype(np.int64), -1, 0)
        numbers.append((red << 32) + (green << 16) + blue)
        all_colours = np.union1d(all_colours, numbers[-1])
        if len(all_colours) > MOST_COLOURS:
            raise colour_picture(name)
    seen = np.array([colour_of(int(number)) for number in all_colours])
    nearest = np.abs(np.diff(seen[np.lexsort(seen.T)], axis=0)).max(1).min(initial=2**16)
    if len(seen) <= 32 and nearest < LEAST_CONTRAST:
        raise colour_picture(names[0])
    return numbers


def channel_axis_of(mask: Planes, image: Planes) -> int | None:
    """Return the leading axis of a mask that its image has not, and that can hold one-hot channels.

    Returns
    -------
    int or None
        Number of the axis among the leading ones; None if there is no such axis.
    """
    if mask.channels > 1 or mask.shape != image.shape:
        return None
    wanted = [size for size in image.leading if size > 1]
    for axis, size in enumerate(mask.leading):
        rest = [other for n, other in enumerate(mask.leading) if n != axis and other > 1]
        if rest == wanted and 2 <= size <= MOST_CHANNELS:
            return axis
    return None


def one_hot_plane(mask: Planes, axis: int, number: int) -> np.ndarray | None:
    """Return a plane of a mask whose one-hot channels are on a leading axis.

    Parameters
    ----------
    mask
        The mask.
    axis
        Number of the axis among the leading ones.
    number
        Number of the plane, without that axis.

    Returns
    -------
    numpy.ndarray or None
        Shape (y, x, channels); None if the planes along the axis are no one-hot channels.
    """
    numbers = np.moveaxis(np.arange(len(mask)).reshape(mask.leading), axis, -1)
    channels = numbers.reshape(-1, mask.leading[axis])[number]
    plane = np.stack([mask[int(channel)] for channel in channels], -1)
    return plane if _is_one_hot(plane) else None
