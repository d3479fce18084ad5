"""Refine logits with a guided filter, so that they follow the edges of the image.

SAM's masks have 256 x 256 positions per tile. A guided filter restores the
detail of the image in them and has no trained parameters (He, Sun and Tang,
"Guided Image Filtering", IEEE TPAMI 35, 2013).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_ptsam.errors import InputError

if TYPE_CHECKING:
    import torch

LIMIT = 8.0
"""Largest absolute logit that enters the filter. Larger ones would only outweigh their neighbours."""
NOTHING = -16.0
"""Logit of pixels that show nothing."""
LARGEST_RADIUS = 128
BAND = 512
"""Number of rows that are filtered at a time, which limits the memory."""


@dataclass(frozen=True)
class Refinement:
    """The settings of a guided filter, and the threshold that follows it.

    Attributes
    ----------
    radius
        Radius of the window in pixels; its side is 2 * radius + 1.
    epsilon
        Variance of the image (range 0 to 1) above which edges are followed.
    threshold
        Logit above which a pixel is foreground; it is subtracted.

    Raises
    ------
    InputError
        If a value is out of range.
    """

    radius: int
    epsilon: float
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.radius <= LARGEST_RADIUS:
            raise InputError(
                f"A guided filter has a radius of 1 to {LARGEST_RADIUS} pixels, not {self.radius}."
            )
        if not 0 < self.epsilon < 100 or not abs(self.threshold) <= LIMIT:
            raise InputError(
                f"A guided filter with epsilon {self.epsilon} and threshold {self.threshold} makes no "
                "sense."
            )

    def scaled(self, factor: float) -> Refinement:
        """Return the settings for an image whose pixels are smaller by a factor."""
        radius = min(LARGEST_RADIUS, max(1, round(self.radius * factor)))
        return Refinement(radius, self.epsilon, self.threshold)

    def apply(
        self, logits: np.ndarray, guide: np.ndarray, blank: np.ndarray | None = None
    ) -> np.ndarray:
        """Filter logits, so that they follow the edges of the guide.

        Parameters
        ----------
        logits
            float32, shape (classes, y, x).
        guide
            float32, shape (y, x); see `guide_of`.
        blank
            bool, shape (y, x): pixels that show nothing. They become background.

        Returns
        -------
        numpy.ndarray
            float32, shape (classes, y, x); positive is foreground.
        """
        import torch

        height, result = guide.shape[0], np.empty_like(logits)
        reach = 2 * self.radius
        with torch.no_grad():
            for top in range(0, height, BAND):
                rows = slice(top, min(top + BAND, height))
                # Pixels up to twice the radius away have an influence.
                wide = slice(max(0, top - reach), min(rows.stop + reach, height))
                refined = filtered(
                    torch.from_numpy(np.ascontiguousarray(logits[:, wide])),
                    torch.from_numpy(np.ascontiguousarray(guide[wide])),
                    self.radius,
                    self.epsilon,
                    running_box,
                )
                begin = rows.start - wide.start
                result[:, rows] = refined[:, begin : begin + rows.stop - rows.start].numpy()
        result -= np.float32(self.threshold)
        if blank is not None:
            result[:, blank] = NOTHING
        return result


def guide_of(pixels: np.ndarray) -> np.ndarray:
    """Return the guide of a prepared plane: the mean of its channels.

    Parameters
    ----------
    pixels
        float32, shape (y, x, 3), range 0 to 1.

    Returns
    -------
    numpy.ndarray
        float32, shape (y, x).
    """
    guide: np.ndarray = pixels.mean(-1, dtype=np.float32)
    return guide


def box(maps: torch.Tensor, radius: int) -> torch.Tensor:
    """Return the means over a square window; pixels beyond the edge do not count.

    All operators that are used here exist in ONNX, too.

    Parameters
    ----------
    maps
        Shape (maps, y, x).
    radius
        Radius of the window in pixels.
    """
    from torch.nn.functional import avg_pool2d

    size = 2 * radius + 1
    down = avg_pool2d(maps, (size, 1), 1, (radius, 0), count_include_pad=False)
    return avg_pool2d(down, (1, size), 1, (0, radius), count_include_pad=False)


def running_box(maps: torch.Tensor, radius: int) -> torch.Tensor:
    """Compute `box` on the CPU, in a time that does not depend on the radius."""
    import torch
    from scipy.ndimage import uniform_filter1d

    size, means = 2 * radius + 1, maps.numpy()
    for axis in (1, 2):
        means = uniform_filter1d(means, size, axis=axis, mode="constant")
        position = np.arange(means.shape[axis])
        inside = 1 + np.minimum(position, radius) + np.minimum(position[::-1], radius)
        means *= (size / inside).astype(np.float32).reshape((-1, 1) if axis == 1 else (1, -1))
    return torch.from_numpy(means)


def filtered(
    logits: torch.Tensor,
    guide: torch.Tensor,
    radius: int,
    epsilon: float,
    box: Callable[[torch.Tensor, int], torch.Tensor] = box,
) -> torch.Tensor:
    """Apply a guided filter to logits (classes, y, x) with a guide (y, x), both float32."""
    import torch

    logits = logits.clamp(-LIMIT, LIMIT)
    means = box(torch.cat([guide[None], (guide * guide)[None], logits, logits * guide]), radius)
    mean, square = means[0], means[1]
    mean_logits, product = means[2:].chunk(2)
    slope = (product - mean_logits * mean) / (square - mean * mean + epsilon)
    slope, offset = box(torch.cat([slope, mean_logits - slope * mean]), radius).chunk(2)
    return slope * guide + offset
