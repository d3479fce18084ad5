"""Instances: objects told apart, and cleaned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_ptsam.inference.objects import connected_components, split_by_cores

if TYPE_CHECKING:
    from napari_ptsam.inference.result import ResultSettings

__all__ = ["clean", "connected_components", "split_by_cores"]


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
