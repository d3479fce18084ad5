"""Flips under which an image may look as likely as upright."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import torch

Flip = Literal["x", "y", "xy"]
"""Axes of the plane that are reversed."""
FLIPS: tuple[Flip, ...] = ("x", "y", "xy")


def flipped_pixels(tile: np.ndarray, flip: Flip) -> np.ndarray:
    """A tile, shape (y, x, channels), with axes reversed; contiguous."""
    return np.ascontiguousarray(np.flip(tile, tuple("yx".index(axis) for axis in flip)))


def flipped_maps(maps: torch.Tensor, flip: Flip) -> torch.Tensor:
    """Maps, shape (..., y, x), with axes reversed; twice gives them as they were."""
    return maps.flip(["yx".index(axis) - 2 for axis in flip])
