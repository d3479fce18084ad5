"""Find planes and parts of planes that show nothing: constant values, padding, and pure noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NOISE_LAPLACIAN = 6.0
"""Standard deviation of white noise (1) after the filter [[1, -2, 1], [-2, 4, -2], [1, -2, 1]]."""
MEDIAN_OF_NORMAL = 0.6745
"""Median absolute deviation of a normal distribution, in standard deviations."""
BANDS = 128
"""Largest number of bands of three rows from which noise is estimated."""
SINGLE = 1e-3
"""Largest fraction of hot or dead pixels on a constant plane. Each of them is isolated."""
BLOCKS = (32, 16, 8, 4, 2)
"""Sides in pixels of the squares whose means distinguish noise from other content."""
FEWEST_BLOCKS = 16
SMOOTH = 1.5
"""Ratio of a plane's spread to the differences of neighbours above which it is not noise."""
FURTHEST = 6.0
"""Standard deviations within which the means of squares of pure noise lie."""
SIDES = (3, 6, 12)
"""Sides in pixels of the squares in which objects are looked for."""
REACH = 16
"""Distance in pixels from an object within which pixels may still belong to it."""
LEAST_RUN = 16
"""Smallest length in pixels of a run of padding along the plane's edge."""
LEAST_PART = 2.5e-3
"""Smallest fraction of the plane that padding covers."""
LEAST_SIDE = 24.0
"""Smallest mean length in pixels of the straight segments of the outline of padding."""
MOST_HOLES = 64
"""Largest number of regions that padding surrounds. Clipped background has many more."""


def is_constant(pixels: np.ndarray) -> bool:
    """Return whether each channel has a single value, apart from isolated hot or dead pixels.

    Parameters
    ----------
    pixels
        Shape (y, x, channels).
    """
    value = pixels[0, 0]
    if not _mostly(pixels[::8, ::8], value):
        # The corner may itself be a hot or dead pixel.
        value = np.median(pixels[::8, ::8], axis=(0, 1))
        if not _mostly(pixels[::8, ::8], value):
            return False
    other = ~_equal(pixels, value)
    count = np.count_nonzero(other)
    if count == 0:
        return True
    if count > SINGLE * other.size:
        return False
    from scipy import ndimage

    return bool(ndimage.label(other, np.ones((3, 3)))[1] == count)


def _mostly(pixels: np.ndarray, value: np.ndarray) -> bool:
    return bool(_equal(pixels, value).mean() >= 0.9)


