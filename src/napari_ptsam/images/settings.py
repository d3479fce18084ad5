"""How images are turned into what the model sees; stored in every prompt."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from napari_ptsam.errors import InputError
from napari_ptsam.images.normalize import (
    Limits,
    Normalization,
    normalize,
    stack_limits,
)
from napari_ptsam.images.planes import Planes
from napari_ptsam.images.tiling import Tiling


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
        return normalize(plane, self.normalization, self.channels, rgb, limits)
