"""The prediction for a plane: logits, and the labels and objects that follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from napari_ptsam.inference.objects import connected_components, split_by_markers


@dataclass(frozen=True, eq=False)
class Prediction:
    """The prediction for a plane.

    Attributes
    ----------
    logits
        Logits of the classes, filtered if the prompt filters them: float32,
        shape (classes, y, x). A positive logit means foreground.
    markers
        Logits of the inner parts of the objects of each class: float32, shape
        (classes, y, x). None if they were not decoded.
    """

    logits: np.ndarray
    markers: np.ndarray | None = None

    def probabilities(self) -> np.ndarray:
        """Return the probability of each class: float32, shape (classes, y, x)."""
        # The logistic function in a form that does not overflow. scipy.special.expit takes five
        # times as long with float32, and differs in the last bit.
        return 0.5 * (1 + np.tanh(0.5 * self.logits))

    @cached_property
    def labels(self) -> np.ndarray:
        """Most likely class of each pixel: uint8, shape (y, x); see `labels_of`."""
        return labels_of(self.logits)

    def components(self) -> np.ndarray:
        """Return the connected components of the labels: uint32, shape (y, x)."""
        return connected_components(self.labels)

    def objects(self) -> np.ndarray:
        """Return the objects, split by their markers if these were decoded: uint32, shape (y, x)."""
        if self.markers is None:
            return self.components()
        return split_by_markers(self.labels, self.logits, self.markers)


def labels_of(logits: np.ndarray) -> np.ndarray:
    """Return the most likely class of each pixel.

    Parameters
    ----------
    logits
        Shape (classes, y, x).

    Returns
    -------
    numpy.ndarray
        uint8, shape (y, x): 0 is background, i + 1 is class number i.
    """
    if len(logits) == 1:  # a search for the largest of one would take as long as all the rest
        return (logits[0] > 0).astype(np.uint8)
    best = logits.argmax(0).astype(np.uint8) + np.uint8(1)
    return np.where(logits.max(0) > 0, best, np.uint8(0))
