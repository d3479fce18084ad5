"""Which guided filter suits the annotated planes, if any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from napari_ptsam.images.guided_filter import Refinement

if TYPE_CHECKING:
    import torch

    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.training.validation import ValidationPlane

RADII, EPSILONS = (2, 4, 8, 16), (1e-3, 1e-2)
THRESHOLDS = np.arange(-2.0, 2.01, 0.25)
"""In ascending steps of the same size, 0 among them."""
SURE = 2.0
"""Standard errors by which the mean IoU over the planes has to gain: a filter that suits some
planes and harms others is left out."""
FEWEST = 4
"""Planes below which there is no telling."""
FEWEST_TO_SHIFT = 8
"""Planes below which the threshold stays at 0: shifted far for a few planes that are alike, it can
turn the background of another one into foreground."""
MOST_ON_BLANKS = 0.001
"""What a lower threshold may add to the part of blank planes that is foreground."""
SIDE = 512
"""Of the part of a plane that is looked at; of larger planes the one with most foreground."""


def choose_refinement(
    planes: Sequence[ValidationPlane],
    tokens: torch.Tensor,
    backbone: Backbone,
    blanks: Sequence[ValidationPlane] = (),
) -> Refinement | None:
    """The filter with the highest gain that can be relied on; None if there is none.

    Parameters
    ----------
    planes
        Embedded, with their annotation: those that were trained on among them.
    tokens
        float32, shape (classes, 8, 256).
    backbone
        That embedded them.
    blanks
        Planes that show next to nothing; no threshold is taken that turns them
        into foreground.
    """
    if len(planes) < FEWEST:
        return None
    candidates = list(product(RADII, EPSILONS))
    gains = np.stack([_gains(plane, tokens, backbone, candidates) for plane in planes])
    errors = gains.std(0, ddof=1) / np.sqrt(len(planes))
    sure = gains.mean(0) - SURE * errors
    if len(planes) < FEWEST_TO_SHIFT:
        sure[:, THRESHOLDS != 0] = -np.inf
    sure[:, _false_foreground(blanks, tokens, backbone) > MOST_ON_BLANKS] = -np.inf
    best, threshold = np.unravel_index(sure.argmax(), sure.shape)
    if sure[best, threshold] <= 0:
        return None
    return Refinement(*candidates[best], float(THRESHOLDS[threshold]))


def _false_foreground(
    blanks: Sequence[ValidationPlane], tokens: torch.Tensor, backbone: Backbone
) -> np.ndarray:
    """Part of the blanks' background that each threshold adds to what 0 finds: (thresholds,)."""
    above, pixels = np.zeros(len(THRESHOLDS)), 0
    for plane in blanks:
        example = plane.example
        empty = example.labels == 0
        if example.valid is not None:
            empty &= example.valid
        highest = plane.predict(tokens, backbone).logits.max(0)[empty]
        above += [np.count_nonzero(highest > threshold) for threshold in THRESHOLDS]
        pixels += highest.size
    found: np.ndarray = (above - above[len(THRESHOLDS) // 2]) / max(1, pixels)
    return found


@dataclass(frozen=True, eq=False)
class _Part:
    """A part of a plane with all that is needed to compare filters on it."""

    logits: np.ndarray
    guide: np.ndarray
    labels: np.ndarray
    valid: np.ndarray


def _gains(
    plane: ValidationPlane,
    tokens: torch.Tensor,
    backbone: Backbone,
    candidates: Sequence[tuple[int, float]],
) -> np.ndarray:
    """IoU of each candidate and threshold less that without any: (candidates, thresholds)."""
    logits = plane.predict(tokens, backbone).logits
    example = plane.example
    valid = np.ones(example.shape, bool) if example.valid is None else example.valid
    window = _richest(example.labels)
    part = _Part(logits[:, *window], plane.guide[window], example.labels[window], valid[window])
    classes = [c for c in range(len(tokens)) if (part.labels[part.valid] == c + 1).any()]
    if not classes:
        return np.zeros((len(candidates), len(THRESHOLDS)))
    plain = _ious(part.logits, part, classes)[len(THRESHOLDS) // 2]
    refined = (Refinement(*one).apply(part.logits, part.guide) for one in candidates)
    return np.stack([_ious(one, part, classes) for one in refined]) - plain


def _ious(logits: np.ndarray, part: _Part, classes: Sequence[int]) -> np.ndarray:
    """Mean IoU over the classes, for each threshold: (thresholds,)."""
    found = []
    for number in classes:
        truth = part.labels[part.valid] == number + 1
        # How many thresholds a pixel is above; so each pixel is looked at once.
        above = np.searchsorted(THRESHOLDS, logits[number][part.valid])
        size = len(THRESHOLDS) + 1
        every = np.bincount(above, minlength=size)[::-1].cumsum()[::-1][1:]
        shared = np.bincount(above[truth], minlength=size)[::-1].cumsum()[::-1][1:]
        found.append(shared / (every + truth.sum() - shared))
    return np.mean(found, axis=0)


def _richest(labels: np.ndarray) -> tuple[slice, slice]:
    """The square of `SIDE` pixels with most foreground."""
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
