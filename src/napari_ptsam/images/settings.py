"""Prepare images for the model, with settings that every prompt stores."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile

import numpy as np

from napari_ptsam.errors import InputError
from napari_ptsam.images.blank import far_from_objects, is_constant, is_noise
from napari_ptsam.images.guided_filter import guide_of
from napari_ptsam.images.normalize import (
    MOST_OF_IT,
    Limits,
    Normalization,
    fill_padding,
    noise_alone,
    normalize_shown,
    shown_pixels,
    stack_limits,
)
from napari_ptsam.images.planes import Planes
from napari_ptsam.images.tiling import Tile, Tiling, cut


@dataclass(frozen=True, eq=False)
class PreparedPlane:
    """A plane as the model is shown it: three normalised channels, divided into tiles.

    Attributes
    ----------
    pixels
        float32, shape (y, x, 3), range 0 to 1.
    tiles
        Tiles that cover the plane, row by row.
    blank
        Mask of the pixels that show nothing: bool, shape (y, x). None if every
        pixel shows something.
    """

    pixels: np.ndarray
    tiles: tuple[Tile, ...]
    blank: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the plane: (y, x)."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @cached_property
    def guide(self) -> np.ndarray:
        """Image that guides the filter of the logits: float32, shape (y, x)."""
        return guide_of(self.pixels)

    def cut(self, tile: Tile) -> np.ndarray | None:
        """Return the pixels of a tile, or None if the tile shows nothing.

        Returns
        -------
        numpy.ndarray or None
            float32, shape (side, side, 3); see `napari_ptsam.images.tiling.cut`.
        """
        window = tile.window
        if self.blank is not None and self.blank[window].all():
            return None
        return None if is_constant(self.pixels[window]) else cut(self.pixels, tile)


@dataclass(frozen=True)
class ImageSettings:
    """Normalisation, choice of channels and division into tiles.

    Attributes
    ----------
    tiling
        Division of planes into tiles.
    normalization
        Mapping of values to the range 0 to 1.
    channels
        Numbers of up to three channels to show to the model. None shows the
        image as it is.

    Raises
    ------
    InputError
        If the choice of channels is empty.
    """

    tiling: Tiling
    normalization: Normalization = field(default_factory=Normalization)
    channels: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.channels is not None and not self.channels:
            raise InputError("Choose one to three channels, or leave the choice out.")

    def limits(self, planes: Planes) -> Limits | None:
        """Return the value limits of a stack, or None if planes are normalised one by one."""
        if self.normalization.mode != "stack":
            return None
        return stack_limits(planes, self.normalization, self.channels, planes.rgb)

    def prepare(
        self, plane: np.ndarray, rgb: bool = False, limits: Limits | None = None
    ) -> PreparedPlane:
        """Prepare a plane for the model: normalise it, and find the pixels that show nothing.

        Missing pixels, which are NaN, infinite or transparent, show nothing.

        Parameters
        ----------
        plane
            Pixels as read, of shape (y, x) or (y, x, channels).
        rgb
            Whether the channels are red, green and blue.
        limits
            Value limits of the stack; see `limits`.

        Raises
        ------
        InputError
            If the channels do not exist.
        """
        chosen, padding = shown_pixels(plane, self.channels, rgb)
        pixels = normalize_shown(chosen, self.normalization, rgb, limits, padding)
        tiles = tuple(self.tiling.tiles((pixels.shape[0], pixels.shape[1])))
        is_empty = padding is not None and padding.all()
        if is_empty or is_constant(chosen) or is_noise(chosen, padding):
            return PreparedPlane(pixels, tiles, np.ones(pixels.shape[:2], dtype=bool))
        pixels = fill_padding(pixels, padding)
        noises = list(takewhile(bool, noise_alone(chosen, padding, MOST_OF_IT)))
        if len(noises) == chosen.shape[-1]:
            return PreparedPlane(pixels, tiles, far_from_objects(chosen, noises, padding))
        return PreparedPlane(pixels, tiles, padding)
