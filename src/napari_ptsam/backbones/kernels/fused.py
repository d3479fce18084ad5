"""Operators that PyTorch has, but does not make public, each beside its plain reference.

On x86 processors, oneDNN applies an activation or adds a residual while a
product is still in the cache. PyTorch's compiler uses these operators; they are
called directly here, because the compiler needs a C++ toolchain. The reference
is used where an operator is missing or fails a test, on other devices, and
where the operator has no gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor

_ABSENT = (AttributeError, RuntimeError, TypeError)
"""Exceptions that a call of a missing or changed operator raises."""


@lru_cache
def _works(dtype: torch.dtype) -> bool:
    """Return whether oneDNN's operators exist and agree with their references."""
    try:
        with torch.random.fork_rng(devices=[]):  # leaves the caller's random state alone
            x, weight, image = (torch.randn(s).to(dtype) for s in ((5, 8), (8, 8), (1, 8, 4, 4)))
            conv = nn.Conv2d(8, 8, 3, padding=1, groups=8).to(dtype)
        pairs = [
            (_linear_gelu(x, weight, None), linear_gelu_reference(x, weight, None)),
            (_linear_add(x, weight, None, x), linear_add_reference(x, weight, None, x)),
            (_conv_gelu(image, conv), conv_gelu_reference(image, conv)),
        ]
    except _ABSENT:
        return False
    return all(torch.allclose(a.float(), b.float(), atol=0.1, rtol=0.1) for a, b in pairs)


_reference_only = ContextVar("reference_only", default=False)


@contextmanager
def public_operators() -> Iterator[None]:
    """Use only the references, whose operators an export can translate."""
    before = _reference_only.set(True)
    try:
        yield
    finally:
        _reference_only.reset(before)


def _can(x: Tensor) -> bool:
    """Return whether oneDNN's operators can be applied to a tensor."""
    needs_gradient = torch.is_grad_enabled() and x.requires_grad
    if x.device.type != "cpu" or needs_gradient or _reference_only.get():
        return False
    return _works(x.dtype)


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute ``gelu(linear(x))`` for x of shape (..., in)."""
    return _linear_gelu(x, weight, bias) if _can(x) else linear_gelu_reference(x, weight, bias)


def linear_gelu_reference(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute `linear_gelu` with public operators."""
    return F.gelu(F.linear(x, weight, bias))


def _linear_gelu(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], "none")


def linear_add(x: Tensor, weight: Tensor, bias: Tensor | None, other: Tensor) -> Tensor:
    """Compute ``other + linear(x)`` for x of shape (..., in)."""
    if _can(x) and not (torch.is_grad_enabled() and other.requires_grad):
        return _linear_add(x, weight, bias, other)
    return linear_add_reference(x, weight, bias, other)


def linear_add_reference(x: Tensor, weight: Tensor, bias: Tensor | None, other: Tensor) -> Tensor:
    """Compute `linear_add` with public operators."""
    return other + F.linear(x, weight, bias)


def _linear_add(x: Tensor, weight: Tensor, bias: Tensor | None, other: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise.binary(x, other, weight, bias, "add")


def conv_gelu(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Compute ``gelu(conv(x))`` for x of shape (B, C, y, x), with channels last in memory."""
    return _conv_gelu(x, conv) if _can(x) else conv_gelu_reference(x, conv)


def conv_gelu_reference(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Compute `conv_gelu` with public operators."""
    return F.gelu(conv(x))


def _conv_gelu(x: Tensor, conv: nn.Conv2d) -> Tensor:
    return torch.ops.mkldnn._convolution_pointwise(
        x, conv.weight, conv.bias, conv.padding, conv.stride, conv.dilation, conv.groups,
        "gelu", [], "none",
    )  # fmt: skip


def softmax_backward(gradient: Tensor, weights: Tensor, dim: int) -> Tensor:
    """Compute the gradient of a softmax's input.

    Parameters
    ----------
    gradient
        Gradient of the softmax's result.
    weights
        The softmax's result.
    dim
        Dimension of the softmax.
    """
    if _softmax_backward_works():
        return torch._softmax_backward_data(gradient, weights, dim, weights.dtype)
    return softmax_backward_reference(gradient, weights, dim)


def softmax_backward_reference(gradient: Tensor, weights: Tensor, dim: int) -> Tensor:
    """Compute `softmax_backward` with public operators."""
    return weights * (gradient - (gradient * weights).sum(dim, keepdim=True))


@lru_cache
def _softmax_backward_works() -> bool:
    """Return whether PyTorch's operator exists and agrees with its reference."""
    weights = torch.tensor([[0.25, 0.75]])
    gradient = torch.tensor([[1.0, 3.0]])
    try:
        computed = torch._softmax_backward_data(gradient, weights, -1, weights.dtype)
    except _ABSENT:
        return False
    return torch.allclose(computed, softmax_backward_reference(gradient, weights, -1))
