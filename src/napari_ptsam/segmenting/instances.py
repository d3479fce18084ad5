"""Labels to instances."""

from __future__ import annotations

import numpy as np


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
        parts, count = ndimage.label(labels == value, structure=np.ones((3, 3)), output=np.uint32)
        parts[parts > 0] += np.uint32(found)
        instances += parts
        found += count
    return instances
