"""Logits that follow the edges of the image, which SAM's coarse masks cannot.

SAM's masks have 256 x 256 positions a tile. A guided filter brings the detail
of the image back into them, without any parameter that had to be trained (He,
Sun and Tang, "Guided Image Filtering", IEEE TPAMI 35, 2013).
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
"""Logits beyond it are certain enough; what is further away would only outweigh its neighbours."""
NOTHING = -16.0
"""Logit where there is nothing to look at."""
LARGEST_RADIUS = 128
BAND = 512
"""Rows that are filtered at a time, which bounds the memory."""


@dataclass(frozen=True)
class Refinement:
    """A guided filter, and the logit from which on a pixel is foreground.

    Attributes
    ----------
    radius
        Of the filter's window, in pixels: the window has 2 * radius + 1.
    epsilon
        Variance of the image (range 0 to 1) from which on an edge is followed.
    threshold
        Logit that becomes 0.

    Raises
    ------
    InputError
        If a value makes no sense.
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
        """The same for an image whose pixels are smaller by that factor."""
        radius = min(LARGEST_RADIUS, max(1, round(self.radius * factor)))
        return Refinement(radius, self.epsilon, self.threshold)

    def apply(
        self, logits: np.ndarray, guide: np.ndarray, blank: np.ndarray | None = None
    ) -> np.ndarray:
        """Logits that follow the guide's edges.

        Parameters
        ----------
        logits
            float32, shape (classes, y, x).
        guide
            float32, shape (y, x); see `guide_of`.
        blank
            bool, shape (y, x): pixels that show nothing, and stay so whatever is beside them.

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
                # What lies up to twice the radius away has a say.
                wide = slice(max(0, top - reach), min(rows.stop + reach, height))
                found = filtered(
                    torch.from_numpy(np.ascontiguousarray(logits[:, wide])),
                    torch.from_numpy(np.ascontiguousarray(guide[wide])),
                    self.radius,
                    self.epsilon,
                    running_box,
                )
                begin = rows.start - wide.start
                result[:, rows] = found[:, begin : begin + rows.stop - rows.start].numpy()
        result -= np.float32(self.threshold)
        if blank is not None:
            result[:, blank] = NOTHING
        return result


def guide_of(pixels: np.ndarray) -> np.ndarray:
    """What a filter is guided by: the mean of a prepared plane's channels.

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
    """Means over a square window, (maps, y, x), without what lies beyond the edge.

    Of operators that other programs know, too.
    """
    from torch.nn.functional import avg_pool2d

    size = 2 * radius + 1
    down = avg_pool2d(maps, (size, 1), 1, (radius, 0), count_include_pad=False)
    return avg_pool2d(down, (1, size), 1, (0, radius), count_include_pad=False)


def running_box(maps: torch.Tensor, radius: int) -> torch.Tensor:
    """As `box`, in a time that does not grow with the window; on the CPU, without gradients."""
    import torch
    from scipy.ndimage import uniform_filter1d

    size, found = 2 * radius + 1, maps.numpy()
    for axis in (1, 2):
        found = uniform_filter1d(found, size, axis=axis, mode="constant")
        place = np.arange(found.shape[axis])
        inside = 1 + np.minimum(place, radius) + np.minimum(place[::-1], radius)
        found *= (size / inside).astype(np.float32).reshape((-1, 1) if axis == 1 else (1, -1))
    return torch.from_numpy(found)


def filtered(
    logits: torch.Tensor,
    guide: torch.Tensor,
    radius: int,
    epsilon: float,
    box: Callable[[torch.Tensor, int], torch.Tensor] = box,
) -> torch.Tensor:
    """The filter itself, on logits (classes, y, x) and a guide (y, x), both float32."""
    import torch

    logits = logits.clamp(-LIMIT, LIMIT)
    means = box(torch.cat([guide[None], (guide * guide)[None], logits, logits * guide]), radius)
    mean, square = means[0], means[1]
    mean_logits, product = means[2:].chunk(2)
    slope = (product - mean_logits * mean) / (square - mean * mean + epsilon)
    slope, offset = box(torch.cat([slope, mean_logits - slope * mean]), radius).chunk(2)
    return slope * guide + offset
