"""Number the objects in a class map: connected components, or a watershed from markers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari_ptsam.inference.result import ResultSettings

CONNECTED = np.ones((3, 3), dtype=bool)
"""Footprint of a pixel's neighbours: those at its sides and corners."""
# Both were chosen on training planes of BBBC039 (docs/method.md).
SMOOTHING = 0.2
"""Standard deviation of the filter on the markers, as a fraction of the objects' mean depth."""
RISE = 2.0
"""Height in logits by which a marker rises above its surroundings, at least."""


class NumberedObjects(np.ndarray):
    """The numbered objects of a plane, with the class of each.

    Arrays that are derived from this one do not know the classes.

    Attributes
    ----------
    classes
        Class number of each object, by its number: uint8, at least as long as the largest number
        plus 1; None if unknown.
    """

    classes: np.ndarray | None = None

    @classmethod
    def of(cls, objects: np.ndarray, classes: np.ndarray) -> NumberedObjects:
        """Return a view of objects that knows their classes."""
        view = objects.view(cls)
        view.classes = classes
        return view


def classes_of(objects: np.ndarray) -> np.ndarray | None:
    """Return the class number of each object, by its number; None if unknown."""
    return objects.classes if isinstance(objects, NumberedObjects) else None


def connected_components(labels: np.ndarray) -> np.ndarray:
    """Number the connected components of each class.

    Pixels are connected through their sides and corners. Components of
    different classes get different numbers, even where they touch.

    Parameters
    ----------
    labels
        Class numbers, shape (y, x); 0 is background.

    Returns
    -------
    numpy.ndarray
        uint32, shape (y, x): 0 is background, objects are numbered from 1.
    """
    from scipy import ndimage

    # skimage.measure.label gives the same numbers, but this function takes 1.3 times as long with it.
    return _class_by_class(labels, lambda value, mask: ndimage.label(mask, CONNECTED, np.uint32))


def _class_by_class(
    labels: np.ndarray, number_objects: Callable[[int, np.ndarray], tuple[np.ndarray, int]]
) -> np.ndarray:
    """Number the objects of one class after the other.

    Parameters
    ----------
    labels
        Class numbers, shape (y, x); 0 is background.
    number_objects
        Called with a class number and its mask. Returns the objects in the
        mask, numbered from 1, and their count.
    """
    instances = np.zeros(labels.shape, dtype=np.uint32)
    total = 0
    for value in np.unique(labels[labels > 0]):
        mask = labels == value
        objects, count = number_objects(int(value), mask)
        instances[mask] = objects[mask].astype(np.uint32) + np.uint32(total)
        total += count
    return instances


def split_by_markers(labels: np.ndarray, logits: np.ndarray, markers: np.ndarray) -> np.ndarray:
    """Number objects, and separate touching ones by a watershed from their markers.

    The markers are smoothed a little, because they are noisy. Each of their
    peaks that rises high enough above its surroundings becomes a seed, and the
    watershed floods the foreground of the class from the seeds. A connected
    component without any seed is one object.

    Parameters
    ----------
    labels
        Class numbers, shape (y, x); 0 is background.
    logits
        Logits of the classes: float32, shape (classes, y, x).
    markers
        Logits of the inner parts of the objects: float32, shape (classes, y, x).

    Returns
    -------
    numpy.ndarray
        uint32, shape (y, x): 0 is background, objects are numbered from 1.
    """
    return _class_by_class(
        labels, lambda value, mask: _flood(mask, logits[value - 1], markers[value - 1])
    )


def _flood(mask: np.ndarray, logits: np.ndarray, markers: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the objects of one class, numbered from 1, and their count."""
    from scipy import ndimage
    from skimage.segmentation import watershed

    smooth = ndimage.gaussian_filter(markers, _smoothing(mask))
    seeds, seed_count = ndimage.label(_peaks(smooth, mask), CONNECTED, np.int32)
    components, component_count = ndimage.label(mask, CONNECTED, np.int32)
    has_seed = np.zeros(component_count + 1, dtype=bool)
    has_seed[components[seeds > 0]] = True
    # Components without a seed are seeds of their own, numbered after the others.
    without_seed = mask & ~has_seed[components]
    numbers = np.cumsum(~has_seed[1:], dtype=np.int32)
    seeds[without_seed] = seed_count + numbers[components[without_seed] - 1]
    # The markers alone are flat outside of the objects' inner parts, so the logits are added.
    objects = watershed(-(logits + smooth), seeds, mask=mask, connectivity=CONNECTED)
    return objects, seed_count + int(numbers[-1])


def _smoothing(mask: np.ndarray) -> float:
    """Return a standard deviation in pixels that suits the thickness of the objects.

    The mean depth of a disc is a third of its radius, and it stays about the
    same where discs touch.
    """
    from scipy import ndimage

    # The padding makes the plane's edge an edge of the objects, so that a full plane has a depth.
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return SMOOTHING * float(depth[mask].mean())


def _peaks(markers: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Find the peaks above 0 that rise by `RISE` above their surroundings.

    Of two peaks, the lower one does not count if the path to the higher one
    descends by less than `RISE`.

    Returns
    -------
    numpy.ndarray
        bool, shape (y, x).
    """
    from skimage.morphology import reconstruction

    # With this floor, any lone peak above 0 rises far enough.
    bounded = np.where(mask, np.maximum(markers, -RISE), -RISE).astype(np.float32)
    # skimage.morphology.h_maxima takes as long, but its tolerance is float32's own resolution: the
    # number of seeds differed on a quarter of 72 planes.
    rest = reconstruction(bounded - RISE, bounded, footprint=CONNECTED)
    peaks: np.ndarray = (bounded - rest >= RISE - 1e-4) & (bounded > 0)
    return peaks


def clean(instances: np.ndarray, settings: ResultSettings) -> np.ndarray:
    """Fill holes, remove small objects and those at the edge, and renumber the rest.

    Parameters
    ----------
    instances
        uint32, shape (y, x); 0 is background.
    settings
        Which of these steps to take.

    Returns
    -------
    numpy.ndarray
        uint32, shape (y, x): numbered from 1 without gaps, in the same order.
    """
    if settings.fill_holes:
        instances = _fill_holes(instances)
    # One lookup table does what clear_border, remove_small_objects and relabel_sequential do in
    # sequence, in an eighth of the time.
    areas = np.bincount(instances.ravel())
    keep = (areas > 0) & (areas >= settings.min_size)
    keep[0] = False
    if settings.remove_border:
        edges = (instances[0], instances[-1], instances[:, 0], instances[:, -1])
        keep[np.unique(np.concatenate(edges))] = False
    new_numbers = np.where(keep, np.cumsum(keep), 0).astype(np.uint32)
    return new_numbers[instances]


def _fill_holes(instances: np.ndarray) -> np.ndarray:
    """Add background that one object encloses to that object."""
    from scipy import ndimage

    filled = instances.copy()
    for number, window in enumerate(ndimage.find_objects(instances.astype(np.int64)), start=1):
        if window is None:
            continue
        holes = ndimage.binary_fill_holes(instances[window] == number) & (instances[window] == 0)
        filled[window][holes] = number
    return filled
