"""How good a segmentation is: overlap of areas, and instances found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

AP_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


@dataclass(frozen=True)
class Overlap:
    """Areas, in pixels, that IoU and Dice are computed from."""

    shared: int
    truth: int
    predicted: int

    @property
    def iou(self) -> float:
        """Intersection over union; 1 where both are empty."""
        union = self.truth + self.predicted - self.shared
        return self.shared / union if union else 1.0

    @property
    def dice(self) -> float:
        """Twice the intersection over the sum of both areas; 1 where both are empty."""
        total = self.truth + self.predicted
        return 2 * self.shared / total if total else 1.0


def overlap(truth: np.ndarray, predicted: np.ndarray, valid: np.ndarray | None = None) -> Overlap:
    """Overlap of two foregrounds.

    Parameters
    ----------
    truth, predicted
        bool, same shape.
    valid
        bool, same shape: pixels that count; None counts all.
    """
    if valid is not None:
        truth, predicted = truth & valid, predicted & valid
    return Overlap(
        int(np.count_nonzero(truth & predicted)),
        int(np.count_nonzero(truth)),
        int(np.count_nonzero(predicted)),
    )


def standard_error(samples: ArrayLike) -> np.ndarray:
    """Return the standard error of the mean over the first axis.

    Parameters
    ----------
    samples
        At least 2 numbers, or arrays of the same shape.
    """
    values = np.asarray(samples)
    error: np.ndarray = values.std(0, ddof=1) / np.sqrt(len(values))
    return error


def sum_of(parts: Iterable[Overlap]) -> Overlap:
    """Overlap of an area that was measured in parts."""
    parts = list(parts)
    return Overlap(
        sum(part.shared for part in parts),
        sum(part.truth for part in parts),
        sum(part.predicted for part in parts),
    )


def average_precision(
    truth: np.ndarray, predicted: np.ndarray, thresholds: tuple[float, ...] = AP_THRESHOLDS
) -> np.ndarray:
    """Compute the average precision of instances at several IoU thresholds.

    TP / (TP + FP + FN), the form that StarDist and Cellpose report and that the
    2018 Data Science Bowl introduced. Above an IoU of 0.5 an instance has at
    most one partner; at 0.5 itself partners are assigned one to one.

    Parameters
    ----------
    truth, predicted
        Integer labels of the same shape; 0 is background.
    thresholds
        Smallest IoU at which a pair counts as found.

    Returns
    -------
    numpy.ndarray
        float64, one value a threshold; 1 where both images are empty.
    """
    ious = _pairwise_iou(truth, predicted)
    count = sum(ious.shape)
    if count == 0:
        return np.ones(len(thresholds))
    matched = np.array([_matches(ious, threshold) for threshold in thresholds])
    return matched / (count - matched)


def _matches(ious: np.ndarray, threshold: float) -> int:
    from scipy.optimize import linear_sum_assignment

    enough = ious >= threshold
    if not enough.any():
        return 0
    rows, columns = linear_sum_assignment(-(enough + ious / (2 * min(ious.shape))))
    return int(enough[rows, columns].sum())


def _pairwise_iou(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the IoU of each instance of the truth (rows) with each predicted one (columns)."""
    truth_ids, truth_index = np.unique(truth, return_inverse=True)
    predicted_ids, predicted_index = np.unique(predicted, return_inverse=True)
    shape = len(truth_ids), len(predicted_ids)
    pairs = truth_index.ravel() * shape[1] + predicted_index.ravel()
    table = np.bincount(pairs, minlength=shape[0] * shape[1]).reshape(shape)
    union = table.sum(1, keepdims=True) + table.sum(0, keepdims=True) - table
    ious: np.ndarray = table / union
    return ious[np.ix_(truth_ids != 0, predicted_ids != 0)]
