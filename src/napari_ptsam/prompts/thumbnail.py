"""Pictures in prompt files, which show what a prompt finds on a plane of its training."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from napari_ptsam.io.safe_loading import read_or

SIDE = 96
"""Width and height in pixels."""
LIMIT = 1200
"""Largest size in bytes."""
LIMIT_WITH_TEXT = 1380
"""Largest size of picture and texts together in bytes, which keeps prompt files below 12 KB; with
longer texts a file has no picture."""
QUALITIES = (75, 60, 45, 30, 20, 10, 5, 1)
"""Qualities of the compression to try, the best one first."""


def make_thumbnail(
    guide: np.ndarray, labels: np.ndarray, colours: Sequence[str], side: int | None = None
) -> bytes:
    """Draw a picture of a plane and its labels.

    Parameters
    ----------
    guide
        The grey plane: float32, shape (y, x), range 0 to 1.
    labels
        Class numbers, of the same shape; 0 is background.
    colours
        ``#RRGGBB`` of the classes 1, 2, ...
    side
        Largest side, in pixels, of the part of the plane that is shown; a small
        part shows small objects better.

    Returns
    -------
    bytes
        A WebP file of 96 x 96 pixels that shows the middle of the plane, with labels
        outlined and tinted; empty if the file would be too large.
    """
    from PIL import Image

    from napari_ptsam.images.overlay import overlay

    square = _square(guide.shape, side or max(guide.shape))
    size = (SIDE, SIDE)
    grey = np.asarray(Image.fromarray(guide[square]).resize(size, Image.Resampling.BOX))
    small = Image.fromarray(labels[square]).resize(size, Image.Resampling.NEAREST)
    picture = overlay(np.repeat(grey.clip(0, 1)[..., None], 3, -1), np.asarray(small), colours)
    for quality in QUALITIES:
        file = io.BytesIO()
        try:
            Image.fromarray(picture).save(file, "WEBP", quality=quality, method=6)
        except (KeyError, OSError):  # Pillow was built without WebP
            return b""
        if len(file.getvalue()) <= LIMIT:
            return file.getvalue()
    return b""


def _square(shape: tuple[int, ...], side: int) -> tuple[slice, slice]:
    """Return a square in the middle of a plane."""
    side = min(side, *shape)
    y, x = ((length - side) // 2 for length in shape)
    return slice(y, y + side), slice(x, x + side)


def read_thumbnail(data: bytes) -> np.ndarray | None:
    """Read the picture of a prompt file.

    Parameters
    ----------
    data
        Bytes from `make_thumbnail`, or of a file that anybody may have made.

    Returns
    -------
    numpy.ndarray or None
        uint8, shape (96, 96, 3); None if these are no such bytes.
    """
    return read_or(None, lambda: _read(data)) if 0 < len(data) <= LIMIT else None


def _read(data: bytes) -> np.ndarray | None:
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=["WEBP"]) as picture:
        return np.asarray(picture.convert("RGB")) if picture.size == (SIDE, SIDE) else None
