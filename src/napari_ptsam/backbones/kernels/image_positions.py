"""The image side of SAM's mask decoder: 4,096 positions, with gradients written by hand.

Nearly all of a training step is spent on these positions, mostly waiting for
memory. The hand-written gradients are summed up inside the matrix products,
where autograd would add them in separate passes. Each function has a reference
that computes the same with public operators and autograd.

Rows are pairs of a head and a prompt token, head by head. Attention weights
have the shape (B, rows, N), so that the softmax over positions and the softmax
over tokens both run along contiguous vectors.
"""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from napari_ptsam.backbones.kernels.fused import softmax_backward

if TYPE_CHECKING:
    from torch import Tensor

Norm = tuple["Tensor", "Tensor", float]
"""Weight, bias and epsilon of a layer norm."""
Offset = tuple[int, int]
"""Row and column of the first position of a subgrid, both less than `STRIDE`."""
STRIDE = 2
"""Rows and columns from one position of a subgrid to the next."""
BLOCK = 4
"""Rows and columns of mask pixels at one position."""


def _against(rows: Tensor, image: Tensor) -> Tensor:
    """Multiply rows (B, R, C) with the image's positions (B, N, C): shape (B, R, N)."""
    if len(image) == 1:  # in a batch of one, bmm would copy the transposed image
        return (rows[0] @ image[0].T)[None]
    return rows @ image.transpose(1, 2)


class _TokenToImage(Function):
    """Cross attention from tokens to image."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, image: Tensor, placed: Tensor) -> tuple[Tensor, Tensor]:
        weights = _against(queries, placed).softmax(-1)
        ctx.save_for_backward(queries, image, placed, weights)
        # The image is passed through, so that backward adds to its gradient in one product.
        return weights @ image, image.view_as(image)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, through: Tensor) -> tuple[Tensor | None, ...]:
        queries, image, placed, weights = ctx.saved_tensors
        inner = softmax_backward(_against(gradient, image), weights, -1)
        to_image = None
        if ctx.needs_input_grad[1]:
            # Not in place: the incoming gradient may be used elsewhere.
            to_image = torch.baddbmm(through, weights.transpose(1, 2), gradient)
            to_image.baddbmm_(inner.transpose(1, 2), queries)
        return inner @ placed, to_image, None


class _ImageToToken(Function):
    """Cross attention from image to tokens, with residual and layer norm."""

    @staticmethod
    def forward(
        ctx: Any,
        image: Tensor,
        placed: Tensor,
        keys: Tensor,
        bias: Tensor,
        values: Tensor,
        heads: int,
        norm: Norm,
    ) -> Tensor:
        logits = _against(keys, placed).add_(bias[..., None])
        weights = logits.unflatten(1, (heads, -1)).softmax(2).flatten(1, 2)
        summed = torch.baddbmm(image, weights.transpose(1, 2), values)
        result, mean, scale = torch.native_layer_norm(summed, summed.shape[-1:], *norm)
        ctx.save_for_backward(placed, keys, values, weights, summed, mean, scale)
        ctx.heads, ctx.norm = heads, norm
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        placed, keys, values, weights, summed, mean, scale = ctx.saved_tensors
        weight, bias, _ = ctx.norm
        through = torch.ops.aten.native_layer_norm_backward(
            gradient, summed, summed.shape[-1:], mean, scale, weight, bias, [True, False, False]
        )[0]
        inner = softmax_backward(
            _against(values, through).unflatten(1, (ctx.heads, -1)),
            weights.unflatten(1, (ctx.heads, -1)),
            2,
        ).flatten(1, 2)
        to_values = weights @ through
        to_image = (
            through.baddbmm_(inner.transpose(1, 2), keys) if ctx.needs_input_grad[0] else None
        )
        return to_image, None, inner @ placed, inner.sum(-1), to_values, None, None


class _WeightedSum(Function):
    """Weighted sums of channels."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(pixels, weights)
        return pixels @ weights.transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        pixels, weights = ctx.saved_tensors
        # Training has one mask, for which a matrix product would be slow.
        single = weights.shape[1] == 1
        to_pixels = gradient * weights if single else gradient @ weights
        return to_pixels, gradient.transpose(1, 2) @ pixels


