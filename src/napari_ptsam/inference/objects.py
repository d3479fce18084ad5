"""Areas to objects: connected components, or objects that are split by their cores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# Pixels are connected through their sides and corners.
CONNECTED = np.ones((3, 3), dtype=bool)
# Chosen on left-out training planes of BBBC039 (docs/notes/experiments.md).
SMOOTHING = 0.2
"""Standard deviation that cores are smoothed with, as a part of the objects' mean depth."""
RISE = 2.0
"""How far a core rises above its surroundings, at least: in logits."""


def connected_components(labels: np.ndarray) -> np.ndarray:
    """Number the connected parts of each class.

    Pixels are connected through their sides and corners; parts of different
    classes get different numbers, even where they touch.

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

    return _class_by_class(labels, lambda value, mask: ndimage.label(mask, CONNECTED, np.uint32))


def _class_by_class(
    labels: np.ndarray, number: Callable[[int, np.ndarray], tuple[np.ndarray, int]]
) -> np.ndarray:
    """Number the objects of each class, given its value and mask, one class after the other."""
    instances = np.zeros(labels.shape, dtype=np.uint32)
    found = 0
    for value in np.unique(labels[labels > 0]):
        mask = labels == value
        parts, count = number(int(value), mask)
        instances[mask] = parts[mask].astype(np.uint32) + np.uint32(found)
        found += count
    return instances


def split_by_cores(labels: np.ndarray, logits: np.ndarray, cores: np.ndarray) -> np.ndarray:
    """Number objects; those that touch are told apart by their cores.

    The logits of the cores are smoothed a little, for as they come they waver.
    Each peak that is high enough above what separates it from higher ones is a
    seed, and the seeds flood the foreground of their class, downhill
    (watershed). A part without any seed is an object too.

    Parameters
    ----------
    labels
        Class numbers, shape (y, x); 0 is background.
    logits
        Of each class: float32, shape (classes, y, x).
    cores
        Logits of being in an object's core: float32, shape (classes, y, x).

    Returns
    -------
    numpy.ndarray
        uint32, shape (y, x): 0 is background, objects are numbered from 1.
    """
    return _class_by_class(
        labels, lambda value, mask: _flood(mask, logits[value - 1], cores[value - 1])
    )


def _flood(mask: np.ndarray, logits: np.ndarray, cores: np.ndarray) -> tuple[np.ndarray, int]:
    """Objects of one class, numbered from 1, and how many they are."""
    from scipy import ndimage
    from skimage.segmentation import watershed

    smooth = ndimage.gaussian_filter(cores, _smoothing(mask))
    seeds, count = ndimage.label(_peaks(smooth, mask), CONNECTED, np.int32)
    parts, total = ndimage.label(mask, CONNECTED, np.int32)
    with_core = np.zeros(total + 1, dtype=bool)
    with_core[parts[seeds > 0]] = True
    without = mask & ~with_core[parts]
    # Parts without a core keep their own numbers, after those of the cores.
    numbers = np.cumsum(~with_core[1:], dtype=np.int32)
    seeds[without] = count + numbers[parts[without] - 1]
    # The relief is that of cores and foreground together: the cores alone are flat outside.
    flooded = watershed(-(logits + smooth), seeds, mask=mask, connectivity=CONNECTED)
    return flooded, count + int(numbers[-1])


def _smoothing(mask: np.ndarray) -> float:
    """Standard deviation in pixels that suits the objects: a part of how thick they are.

    The mean depth of a disc is a third of its radius, whether it touches others or not.
    """
    from scipy import ndimage

    # Beyond the plane's edge is no foreground, so that a plane full of it has a depth too.
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return SMOOTHING * float(depth[mask].mean())


def _peaks(cores: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Peaks within the cores that rise far enough: bool, shape (y, x).

    Of two peaks, the lower one is none if the way to the higher one descends by
    less than `RISE`; a single speck has to rise as much above its surroundings.
    """
    from skimage.morphology import reconstruction

    # Nothing is deeper than that, so that any peak above 0 that stands alone is one.
    bounded = np.where(mask, np.maximum(cores, -RISE), -RISE).astype(np.float32)
    rest = reconstruction(bounded - RISE, bounded, footprint=CONNECTED)
    peaks: np.ndarray = (bounded - rest >= RISE - 1e-4) & (bounded > 0)
    return peaks
