"""TinyViT's forward pass, with fewer passes over memory than kornia's modules.

Features keep their channels last, (B, y, x, C), so that 1 x 1 convolutions are
linear layers and nothing is transposed. Activations and residuals are computed
within the products (see `fused`), and window attention uses PyTorch's fused
kernel. Results equal kornia's up to rounding. The architecture is that of Wu et
al., "TinyViT", ECCV 2022, as used in MobileSAM (Zhang et al., arXiv 2306.14289).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from napari_ptsam.backbones.kernels.fused import conv_gelu, linear_add, linear_gelu
from napari_ptsam.backbones.kernels.window_attention import attend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


BAND = 64
"""Number of rows that are widened at a time. All rows would take 32 MB, which exceeds the
processor's cache, and which the C library of Linux returns to the system and requests again each
time."""


def _fold_batch_norms(module: nn.Module) -> nn.Module:
    """Fold each batch norm into the convolution before it, in place.

    Applies to every submodule with a convolution ``c`` and a batch norm ``bn``.
    """
    for part in module.modules():
        conv, norm = getattr(part, "c", None), getattr(part, "bn", None)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            part.c = fuse_conv_bn_eval(conv, norm)
            part.bn = nn.Identity()
    return module


class QuickTinyViT(nn.Module):
    """MobileSAM's image encoder.

    Parameters
    ----------
    module
        kornia's ``TinyViT`` for MobileSAM, with its weights. It is changed in place.
    """

    def __init__(self, module: Any) -> None:
        super().__init__()
        module = _fold_batch_norms(module.eval())
        self.first, _, self.second = module.patch_embed.seq
        stages: list[nn.Module] = []
        for layer in module.layers:
            attends = hasattr(layer.blocks[0], "attn")
            stages += [_Block(block) if attends else _MBConv(block) for block in layer.blocks]
            if layer.downsample is not None:
                stages.append(_Merging(layer.downsample))
        attending = [isinstance(stage, _Block) for stage in stages]
        self.convolving = nn.Sequential(*stages[: attending.index(True)])
        self.stages = nn.ModuleList(stages[attending.index(True) :])
        self.neck = module.neck
        self.token_widths = tuple(
            s.attn.norm.normalized_shape[0] for s in stages if isinstance(s, _Block)
        )
        """Width of the tokens of each of the ten blocks with attention."""

    def forward(self, pixels: Tensor, tokens: Sequence[Tensor] = ()) -> Tensor:
        """Encode (B, 3, 1024, 1024) as (B, 256, 64, 64), both with channels last in memory.

        Parameters
        ----------
        tokens
            Empty, or one tensor of shape (any number, width) for each block with
            attention.
        """
        return self.late(self.early(pixels), tokens)

    def early(self, pixels: Tensor) -> Tensor:
        """Compute what precedes the first block with attention: (B, 128, 128, 128)."""
        return self.early_stages(pixels)[1]

    def early_stages(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the stem, (B, 256, 256, 64), and what follows it up to the blocks with attention.

        The second result is the input of `late`: (B, 128, 128, 128), channels last.
        """
        stem = self.second.c(conv_gelu(pixels, self.first.c)).permute(0, 2, 3, 1)
        return stem, self.convolving(stem)

    def late(self, x: Tensor, tokens: Sequence[Tensor] = ()) -> Tensor:
        """Compute what follows `early`; see `forward`."""
        remaining = iter(tokens)
        for stage in self.stages:
            x = stage(x, next(remaining, None)) if isinstance(stage, _Block) else stage(x)
        narrow, norm, mix, last = self.neck
        x = _norm(F.linear(x, narrow.weight.flatten(1)), norm)
        x = mix(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return _norm(x, last).permute(0, 3, 1, 2)


def _norm(x: Tensor, norm: Any) -> Tensor:
    """Apply one of SAM's layer norms over the channels of images."""
    return F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)


