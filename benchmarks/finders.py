"""The interface of the rivals, and how they are scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from napari_ptsam.datasets.annotated_planes import AnnotatedPlane, AnnotationSet
from napari_ptsam.evaluation.evaluate import PlaneScore, score

Finder = Callable[[AnnotatedPlane], np.ndarray]
"""Function that returns the foreground of a plane: bool, shape (y, x)."""


def scores(find: Finder, planes: AnnotationSet) -> Iterator[PlaneScore]:
    """Compare what a rival finds with the annotation; its objects are connected components.

    Yields
    ------
    PlaneScore
        The scores of the next plane.
    """
    for example in planes.examples:
        yield score(example, np.asarray(find(example)).astype(np.uint8), classes=1)
