"""Parts of a plane that show nothing: constant ones, padding, and noise alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NOISE_LAPLACIAN = 6.0
"""Standard deviation of the mask [[1, -2, 1], [-2, 4, -2], [1, -2, 1]] on white noise of 1."""
MEDIAN_OF_NORMAL = 0.6745
"""Median of what a normal distribution gives, without its sign, in standard deviations."""
BANDS = 128
"""Most bands of three rows from which noise is estimated."""
SINGLE = 1e-3
"""Part of the pixels that may be hot or dead on a constant plane; each lies alone."""
BLOCKS = (32, 16, 8, 4, 2)
"""Sides of the squares whose means tell noise from anything else, in pixels."""
FEWEST_BLOCKS = 16
SMOOTH = 1.5
"""Times that a plane's values spread more than neighbours differ, once it shows anything much."""
FURTHEST = 6.0
"""Standard deviations that the mean of no square of pure noise lies away."""
SIDES = (3, 6, 12)
"""Sides of the squares in which an object stands out from the noise, in pixels."""
REACH = 16
"""Pixels around what stands out that may still belong to it."""
LEAST_RUN = 16
"""Pixels along the plane's rim that padding has in a row, at least."""
LEAST_PART = 2.5e-3
"""Part of the plane that padding covers, at least."""
LEAST_SIDE = 24.0
"""Mean length of the straight pieces that padding ends in, at least, in pixels."""
MOST_HOLES = 64
"""Parts of a plane that its padding surrounds, at most; what is merely clipped has many."""


def is_constant(pixels: np.ndarray) -> bool:
    """Whether each channel has one value everywhere, but for single hot or dead pixels.

    Parameters
    ----------
    pixels
        Shape (y, x, channels).
    """
    value = pixels[0, 0]
    if not _mostly(pixels[::8, ::8], value):
        # The corner itself may be the odd one.
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
    """Where all channels have that value; several times as fast as ``.all(-1)``."""
    found: np.ndarray = pixels[..., 0] == value[0]
    for channel in range(1, pixels.shape[-1]):
        found &= pixels[..., channel] == value[channel]
    return found


def noise_deviation(channel: np.ndarray) -> float:
    """Standard deviation of what changes from pixel to pixel: an upper bound of the noise.

    After Immerkær, "Fast noise variance estimation", 1996, with the median in
    place of the mean, which edges of objects would raise.

    Parameters
    ----------
    channel
        Shape (y, x), at least 3 pixels a side.
    """
    found = _laplacian(channel)
    return float(np.median(np.abs(found)) / (MEDIAN_OF_NORMAL * NOISE_LAPLACIAN))


def _laplacian(channel: np.ndarray) -> np.ndarray:
    """How much pixels differ from their neighbours, on some rows."""
    rows = np.unique(np.linspace(1, channel.shape[0] - 2, BANDS).astype(int))
    above, here, below = (channel[rows + shift].astype(np.float64) for shift in (-1, 0, 1))
    down = above - 2 * here + below
    found: np.ndarray = down[:, :-2] - 2 * down[:, 1:-1] + down[:, 2:]
    return found


def is_noise(pixels: np.ndarray, padding: np.ndarray | None = None) -> bool:
    """Whether a plane shows nothing but noise that differs from each pixel to the next.

    The means of squares of such a plane spread just as the noise does, divided
    by the side of the squares. Anything that is larger than a pixel makes them
    spread more: a faint object, an edge, uneven light.

    Parameters
    ----------
    pixels
        Shape (y, x, channels).
    padding
        bool, shape (y, x): pixels that are left out.
    """
    return all(_is_white(pixels[..., c], padding) for c in range(pixels.shape[-1]))


def _is_white(channel: np.ndarray, padding: np.ndarray | None) -> bool:
    values = channel.astype(np.float32)
    seen = values if padding is None else values[~padding]
    if padding is None and seen.std() > SMOOTH * _laplacian(channel).std() / NOISE_LAPLACIAN:
        return False  # as most planes are: no need to look closer
    centre, deviation = float(seen.mean()), float(seen.std())
    # Hot pixels are no objects: they are brought down to what noise may reach.
    limit = FURTHEST * deviation
    values, seen = (np.clip(one, centre - limit, centre + limit) for one in (values, seen))
    centre, deviation = float(seen.mean()), float(seen.std())
    if deviation == 0:
        return False
    skewness = float((((seen - centre) / deviation) ** 3).mean())
    looked = False
    for side in BLOCKS:
        own = _means_of_squares(values, padding, side)
        if own.size < FEWEST_BLOCKS:
            continue
        looked = True
        away = (own - centre) * (side / deviation)
        if away.std() > 1.05 + 4 / np.sqrt(2 * own.size):
            return False
        if np.abs(away).max() > FURTHEST + 4 * abs(skewness) / side:
            return False
    return looked


