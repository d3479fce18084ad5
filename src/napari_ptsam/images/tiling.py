"""Cut planes into overlapping square tiles, flip the tiles, and join their values again."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_ptsam.errors import InputError

if TYPE_CHECKING:
    import torch

Flip = Literal["x", "y", "xy"]
"""Axes of the plane that are reversed."""

FLIPS: tuple[Flip, ...] = ("x", "y", "xy")

MINIMUM_SIDE = 16
"""Smallest plane and tile, in pixels."""

MAXIMUM_SIDE = 16384
"""Largest tile, in pixels: 3 GB as three float channels."""

WHOLE_TOLERANCE = 1.5
"""Largest ratio between the sizes of a tile and of a plane that is taken whole."""

# Colour beyond the plane: the mean colour, which equals SAM's own padding after normalization.
PADDING = np.array([0.485, 0.456, 0.406], dtype=np.float32)


@dataclass(frozen=True)
class Tile:
    """A square part of a plane. It may extend beyond the plane's lower and right edge.

    Attributes
    ----------
    y, x
        Position of the upper left corner, in pixels.
    side
        Length of a side, in pixels.
    """

    y: int
    x: int
    side: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the tile; numpy cuts the slices at the plane's edge."""
        return slice(self.y, self.y + self.side), slice(self.x, self.x + self.side)


@dataclass(frozen=True)
class Tiling:
    """The way in which planes are cut into tiles.

    Attributes
    ----------
    side
        Side of a tile in pixels of the plane.
    whole
        Whether a plane of about that size (its longer side within a factor of
        1.5) is taken whole, as one tile of its own size.
    overlap
        Smallest fraction of the side by which neighbours overlap.
    """

    side: int
    whole: bool = False
    overlap: float = 0.125

    def __post_init__(self) -> None:
        if not MINIMUM_SIDE <= self.side <= MAXIMUM_SIDE:
            raise InputError(
                f"A tile has at least {MINIMUM_SIDE} pixels a side and at most {MAXIMUM_SIDE}, "
                f"not {self.side}."
            )
        if not 0 <= self.overlap <= 0.5:
            raise InputError(f"Tiles overlap by 0 to 0.5 of their side, not {self.overlap}.")

    def tiles(self, shape: tuple[int, int]) -> list[Tile]:
        """Return the tiles that cover a plane of shape (y, x), row by row."""
        longer = max(shape)
        fits = longer <= self.side * WHOLE_TOLERANCE and self.side <= longer * WHOLE_TOLERANCE
        if self.whole and fits:
            return [Tile(0, 0, longer)]
        rows, columns = (self._starts(length) for length in shape)
        return [Tile(y, x, self.side) for y in rows for x in columns]

    def _starts(self, length: int) -> list[int]:
        if length <= self.side:
            return [0]
        shared = round(self.side * self.overlap)
        count = ceil((length - shared) / (self.side - shared))
        return [round(start) for start in np.linspace(0, length - self.side, count)]

    def __str__(self) -> str:
        return f"whole planes of about {self.side} px" if self.whole else f"tiles of {self.side} px"


def cut(plane: np.ndarray, tile: Tile) -> np.ndarray:
    """Return the pixels of one tile.

    Parameters
    ----------
    plane
        float32, shape (y, x, 3), range 0 to 1.

    Returns
    -------
    numpy.ndarray
        float32, shape (side, side, 3), contiguous, padded with the mean colour.
    """
    part = plane[tile.window]
    if part.shape[:2] == (tile.side, tile.side):
        return np.ascontiguousarray(part)
    padded = np.empty((tile.side, tile.side, 3), dtype=np.float32)
    padded[:] = PADDING
    padded[: part.shape[0], : part.shape[1]] = part
    return padded


def flipped_pixels(tile: np.ndarray, flip: Flip) -> np.ndarray:
    """Return a tile with some of its axes reversed.

    Parameters
    ----------
    tile
        Shape (y, x, channels).
    flip
        The axes to reverse.

    Returns
    -------
    numpy.ndarray
        Same shape and dtype, contiguous.
    """
    return np.ascontiguousarray(np.flip(tile, tuple("yx".index(axis) for axis in flip)))


def flipped_maps(maps: torch.Tensor, flip: Flip) -> torch.Tensor:
    """Return maps of shape (..., y, x) with some of their axes reversed.

    Flipping twice gives the maps as they were.
    """
    return maps.flip(["yx".index(axis) - 2 for axis in flip])


class Blend:
    """Join the values of tiles to a plane, with a smooth transition where they overlap.

    Parameters
    ----------
    classes
        Number of values per pixel.
    shape
        Shape of the plane: (y, x).
    """

    def __init__(self, classes: int, shape: tuple[int, int]) -> None:
        self._total = np.zeros((classes, *shape), dtype=np.float32)
        self._weights = np.zeros(shape, dtype=np.float32)

    def add(self, values: np.ndarray, tile: Tile) -> None:
        """Add a tile's values: float32, shape (classes, side, side)."""
        weights = self._weights[tile.window]
        rows, columns = weights.shape
        weight = _window(tile.side)[:rows, :columns]
        self._total[:, *tile.window] += values[:, :rows, :columns] * weight
        weights += weight

    def result(self) -> np.ndarray:
        """Return the values of the plane: float32, shape (classes, y, x)."""
        return self._total / self._weights


def _window(side: int) -> np.ndarray:
    """Return the weights of a tile's pixels. They fall towards the edges, but never to 0."""
    distance = np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5
    ramp = np.minimum(distance / (side / 8), 1).astype(np.float32)
    return ramp[:, None] * ramp[None]
