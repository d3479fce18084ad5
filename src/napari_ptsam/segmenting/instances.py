"""Labels to instances: connected components, or objects that are split by their cores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari_ptsam.segmenting.result import ResultSettings

# Pixels are connected through their sides and corners.
CONNECTED = np.ones((3, 3), dtype=bool)


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

    instances = np.zeros(labels.shape, dtype=np.uint32)
    found = 0
    for value in np.unique(labels[labels > 0]):
        parts, count = ndimage.label(labels == value, structure=CONNECTED, output=np.uint32)
        parts[parts > 0] += np.uint32(found)
        instances += parts
        found += count
    return instances


def split_by_cores(labels: np.ndarray, logits: np.ndarray, cores: np.ndarray) -> np.ndarray:
    """Number objects; those that touch are told apart by their cores.

    Each connected core floods the foreground of its class, downhill from the
    highest probability (watershed). A part without any core is an object too.

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
    from scipy import ndimage
    from skimage.segmentation import watershed

    instances = np.zeros(labels.shape, dtype=np.uint32)
    found = 0
    for value in np.unique(labels[labels > 0]):
        mask = labels == value
        seeds, count = ndimage.label((cores[value - 1] > 0) & mask, CONNECTED, np.int32)
        parts, total = ndimage.label(mask, CONNECTED, np.int32)
        with_core = np.zeros(total + 1, dtype=bool)
        with_core[parts[seeds > 0]] = True
        without = mask & ~with_core[parts]
        # Parts without a core keep their own numbers, after those of the cores.
        numbers = np.cumsum(~with_core[1:], dtype=np.int32)
        seeds[without] = count + numbers[parts[without] - 1]
        # The relief is that of cores and foreground together: the cores alone are flat outside.
        relief = -(logits[value - 1] + cores[value - 1])
        flooded = watershed(relief, seeds, mask=mask, connectivity=CONNECTED)
        instances[mask] = flooded[mask].astype(np.uint32) + np.uint32(found)
        found += count + (int(numbers[-1]) if total else 0)
    return instances


def clean(instances: np.ndarray, settings: ResultSettings) -> np.ndarray:
    """Fill holes in objects, leave out small ones and those at the edge, and number the rest anew.

    Parameters
    ----------
    instances
        uint32, shape (y, x); 0 is background.

    Returns
    -------
    numpy.ndarray
        uint32, shape (y, x): numbered from 1 without gaps, in the same order.
    """
    if settings.fill_holes:
        instances = _filled(instances)
    areas = np.bincount(instances.ravel())
    stays = (areas > 0) & (areas >= settings.min_size)
    stays[0] = False
    if settings.remove_border:
        edges = (instances[0], instances[-1], instances[:, 0], instances[:, -1])
        stays[np.unique(np.concatenate(edges))] = False
    numbers = np.where(stays, np.cumsum(stays), 0).astype(np.uint32)
    return numbers[instances]


def _filled(instances: np.ndarray) -> np.ndarray:
    """Give background that one object encloses to that object."""
    from scipy import ndimage

    filled = instances.copy()
    for number, window in enumerate(ndimage.find_objects(instances.astype(np.int64)), start=1):
        if window is None:
            continue
        holes = ndimage.binary_fill_holes(instances[window] == number) & (instances[window] == 0)
        filled[window][holes] = number
    return filled
