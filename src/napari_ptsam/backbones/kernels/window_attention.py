"""Attention within windows, with a fast gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from napari_ptsam.backbones.kernels.fused import softmax_backward

if TYPE_CHECKING:
    from torch import Tensor


class _Attend(Function):
    """Attention as matrix products.

    On a CPU, the gradient of PyTorch's fused kernel takes five times as long.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        windows = len(q)
        ctx.scale = q.shape[-1] ** -0.5
        q, k, v = (part.flatten(0, 1) for part in (q, k, v))
        biases = bias.expand(windows, -1, -1, -1).flatten(0, 1)
        weights = torch.baddbmm(biases, q, k.transpose(1, 2), alpha=ctx.scale).softmax(-1)
        ctx.save_for_backward(q, k, v, weights)
        return (weights @ v).unflatten(0, (windows, -1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, weights = ctx.saved_tensors
        windows, gradient = len(gradient), gradient.flatten(0, 1)
        to_v = weights.transpose(1, 2) @ gradient
        inner = softmax_backward(gradient @ v.transpose(1, 2), weights, -1)
        to_q = (inner @ k).mul_(ctx.scale)
        to_k = (inner.transpose(1, 2) @ q).mul_(ctx.scale)
        return *(part.unflatten(0, (windows, -1)) for part in (to_q, to_k, to_v)), None


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Compute attention with a frozen bias.

    Parameters
    ----------
    q
        Queries, shape (windows, heads, N, width of a head).
    k, v
        Keys and values, shape (windows, heads, M, width of a head).
    bias
        Bias of the logits of every window, shape (heads, N, M); it gets no gradient.

    Returns
    -------
    torch.Tensor
        Shape (windows, heads, N, width of a head).
    """
    if torch.is_grad_enabled() and any(part.requires_grad for part in (q, k, v)):
        return _Attend.apply(q, k, v, bias)
    # Expanded, because PyTorch's fast kernel accepts a view, but does not broadcast a bias.
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias.expand(len(q), -1, -1, -1))


def attend_reference(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Compute `attend` with public operators and autograd."""
    return (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5 + bias).softmax(-1) @ v