class _Inverted(nn.Module):
    """A depthwise convolution between two 1 x 1 convolutions, the first of which widens."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.first, self.depthwise, self.last = block.conv1.c, block.conv2.c, block.conv3.c

    def wide(self, x: Tensor) -> Tensor:
        """Apply all but the last convolution."""
        x = linear_gelu(x, self.first.weight.flatten(1), self.first.bias)
        return conv_gelu(x.permute(0, 3, 1, 2), self.depthwise).permute(0, 2, 3, 1)


class _MBConv(_Inverted):
    """An inverted residual block."""

    def forward(self, x: Tensor) -> Tensor:
        height = x.shape[1]
        return torch.cat(
            [self._band(x, y, min(y + BAND, height)) for y in range(0, height, BAND)], 1
        )

    def _band(self, x: Tensor, top: int, bottom: int) -> Tensor:
        """Compute the rows from top to bottom; the convolution needs one more row on each side."""
        above, below = top > 0, bottom < x.shape[1]
        wide = self.wide(x[:, top - above : bottom + below])[:, above : above + bottom - top]
        return F.gelu(
            linear_add(wide, self.last.weight.flatten(1), self.last.bias, x[:, top:bottom])
        )


class _Merging(_Inverted):
    """A transition between stages, which may halve the resolution."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.wide(x), self.last.weight.flatten(1), self.last.bias)


class _Block(nn.Module):
    """Attention within windows, a depthwise convolution, and an MLP."""

    to_windows: Tensor
    to_rows: Tensor

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.attn, self.mlp, self.depthwise = block.attn, block.mlp, block.local_conv.c
        height, width = block.input_resolution
        to_windows, to_rows = _windows(height, width, block.window_size)
        self.register_buffer("to_windows", to_windows, persistent=False)
        self.register_buffer("to_rows", to_rows, persistent=False)
        bias = self.attn.attention_biases[:, self.attn.attention_bias_idxs]
        self.bias = nn.Parameter(bias.detach(), False)

    def forward(self, x: Tensor, tokens: Tensor | None = None) -> Tensor:
        shape, rows = x.shape, x.flatten(1, 2)
        rows = linear_add(
            self._attended(rows, tokens), self.attn.proj.weight, self.attn.proj.bias, rows
        )
        convolved = self.depthwise(rows.view(shape).permute(0, 3, 1, 2))
        rows = convolved.permute(0, 2, 3, 1).flatten(1, 2)
        mlp = self.mlp
        wide = linear_gelu(mlp.norm(rows), mlp.fc1.weight, mlp.fc1.bias)
        return linear_add(wide, mlp.fc2.weight, mlp.fc2.bias, rows).view(shape)

    def _attended(self, rows: Tensor, tokens: Tensor | None) -> Tensor:
        """Attend within windows: (B, L, C) to the same shape, before the output projection.

        All windows get the same tokens, (any number, C). Their outputs are
        discarded after the block, so they are only keys and values. They have no
        position, and so no positional bias.
        """
        attn, batch = self.attn, len(rows)
        # Windows are padded with zeros before the norm, which become its bias.
        normed = torch.cat([attn.norm(rows), attn.norm.bias.expand(batch, 1, -1)], dim=1)
        windows = normed.index_select(1, self.to_windows)
        size = attn.attention_bias_idxs.shape[0]
        qkv = attn.qkv(windows).view(-1, size, attn.num_heads, 3 * attn.key_dim)
        q, k, v = qkv.transpose(1, 2).split(attn.key_dim, dim=3)
        bias: Tensor = self.bias
        if tokens is not None and len(tokens):
            projected = attn.qkv(attn.norm(tokens)).view(-1, attn.num_heads, 3 * attn.key_dim)
            _, keys, values = projected.transpose(0, 1).split(attn.key_dim, dim=2)
            k = torch.cat([k, keys.expand(len(k), -1, -1, -1)], dim=2)
            v = torch.cat([v, values.expand(len(v), -1, -1, -1)], dim=2)
            bias = F.pad(bias, (0, len(tokens)))
        attended = attend(q, k, v, bias).transpose(1, 2).reshape(batch, -1, attn.dh)
        return attended.index_select(1, self.to_rows)


def _windows(height: int, width: int, side: int) -> tuple[Tensor, Tensor]:
    """Return the row of each position in the windows, and the position of each row.

    Rows are numbered y * width + x; padding has the number height * width.
    """
    rows = torch.arange(height * width).view(height, width)
    beyond = (-height % side, -width % side)
    padded = F.pad(rows, (0, beyond[1], 0, beyond[0]), value=height * width)
    parts = padded.view(padded.shape[0] // side, side, padded.shape[1] // side, side)
    to_windows = parts.transpose(1, 2).flatten()
    inside = to_windows < height * width
    to_rows = torch.empty(height * width, dtype=torch.long)
    to_rows[to_windows[inside]] = torch.arange(len(to_windows))[inside]
    return to_windows, to_rows
