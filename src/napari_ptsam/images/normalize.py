"""Normalize planes of any dtype and channels to three float channels in the range 0 to 1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from napari_ptsam.errors import InputError
from napari_ptsam.images.blank import (
    block_means,
    noise_deviation,
    padding_of,
    without_hot_pixels,
)
from napari_ptsam.images.channels import select_channels
from napari_ptsam.images.missing import missing_pixels, without_missing

Mode = Literal["plane", "stack", "range"]
Limits = np.ndarray
"""The values that become 0 and 1: float64, shape (channels, 2)."""

STACK_SAMPLE = 16
"""Largest number of planes from which the percentiles of a stack are taken."""
BEYOND = 1.5
"""Ratio of the percentiles' distance to that of pure noise above which a plane shows more."""
FAINT = 2.0
"""The same ratio for the means of squares, in which noise is averaged."""
FLOOR = 16.0
"""Smallest range of values that becomes 0 to 1, in standard deviations of the noise."""
SQUARE = 4
"""Side in pixels of the squares in which noise is averaged."""
BAND = 512
"""Number of rows that are normalized at a time, which limits the memory."""


@dataclass(frozen=True)
class Normalization:
    """The mapping of pixel values to the range 0 to 1.

    Attributes
    ----------
    mode
        ``plane``: percentiles of each plane; ``stack``: percentiles of the
        whole stack; ``range``: a fixed range of values.
    low, high
        Two percentiles, or for ``range`` the values that become 0 and 1.
    """

    mode: Mode = "plane"
    low: float = 1.0
    high: float = 99.8

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise InputError(
                f"Unknown normalisation {self.mode!r}; choose one of {', '.join(get_args(Mode))}."
            )
        if not (np.isfinite([self.low, self.high]).all() and self.low < self.high):
            raise InputError(
                f"The normalisation needs two numbers, the lower one first, not {self.low} and {self.high}."
            )
        if self.mode != "range" and not (self.low >= 0 and self.high <= 100):
            raise InputError(f"Percentiles lie between 0 and 100, not {self.low} to {self.high}.")


MOST_OF_IT = Normalization("plane", 2.0, 97.0)
"""Percentiles by which almost empty planes are recognised: they show nothing but noise."""


def value_limits(pixels: np.ndarray, normalization: Normalization, rgb: bool) -> Limits:
    """Return the values that become 0 and 1.

    Parameters
    ----------
    pixels
        Shape (..., channels).
    normalization
        The percentiles, or the fixed range.
    rgb
        Whether the channels share their limits, which keeps colours.
    """
    channels = pixels.shape[-1]
    if normalization.mode == "range":
        return np.tile([float(normalization.low), float(normalization.high)], (channels, 1))
    flat = pixels.reshape(-1, channels)
    if flat.dtype == bool:
        flat = flat.astype(np.uint8)
    groups = [flat.ravel()] * channels if rgb else list(flat.T)
    if rgb:
        return np.tile(_percentiles(groups[0], normalization), (channels, 1))
    return np.stack([_percentiles(group, normalization) for group in groups])


def _percentiles(values: np.ndarray, normalization: Normalization) -> np.ndarray:
    low, high = np.percentile(values, [normalization.low, normalization.high])
    if not np.isfinite(high - low):
        raise InputError("The image holds values that are too large to stretch.")
    if high <= low:  # the plane is constant, or has few bright pixels
        low, high = float(values.min()), float(values.max())
    return np.array([low, high], dtype=np.float64)


def plane_limits(
    pixels: np.ndarray,
    normalization: Normalization,
    rgb: bool,
    padding: np.ndarray | None = None,
) -> Limits:
    """Return the values of one plane that become 0 and 1.

    Padding is ignored. If the percentiles show nothing but noise, they would
    stretch it to full contrast. Then the brightest and the darkest object set
    the limits, and the noise stays as faint as on other planes.

    Parameters
    ----------
    pixels
        Shape (y, x, channels).
    normalization, rgb
        See `value_limits`.
    padding
        bool, shape (y, x), see `napari_ptsam.images.blank.padding_of`.
    """
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8)
    limits = value_limits(pixels if padding is None else pixels[~padding], normalization, rgb)
    if normalization.mode == "range" or min(pixels.shape[:2]) < 4 * SQUARE:
        return limits
    noises = list(noise_alone(pixels, padding, normalization))
    if rgb and not all(noises):
        return limits
    adjusted = limits.copy()
    for channel, noise in enumerate(noises):
        if noise:
            low, high = _range_of_objects(pixels[..., channel], padding)
            low, high = min(low, limits[channel, 0]), max(high, limits[channel, 1])
            adjusted[channel] = low, max(high, low + FLOOR * noise)
    if rgb:
        adjusted[:] = adjusted[:, 0].min(), adjusted[:, 1].max()
    return adjusted


