"""Choose the guided filter that suits the annotated planes, if any does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from napari_ptsam.evaluation.metrics import standard_error
from napari_ptsam.images.guided_filter import Refinement

if TYPE_CHECKING:
    from napari_ptsam.training.validation import PlaneLogits

RADII, EPSILONS = (2, 4, 8, 16), (1e-3, 1e-2)
THRESHOLDS = np.arange(-2.0, 2.01, 0.25)
"""Thresholds of the logits to try, equally spaced and symmetric around 0."""
STANDARD_ERRORS = 2.0
"""Standard errors that are subtracted from the mean gain in IoU, so that a filter that suits some
planes and harms others is not taken."""
FEWEST = 4
"""Smallest number of planes on which filters are compared."""
FEWEST_TO_SHIFT = 8
"""Smallest number of planes for which the threshold may differ from 0. Chosen for a few similar
planes, it could turn the background of another one into foreground."""
MOST_ON_BLANKS = 0.001
"""Largest fraction of blank planes that a lower threshold may add to the foreground."""
SIDE = 512
"""Side of the part of a plane that is used, which is the part with the most foreground."""


def choose_refinement(
    planes: Sequence[PlaneLogits], blanks: Sequence[PlaneLogits] = ()
) -> Refinement | None:
    """Choose the filter with the highest reliable gain in IoU.

    Parameters
    ----------
    planes
        Annotated planes with their unfiltered logits. Training planes are among them;
        their logits come from detail heads that have not seen them, if there are any.
    blanks
        Planes that show almost nothing. Thresholds that turn them into
        foreground are not taken.

    Returns
    -------
    Refinement or None
        None if no filter helps, or there are too few planes.
    """
    if len(planes) < FEWEST:
        return None
    candidates = list(product(RADII, EPSILONS))
    gains = np.stack([_gains(plane, candidates) for plane in planes])
    errors = standard_error(gains)
    reliable = gains.mean(0) - STANDARD_ERRORS * errors
    if len(planes) < FEWEST_TO_SHIFT:
        reliable[:, THRESHOLDS != 0] = -np.inf
    reliable[:, _false_foreground(blanks) > MOST_ON_BLANKS] = -np.inf
    best, threshold = np.unravel_index(reliable.argmax(), reliable.shape)
    if reliable[best, threshold] <= 0:
        return None
    return Refinement(*candidates[best], float(THRESHOLDS[threshold]))


def _false_foreground(blanks: Sequence[PlaneLogits]) -> np.ndarray:
    """Return the fraction of blank background that each threshold adds to foreground: (thresholds,)."""
    above, pixels = np.zeros(len(THRESHOLDS)), 0
    for blank in blanks:
        example = blank.plane.example
        empty = example.labels == 0
        if example.valid is not None:
            empty &= example.valid
        highest = blank.logits.max(0)[empty].astype(np.float32)
        above += [np.count_nonzero(highest > threshold) for threshold in THRESHOLDS]
        pixels += highest.size
    added: np.ndarray = (above - above[len(THRESHOLDS) // 2]) / max(1, pixels)
    return added


@dataclass(frozen=True, eq=False)
class _Part:
    """A part of a plane, on which filters are compared."""

    logits: np.ndarray
    guide: np.ndarray
    labels: np.ndarray
    valid: np.ndarray


def _gains(predicted: PlaneLogits, candidates: Sequence[tuple[int, float]]) -> np.ndarray:
    """Return gains in IoU of filters and thresholds over no filter: (candidates, thresholds)."""
    plane, logits = predicted.plane, predicted.logits.astype(np.float32)
    example = plane.example
    valid = np.ones(example.shape, bool) if example.valid is None else example.valid
    window = _richest(example.labels)
    part = _Part(logits[:, *window], plane.guide[window], example.labels[window], valid[window])
    classes = [c for c in range(len(logits)) if (part.labels[part.valid] == c + 1).any()]
    if not classes:
        return np.zeros((len(candidates), len(THRESHOLDS)))
    plain = _ious(part.logits, part, classes)[len(THRESHOLDS) // 2]
    refined = (Refinement(*values).apply(part.logits, part.guide) for values in candidates)
    return np.stack([_ious(logits, part, classes) for logits in refined]) - plain


def _ious(logits: np.ndarray, part: _Part, classes: Sequence[int]) -> np.ndarray:
    """Return the mean IoU over the classes for each threshold: (thresholds,)."""
    ious = []
    for number in classes:
        truth = part.labels[part.valid] == number + 1
        # Count the thresholds below each pixel, so that one pass serves all thresholds.
        above = np.searchsorted(THRESHOLDS, logits[number][part.valid])
        size = len(THRESHOLDS) + 1
        every = np.bincount(above, minlength=size)[::-1].cumsum()[::-1][1:]
        shared = np.bincount(above[truth], minlength=size)[::-1].cumsum()[::-1][1:]
        ious.append(shared / (every + truth.sum() - shared))
    return np.mean(ious, axis=0)


def _richest(labels: np.ndarray) -> tuple[slice, slice]:
    """Return the square of `SIDE` pixels with the most foreground."""
    height, width = labels.shape
    corners = [
        (y, x)
        for y in range(0, max(1, height - SIDE + 1), SIDE // 2)
        for x in range(0, max(1, width - SIDE + 1), SIDE // 2)
    ]
    y, x = max(
        corners, key=lambda c: np.count_nonzero(labels[c[0] : c[0] + SIDE, c[1] : c[1] + SIDE])
    )
    return slice(y, y + SIDE), slice(x, x + SIDE)
