"""The cores of annotated objects: inner parts that do not touch, however close the objects are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from napari_ptsam.datasets.annotated_planes import AnnotatedPlane
from napari_ptsam.inference.objects import CONNECTED

DEPTH = 0.5
"""A core is what lies deeper in its object than this part of the object's deepest point."""


def with_markers(example: AnnotatedPlane) -> AnnotatedPlane:
    """The example with cores in place of objects.

    Parameters
    ----------
    example
        With instances.

    Returns
    -------
    AnnotatedPlane
        Its ``labels`` are 0 outside of the cores.
    """
    assert example.instances is not None
    inner = find_markers(example.instances, example.valid)
    return replace(example, labels=np.where(inner, example.labels, np.uint8(0)))


def find_markers(instances: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Inner parts of objects: each connected part of an object has one connected core.

    Where an object goes on beyond the plane's edge, or beyond what was
    annotated, it has no boundary, so that its core goes on too.

    Parameters
    ----------
    instances
        Integer, shape (y, x): a number for each object; 0 is background.
    valid
        bool, same shape: pixels that were annotated; None means all.

    Returns
    -------
    numpy.ndarray
        bool, same shape.
    """
    from scipy import ndimage

    # Numbers may be anything up to 2**63; find_objects makes a list as long as the largest.
    found, index = np.unique(instances, return_inverse=True)
    numbered = index.reshape(instances.shape) + (0 if found[0] == 0 else 1)
    inner = np.zeros(instances.shape, dtype=bool)
    for number, window in enumerate(ndimage.find_objects(numbered), start=1):
        if window is None:
            continue
        # One pixel more on each side: the neighbours are boundary, the plane's edge is none.
        rows, columns = (slice(max(part.start - 1, 0), part.stop + 1) for part in window)
        own = numbered[rows, columns] == number
        unknown = False if valid is None else ~valid[rows, columns]
        inner[rows, columns] |= _marker(own, own | unknown)
    return inner


def _marker(own: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Cores of the connected parts of one object; what is not ``inside`` is boundary."""
    from scipy import ndimage

    if inside.all():
        return own
    depth = ndimage.distance_transform_edt(inside)
    parts, count = ndimage.label(own, CONNECTED)
    marker = np.zeros(own.shape, dtype=bool)
    for number in range(1, count + 1):
        deep = np.where(parts == number, depth, 0)
        pieces, several = ndimage.label(deep > DEPTH * deep.max(), CONNECTED)
        # A waist may cut it in two: of those the deeper one is the core.
        marker |= pieces == pieces.flat[deep.argmax()] if several > 1 else pieces > 0
    return marker
