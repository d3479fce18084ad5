"""Suggest planes to annotate: those that differ most from the annotated ones."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

MOST_CANDIDATES = 64
"""Largest number of planes of a stack that are embedded for suggestions."""


def pool(embedding: torch.Tensor) -> np.ndarray:
    """Summarise the embedding of a plane by its mean and standard deviation.

    Parameters
    ----------
    embedding
        Embedding of the whole plane, of shape (4096, 256).

    Returns
    -------
    numpy.ndarray
        float32, shape (512,).
    """
    import torch

    values = embedding.float()
    return torch.cat([values.mean(0), values.std(0)]).cpu().numpy()


def candidates(count: int, most: int = MOST_CANDIDATES) -> list[int]:
    """Return the numbers of the planes to choose from: all, or evenly spaced ones of a large stack."""
    spread = np.linspace(0, count - 1, min(count, most)).round().astype(int)
    return [int(number) for number in np.unique(spread)]


def suggest(features: np.ndarray, annotated: Collection[int], count: int = 1) -> list[int]:
    """Suggest the planes that are least similar to the annotated ones, by greedy k-centre.

    Each suggestion is the plane with the largest distance to the nearest plane
    that is annotated or suggested already, as in the farthest-first traversal
    of Gonzalez, "Clustering to minimize the maximum intercluster distance",
    1985. For embeddings, see Sener and Savarese, "Active learning for
    convolutional neural networks: a core-set approach", ICLR 2018.

    Parameters
    ----------
    features
        Features of the planes, of shape (planes, features).
    annotated
        Numbers of the annotated planes.
    count
        Largest number of suggestions.

    Returns
    -------
    list of int
        Numbers of the suggested planes, best first. If no plane is annotated,
        the first suggestion is the most typical one.
    """
    chosen, suggested = sorted(annotated), list[int]()
    nearest = np.full(len(features), np.inf)
    if not chosen and len(features) and count > 0:
        from_centre = np.linalg.norm(features - features.mean(0), axis=1)
        suggested.append(int(from_centre.argmin()))
    for number in chosen + suggested:
        nearest = np.minimum(nearest, np.linalg.norm(features - features[number], axis=1))
    while len(suggested) < min(count, len(features) - len(chosen)):
        free = nearest.copy()
        free[chosen + suggested] = -1.0
        number = int(free.argmax())
        suggested.append(number)
        nearest = np.minimum(nearest, np.linalg.norm(features - features[number], axis=1))
    return suggested
