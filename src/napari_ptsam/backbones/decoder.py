"""Compute mask logits from embeddings and decoder tokens: SAM's mask decoder, made fast.

The image side of SAM's two-way decoder has 4,096 positions; the prompt side has
13 tokens (IoU token, 4 mask tokens, 8 learned tokens). Projections are therefore
moved to the prompt side. Instead of 4,096 keys, the 13 queries are multiplied
with the transposed projection; instead of 4,096 queries, the 13 keys; and the
output projection is applied to the 13 values. The logits equal those of
segment-anything's modules up to rounding.
"""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from napari_ptsam.backbones.gpu_memory import copied
from napari_ptsam.backbones.kernels.fused import linear_gelu
from napari_ptsam.backbones.kernels.image_positions import (
    Norm,
    Offset,
    image_to_token,
    mask_logits,
    position_subgrid,
    token_to_image,
)

if TYPE_CHECKING:
    from torch import Tensor

GRID = 64
"""Number of rows, and of columns, of the positions of an embedding."""
MASK_SIDE = 256
"""Side in pixels of the square of mask logits."""
WIDTH = 256
"""Width of a token."""
TOKENS = 8
"""Number of learned decoder tokens of a class."""


class _Attention:
    """An attention layer whose projections of the image are moved to the prompt side."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.heads = module.num_heads
        self.scale = (module.internal_dim // module.num_heads) ** -0.5

    def _per_head(self, projection: nn.Linear) -> Tensor:
        """Reshape a weight to (heads, width of a head, input width)."""
        return projection.weight.unflatten(0, (self.heads, -1))

    def _project(self, projection: nn.Linear, x: Tensor) -> Tensor:
        """Project (B, T, C) to (heads, B * T, width of a head)."""
        return projection(x).flatten(0, 1).unflatten(-1, (self.heads, -1)).transpose(0, 1)

    def _rows(self, x: Tensor, batch: int) -> Tensor:
        """Reshape (heads, B * T, C) to (B, heads * T, C)."""
        return x.unflatten(1, (batch, -1)).transpose(0, 1).flatten(1, 2)

    def token_to_image(
        self,
        queries: Tensor,
        image: Tensor,
        placed: Tensor,
        shift: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Attend from the tokens to the image; see `image_positions.token_to_image`.

        The key projection is folded into the queries. Its bias adds the same
        number to every logit of a row, which the softmax cancels. The value
        projection is applied to the weighted mean of the image. ``shift`` is
        still to be added to every position of the image.
        """
        batch, count = queries.shape[:2]
        q = self._project(self.module.q_proj, queries) * self.scale
        rows = self._rows(q @ self._per_head(self.module.k_proj), batch)
        attended, image = token_to_image(rows.to(image.dtype), image, placed)
        attended = attended.float() if shift is None else attended.float() + shift
        v_proj = self.module.v_proj
        attended = attended.unflatten(1, (self.heads, count)).transpose(0, 1).flatten(1, 2)
        out = attended @ self._per_head(v_proj).transpose(1, 2)  # (heads, B * T, width of a head)
        out = out.transpose(0, 1).flatten(1).unflatten(0, (batch, count)) + v_proj.bias
        return self.module.out_proj(out), image

    def image_to_token(
        self,
        image: Tensor,
        placed: Tensor,
        keys: Tensor,
        values: Tensor,
        norm: Norm,
        shift: Tensor | None = None,
    ) -> Tensor:
        """Attend from the image to the tokens; see `image_positions.image_to_token`.

        The query projection is folded into the keys; its bias becomes one
        constant for each key. The output projection and its bias are folded into
        the values, because the weights of each head sum to 1. The same applies to
        ``shift``, which is still to be added to every position of the image.
        """
        batch, dtype, module = len(keys), image.dtype, self.module
        k = self._project(module.k_proj, keys) * self.scale
        bias = k @ module.q_proj.bias.view(self.heads, -1, 1)
        k = k @ self._per_head(module.q_proj)
        v = self._project(module.v_proj, values)
        v = v @ module.out_proj.weight.unflatten(1, (self.heads, -1)).permute(1, 2, 0)
        constant = module.out_proj.bias if shift is None else module.out_proj.bias + shift
        v = v + constant / self.heads
        k, bias, v = (self._rows(x, batch).to(dtype) for x in (k, bias, v))
        return image_to_token(image, placed, k, bias[..., 0], v, self.heads, norm)

    def among_tokens(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attend among the tokens."""
        return self.module(q=queries, k=keys, v=values)


def _as_linear(conv: nn.ConvTranspose2d) -> tuple[Tensor, Tensor]:
    """Convert a 2 x 2 transposed convolution with stride 2 to a linear layer.

    Returns the weight (4 * out, in) and the bias (4 * out,), with the four pixels
    of the 2 x 2 block in row-major order.
    """
    weight = conv.weight.permute(2, 3, 1, 0).flatten(0, 2)
    assert conv.bias is not None
    return weight.contiguous(), conv.bias.repeat(4)


class PromptDecoder:
    """SAM's mask decoder, with learned tokens or with the tokens of clicks.

    Parameters
    ----------
    mask_decoder, prompt_encoder
        segment-anything's modules. They are frozen, and moved to the device.
    device
        Device to run on.
    dtype
        Dtype of the image side. The prompt side is always float32.
    """

    def __init__(
        self, mask_decoder: Any, prompt_encoder: Any, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.device, self.dtype = device, dtype
        self._modules = mask_decoder, prompt_encoder
        decoder = mask_decoder.eval().requires_grad_(False).to(device)
        prompts = prompt_encoder.eval().requires_grad_(False).to(device)
        transformer = decoder.transformer
        self._layers = transformer.layers
        self._final = _Attention(transformer.final_attn_token_to_image)
        self._final_norm = transformer.norm_final_attn
        self._output_tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        self._mask_mlp, *self._multimask_mlps = decoder.output_hypernetworks_mlps
        self._iou_head = decoder.iou_prediction_head
        first, norm, _, second, _ = decoder.output_upscaling
        self._upscale = [tuple(t.to(dtype) for t in _as_linear(conv)) for conv in (first, second)]
        self._upscale_norm = (norm.weight.to(dtype), norm.bias.to(dtype), norm.eps)
        self._image_norms = [
            (layer.norm4.weight.to(dtype), layer.norm4.bias.to(dtype), layer.norm4.eps)
            for layer in self._layers
        ]
        # The embedding of "no mask" and the positional encoding are the same for every image.
        self._no_mask = prompts.no_mask_embed.weight
        positions = prompts.get_dense_pe()[0].flatten(1).T
        self._positions = positions.to(dtype).contiguous()
        self._positions_no_mask = (positions + self._no_mask).to(dtype).contiguous()
        self.foreground_label = prompts.point_embeddings[1].weight[0].clone()
        """SAM's embedding of the label "foreground", shape (256,)."""
        self.prompt_encoder = prompts
        """segment-anything's module that converts clicks to tokens; frozen, float32."""

    def on(self, device: torch.device, dtype: torch.dtype) -> PromptDecoder:
        """Return a copy on another device."""
        mask_decoder, prompt_encoder = (copied(module, device) for module in self._modules)
        return PromptDecoder(mask_decoder, prompt_encoder, device, dtype)

    def __call__(self, embeddings: Tensor, tokens: Tensor, offset: Offset | None = None) -> Tensor:
        """Compute the mask logits of tiles for one class.

        Parameters
        ----------
        embeddings
            Shape (B, 4096, 256).
        tokens
            Learned decoder tokens of one class, float32, shape (8, 256), or (B, 8, 256) if each
            tile has its own.
        offset
            First position, (0, 0) to (1, 1), of the subgrid of positions to compute:
            every second row and column. None computes all positions. See
            `napari_ptsam.backbones.kernels.image_positions.mask_subgrid`.

        Returns
        -------
        torch.Tensor
            Logits, float32, shape (B, 256, 256), or (B, 128, 128) for a subgrid.
            Positive is foreground.
        """
        queries, image = self._attend(embeddings, tokens, None, offset)
        return self._multiplied(self._upscaled(image), self._mask_mlp(queries[:, 1:2]))[:, 0]

    @torch.no_grad()
    def with_features(self, embeddings: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the mask logits of tiles for one class, and the features that they come from.

        Parameters
        ----------
        embeddings, tokens
            As for a call.

        Returns
        -------
        logits : torch.Tensor
            float32, shape (B, 256, 256).
        features : torch.Tensor
            The embedding that the decoder has upscaled under these tokens: shape
            (B, 256, 256, 32), channels last.
        """
        queries, image = self._attend(embeddings, tokens, None)
        upscaled = self._upscaled(image)
        logits = self._multiplied(upscaled, self._mask_mlp(queries[:, 1:2]))[:, 0]
        return logits, _in_rows(upscaled).flatten(1, 3).flatten(2, 4)

    def masks(
        self, embeddings: Tensor, tokens: Tensor, dense: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Compute SAM's four masks for a prompt, and the IoU that it predicts for each.

        Parameters
        ----------
        embeddings
            Shape (B, 4096, 256).
        tokens
            Sparse prompt tokens, float32, shape (any number, 256).
        dense
            Dense prompt, float32, shape (4096, 256): SAM's embedding of a
            previous mask. None stands for its embedding of "no mask".

        Returns
        -------
        logits : torch.Tensor
            float32, shape (B, 4, 256, 256); positive is foreground. The first
            mask is the one for unambiguous prompts; the other three are
            alternatives for ambiguous prompts.
        ious : torch.Tensor
            Predicted IoU of each mask, float32, shape (B, 4).
        """
        queries, image = self._attend(embeddings, tokens, dense)
        mlps = (self._mask_mlp, *self._multimask_mlps)
        hyper = torch.stack([mlp(queries[:, 1 + i]) for i, mlp in enumerate(mlps)], dim=1)
        return self._multiplied(self._upscaled(image), hyper), self._iou_head(queries[:, 0])

    def _attend(
        self, embeddings: Tensor, tokens: Tensor, dense: Tensor | None, offset: Offset | None = None
    ) -> tuple[Tensor, Tensor]:
        """Apply the two-way transformer.

        Returns the prompt side, (B, 5 + tokens, 256), and the image side, (B, 4096, 256).
        """
        batch = len(embeddings)
        output = self._output_tokens.expand(*tokens.shape[:-2], -1, -1)
        prompt = torch.cat([output, tokens], -2).expand(batch, -1, -1)
        positions, with_no_mask = self._positions, self._positions_no_mask
        if offset is not None:
            embeddings, positions, with_no_mask = (
                position_subgrid(part, offset) for part in (embeddings, positions, with_no_mask)
            )
        image = embeddings.to(self.device, self.dtype)
        # The embedding of "no mask" is the same everywhere, and is added on the prompt side.
        shift = self._no_mask if dense is None else None
        if dense is None:
            placed = image + with_no_mask
        else:
            image = image + dense.to(self.device, self.dtype)
            placed = image + positions
        queries = prompt
        for index, layer in enumerate(self._layers):
            queries, image = self._layer(index, layer, queries, image, placed, prompt, shift)
            with torch.no_grad():
                placed, shift = image + positions, None
        attended, image = self._final.token_to_image(queries + prompt, image, placed)
        return self._final_norm(queries + attended), image

    def _layer(
        self,
        index: int,
        layer: Any,
        queries: Tensor,
        image: Tensor,
        placed: Tensor,
        prompt: Tensor,
        shift: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        self_attention = _Attention(layer.self_attn).among_tokens
        if layer.skip_first_layer_pe:
            queries = layer.norm1(self_attention(queries, queries, queries))
        else:
            keys = queries + prompt
            queries = layer.norm1(queries + self_attention(keys, keys, queries))
        to_image = _Attention(layer.cross_attn_token_to_image)
        attended, image = to_image.token_to_image(queries + prompt, image, placed, shift)
        queries = layer.norm2(queries + attended)
        queries = layer.norm3(queries + layer.mlp(queries))
        to_tokens = _Attention(layer.cross_attn_image_to_token)
        norm = self._image_norms[index]
        return queries, to_tokens.image_to_token(
            image, placed, queries + prompt, queries, norm, shift
        )

    def _upscaled(self, image: Tensor) -> Tensor:
        """Upscale the image side twice: (B, 4096, 256) to (B, 4096, 4, 4, 32).

        The axes of length 4 are the four pixels of a 2 x 2 block, in row-major order, of the
        first and of the second transposed convolution.
        """
        (weight1, bias1), (weight2, bias2) = self._upscale
        x = F.linear(image, weight1, bias1).unflatten(-1, (4, -1))
        norm_weight, norm_bias, eps = self._upscale_norm
        x = F.gelu(F.layer_norm(x, x.shape[-1:], norm_weight, norm_bias, eps))
        return linear_gelu(x, weight2, bias2).unflatten(-1, (4, -1))

    def _multiplied(self, upscaled: Tensor, hyper: Tensor) -> Tensor:
        """Multiply what `_upscaled` returns with the weights of each mask.

        Weights of shape (B, masks, 32) give logits of shape (B, masks, 256, 256).
        """
        logits = mask_logits(upscaled.flatten(1, 3), hyper.to(upscaled.dtype)).float()
        logits = logits.view(*upscaled.shape[:4], -1)
        return _in_rows(logits).flatten(1, 3).flatten(2, 4).permute(0, 3, 1, 2)


def _in_rows(upscaled: Tensor) -> Tensor:
    """Bring pixels into row-major order: (B, 4096, 4, 4, C) to (B, 64, 2, 2, 64, 2, 2, C)."""
    grid = isqrt(upscaled.shape[1])
    # from (row, column, row in 2, column in 2, row in 2, column in 2)
    parts = upscaled.view(len(upscaled), grid, grid, 2, 2, 2, 2, -1)
    return parts.permute(0, 1, 3, 5, 2, 4, 6, 7)
