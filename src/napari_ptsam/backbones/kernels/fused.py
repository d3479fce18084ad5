"""Linear layers and convolutions with what follows them in one pass, where PyTorch can do that.

On x86 processors, oneDNN applies an activation or adds a residual while a
product is still in the cache. PyTorch has these operators for its compiler; a
compiler is more than a biologist's laptop has, so they are called directly.
Elsewhere, and where a gradient is wanted, the same is done in steps.
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


@lru_cache
def _works(dtype: torch.dtype) -> bool:
    """Whether the operators are there, and do what is expected of them."""
    try:
        with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
            x, weight, image = (torch.randn(s).to(dtype) for s in ((5, 8), (8, 8), (1, 8, 4, 4)))
            conv = nn.Conv2d(8, 8, 3, padding=1, groups=8).to(dtype)
        pairs = [
            (_linear_gelu(x, weight, None), F.gelu(F.linear(x, weight))),
            (_linear_add(x, weight, None, x), x + F.linear(x, weight)),
            (_conv_gelu(image, conv), F.gelu(conv(image))),
        ]
    except (AttributeError, RuntimeError, TypeError):
        return False
    return all(torch.allclose(a.float(), b.float(), atol=0.1, rtol=0.1) for a, b in pairs)


_steps_alone = ContextVar("steps_alone", default=False)


@contextmanager
def in_steps() -> Iterator[None]:
    """Do everything in steps, each an operator that other programs know; for exports."""
    before = _steps_alone.set(True)
    try:
        yield
    finally:
        _steps_alone.reset(before)


def _can(x: Tensor) -> bool:
    wants_gradient = torch.is_grad_enabled() and x.requires_grad
    if x.device.type != "cpu" or wants_gradient or _steps_alone.get():
        return False
    return _works(x.dtype)


def _linear_gelu(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], "none")


def _linear_add(x: Tensor, weight: Tensor, bias: Tensor | None, other: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise.binary(x, other, weight, bias, "add")


def _conv_gelu(x: Tensor, conv: nn.Conv2d) -> Tensor:
    return torch.ops.mkldnn._convolution_pointwise(
        x, conv.weight, conv.bias, conv.padding, conv.stride, conv.dilation, conv.groups,
        "gelu", [], "none",
    )  # fmt: skip


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``gelu(linear(x))``: (..., in) to (..., out)."""
    if _can(x):
        return _linear_gelu(x, weight, bias)
    return F.gelu(F.linear(x, weight, bias))


def linear_add(x: Tensor, weight: Tensor, bias: Tensor | None, other: Tensor) -> Tensor:
    """``other + linear(x)``: (..., in) to (..., out)."""
    if _can(x) and not (torch.is_grad_enabled() and other.requires_grad):
        return _linear_add(x, weight, bias, other)
    return other + F.linear(x, weight, bias)


def conv_gelu(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """``gelu(conv(x))``: (B, C, y, x) with channels last in memory."""
    return _conv_gelu(x, conv) if _can(x) else F.gelu(conv(x))
