"""Regular subgrids of an embedding's positions: a quarter of them stands for all of them."""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Offset = tuple[int, int]
"""Row and column of the first position of a subgrid, both less than `STRIDE`."""
STRIDE = 2
"""Rows and columns from one position of a subgrid to the next."""
BLOCK = 4
"""Rows and columns of mask pixels at one position."""


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
