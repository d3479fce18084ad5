"""Which planes to annotate: those that add most to what is annotated already."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

MOST_CANDIDATES = 64
"""Planes of a large stack that are looked at; embedding each takes a while."""


def pool(embedding: torch.Tensor) -> np.ndarray:
    """Describe a plane by the mean and the spread of its embedding.

    Parameters
    ----------
    embedding
        Shape (4096, 256).

    Returns
    -------
    numpy.ndarray
        float32, shape (512,).
    """
    import torch

    values = embedding.float()
    return torch.cat([values.mean(0), values.std(0)]).cpu().numpy()


def candidates(count: int, most: int = MOST_CANDIDATES) -> list[int]:
    """Planes to choose from: all, or evenly spaced ones of a large stack."""
    spread = np.linspace(0, count - 1, min(count, most)).round().astype(int)
    return [int(number) for number in np.unique(spread)]


def suggest(features: np.ndarray, annotated: Collection[int], count: int = 1) -> list[int]:
    """The planes that are least like those annotated: greedy k-centre.

    Each suggestion is the plane farthest from its nearest annotated (or
    already suggested) one, as in the farthest-first traversal of Gonzalez,
    "Clustering to minimize the maximum intercluster distance", 1985; on
    embeddings, Sener and Savarese, "Active learning for convolutional neural
    networks: a core-set approach", ICLR 2018.

    Parameters
    ----------
    features
        Shape (planes, features).
    annotated
        Numbers of the planes that are annotated.
    count
        How many to suggest, at most.

    Returns
    -------
    list of int
        Numbers of planes, best first; without annotated planes the first one is
        the most typical. Fewer than ``count`` if there are no more.
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
