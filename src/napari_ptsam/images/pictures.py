"""Open PNG and JPEG files with the colours and the orientation in which viewers show them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_ptsam.images.lazy_arrays import oriented

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_ORIENTATION = 0x0112
_COLOURS = ("CMYK", "YCbCr", "LAB", "HSV")
_PNG_COLOURS = (2, 4, 6)
"""Colour types of PNG with several samples: RGB, grey with alpha, and RGB with alpha."""


class TooLargeError(ValueError):
    """A picture that Pillow considers a decompression bomb."""


def open_picture(path: Path, labels: bool = False) -> tuple[np.ndarray, str]:
    """Read a PNG or JPEG.

    Parameters
    ----------
    path
        The file.
    labels
        Whether it is a mask, in which the indices of a palette are the values.

    Returns
    -------
    pixels
        Shape (y, x), or (y, x, samples) for colours and for grey with alpha. Samples of 16 bits
        keep them. A palette becomes colours, or grey if none of its colours has a hue.
    axes
        ``YX`` or ``YXS``.

    Raises
    ------
    TooLargeError
        If the picture is too large.
    Exception
        Any exception that Pillow or imagecodecs raises on damaged files.
    """
    from PIL import Image

    try:
        opened = Image.open(path, formats=("PNG", "JPEG"))
    except Image.DecompressionBombError as error:
        raise TooLargeError from error
    with opened as picture:
        if picture.format == "PNG" and _has_long_colours(path):
            import imagecodecs  # Pillow cuts these to 8 bits

            pixels = np.asarray(imagecodecs.png_decode(path.read_bytes()))
        else:
            picture.load()
            pixels = np.asarray(picture if labels else _shown(picture))
        orientation = int(picture.getexif().get(_ORIENTATION, 1))
    pixels = np.ascontiguousarray(oriented(pixels, orientation))
    return pixels, "YX" if pixels.ndim == 2 else "YXS"


def _has_long_colours(path: Path) -> bool:
    """Return whether a PNG has several samples of 16 bits, by its header."""
    with path.open("rb") as file:
        header = file.read(26)
    return header[24] == 16 and header[25] in _PNG_COLOURS


def _shown(picture: Picture) -> Picture:
    """Return a picture in its true colours."""
    if picture.mode == "P":
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
        colours = np.asarray(picture)[..., :3]
        if (colours == colours[..., :1]).all():
            picture = picture.convert("LA" if picture.mode == "RGBA" else "L")
        return picture
    if (
        picture.mode in ("L", "RGB") and "transparency" in picture.info
    ):  # a colour that stands for it
        return picture.convert("LA" if picture.mode == "L" else "RGBA")
    return picture.convert("RGB") if picture.mode in _COLOURS else picture