def token_to_image(queries: Tensor, image: Tensor, placed: Tensor) -> tuple[Tensor, Tensor]:
    """Attend from the prompt tokens to the image.

    Parameters
    ----------
    queries
        Queries that include the scale and the key projection, shape (B, rows, 256).
    image
        Shape (B, N, 256).
    placed
        The image plus the positional encoding, computed without a gradient; its
        gradient is added to that of the image.

    Returns
    -------
    attended : torch.Tensor
        Weighted mean of the image for each row, before the value projection:
        shape (B, rows, 256).
    image : torch.Tensor
        The same image. Use it in what follows, so that its gradient is summed
        up here.
    """
    return _TokenToImage.apply(queries, image, placed)


def token_to_image_reference(
    queries: Tensor, image: Tensor, placed: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute `token_to_image` with public operators and autograd."""
    weights = (queries @ _with_gradient_to(image, placed).transpose(1, 2)).softmax(-1)
    return weights @ image, image


def image_to_token(
    image: Tensor,
    placed: Tensor,
    keys: Tensor,
    bias: Tensor,
    values: Tensor,
    heads: int,
    norm: Norm,
) -> Tensor:
    """Attend from the image to the prompt tokens, add the result, and apply the layer norm.

    Parameters
    ----------
    image
        Shape (B, N, 256).
    placed
        The image plus the positional encoding, computed without a gradient; its
        gradient is added to that of the image.
    keys
        Keys that include the scale and the query projection, shape (B, rows, 256).
    bias
        Bias of the attention logits, shape (B, rows).
    values
        Values that include the output projection and its bias, shape (B, rows, 256).
    heads
        Number of heads.
    norm
        The layer norm.

    Returns
    -------
    torch.Tensor
        Shape (B, N, 256).
    """
    return _ImageToToken.apply(image, placed, keys, bias, values, heads, norm)


def image_to_token_reference(
    image: Tensor,
    placed: Tensor,
    keys: Tensor,
    bias: Tensor,
    values: Tensor,
    heads: int,
    norm: Norm,
) -> Tensor:
    """Compute `image_to_token` with public operators and autograd."""
    logits = keys @ _with_gradient_to(image, placed).transpose(1, 2) + bias[..., None]
    weights = logits.unflatten(1, (heads, -1)).softmax(2).flatten(1, 2)
    summed = image + weights.transpose(1, 2) @ values
    return F.layer_norm(summed, summed.shape[-1:], *norm)


def _with_gradient_to(image: Tensor, placed: Tensor) -> Tensor:
    """Return ``placed`` with unchanged values, whose gradient goes to the image."""
    return placed.detach() + (image - image.detach())


def mask_logits(pixels: Tensor, weights: Tensor) -> Tensor:
    """Multiply pixels (B, N, 32) with the weights of masks (B, masks, 32): shape (B, N, masks)."""
    return _WeightedSum.apply(pixels, weights)


def mask_logits_reference(pixels: Tensor, weights: Tensor) -> Tensor:
    """Compute `mask_logits` with public operators and autograd."""
    return pixels @ weights.transpose(1, 2)


def position_subgrid(positions: Tensor, offset: Offset) -> Tensor:
    """Return the values at the positions of a subgrid: (..., 4096, C) to (..., 1024, C)."""
    side = isqrt(positions.shape[-2]) // STRIDE
    grid = positions.unflatten(-2, (side, STRIDE, side, STRIDE))
    return grid[..., offset[0], :, offset[1], :].flatten(-3, -2)


def mask_subgrid(masks: Tensor, offset: Offset) -> Tensor:
    """Return the part of masks that belongs to a subgrid: (..., 256, 256) to (..., 128, 128).

    For each position of the subgrid, this is its block of 4 x 4 mask pixels, in
    the order in which `PromptDecoder` returns them.
    """
    row, column = offset
    split = (masks.shape[-1] // (STRIDE * BLOCK), STRIDE, BLOCK)
    blocks = masks.unflatten(-1, split).unflatten(-4, split)
    return blocks[..., row, :, :, column, :].flatten(-4, -3).flatten(-2)
