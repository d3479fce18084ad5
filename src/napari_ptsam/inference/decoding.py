"""Decode the embeddings of tiles to mask logits."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import zip_longest
from typing import TYPE_CHECKING

import torch

from napari_ptsam.backbones.devices import choose_dtype
from napari_ptsam.backbones.encoder import resize
from napari_ptsam.backbones.gpu_memory import CPU, gpu_is_full, release_memory, warn_of_full_gpu
from napari_ptsam.images.tiling import Flip, flipped_maps

if TYPE_CHECKING:
    from napari_ptsam.backbones.decoder import PromptDecoder
    from napari_ptsam.backbones.early_features import EarlyFeatures
    from napari_ptsam.inference.detail import DetailCorrection


def mask_logits(
    decoder: PromptDecoder,
    embeddings: torch.Tensor,
    tokens: torch.Tensor,
    corrections: Sequence[DetailCorrection | None] = (),
    early: EarlyFeatures | None = None,
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
    corrections
        The detail head of each class, or None for a class without one; may be
        shorter than the tokens.
    early
        Early features of the same tiles; needed if there are detail heads.

    Returns
    -------
    torch.Tensor
        Logits, shape (B, classes, 256, 256).
    """
    logits = []
    for class_tokens, correct in zip_longest(tokens, corrections):
        if correct is None:
            logits.append(decoder(embeddings, class_tokens))
        else:
            assert early is not None
            bare, decoded = decoder.with_features(embeddings, class_tokens)
            logits.append(correct(bare, decoded, early))
    return torch.stack(logits, dim=1)


def decode(
    decoder: PromptDecoder,
    embeddings: torch.Tensor,
    tokens: torch.Tensor,
    corrections: Sequence[DetailCorrection | None] = (),
    early: EarlyFeatures | None = None,
) -> torch.Tensor:
    """Return the `mask_logits`, also if the GPU has too little memory for them.

    The batch is then halved as often as necessary. A single embedding that does
    not fit is decoded on the CPU.
    """
    try:
        return mask_logits(decoder, embeddings, tokens, corrections, early)
    except RuntimeError as error:
        if not gpu_is_full(error, decoder.device):
            raise
    release_memory(decoder.device)
    count = len(embeddings)
    if count > 1:
        halves = slice(None, count // 2), slice(count // 2, None)
        return torch.cat(
            [
                decode(
                    decoder,
                    embeddings[half],
                    tokens,
                    corrections,
                    None if early is None else early[half],
                )
                for half in halves
            ]
        )
    warn_of_full_gpu()
    spare = decoder.on(CPU, choose_dtype(CPU))
    on_cpu = [None if correct is None else deepcopy(correct).to(CPU) for correct in corrections]
    early = None if early is None else early.to(CPU)
    logits = mask_logits(spare, embeddings.to(CPU), tokens.to(CPU), on_cpu, early)
    return logits.to(decoder.device)


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