def noise_alone(
    pixels: np.ndarray,
    padding: np.ndarray | None,
    normalization: Normalization,
) -> Iterator[float]:
    """Yield the standard deviation of each channel's noise, or 0 if the channel shows more than noise.

    Parameters
    ----------
    pixels
        Shape (y, x, channels).
    padding
        bool, shape (y, x): pixels to ignore.
    normalization
        The percentiles that are compared with those of noise.
    """
    for channel in np.moveaxis(pixels, -1, 0):
        yield _noise_alone(channel, padding, normalization)


def _noise_alone(
    channel: np.ndarray, padding: np.ndarray | None, normalization: Normalization
) -> float:
    noise = noise_deviation(channel)
    content = np.ones(channel.shape, dtype=bool) if padding is None else ~padding

    def spread(values: np.ndarray, percentiles: Normalization = normalization) -> float:
        """Return the distance of the percentiles, relative to that of pure noise."""
        if not noise or not values.size:
            return np.inf
        low, high = np.percentile(values, [percentiles.low, percentiles.high])
        return float(high - low) / (noise * _spread_of_noise(percentiles, values.size))

    # Most planes show much more, and a sample of their pixels is enough to see it.
    if spread(channel[::7, ::7][content[::7, ::7]]) >= 2 * BEYOND:
        return 0.0
    if spread(channel[content]) >= BEYOND:
        return 0.0
    # There may be many objects that are as faint as the noise.
    inside = block_means(content.astype(np.float32), SQUARE) == 1
    means = block_means(channel.astype(np.float32), SQUARE)[inside]
    if spread(means, MOST_OF_IT) * SQUARE >= FAINT:
        return 0.0
    means = block_means(without_hot_pixels(channel).astype(np.float32), SQUARE)[inside]
    return 0.0 if spread(means) * SQUARE >= FAINT else noise


def _spread_of_noise(normalization: Normalization, count: int) -> float:
    """Return the distance of the percentiles of normal noise, in standard deviations."""
    from scipy.special import ndtri

    parts = np.clip(
        np.array([normalization.low, normalization.high]) / 100, 1 / count, 1 - 1 / count
    )
    low, high = ndtri(parts)
    return float(high - low)


def _range_of_objects(channel: np.ndarray, padding: np.ndarray | None) -> tuple[float, float]:
    """Return the smallest and the largest value, without hot pixels."""
    values = without_hot_pixels(channel)
    unpadded = values if padding is None else values[~padding]
    return float(unpadded.min()), float(unpadded.max())


def stack_limits(
    planes: Sequence[np.ndarray],
    normalization: Normalization,
    channels: Sequence[int] | None,
    rgb: bool,
) -> Limits:
    """Return the limits of a whole stack, from evenly spaced planes.

    Parameters
    ----------
    planes
        Planes of shape (y, x) or (y, x, channels). They are read one by one.
    normalization, channels, rgb
        See `normalize`.
    """
    picked = np.unique(np.linspace(0, len(planes) - 1, STACK_SAMPLE).round().astype(int))
    samples = []
    for index in picked:
        plane, padding = shown_pixels(planes[index], channels, rgb)
        step = max(1, round((plane.shape[0] * plane.shape[1] / 250_000) ** 0.5))
        sample = plane[::step, ::step]
        if padding is None:
            samples.append(sample.reshape(-1, plane.shape[-1]))
        else:
            samples.append(sample[~padding[::step, ::step]])
    pixels = np.concatenate(samples)
    if not len(pixels):
        raise InputError("The image holds no pixel that is a finite number; is it the right one?")
    return value_limits(pixels, normalization, rgb)


