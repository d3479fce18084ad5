"""Embeddings of a plane's tiles and a prompt's tokens to the plane's logits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from napari_ptsam.backbones.devices import choose_dtype
from napari_ptsam.backbones.gpu_memory import CPU, gpu_is_full, release_memory, warn_of_full_gpu
from napari_ptsam.images.flips import Flip, flipped_maps, flipped_pixels
from napari_ptsam.images.guided_filter import NOTHING
from napari_ptsam.images.tiling import Blend, Tile

if TYPE_CHECKING:
    from napari_ptsam.backbones.decoder import PromptDecoder
    from napari_ptsam.backbones.encoder import Encoder

BATCH = 4
"""Tiles that are decoded together: bounds the memory, and loses no speed."""


@torch.no_grad()
def plane_logits(
    decoder: PromptDecoder,
    embeddings: Iterable[torch.Tensor | None],
    tiles: Sequence[Tile],
    shape: tuple[int, int],
    tokens: torch.Tensor,
    flips: Sequence[Flip] = (),
    blank: np.ndarray | None = None,
) -> np.ndarray:
    """Logits of a whole plane, blended where its tiles overlap.

    Parameters
    ----------
    decoder
        Of the backbone that the embeddings come from.
    embeddings
        One a tile, each as `embed_views` gives it, or of shape (4096, 256) if
        there are no flips; None for a tile that shows nothing. Taken a few at a
        time, so that an iterator that computes them bounds the memory.
    tiles
        Where they lie.
    shape
        Of the plane: (y, x).
    tokens
        float32, shape (classes, 8, 256).
    flips
        That are embedded too; their logits are flipped back, and the mean is taken.
    blank
        bool, shape (y, x): pixels that show nothing.

    Returns
    -------
    numpy.ndarray
        float32, shape (classes, y, x); positive is foreground.
    """
    blend = Blend(len(tokens), shape)
    waiting, views = iter(embeddings), 1 + len(flips)
    size = max(1, BATCH // views)
    for start in range(0, len(tiles), size):
        given = list(zip(tiles[start : start + size], islice(waiting, size), strict=True))
        shown = [(tile, embedding) for tile, embedding in given if embedding is not None]
        for tile, embedding in given:
            if embedding is None:
                nothing = np.full((len(tokens), tile.side, tile.side), NOTHING, np.float32)
                blend.add(nothing, tile)
        if not shown:
            continue
        batch = torch.stack([embedding for _, embedding in shown])
        logits = _decoded(decoder, batch.reshape(-1, *batch.shape[-2:]), tokens)
        logits = mean_of_views(logits.unflatten(0, (-1, views)), flips)
        for (tile, _), values in zip(shown, logits, strict=True):
            side = (tile.side, tile.side)
            resized = F.interpolate(
                values[None], size=side, mode="bilinear", antialias=tile.side < 256
            )
            blend.add(resized[0].cpu().numpy(), tile)
    whole = blend.result()
    if blank is not None:
        whole[:, blank] = NOTHING
    return whole


def embed_views(
    encoder: Encoder, tile: np.ndarray | None, flips: Sequence[Flip]
) -> torch.Tensor | None:
    """Embeddings of a tile as it is and flipped: shape (1 + flips, 4096, 256).

    Parameters
    ----------
    tile
        float32, shape (side, side, 3), range 0 to 1; None if it shows nothing,
        and is not embedded.
    """
    if tile is None:
        return None
    return encoder([tile, *(flipped_pixels(tile, flip) for flip in flips)])


def mean_of_views(logits: torch.Tensor, flips: Sequence[Flip]) -> torch.Tensor:
    """Logits of a tile as it is and flipped, (tiles, 1 + flips, classes, y, x), as one."""
    if not flips:
        return logits[:, 0]
    back = [flipped_maps(logits[:, i], flip) for i, flip in enumerate(flips, start=1)]
    return torch.stack([logits[:, 0], *back]).mean(0)


def _decoded(
    decoder: PromptDecoder, embeddings: torch.Tensor, tokens: torch.Tensor
) -> torch.Tensor:
    """Logits (tiles, classes, 256, 256); in halves, then on the CPU, if a GPU's memory is full."""
    try:
        return torch.stack([decoder(embeddings, own) for own in tokens], dim=1)
    except RuntimeError as error:
        if not gpu_is_full(error, decoder.device):
            raise
    release_memory(decoder.device)
    if len(embeddings) > 1:
        halves = embeddings.tensor_split(2)
        return torch.cat([_decoded(decoder, half, tokens) for half in halves])
    warn_of_full_gpu()
    spare = decoder.on(CPU, choose_dtype(CPU))
    return _decoded(spare, embeddings.to(CPU), tokens.to(CPU)).to(decoder.device)


def labels_of(logits: np.ndarray) -> np.ndarray:
    """Most likely class of each pixel.

    Parameters
    ----------
    logits
        Shape (classes, y, x).

    Returns
    -------
    numpy.ndarray
        uint8, shape (y, x): 0 is background, i + 1 class number i.
    """
    if len(logits) == 1:  # a search for the largest of one would take as long as all the rest
        return (logits[0] > 0).astype(np.uint8)
    best = logits.argmax(0).astype(np.uint8) + np.uint8(1)
    return np.where(logits.max(0) > 0, best, np.uint8(0))
