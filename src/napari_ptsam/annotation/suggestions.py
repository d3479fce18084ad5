"""Suggest planes to annotate: unlike the annotated ones, and where the prompt is unsure."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from typing import TYPE_CHECKING

import numpy as np

from napari_ptsam.images.tiling import Tile, cut

if TYPE_CHECKING:
    import torch

    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.prompts.prompt import Prompt

MOST_CANDIDATES = 64
"""Largest number of planes of a stack that are embedded for suggestions."""
POSSIBLE = 0.05
"""Smallest probability at which a position counts as a possible part of an object."""
UNSURE = 0.5
"""Fraction of the planes, those where the prompt is least sure, that suggestions come from."""


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


def doubt(logits: torch.Tensor) -> float:
    """Return how unsure a prompt is about what it finds on a plane.

    This is the mean entropy of the predicted probabilities over the positions that may belong to
    an object. Background that the prompt is sure of does not count, so that planes with few and
    with many objects are comparable.

    Parameters
    ----------
    logits
        Logits of the classes, shape (classes, y, x).

    Returns
    -------
    float
        Entropy in bits, from 0 to 1; NaN if nothing on the plane may be an object, since the
        prompt may then as well miss all of them.
    """
    import torch

    logits = logits.float()
    possible = logits[torch.sigmoid(logits) > POSSIBLE]
    if not len(possible):
        return float("nan")
    likely = torch.sigmoid(possible)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(possible, likely)
    return float(entropy) / float(np.log(2))


class Judge:
    """A prompt that says how unsure it is about planes.

    Parameters
    ----------
    prompt
        The prompt.
    backbone
        Its backbone, without encoder tokens. If it has a cache, planes are embedded only once.

    Attributes
    ----------
    prompt
        The prompt.
    doubts
        Doubts about planes, for the caller to keep, by any key.
    """

    def __init__(self, prompt: Prompt, backbone: Backbone) -> None:
        import torch

        from napari_ptsam.backbones.loading import with_encoder_tokens

        self.prompt, self.doubts = prompt, dict[Hashable, float]()
        self._backbone = with_encoder_tokens(backbone, prompt.encoder_tokens)
        self._tokens = torch.from_numpy(prompt.tokens.copy()).to(backbone.device)

    def doubt(self, tile: np.ndarray, shape: tuple[int, int]) -> float:
        """Return the `doubt` about a plane.

        The plane is decoded as a whole, whatever the tiles of the prompt, and without its detail
        heads: this takes one embedding, which is known from the comparison of the planes.

        Parameters
        ----------
        tile
            The plane as a square, see `whole_plane`.
        shape
            Shape of the plane: (y, x).
        """
        import torch

        from napari_ptsam.inference.decoding import decode

        with torch.no_grad():
            embedding = self._backbone.encoder([tile])
            logits = decode(self._backbone.decoder, embedding, self._tokens)[0]
        rows, columns = (-(-side * logits.shape[-1] // max(shape)) for side in shape)
        return doubt(logits[:, :rows, :columns])


def whole_plane(pixels: np.ndarray) -> np.ndarray:
    """Return a normalised plane as a square tile, whose embedding describes it.

    Parameters
    ----------
    pixels
        float32, shape (y, x, 3).
    """
    return cut(pixels, Tile(0, 0, max(pixels.shape[:2])))


def candidates(count: int, most: int = MOST_CANDIDATES) -> list[int]:
    """Return the numbers of the planes to choose from: all, or evenly spaced ones of a large stack."""
    spread = np.linspace(0, count - 1, min(count, most)).round().astype(int)
    return [int(number) for number in np.unique(spread)]


def suggest(
    features: np.ndarray,
    annotated: Collection[int],
    count: int = 1,
    doubts: np.ndarray | None = None,
) -> list[int]:
    """Suggest the planes that are least similar to the annotated ones, by greedy k-centre.

    Each suggestion is the plane with the largest distance to the nearest plane
    that is annotated or suggested already, as in the farthest-first traversal
    of Gonzalez, "Clustering to minimize the maximum intercluster distance",
    1985. For embeddings, see Sener and Savarese, "Active learning for
    convolutional neural networks: a core-set approach", ICLR 2018.

    If a prompt has predicted the planes, suggestions come from the half of them
    where it is least sure. This order of the two criteria is that of Yang et
    al., "Suggestive annotation", MICCAI 2017.

    Parameters
    ----------
    features
        Features of the planes, of shape (planes, features).
    annotated
        Numbers of the annotated planes.
    count
        Largest number of suggestions.
    doubts
        `doubt` of each plane, of shape (planes,). Planes for which it is NaN may
        always be suggested. None if there is no prompt.

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
        if doubts is not None:
            free[_surest(doubts, np.flatnonzero(free >= 0))] = -1.0
        number = int(free.argmax())
        suggested.append(number)
        nearest = np.minimum(nearest, np.linalg.norm(features - features[number], axis=1))
    return suggested


def _surest(doubts: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Return those of the free planes about which the prompt is surer than about the others."""
    known = free[~np.isnan(doubts[free])]
    order = known[np.argsort(doubts[known], kind="stable")]
    return order[: len(known) - int(np.ceil(UNSURE * len(known)))]
