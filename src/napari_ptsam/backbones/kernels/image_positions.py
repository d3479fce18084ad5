"""The 4,096 image positions of SAM's mask decoder: every pass over them, forward and backward.

These passes are nearly all that a training step costs, and most of them are
bound by memory, not by arithmetic. So the gradients are written by hand: what
autograd would add up in passes of its own is added up inside the products.

Rows are pairs of a head and a prompt token, head by head. Attention weights
have the positions last, (B, rows, N), in which softmax over positions and
softmax over tokens both run along whole vectors.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from torch import Tensor

Norm = tuple["Tensor", "Tensor", float]
"""Weight, bias and epsilon of a layer norm."""


def _against(rows: Tensor, image: Tensor) -> Tensor:
    """Products of rows (B, R, C) with the image's positions (B, N, C): (B, R, N)."""
    if len(image) == 1:  # of a batch of one, bmm would copy the transposed image
        return (rows[0] @ image[0].T)[None]
    return rows @ image.transpose(1, 2)


def _in_steps(gradient: Tensor, weights: Tensor, dim: int) -> Tensor:
    """Softmax's gradient, of public operators."""
    return weights * (gradient - (gradient * weights).sum(dim, keepdim=True))


@lru_cache
def _in_one_pass() -> bool:
    """Whether PyTorch's own operator, which is not public, is there and does what is expected."""
    weights = torch.tensor([[0.25, 0.75]])
    gradient = torch.tensor([[1.0, 3.0]])
    try:
        found = torch._softmax_backward_data(gradient, weights, -1, weights.dtype)
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.allclose(found, _in_steps(gradient, weights, -1))


def _before_softmax(gradient: Tensor, weights: Tensor, dim: int) -> Tensor:
    """Gradient of what softmax was taken of, from that of its result and the result."""
    if _in_one_pass():
        return torch._softmax_backward_data(gradient, weights, dim, weights.dtype)
    return _in_steps(gradient, weights, dim)


class _Look(Function):
    """Softmax over the image positions, and the image seen through it."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, image: Tensor, placed: Tensor) -> tuple[Tensor, Tensor]:
        weights = _against(queries, placed).softmax(-1)
        ctx.save_for_backward(queries, image, placed, weights)
        # The image goes through, so that its gradient comes by and is added to.
        return weights @ image, image.view_as(image)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, seen: Tensor, through: Tensor) -> tuple[Tensor | None, ...]:
        queries, image, placed, weights = ctx.saved_tensors
        inner = _before_softmax(_against(seen, image), weights, -1)
        to_image = None
        if ctx.needs_input_grad[1]:
            # Not in place: what comes in may belong to others, too.
            to_image = torch.baddbmm(through, weights.transpose(1, 2), seen)
            to_image.baddbmm_(inner.transpose(1, 2), queries)
        return inner @ placed, to_image, None


class _Answer(Function):
    """Softmax over the prompt tokens, what they say added to the image, and the layer norm."""

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
        inner = _before_softmax(
            _against(values, through).unflatten(1, (ctx.heads, -1)),
            weights.unflatten(1, (ctx.heads, -1)),
            2,
        ).flatten(1, 2)
        to_values = weights @ through
        to_image = (
            through.baddbmm_(inner.transpose(1, 2), keys) if ctx.needs_input_grad[0] else None
        )
        return to_image, None, inner @ placed, inner.sum(-1), to_values, None, None


class _Weigh(Function):
    """Sum of 32 channels with weights that differ from mask to mask."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(pixels, weights)
        return pixels @ weights.transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        pixels, weights = ctx.saved_tensors
        # One mask is the rule in training; a product with an inner size of 1 would be slow.
        one = weights.shape[1] == 1
        to_pixels = gradient * weights if one else gradient @ weights
        return to_pixels, gradient.transpose(1, 2) @ pixels


def look(queries: Tensor, image: Tensor, placed: Tensor) -> tuple[Tensor, Tensor]:
    """The prompt tokens look at the image.

    Parameters
    ----------
    queries
        Queries that carry the scale and the key projection, shape (B, rows, 256).
    image
        Shape (B, N, 256).
    placed
        The same image with the encoding of the positions added, made without a
        gradient: all of it goes to the image.

    Returns
    -------
    seen : torch.Tensor
        The image as each row sees it, not yet projected: shape (B, rows, 256).
    image : torch.Tensor
        To go on with: the same image, whose gradient is gathered here.
    """
    return _Look.apply(queries, image, placed)


def answer(
    image: Tensor,
    placed: Tensor,
    keys: Tensor,
    bias: Tensor,
    values: Tensor,
    heads: int,
    norm: Norm,
) -> Tensor:
    """The image looks at the prompt tokens, takes in what they say, and is normalised.

    Parameters
    ----------
    image
        Shape (B, N, 256).
    placed
        The same image with the encoding of the positions added, made without a
        gradient: all of it goes to the image.
    keys, bias
        Keys that carry the scale and the query projection, shape (B, rows, 256),
        and what its bias adds, shape (B, rows).
    values
        Values that carry the output projection and its bias, shape (B, rows, 256).
    heads
        Count of heads.
    norm
        Of the layer norm that follows.
    """
    return _Answer.apply(image, placed, keys, bias, values, heads, norm)


def weigh(pixels: Tensor, weights: Tensor) -> Tensor:
    """Mask logits (B, N, masks) of pixels (B, N, 32) under weights (B, masks, 32)."""
    return _Weigh.apply(pixels, weights)
