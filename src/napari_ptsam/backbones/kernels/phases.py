"""A quarter of an embedding's positions, which stand for all of them."""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Phase = tuple[int, int]
"""Row and column, below `STRIDE`, of the first position of a regular grid of them."""
STRIDE = 2
"""Rows and columns from one position of a phase to the next."""
BLOCK = 4
"""Rows and columns of the mask's pixels at a position."""


def in_phase(positions: Tensor, phase: Phase) -> Tensor:
    """What is at the positions in a phase: (..., 4096, C) to (..., 1024, C)."""
    side = isqrt(positions.shape[-2]) // STRIDE
    grid = positions.unflatten(-2, (side, STRIDE, side, STRIDE))
    return grid[..., phase[0], :, phase[1], :].flatten(-3, -2)


def thinned(masks: Tensor, phase: Phase) -> Tensor:
    """What `PromptDecoder` gives of masks in a phase: (..., 256, 256) to (..., 128, 128).

    Of each position that is in the phase, its 4 x 4 pixels of the mask.
    """
    row, column = phase
    split = (masks.shape[-1] // (STRIDE * BLOCK), STRIDE, BLOCK)
    blocks = masks.unflatten(-1, split).unflatten(-4, split)
    return blocks[..., row, :, :, column, :].flatten(-4, -3).flatten(-2)