def _equal(pixels: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Return where all channels have a value. It is several times as fast as ``.all(-1)``."""
    equal: np.ndarray = pixels[..., 0] == value[0]
    for channel in range(1, pixels.shape[-1]):
        equal &= pixels[..., channel] == value[channel]
    return equal


def noise_deviation(channel: np.ndarray) -> float:
    """Estimate the standard deviation of the noise; it is an upper bound.

    The method is that of Immerkær, "Fast noise variance estimation", 1996, with
    the median in place of the mean, which the edges of objects would raise.

    Parameters
    ----------
    channel
        Shape (y, x), with at least 3 pixels per side.
    """
    differences = _laplacian(channel)
    return float(np.median(np.abs(differences)) / (MEDIAN_OF_NORMAL * NOISE_LAPLACIAN))


def _laplacian(channel: np.ndarray) -> np.ndarray:
    """Return the differences of pixels from their neighbours, on a sample of rows."""
    rows = np.unique(np.linspace(1, channel.shape[0] - 2, BANDS).astype(int))
    above, here, below = (channel[rows + shift].astype(np.float64) for shift in (-1, 0, 1))
    down = above - 2 * here + below
    differences: np.ndarray = down[:, :-2] - 2 * down[:, 1:-1] + down[:, 2:]
    return differences


def is_noise(pixels: np.ndarray, padding: np.ndarray | None = None) -> bool:
    """Return whether a plane shows nothing but white noise.

    The standard deviation of the means of squares of white noise is that of the
    noise divided by the side of the squares. It is larger if there is anything
    larger than a pixel: a faint object, an edge, uneven illumination.

    Parameters
    ----------
    pixels
        Shape (y, x, channels).
    padding
        bool, shape (y, x): pixels to leave out.
    """
    return all(_is_white(pixels[..., c], padding) for c in range(pixels.shape[-1]))


def _is_white(channel: np.ndarray, padding: np.ndarray | None) -> bool:
    values = channel.astype(np.float32)
    unpadded = values if padding is None else values[~padding]
    if padding is None and unpadded.std() > SMOOTH * _laplacian(channel).std() / NOISE_LAPLACIAN:
        return False  # this quick test settles most planes
    centre, deviation = float(unpadded.mean()), float(unpadded.std())
    # Hot pixels are not objects, so they are clipped to the range of the noise.
    limit = FURTHEST * deviation
    values, unpadded = (
        np.clip(array, centre - limit, centre + limit) for array in (values, unpadded)
    )
    centre, deviation = float(unpadded.mean()), float(unpadded.std())
    if deviation == 0:
        return False
    skewness = float((((unpadded - centre) / deviation) ** 3).mean())
    tested = False
    for side in BLOCKS:
        means = _means_of_squares(values, padding, side)
        if means.size < FEWEST_BLOCKS:
            continue
        tested = True
        scores = (means - centre) * (side / deviation)
        if scores.std() > 1.05 + 4 / np.sqrt(2 * means.size):
            return False
        if np.abs(scores).max() > FURTHEST + 4 * abs(skewness) / side:
            return False
    return tested


def _means_of_squares(values: np.ndarray, padding: np.ndarray | None, side: int) -> np.ndarray:
    """Return the means on two shifted grids, so that no small object falls between the squares."""
    all_means = []
    for shift in (0, side // 2):
        means = block_means(values[shift:, shift:], side)
        if padding is not None:
            means = means[block_means(padding[shift:, shift:].astype(np.float32), side) == 0]
        all_means.append(means.ravel())
    return np.concatenate(all_means)


def block_means(values: np.ndarray, side: int) -> np.ndarray:
    """Return the means of the squares that fit into an array: shape (y // side, x // side)."""
    rows, columns = values.shape[0] // side, values.shape[1] // side
    whole = values[: rows * side, : columns * side].reshape(rows, side, columns, side)
    means: np.ndarray = whole.mean((1, 3))
    return means


def without_hot_pixels(channel: np.ndarray) -> np.ndarray:
    """Remove hot pixels with a 3 x 3 median filter; float16 becomes float32."""
    from scipy import ndimage

    if channel.dtype == np.float16:  # scipy does not filter it
        channel = channel.astype(np.float32)
    filtered: np.ndarray = ndimage.median_filter(channel, 3)
    return filtered


def far_from_objects(
    pixels: np.ndarray, noises: Sequence[float], padding: np.ndarray | None = None
) -> np.ndarray:
    """Return where an almost empty plane shows only noise, at some distance from any object.

    Parameters
    ----------
    pixels
        Shape (y, x, channels); most of it is noise.
    noises
        Standard deviation of each channel's noise.
    padding
        bool, shape (y, x): pixels that count as empty.

    Returns
    -------
    numpy.ndarray
        bool, shape (y, x).
    """
    from scipy import ndimage

    shape = pixels.shape[:2]
    content = np.ones(shape, dtype=bool) if padding is None else ~padding
    something = np.zeros(shape, dtype=bool)
    for channel, noise in zip(np.moveaxis(pixels, -1, 0), noises, strict=True):
        values = without_hot_pixels(channel).astype(np.float32)
        centre = np.float32(np.median(values[content]))
        difference = np.where(content, values - centre, 0)
        for side in SIDES:
            means = ndimage.uniform_filter(difference, side)
            something |= np.abs(means) > FURTHEST * noise / side
    near: np.ndarray = ndimage.maximum_filter(something, 2 * REACH + 1)
    return ~near | ~content


def padding_of(pixels: np.ndarray) -> np.ndarray | None:
    """Find the padding around an image, for instance after stitching or registration.

    Padding has exactly one value and reaches the plane's edge. Whole rows and
    columns of one value along the edge are padding, and so is any other region
    with a straight outline. Background and objects that are clipped to one value
    have ragged or round outlines and are not padding.

    Parameters
    ----------
    pixels
        Shape (y, x, channels).

    Returns
    -------
    numpy.ndarray or None
        bool, shape (y, x), or None if there is no padding.
    """
    values = _edge_values(pixels)
    if not len(values):
        return None
    from scipy import ndimage

    padding = _uniform_margins(pixels)
    for value in values:
        same = _equal(pixels, value)
        if same.mean() < LEAST_PART:
            continue
        regions, _ = ndimage.label(same)
        areas = np.bincount(regions.ravel())
        edges = (regions[0], regions[-1], regions[:, 0], regions[:, -1])
        for number in np.unique(np.concatenate(edges)):
            if number and areas[number] >= LEAST_PART * padding.size:
                region = regions == number
                if _is_straight(region):
                    padding |= region
    return padding if padding.any() else None


def _uniform_margins(pixels: np.ndarray) -> np.ndarray:
    """Find rows and columns of one value around a rectangle; return a mask of shape (y, x)."""
    rows, columns = pixels.shape[:2]
    top, bottom = _leading(pixels), _leading(pixels[::-1])
    margins = np.zeros((rows, columns), dtype=bool)
    if top == rows:  # the whole plane has one value
        return margins
    middle = pixels[top : rows - bottom].swapaxes(0, 1)
    left, right = _leading(middle), _leading(middle[::-1])
    if min(rows - top - bottom, columns - left - right) < LEAST_RUN:  # the rectangle is a hot pixel
        return margins
    margins[:top] = margins[rows - bottom :] = True
    margins[:, :left] = margins[:, columns - right :] = True
    return margins if margins.mean() >= LEAST_PART else np.zeros_like(margins)


def _leading(lines: np.ndarray) -> int:
    """Count the first lines that have the value of the first pixel everywhere."""
    for number, line in enumerate(lines):
        if (line != lines[0, 0]).any():
            return number
    return len(lines)


def _edge_values(pixels: np.ndarray) -> np.ndarray:
    """Return the values of long runs of equal pixels along the edge: shape (n, channels)."""
    values = []
    for line in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        changes = np.flatnonzero((line[1:] != line[:-1]).any(-1)) + 1
        starts = np.concatenate([[0], changes])
        lengths = np.diff(np.concatenate([starts, [len(line)]]))
        values.append(line[starts[lengths >= min(LEAST_RUN, len(line))]])
    return np.unique(np.concatenate(values), axis=0)


def _is_straight(region: np.ndarray) -> bool:
    """Return whether the outline of a region is straight, within a pixel."""
    from scipy import ndimage
    from skimage.measure import approximate_polygon, find_contours

    if region.all() or ndimage.label(~region)[1] > MOST_HOLES:
        return False
    contours = find_contours(region.astype(np.float32), 0.5)
    length = sum(float(np.hypot(*np.diff(contour, axis=0).T).sum()) for contour in contours)
    segments = 0
    for contour in contours:
        segments += len(approximate_polygon(contour, 1.0)) - 1
        if segments * LEAST_SIDE > length:
            return False
    return True