def _means_of_squares(values: np.ndarray, padding: np.ndarray | None, side: int) -> np.ndarray:
    """Return the means on two shifted grids of squares, so that nothing small falls between them."""
    found = []
    for shift in (0, side // 2):
        means = block_means(values[shift:, shift:], side)
        if padding is not None:
            means = means[block_means(padding[shift:, shift:].astype(np.float32), side) == 0]
        found.append(means.ravel())
    return np.concatenate(found)


def block_means(values: np.ndarray, side: int) -> np.ndarray:
    """Means of the squares that fit into an array: shape (y // side, x // side)."""
    rows, columns = values.shape[0] // side, values.shape[1] // side
    whole = values[: rows * side, : columns * side].reshape(rows, side, columns, side)
    means: np.ndarray = whole.mean((1, 3))
    return means


def without_hot_pixels(channel: np.ndarray) -> np.ndarray:
    """The median of each pixel and its neighbours: same shape and dtype."""
    from scipy import ndimage

    found: np.ndarray = ndimage.median_filter(channel, 3)
    return found


def far_from_objects(
    pixels: np.ndarray, noises: Sequence[float], padding: np.ndarray | None = None
) -> np.ndarray:
    """Where an almost empty plane shows nothing but noise, near and far.

    Parameters
    ----------
    pixels
        Shape (y, x, channels); most of it is noise.
    noises
        Standard deviation of each channel's noise.
    padding
        bool, shape (y, x): pixels that count as nothing.

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
        away = np.where(content, values - centre, 0)
        for side in SIDES:
            means = ndimage.uniform_filter(away, side)
            something |= np.abs(means) > FURTHEST * noise / side
    near: np.ndarray = ndimage.maximum_filter(something, 2 * REACH + 1)
    return ~near | ~content


def padding_of(pixels: np.ndarray) -> np.ndarray | None:
    """What was put around an image to fill a larger one, such as a stitched or registered one.

    Padding has exactly one value and reaches the plane's rim. Whole rows and
    columns of one value along the rim are padding; so is anything else that ends
    in straight lines. Background or objects that are clipped to one value end in
    ragged or round ones, and are no padding.

    Parameters
    ----------
    pixels
        Shape (y, x, channels).

    Returns
    -------
    numpy.ndarray or None
        bool, shape (y, x); None where there is none.
    """
    values = _values_of_rim(pixels)
    if not len(values):
        return None
    from scipy import ndimage

    found = _outside_of(pixels)
    for value in values:
        same = _equal(pixels, value)
        if same.mean() < LEAST_PART:
            continue
        regions, _ = ndimage.label(same)
        areas = np.bincount(regions.ravel())
        rim = (regions[0], regions[-1], regions[:, 0], regions[:, -1])
        for number in np.unique(np.concatenate(rim)):
            if number and areas[number] >= LEAST_PART * found.size:
                region = regions == number
                if _is_straight(region):
                    found |= region
    return found if found.any() else None


def _outside_of(pixels: np.ndarray) -> np.ndarray:
    """Rows and columns of one value that surround a rectangle; bool, shape (y, x)."""
    rows, columns = pixels.shape[:2]
    top, bottom = _leading(pixels), _leading(pixels[::-1])
    found = np.zeros((rows, columns), dtype=bool)
    if top == rows:  # nothing but one value
        return found
    middle = pixels[top : rows - bottom].swapaxes(0, 1)
    left, right = _leading(middle), _leading(middle[::-1])
    if min(rows - top - bottom, columns - left - right) < LEAST_RUN:  # a hot pixel
        return found
    found[:top] = found[rows - bottom :] = found[:, :left] = found[:, columns - right :] = True
    return found if found.mean() >= LEAST_PART else np.zeros_like(found)


def _leading(lines: np.ndarray) -> int:
    """How many of the first lines have the value of the first pixel everywhere."""
    for number, line in enumerate(lines):
        if (line != lines[0, 0]).any():
            return number
    return len(lines)


def _values_of_rim(pixels: np.ndarray) -> np.ndarray:
    """Values that a long enough run of the rim's pixels has: (n, channels)."""
    values = []
    for line in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        changes = np.flatnonzero((line[1:] != line[:-1]).any(-1)) + 1
        starts = np.concatenate([[0], changes])
        lengths = np.diff(np.concatenate([starts, [len(line)]]))
        values.append(line[starts[lengths >= min(LEAST_RUN, len(line))]])
    return np.unique(np.concatenate(values), axis=0)


def _is_straight(region: np.ndarray) -> bool:
    """Whether a region ends in straight lines, looked at within a pixel."""
    from scipy import ndimage
    from skimage.measure import approximate_polygon, find_contours

    if region.all() or ndimage.label(~region)[1] > MOST_HOLES:
        return False
    contours = find_contours(region.astype(np.float32), 0.5)
    length = sum(float(np.hypot(*np.diff(one, axis=0).T).sum()) for one in contours)
    pieces = 0
    for contour in contours:
        pieces += len(approximate_polygon(contour, 1.0)) - 1
        if pieces * LEAST_SIDE > length:
            return False
    return True
