"""Edit painted objects on a plane: find one under a pixel, merge some, split one along a stroke.

All functions take labels as painted, without the rest of their stack, and
return the pixels that change; they write nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot
from typing import TYPE_CHECKING

import numpy as np

from napari_ptsam.annotation.strokes import stroke_pixels
from napari_ptsam.inference.objects import CONNECTED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Point = tuple[float, float]
    Pixel = tuple[int, int]

FIRST_WINDOW = 256
"""Half the side of the window in pixels in which a component is looked for at first."""
SMALLEST_SHARE, FEWEST_PIXELS = 0.01, 4
"""A part that a stroke cuts off stays with its neighbour if it has less than this fraction of the
object's area, or fewer pixels than this."""


@dataclass(frozen=True, eq=False)
class Change:
    """New labels for some pixels of a plane.

    Attributes
    ----------
    rows, columns
        Positions of the pixels: int, shape (n,).
    labels
        New label of each pixel: int64, shape (n,).
    """

    rows: np.ndarray
    columns: np.ndarray
    labels: np.ndarray

    @classmethod
    def of_mask(cls, mask: np.ndarray, label: int, origin: Pixel = (0, 0)) -> Change:
        """Give one label to all pixels of a mask whose first pixel lies at ``origin``."""
        rows, columns = np.nonzero(mask)
        return cls(rows + origin[0], columns + origin[1], np.full(len(rows), label, np.int64))

    @classmethod
    def joined(cls, changes: Sequence[Change]) -> Change:
        """Join changes of different pixels into one."""
        parts = [(change.rows, change.columns, change.labels) for change in changes]
        rows, columns, labels = (np.concatenate(along) for along in zip(*parts, strict=True))
        return cls(rows, columns, labels)


