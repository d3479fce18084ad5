"""Count what tells objects, classes, soft edges and pictures apart in the values of a mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MOST_PLANES = 12
"""Number of planes whose regions are looked at; more take time and hardly change the answer."""
LARGE_PART = 0.2
"""Area of a part, relative to the largest one of its value, from which on it is counted: objects
lose single pixels at their edge."""
BAND = 0.1
"""Part of the range of grey levels that counts as black, and as white."""
SEVERAL = 2.5
"""Mean number of parts from which on a value is no object: an object has one, or few."""
SOFT_RANGE = 16
"""Smallest range of whole numbers that can have soft edges; below it, they are labels."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """What is counted in masks.

    Attributes
    ----------
    values
        The values, in ascending order: shape (n,).
    pixels, border
        Number of pixels of each value, and of those at the edge of a plane: shape (n,).
    parts, pairs
        Number of parts of each value, and of planes that it is on, in the planes looked at:
        shape (n,).
    planes
        Number of planes that were looked at.
    """

    values: np.ndarray
    pixels: np.ndarray
    border: np.ndarray
    parts: np.ndarray
    pairs: np.ndarray
    planes: int

    def share(self, value: float) -> float:
        """Return the part of all pixels that have a value."""
        return float(self.pixels[self.values == value].sum() / max(self.pixels.sum(), 1))

    def border_share(self, value: float) -> float:
        """Return the part of the pixels at the edges of planes that have a value."""
        return float(self.border[self.values == value].sum() / max(self.border.sum(), 1))

    def parts_of_others(self, background: float) -> float:
        """Return the mean number of parts that a value other than the background has on a plane."""
        others = self.values != background
        return float(self.parts[others].sum() / max(self.pairs[others].sum(), 1))


def statistics(planes: Sequence[np.ndarray], valid: Sequence[np.ndarray | None]) -> Statistics:
    """Count the values of masks, and their parts.

    Parameters
    ----------
    planes
        Values of each plane, shape (y, x).
    valid
        Pixels that count, bool of shape (y, x), or None if all do.
    """
    pixels: dict[float, int] = {}
    border: dict[float, int] = {}
    parts: dict[float, int] = {}
    pairs: dict[float, int] = {}
    looked_at = set(_some(len(planes)))
    for number, (plane, inside) in enumerate(zip(planes, valid, strict=True)):
        _add(pixels, plane if inside is None else plane[inside])
        edge = np.ones(plane.shape, bool)
        edge[1:-1, 1:-1] = False
        _add(border, plane[edge if inside is None else edge & inside])
        if number in looked_at:
            for value, count in _parts(plane, inside).items():
                parts[value] = parts.get(value, 0) + count
                pairs[value] = pairs.get(value, 0) + 1
    values = np.array(sorted(pixels))
    counts = [
        np.array([table.get(value, 0) for value in values.tolist()], np.int64)
        for table in (pixels, border, parts, pairs)
    ]
    return Statistics(values, counts[0], counts[1], counts[2], counts[3], len(looked_at))


def _some(count: int) -> list[int]:
    """Return the numbers of at most `MOST_PLANES` planes, spread over all."""
    return sorted({round(at) for at in np.linspace(0, count - 1, min(count, MOST_PLANES))})


def _add(table: dict[float, int], values: np.ndarray) -> None:
    for value, count in zip(*_counted(values), strict=True):
        table[value.item()] = table.get(value.item(), 0) + int(count)


def _counted(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the different values in ascending order, and how often each occurs."""
    if values.size and values.dtype.kind in "bui" and values.min() >= 0 and values.max() < 2**16:
        counts = np.bincount(values.ravel())  # np.unique sorts, which takes much longer
        present = np.flatnonzero(counts)
        return present, counts[present]
    return np.unique(values, return_counts=True)


def _parts(plane: np.ndarray, inside: np.ndarray | None) -> dict[float, int]:
    """Return the number of parts of each value that are not much smaller than its largest one."""
    from skimage.measure import label

    values, _ = _counted(plane)
    ranks = np.searchsorted(values, plane).astype(np.int32) + 1
    if inside is not None:
        ranks = np.where(inside, ranks, 0)
    regions, count = label(ranks, background=0, connectivity=2, return_num=True)
    areas = np.bincount(regions.ravel(), minlength=count + 1)[1:]
    value_of = np.zeros(count + 1, np.int64)
    value_of[regions.ravel()] = ranks.ravel()
    value_of = value_of[1:] - 1
    largest = np.zeros(len(values), np.int64)
    np.maximum.at(largest, value_of, areas)
    large = areas >= LARGE_PART * largest[value_of]
    counts = np.bincount(value_of[large], minlength=len(values))
    return {value.item(): int(n) for value, n in zip(values, counts, strict=True) if n}


def flatness(planes: Sequence[np.ndarray]) -> float:
    """Return how often neighbours have the same value, outside of the most frequent value.

    Objects and classes are flat, whereas pictures have noise.
    """
    same = pairs = 0
    for plane in (planes[number] for number in _some(len(planes))):
        values, counts = _counted(plane)
        left, right, common = plane[:, :-1], plane[:, 1:], values[counts.argmax()]
        inside = (left != common) & (right != common)
        same += int(np.count_nonzero((left == right) & inside))
        pairs += int(np.count_nonzero(inside))
    return same / pairs if pairs else 0.0


def soft_middle(planes: Sequence[np.ndarray], found: Statistics) -> float | None:
    """Return the level halfway between black and white, if masks are black and white with soft edges.

    Inside of objects and far from them the pixels are white and black; only near edges do they
    lie in between, as resizing, anti-aliasing and JPEG leave them. None if this is not so.
    """
    if len(found.values) < 3:
        return None
    low, high = float(found.values[0]), float(found.values[-1])
    whole = bool((found.values % 1 == 0).all())
    if whole and high - low < SOFT_RANGE:
        return None
    black, white = low + BAND * (high - low), high - BAND * (high - low)
    bright = int(found.pixels[found.values > black].sum())
    between = int(found.pixels[(found.values > black) & (found.values < white)].sum())
    if between == 0:  # a mild JPEG; numbers of objects that are nearly the same have one part each
        soft = found.parts_of_others(low) >= SEVERAL
    else:
        soft = between < 0.8 * bright and _grey_at_edges_alone(planes, black, white)
    return (low + high) / 2 if soft else None


def _grey_at_edges_alone(planes: Sequence[np.ndarray], black: float, white: float) -> bool:
    """Return whether grey pixels are thin or gradual, while objects and background are pure inside."""
    from scipy import ndimage

    between = thick = equal = neighbours = 0
    pure, deep = [0, 0], [0, 0]
    for plane in (planes[number] for number in _some(len(planes))):
        grey = (plane > black) & (plane < white)
        between += int(grey.sum())
        thick += int(ndimage.binary_opening(grey, np.ones((3, 3), bool)).sum())
        for one, other in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
            both = grey[one] & grey[other]
            neighbours += int(both.sum())
            equal += int((both & (plane[one] == plane[other])).sum())
        bright = plane > (black + white) / 2
        if bright.any() and not bright.all():
            for side, (inside, right) in enumerate(
                ((bright, plane >= white), (~bright, plane <= black))
            ):
                depth = ndimage.distance_transform_edt(inside)
                core = inside & (depth >= np.quantile(depth[inside], 0.75))
                pure[side] += int((core & right).sum())
                deep[side] += int(core.sum())
    gradual = thick < 0.1 * between or equal < 0.6 * neighbours
    return gradual and all(p >= 0.8 * d > 0 for p, d in zip(pure, deep, strict=True))
