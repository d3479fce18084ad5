"""Markers of annotated objects: inner parts, which do not touch however close the objects are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from napari_ptsam.datasets.annotated_planes import AnnotatedPlane
from napari_ptsam.inference.objects import CONNECTED

DEPTH = 0.5
"""The marker is where the distance to the boundary exceeds this fraction of its maximum."""


def with_markers(example: AnnotatedPlane) -> AnnotatedPlane:
    """Return the plane with markers in place of objects.

    Parameters
    ----------
    example
        Annotated plane with instances.

    Returns
    -------
    AnnotatedPlane
        The same plane, with ``labels`` set to 0 outside of the markers.
    """
    assert example.instances is not None
    inner = find_markers(example.instances, example.valid)
    return replace(example, labels=np.where(inner, example.labels, np.uint8(0)))


def find_markers(instances: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Find the inner part of each object; each connected component has one connected marker.

    The edge of the plane, and of what was annotated, is no boundary of an
    object, so that markers may reach it.

    Parameters
    ----------
    instances
        Number of the object at each pixel: integer, shape (y, x); 0 is background.
    valid
        Pixels that were annotated: bool, same shape; None if all were.

    Returns
    -------
    numpy.ndarray
        Pixels of the markers: bool, same shape.
    """
    from scipy import ndimage

    # Numbers may go up to 2**63, and find_objects returns a list as long as the largest.
    numbers, index = np.unique(instances, return_inverse=True)
    numbered = index.reshape(instances.shape) + (0 if numbers[0] == 0 else 1)
    inner = np.zeros(instances.shape, dtype=bool)
    for number, window in enumerate(ndimage.find_objects(numbered), start=1):
        if window is None:
            continue
        # With a margin of one pixel, neighbouring objects are boundary, but the plane's edge is not.
        rows, columns = (slice(max(part.start - 1, 0), part.stop + 1) for part in window)
        mask = numbered[rows, columns] == number
        unknown = False if valid is None else ~valid[rows, columns]
        inner[rows, columns] |= _marker(mask, mask | unknown)
    return inner


def _marker(mask: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the marker of each connected component of an object's mask.

    Pixels that are not ``inside`` count as boundary.
    """
    from scipy import ndimage

    if inside.all():
        return mask
    depth = ndimage.distance_transform_edt(inside)
    components, count = ndimage.label(mask, CONNECTED)
    marker = np.zeros(mask.shape, dtype=bool)
    for number in range(1, count + 1):
        deep = np.where(components == number, depth, 0)
        pieces, several = ndimage.label(deep > DEPTH * deep.max(), CONNECTED)
        # A narrow waist may cut it in two; the deeper part is the marker.
        marker |= pieces == pieces.flat[deep.argmax()] if several > 1 else pieces > 0
    return marker
