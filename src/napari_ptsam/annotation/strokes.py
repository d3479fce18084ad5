"""The pixels under a stroke that was drawn by hand, or under a thin line."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    Point = tuple[float, float]


def stroke_pixels(
    points: Sequence[Point] | np.ndarray, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of the pixels of a plane that a stroke passes, in its order.

    Two neighbours in the stroke share a side, so that no diagonal gap remains
    between them.

    Parameters
    ----------
    points
        Positions (y, x) along the stroke, in pixels. Parts outside of the plane are left out.
    shape
        Size of the plane: (y, x).
    """
    from skimage.draw import line

    ends = [(round(y), round(x)) for y, x in points]
    passed = [np.array([ends[0]])]
    for begin, end in pairwise(ends):
        passed.append(np.stack(line(*begin, *end), axis=1)[1:])
    pixels = np.concatenate(passed)
    diagonal = np.flatnonzero((np.diff(pixels, axis=0) != 0).all(axis=1))
    corners = np.stack([pixels[diagonal, 0], pixels[diagonal + 1, 1]], axis=1)
    pixels = np.insert(pixels, diagonal + 1, corners, axis=0)
    inside = ((pixels >= 0) & (pixels < shape)).all(axis=1)
    rows, columns = pixels[inside].T
    return rows, columns
