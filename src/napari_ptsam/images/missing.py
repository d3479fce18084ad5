"""Find pixels that are not there: NaN, infinite and transparent ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_ptsam.images.channels import select_channels

OPAQUE = 0.9
"""Smallest fraction of the visible pixels that are opaque, if the last sample is transparency."""


def missing_pixels(
    plane: np.ndarray, channels: Sequence[int] | None = None, rgb: bool = False
) -> np.ndarray | None:
    """Find the pixels of a plane that are not there.

    Programs fill the area around a stitched, rotated or registered image with NaN or transparent
    pixels, and a ratio of images is infinite or NaN where there was no light. A pixel is
    missing if one of the channels that the model is shown is missing.

    Parameters
    ----------
    plane
        Shape (y, x) or (y, x, channels).
    channels, rgb
        See `napari_ptsam.images.channels.select_channels`.

    Returns
    -------
    numpy.ndarray or None
        bool, shape (y, x); None if all pixels are there.
    """
    missing = None
    chosen = select_channels(plane, channels, rgb)
    if chosen.dtype.kind == "f":
        finite = np.isfinite(chosen)
        if not finite.all():
            missing = ~finite.all(-1)
    transparent = _transparent(plane, channels) if rgb else None
    if missing is None or transparent is None:
        return transparent if missing is None else missing
    return missing | transparent


def _transparent(plane: np.ndarray, channels: Sequence[int] | None) -> np.ndarray | None:
    """Return which pixels of a picture with grey or RGB and alpha are wholly transparent."""
    count = plane.shape[-1] if plane.ndim == 3 else 1
    if count not in (2, 4) or (channels is not None and count - 1 in channels):
        return None
    alpha = plane[..., -1]
    hidden = alpha == 0
    if not hidden.any() or hidden.all():  # some programs write an alpha of 0 everywhere
        return None
    visible = alpha[~hidden]
    # A fourth sample of another meaning, such as infrared, rarely has its largest value.
    largest = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "iu" else visible.max()
    return hidden if (visible == largest).mean() >= OPAQUE else None


def without_missing(pixels: np.ndarray, missing: np.ndarray | None) -> np.ndarray:
    """Return pixels in which missing ones have the median of the others, or 0 if there are none.

    Parameters
    ----------
    pixels
        Shape (y, x, channels). They are not changed.
    missing
        bool, shape (y, x), or None.
    """
    if missing is None:
        return pixels
    filled = pixels.copy()
    there = pixels[~missing]
    filled[missing] = np.median(there, axis=0) if len(there) else 0
    return filled
