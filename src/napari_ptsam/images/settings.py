"""How images are turned into what the model sees; stored in every prompt."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import takewhile

import numpy as np

from napari_ptsam.errors import InputError
from napari_ptsam.images.blank import far_from_objects, is_constant, is_noise, padding_of
from napari_ptsam.images.normalize import (
    MOST_OF_IT,
    Limits,
    Normalization,
    noise_alone,
    normalize,
    select_channels,
    stack_limits,
)
from napari_ptsam.images.planes import Planes
from napari_ptsam.images.tiling import Tile, Tiling, cut


@dataclass(frozen=True, eq=False)
class PreparedPlane:
    """A plane as the model is to see it, and what of it there is no need to look at.

    Attributes
    ----------
    pixels
        float32, shape (y, x, 3), range 0 to 1.
    blank
        bool, shape (y, x): pixels that show nothing; None where all show something.
    """

    pixels: np.ndarray
    blank: np.ndarray | None = None

    def cut(self, tile: Tile) -> np.ndarray | None:
        """Pixels of a tile, see `napari_ptsam.images.tiling.cut`; None if it shows nothing."""
        window = tile.window
        if self.blank is not None and self.blank[window].all():
            return None
        return None if is_constant(self.pixels[window]) else cut(self.pixels, tile)


@dataclass(frozen=True)
class ImageSettings:
    """Normalisation, channels and tiles.

    Attributes
    ----------
    tiling
        How planes are cut.
    normalization
        How values become the range 0 to 1.
    channels
        Numbers of up to three channels; None takes the image as it is.
    """

    tiling: Tiling
    normalization: Normalization = field(default_factory=Normalization)
    channels: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.channels is not None and not self.channels:
            raise InputError("Choose one to three channels, or leave the choice out.")

    def limits(self, planes: Planes) -> Limits | None:
        """What `prepare` needs to know of the whole stack, if anything."""
        if self.normalization.mode != "stack":
            return None
        return stack_limits(planes, self.normalization, self.channels, planes.rgb)

    def prepare(self, plane: np.ndarray, rgb: bool, limits: Limits | None = None) -> np.ndarray:
        """Three float32 channels of a plane: (y, x, 3), range 0 to 1."""
        return self.prepared(plane, rgb, limits).pixels

    def prepared(self, plane: np.ndarray, rgb: bool, limits: Limits | None = None) -> PreparedPlane:
        """A plane as the model is to see it, with what of it is blank.

        Parameters
        ----------
        plane
            Shape (y, x) or (y, x, channels).
        rgb
            Whether the channels are red, green and blue.
        limits
            See `limits`.

        Raises
        ------
        InputError
            See `napari_ptsam.images.normalize.normalize`.
        """
        chosen = select_channels(plane, self.channels, rgb)
        padding = padding_of(chosen)
        pixels = normalize(plane, self.normalization, self.channels, rgb, limits, padding)
        if is_constant(chosen) or is_noise(chosen, padding):
            return PreparedPlane(pixels, np.ones(pixels.shape[:2], dtype=bool))
        if padding is not None:
            # As dark or bright as the picture is, so that no edge is seen at its rim.
            pixels[padding] = np.median(pixels[~padding], axis=0)
        noises = list(takewhile(bool, noise_alone(chosen, padding, MOST_OF_IT)))
        if len(noises) == chosen.shape[-1]:
            return PreparedPlane(pixels, far_from_objects(chosen, noises, padding))
        return PreparedPlane(pixels, padding)
