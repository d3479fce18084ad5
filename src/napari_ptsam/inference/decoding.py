"""Decode the embeddings of tiles to mask logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from napari_ptsam.backbones.devices import choose_dtype
from napari_ptsam.backbones.encoder import resize
from napari_ptsam.backbones.gpu_memory import CPU, gpu_is_full, release_memory, warn_of_full_gpu
from napari_ptsam.images.tiling import Flip, flipped_maps

if TYPE_CHECKING:
    from napari_ptsam.backbones.decoder import PromptDecoder


def mask_logits(
    decoder: PromptDecoder, embeddings: torch.Tensor, tokens: torch.Tensor
) -> torch.Tensor:
    """Decode embeddings with the tokens of each class.

    Parameters
    ----------
    decoder
        Decoder of the backbone that the embeddings come from.
    embeddings
        Shape (B, 4096, 256).
    tokens
        float32, shape (classes, 8, 256).

    Returns
    -------
    torch.Tensor
        Logits, shape (B, classes, 256, 256).
    """
    return torch.stack([decoder(embeddings, own) for own in tokens], dim=1)


def decode(decoder: PromptDecoder, embeddings: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return the `mask_logits`, also if the GPU has too little memory for them.

    The batch is then halved as often as necessary. A single embedding that does
    not fit is decoded on the CPU.
    """
    try:
        return mask_logits(decoder, embeddings, tokens)
    except RuntimeError as error:
        if not gpu_is_full(error, decoder.device):
            raise
    release_memory(decoder.device)
    if len(embeddings) > 1:
        halves = embeddings.tensor_split(2)
        return torch.cat([decode(decoder, half, tokens) for half in halves])
    warn_of_full_gpu()
    spare = decoder.on(CPU, choose_dtype(CPU))
    return mask_logits(spare, embeddings.to(CPU), tokens.to(CPU)).to(decoder.device)


def merge_views(logits: torch.Tensor, flips: Sequence[Flip], side: int) -> torch.Tensor:
    """Merge the logits of the views of tiles, and resize them to the pixels of the tiles.

    Parameters
    ----------
    logits
        Shape (tiles, 1 + flips, classes, y, x): the first view is upright, the
        others are flipped.
    flips
        Flips of the other views, which are undone here.
    side
        Side of the tiles in pixels.

    Returns
    -------
    torch.Tensor
        Mean over the views, shape (tiles, classes, side, side).
    """
    upright = logits[:, 0]
    if flips:
        back = [flipped_maps(logits[:, i], flip) for i, flip in enumerate(flips, start=1)]
        upright = torch.stack([upright, *back]).mean(0)
    return resize(upright, side)
