"""Turn a prediction into annotation: labels for what is found and not annotated yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_ptsam.annotation.scheme import check_labels
from napari_ptsam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_ptsam.annotation.scheme import Scheme

ANNOTATED = 0.5
"""Annotated fraction of an object from which on it counts as annotated."""
STRAY = 0.005
"""Fraction of the annotated area that may be stray marks, whose size does not count."""
SPECK = 0.5
"""Size of a speck, as a fraction of that of the smallest annotated object."""


def speck_size(planes: Iterable[np.ndarray], ignored: int = 0) -> float:
    """Return the number of pixels below which a predicted object is a speck.

    Parameters
    ----------
    planes
        Annotated planes: integer, shape (y, x). Connected pixels of one label are an object.
    ignored
        Label of ignored pixels; 0 if there is none.

    Returns
    -------
    float
        0 if nothing is annotated.
    """
    from skimage.measure import label

    areas = [0]
    for labels in planes:
        objects = label(np.where(labels == ignored, 0, labels), background=0)
        areas += np.bincount(objects.ravel())[1:].tolist()
    ordered = np.sort(areas)
    covered = np.cumsum(ordered)
    return SPECK * float(ordered[np.searchsorted(covered, STRAY * covered[-1])])


def without_specks(objects: np.ndarray, size: float) -> np.ndarray:
    """Return an instance mask without its specks.

    Parameters
    ----------
    objects
        The objects: integer, shape (y, x), 0 is background.
    size
        Number of pixels below which an object is a speck, see `speck_size`.
    """
    is_speck = np.bincount(objects.ravel()) < size
    return np.where(is_speck[objects], 0, objects)


def new_objects(objects: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the objects of a prediction that are not annotated yet, without annotated pixels.

    An object counts as annotated if half of its pixels are: what remains of it is the rim where
    the annotation and the prediction differ. If less of it is annotated, its largest connected
    part outside of the annotation is kept.

    Parameters
    ----------
    objects
        Predicted objects, numbered from 1: integer, shape (y, x).
    labels
        Labels of the plane; 0 is not annotated: integer, shape (y, x).

    Returns
    -------
    numpy.ndarray
        uint32, shape (y, x): numbered from 1 without gaps, in the same order.
    """
    from scipy import ndimage

    annotated = labels != 0
    areas = np.bincount(objects.ravel())
    covered = np.bincount(objects[annotated].ravel(), minlength=len(areas))
    kept = (areas > 0) & (covered < ANNOTATED * areas)
    kept[0] = False
    result = np.where(kept, np.cumsum(kept), 0).astype(np.uint32)[objects]
    result[annotated] = 0
    cut = set((np.cumsum(kept)[kept & (covered > 0)]).tolist())
    windows = ndimage.find_objects(result.astype(np.int32)) if cut else []
    for number, window in enumerate(windows, start=1):
        if number in cut and window is not None:
            inside = result[window]
            parts, count = ndimage.label(inside == number, np.ones((3, 3)))
            if count > 1:
                largest = np.bincount(parts[parts > 0]).argmax()
                inside[(parts > 0) & (parts != largest)] = 0
    return result


def unused_labels(labels: np.ndarray, count: int, reserved: int = 0) -> np.ndarray:
    """Return labels that no pixel of a plane has, preferably those above the highest.

    Parameters
    ----------
    labels
        Labels of the plane: integer, shape (y, x).
    count
        Number of labels that are needed.
    reserved
        Label that is not for objects, such as that of ignored pixels; 0 if there is none.

    Returns
    -------
    numpy.ndarray
        int64, shape (count,), ascending.

    Raises
    ------
    InputError
        If the dtype has too few other labels.
    """
    most = int(np.iinfo(labels.dtype).max)
    if reserved:
        labels = np.where(labels == reserved, 0, labels)
    highest = max(int(labels.max(initial=0)), 0)
    last = highest + count + bool(reserved)
    if last <= most:
        above = np.arange(highest + 1, last + 1)
        return above[above != reserved][:count]
    used = np.unique(labels)
    candidates = np.arange(1, min(len(used) + count + 1, most) + 1)
    unused = np.setdiff1d(candidates, [*used, reserved])
    if len(unused) < count:
        raise InputError(
            f"All {most} labels that this annotation layer can hold are in use on this plane; "
            "convert it to uint16 (right click on the layer, Convert data type)."
        )
    return unused[:count]


def labels_to_add(
    found: np.ndarray,
    classes: tuple[str, ...],
    labels: np.ndarray,
    scheme: Scheme,
    speck: float = 0,
) -> np.ndarray:
    """Return the labels with which a prediction is added to the annotation of a plane.

    Parameters
    ----------
    found
        The prediction, shape (y, x): objects, numbered from 1, if the scheme numbers objects;
        otherwise class numbers.
    classes
        Classes of the prompt that predicted it.
    labels
        Labels of the plane as they are: integer, shape (y, x).
    scheme
        Meaning of the labels.
    speck
        Number of pixels below which an object is left out, see `speck_size`.

    Returns
    -------
    numpy.ndarray
        dtype of the labels, shape (y, x); 0 where nothing is to be added, which includes all
        annotated pixels. With ``scheme.instances``, each object has an unused label.

    Raises
    ------
    InputError
        If the classes differ from those of the scheme, the labels cannot be used, or there are
        not enough unused labels.
    """
    check_labels(labels)
    if classes != scheme.classes and len(classes) + len(scheme.classes) > 2:
        raise InputError(
            f"The prompt finds {', '.join(classes)}, but the classes of the annotation are "
            f"{', '.join(scheme.classes)}; they have to be the same, in the same order."
        )
    if scheme.instances:
        objects = new_objects(without_specks(found, speck), labels)
        values = np.concatenate(
            [[0], unused_labels(labels, int(objects.max(initial=0)), scheme.ignored)]
        )
    else:
        objects = np.where(labels == 0, found, 0)
        values = np.array([0, *scheme.values])
    added: np.ndarray = values.astype(labels.dtype)[objects]
    return added
