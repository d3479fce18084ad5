"""The forward pass of SAM's vision transformers (ViT-B, ViT-L, ViT-H), with encoder tokens.

The tokens are those of deep visual prompt tuning (Jia et al., "Visual Prompt
Tuning", ECCV 2022), as Piater, Barz and Freytag use them with SAM (arXiv
2504.16739). Each layer has its own tokens; all windows of a layer see the same
ones, and their outputs are discarded after the layer. So they are only keys and
values, which are computed once for each layer and appended to those of every window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from napari_ptsam.backbones.sam_modules import sam_module

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_sam = sam_module("modeling.image_encoder")

ROWS = 16
"""Number of rows of queries that attend at a time. In the layers without windows, the attention
weights of all 64 rows would take gigabytes."""


class PromptableViT(nn.Module):
    """SAM's image encoder, with tokens in each layer.

    Parameters
    ----------
    module
        segment-anything's ``ImageEncoderViT``, with its weights. Its layers are used.
    """

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module
        self.token_widths = tuple(block.attn.qkv.in_features for block in module.blocks)
        """Width of the tokens of each layer."""

    def forward(self, pixels: Tensor, tokens: Sequence[Tensor] = ()) -> Tensor:
        """Encode (B, 3, 1024, 1024) as (B, 256, 64, 64).

        Parameters
        ----------
        tokens
            Empty, or one tensor of shape (any number, width) for each layer.
        """
        return self.late(self.early(pixels), tokens)

    def early(self, pixels: Tensor) -> Tensor:
        """Compute what precedes the first layer: (B, 64, 64, width)."""
        embedded: Tensor = self.module.patch_embed(pixels)
        return embedded + self.module.pos_embed

    def late(self, x: Tensor, tokens: Sequence[Tensor] = ()) -> Tensor:
        """Compute the layers; with gradients, only the input of each layer is kept in memory."""
        remaining = iter(tokens)
        for block in self.module.blocks:
            if torch.is_grad_enabled() and tokens:
                x = checkpoint(_through, block, x, next(remaining), use_reentrant=False)
            else:
                x = _through(block, x, next(remaining, None))
        embedding: Tensor = self.module.neck(x.permute(0, 3, 1, 2))
        return embedding


def _through(block: Any, x: Tensor, tokens: Tensor | None) -> Tensor:
    """Apply one layer."""
    normed, size = block.norm1(x), (x.shape[1], x.shape[2])
    normed_tokens = block.norm1(tokens) if tokens is not None and len(tokens) else None
    if block.window_size > 0:
        windows, padded = _sam.window_partition(normed, block.window_size)
        attended = _attend(block.attn, windows, normed_tokens)
        attended = _sam.window_unpartition(attended, block.window_size, padded, size)
    else:
        attended = _attend(block.attn, normed, normed_tokens)
    x = x + attended
    y: Tensor = x + block.mlp(block.norm2(x))
    return y


def _attend(attn: Any, x: Tensor, tokens: Tensor | None) -> Tensor:
    """Attend within (B, y, x, C), with tokens of shape (any number, C) as further keys and values."""
    batch, height, width, channels = x.shape
    heads = attn.num_heads
    qkv = attn.qkv(x).reshape(batch, height * width, 3, heads, -1)
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, N, width of a head)
    extra = 0
    if tokens is not None:
        extra = len(tokens)
        projected = attn.qkv(tokens).reshape(extra, 3, heads, -1).permute(1, 2, 0, 3)
        k = torch.cat([k, projected[1].expand(batch, -1, -1, -1)], dim=2)
        v = torch.cat([v, projected[2].expand(batch, -1, -1, -1)], dim=2)
    rows = _sam.get_rel_pos(height, height, attn.rel_pos_h)
    columns = _sam.get_rel_pos(width, width, attn.rel_pos_w)
    parts = []
    for top in range(0, height, ROWS):
        part = q[:, :, top * width : (top + ROWS) * width]
        grid = part.unflatten(2, (-1, width))
        down = torch.einsum("bnhwc,hkc->bnhwk", grid, rows[top : top + ROWS])
        across = torch.einsum("bnhwc,wkc->bnhwk", grid, columns)
        bias = (down[..., None] + across[..., None, :]).flatten(4).flatten(2, 3)
        # Tokens have no position, and so no positional bias.
        bias = F.pad(bias, (0, extra)) if extra else bias
        parts.append(F.scaled_dot_product_attention(part, k, v, attn_mask=bias, scale=attn.scale))
    joined = torch.cat(parts, dim=2).transpose(1, 2).reshape(batch, height, width, channels)
    attended: Tensor = attn.proj(joined)
    return attended
