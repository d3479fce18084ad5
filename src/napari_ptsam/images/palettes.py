"""Palettes of indexed pictures: the colours, or brightness, that the indices stand for."""

from __future__ import annotations

import numpy as np

SMOOTH = 1.5
"""Largest step between neighbouring colours of a gradient, relative to an even step from 0 to 1."""
LEAST_LIMIT = 0.05
"""Smallest limit of a step between neighbouring colours of a gradient."""
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
"""Parts of red, green and blue in the luminance (ITU-R BT.709)."""


def shown_values(palette: np.ndarray, imagej: bool = False) -> np.ndarray | None:
    """Return what the indices of a picture stand for.

    Programs for microscopes, such as ImageJ, store a grey image with the colours in which it is
    shown. Such a palette is a gradient that gets brighter, and the indices are the
    intensities. In any other palette the order of the colours means nothing.

    Parameters
    ----------
    palette
        Colours, integer, shape (colours, 3).
    imagej
        Whether ImageJ wrote the file, whose gradients may also get darker.

    Returns
    -------
    numpy.ndarray or None
        Colours, shape (colours, 3); grey values, shape (colours,), if no colour has a hue; or
        None if the indices are intensities. uint8 if 8 bits hold all values, else uint16.
    """
    if (palette == palette[:, :1]).all():
        return _smallest(palette[:, 0])
    return None if _is_gradient(palette, imagej) else _smallest(palette)


def _is_gradient(palette: np.ndarray, imagej: bool) -> bool:
    count = len(palette)
    values = palette / max(1, int(palette.max()))
    limit = max(LEAST_LIMIT, SMOOTH / max(1, count - 1))
    if count < 2 or np.abs(np.diff(values, axis=0)).max() > limit:
        return False
    steps = np.diff(values @ LUMINANCE)
    return imagej or bool((steps >= -1e-3).all() and steps.sum() > 0)


def _smallest(values: np.ndarray) -> np.ndarray:
    """Return values that may be stored in 16 bits but have 8, in 8 bits."""
    if values.dtype == np.uint8 or values.max(initial=0) < 256:
        return values.astype(np.uint8)
    high = values >> 8
    repeated = (values == high * 257).all() or (values == high << 8).all()
    return high.astype(np.uint8) if repeated else values.astype(np.uint16)