def shown_pixels(
    plane: np.ndarray, channels: Sequence[int] | None, rgb: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the channels of a plane that the model is shown, and its padding.

    Parameters
    ----------
    plane, channels, rgb
        See `select_channels`.

    Returns
    -------
    pixels
        Shape (y, x, 1 to 3). Missing pixels have the median of the others.
    padding
        bool, shape (y, x): missing pixels and padding, which show nothing; None if there are
        none. See `missing_pixels` and `napari_ptsam.images.blank.padding_of`.
    """
    missing = missing_pixels(plane, channels, rgb)
    pixels = without_missing(select_channels(plane, channels, rgb), missing)
    padding = padding_of(pixels)
    if missing is None or padding is None:
        return pixels, padding if missing is None else missing
    return pixels, missing | padding


def normalize(
    plane: np.ndarray,
    normalization: Normalization,
    channels: Sequence[int] | None = None,
    rgb: bool = False,
    limits: Limits | None = None,
    padding: np.ndarray | None = None,
) -> np.ndarray:
    """Convert a plane to three channels in the range 0 to 1, as the image encoder expects them.

    Parameters
    ----------
    plane
        Shape (y, x) or (y, x, channels); bool, integer or float.
    normalization
        Mapping of values to the range 0 to 1.
    channels, rgb
        See `select_channels`.
    limits
        The limits of the stack, for the mode ``stack``.
    padding
        bool, shape (y, x): pixels that do not influence the limits.

    Returns
    -------
    numpy.ndarray
        float32, shape (y, x, 3). A grey plane is repeated, in memory that the channels
        share and that is read-only; with two channels the third is their mean; a constant
        plane becomes 0. Missing pixels (see `missing_pixels`) do not influence the limits.

    Raises
    ------
    InputError
        If the channels do not exist.
    """
    missing = missing_pixels(plane, channels, rgb)
    pixels = without_missing(select_channels(plane, channels, rgb), missing)
    if missing is not None:
        padding = missing if padding is None else padding | missing
    return normalize_shown(pixels, normalization, rgb, limits, padding)


def normalize_shown(
    pixels: np.ndarray,
    normalization: Normalization,
    rgb: bool,
    limits: Limits | None,
    padding: np.ndarray | None,
) -> np.ndarray:
    """Normalize the pixels that `shown_pixels` returns; see `normalize`."""
    if padding is not None and padding.all():
        return np.zeros((*pixels.shape[:2], 3), np.float32)
    if limits is None:
        limits = plane_limits(pixels, normalization, rgb, padding)
    low, high = limits[:, 0], limits[:, 1]
    span = np.where(high > low, high - low, 1.0)
    channel_count = pixels.shape[-1]
    scaled = np.empty((*pixels.shape[:2], 1 if channel_count == 1 else 3), np.float32)
    # In bands, since the arrays of float64 in between would take several times the memory.
    for row in range(0, len(pixels), BAND):
        band = slice(row, row + BAND)
        part = ((pixels[band] - low) / span).clip(0, 1).astype(np.float32)
        scaled[band, :, :channel_count] = part
        if channel_count == 2:
            scaled[band, :, 2] = part.mean(-1)
    # The three channels of a grey plane share their memory.
    shape = (*pixels.shape[:2], 3)
    return np.broadcast_to(scaled, shape) if channel_count == 1 else scaled


def normalize_plane(
    plane: np.ndarray, channels: Sequence[int] | None = None, rgb: bool = False
) -> np.ndarray:
    """Normalize a plane by its own percentiles, without the influence of its padding.

    Clicks and suggestions use planes in this form, as do prompts with default settings.

    Parameters
    ----------
    plane
        Shape (y, x) or (y, x, channels); bool, integer or float.
    channels, rgb
        See `select_channels`.

    Returns
    -------
    numpy.ndarray
        float32, shape (y, x, 3); see `normalize` and `fill_padding`.

    Raises
    ------
    InputError
        See `normalize`.
    """
    shown, padding = shown_pixels(plane, channels, rgb)
    pixels = normalize_shown(shown, Normalization(), rgb, None, padding)
    return fill_padding(pixels, padding)


def fill_padding(pixels: np.ndarray, padding: np.ndarray | None) -> np.ndarray:
    """Set padding to the median of the other pixels, so that its rim shows no edge.

    Parameters
    ----------
    pixels
        Pixels that `normalize` has returned; they may be changed in place.
    padding
        bool, shape (y, x), or None; padding that covers everything is not changed.

    Returns
    -------
    numpy.ndarray
        float32, shape (y, x, 3).
    """
    if padding is None or padding.all():
        return pixels
    if pixels.flags.writeable:
        pixels[padding] = np.median(pixels[~padding], axis=0)
        return pixels
    grey = pixels[..., :1].copy()
    grey[padding] = np.median(grey[~padding])
    return np.broadcast_to(grey, pixels.shape)
