"""Boxes on a plane in which everything is annotated, while nothing outside of them is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Region = tuple[int, int, int, int]
"""Rows and columns of a box: (y0, x0, y1, x1) in pixels, where y1 and x1 are not part of it."""

CONTEXT = 384
"""Width in pixels of the frame around the regions that training sees without learning from it: half
the side of the usual tile, so that objects at the edge of a region lie in the middle of a tile."""
SMALLEST = 16
"""Smallest side of a region in pixels."""


def region_of(
    begin: tuple[float, float], end: tuple[float, float], shape: tuple[int, int]
) -> Region | None:
    """Return the region between two corners (y, x) in pixels of a plane.

    Returns
    -------
    Region or None
        None if too little of it lies in the plane.
    """
    low, high = (
        np.clip(np.round(f([begin, end], axis=0)).astype(int), 0, shape) for f in (np.min, np.max)
    )
    if (high - low < np.minimum(SMALLEST, shape)).any():
        return None
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def region_at(regions: Sequence[Region], at: tuple[float, float]) -> Region | None:
    """Return the last region that holds (y, x) in pixels; None if none does."""
    y, x = (round(value) for value in at)
    found = [r for r in regions if r[0] <= y < r[2] and r[1] <= x < r[3]]
    return found[-1] if found else None


def mask_of(regions: Sequence[Region], shape: tuple[int, int]) -> np.ndarray:
    """Return the pixels of a plane that lie in any of the regions: bool, shape (y, x)."""
    mask = np.zeros(shape, dtype=bool)
    for y0, x0, y1, x1 in regions:
        mask[y0:y1, x0:x1] = True
    return mask


def surroundings(regions: Sequence[Region], shape: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns of the regions with `CONTEXT` around them, within the plane."""
    corners = np.array(regions)
    low = np.maximum(corners[:, :2].min(axis=0) - CONTEXT, 0)
    high = np.minimum(corners[:, 2:].max(axis=0) + CONTEXT, shape)
    return slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))