def object_pixels(labels: np.ndarray, pixel: Pixel, whole: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of the object under a pixel.

    Parameters
    ----------
    labels
        Labels as painted: integer, shape (y, x).
    pixel
        Position of the pixel: (y, x). If it has label 0, nothing is returned.
    whole
        Whether all pixels with the label under the pixel are the object, even
        if they do not touch. Otherwise it is the connected component.
    """
    value = labels[pixel]
    if not value:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    if whole:
        rows, columns = np.nonzero(labels == value)
        return rows, columns
    (y0, x0), mask = _component(labels, pixel)
    rows, columns = np.nonzero(mask)
    return rows + y0, columns + x0


def _component(labels: np.ndarray, pixel: Pixel) -> tuple[Pixel, np.ndarray]:
    """Return the origin of a window, and the connected component around a pixel within it.

    Large planes are not searched as a whole: the window grows until it holds
    the component.
    """
    from scipy import ndimage

    value, half = labels[pixel], FIRST_WINDOW
    while True:
        window = tuple(
            slice(max(at - half, 0), min(at + half + 1, side))
            for at, side in zip(pixel, labels.shape, strict=True)
        )
        components, _ = ndimage.label(labels[window] == value, CONNECTED)
        mask = components == components[pixel[0] - window[0].start, pixel[1] - window[1].start]
        open_sides = (
            window[0].start > 0 and mask[0].any(),
            window[0].stop < labels.shape[0] and mask[-1].any(),
            window[1].start > 0 and mask[:, 0].any(),
            window[1].stop < labels.shape[1] and mask[:, -1].any(),
        )
        if not any(open_sides):
            return (window[0].start, window[1].start), mask
        half *= 2


def nearest_object(labels: np.ndarray, pixel: Pixel, reach: float) -> int:
    """Return the label under a pixel, or the nearest one within ``reach`` pixels; 0 if none is near.

    Parameters
    ----------
    labels
        Labels as painted: integer, shape (y, x).
    pixel
        Position of the pixel: (y, x).
    reach
        Largest distance in pixels.
    """
    half = int(reach)
    window = tuple(slice(max(at - half, 0), at + half + 1) for at in pixel)
    near = labels[window]
    rows, columns = np.nonzero(near)
    if not len(rows):
        return 0
    distances = np.hypot(rows + window[0].start - pixel[0], columns + window[1].start - pixel[1])
    nearest = int(distances.argmin())
    return int(near[rows[nearest], columns[nearest]]) if distances[nearest] <= reach else 0


def labels_along(labels: np.ndarray, points: Sequence[Point]) -> list[int]:
    """Return the labels above 0 that a stroke passes, in the order in which it meets them.

    Parameters
    ----------
    labels
        Labels as painted: integer, shape (y, x).
    points
        Positions (y, x) along the stroke, in pixels.
    """
    shape = labels.shape[0], labels.shape[1]
    met = labels[stroke_pixels(points, shape)]
    return [int(label) for label in dict.fromkeys(met[met > 0].tolist())]


def merge(labels: np.ndarray, merged: Iterable[int]) -> Change:
    """Give objects the label of the first one.

    Parameters
    ----------
    labels
        Labels as painted: integer, shape (y, x).
    merged
        Labels of the objects.
    """
    first, *others = merged
    return Change.of_mask(np.isin(labels, others), first)


def split(labels: np.ndarray, points: Sequence[Point], unused: Iterable[int]) -> Change | None:
    """Split the objects that a stroke crosses.

    The largest part of an object keeps its label. The pixels under the stroke
    go to the nearest part, so that nothing gets lost. If no object is crossed,
    but the stroke lies on a single one, its ends are extended straight on to
    the border of that object.

    Parameters
    ----------
    labels
        Labels as painted: integer, shape (y, x). Each object has its own.
    points
        Positions (y, x) along the stroke, in pixels.
    unused
        Labels for the new objects, as many as are needed.

    Returns
    -------
    Change or None
        None if the stroke splits nothing.
    """
    new_labels = iter(unused)
    met = labels_along(labels, points)
    changes = [_split_one(labels, label, points, new_labels) for label in met]
    if len(met) == 1 and changes == [None]:
        longer = _extended(points, hypot(*labels.shape))
        changes = [_split_one(labels, met[0], longer, new_labels)]
    found = [change for change in changes if change is not None]
    return Change.joined(found) if found else None


def _split_one(
    labels: np.ndarray, label: int, points: Sequence[Point], new_labels: Iterable[int]
) -> Change | None:
    """Split one object along a stroke; None if the stroke does not divide it."""
    from scipy import ndimage

    rows, columns = np.nonzero(labels == label)
    y0, x0 = int(rows.min()), int(columns.min())
    mask = np.zeros((int(rows.max()) - y0 + 1, int(columns.max()) - x0 + 1), bool)
    mask[rows - y0, columns - x0] = True
    cut = np.zeros_like(mask)
    cut[stroke_pixels([(y - y0, x - x0) for y, x in points], mask.shape)] = True
    before, count = ndimage.label(mask, CONNECTED)
    parts, part_count = ndimage.label(mask & ~cut, CONNECTED)
    areas = np.bincount(parts.ravel(), minlength=part_count + 1)
    large = areas >= max(FEWEST_PIXELS, SMALLEST_SHARE * mask.sum())
    large[0] = False
    # What did not hang together before is not split by the stroke, but stays with the largest part.
    groups = np.zeros(part_count + 1, int)
    divided = False
    for component in range(1, count + 1):
        within = np.unique(parts[(before == component) & (parts > 0)])
        kept = [part for part in within if large[part]]
        divided |= len(kept) > 1
        groups[kept] = kept if len(kept) > 1 else 0
    if not divided:
        return None
    largest = int(np.where(groups > 0, areas, 0).argmax())
    values = np.where(groups > 0, 0, label)
    for part in np.flatnonzero(groups):
        values[part] = label if part == largest else next(iter(new_labels))
    return _change_of_parts(mask, before, parts, large, values, label, (y0, x0))


def _change_of_parts(
    mask: np.ndarray,
    before: np.ndarray,
    parts: np.ndarray,
    large: np.ndarray,
    values: np.ndarray,
    label: int,
    origin: Pixel,
) -> Change:
    """Give the pixels under the stroke and in small parts to the nearest large part."""
    from scipy import ndimage

    settled = mask & large[parts]
    result = np.where(settled, values[parts], 0)
    for component in np.unique(before[mask & ~settled]):
        own = before == component
        if not (settled & own).any():
            result[own] = label
            continue
        at = ndimage.distance_transform_edt(
            ~(settled & own), return_distances=False, return_indices=True
        )
        rest = own & ~settled
        result[rest] = result[tuple(at)][rest]
    rows, columns = np.nonzero(mask & (result != label))
    new = result[rows, columns].astype(np.int64)
    return Change(rows + origin[0], columns + origin[1], new)


def _extended(points: Sequence[Point], length: float) -> list[Point]:
    """Extend both ends of a stroke straight on, each by a length in pixels."""

    def beyond(end: Point, before: Point) -> Point:
        dy, dx = end[0] - before[0], end[1] - before[1]
        far = hypot(dy, dx)
        return end if not far else (end[0] + dy / far * length, end[1] + dx / far * length)

    # The direction is that of the whole stroke: the last few pixels of a hand's stroke often bend.
    return [beyond(points[0], points[-1]), *points, beyond(points[-1], points[0])]
