"""Draw labels over their images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from napari_ptsam.io.writing import replacing

GAP = 6
OPACITY = 0.45


def overlay(plane: np.ndarray, labels: np.ndarray, colours: Sequence[str]) -> np.ndarray:
    """Draw labels over a plane.

    Parameters
    ----------
    plane
        float32, shape (y, x, 3), range 0 to 1.
    labels
        Class numbers, shape (y, x); 0 is background.
    colours
        Colours ``#RRGGBB`` of the classes 1, 2, ...

    Returns
    -------
    numpy.ndarray
        uint8, shape (y, x, 3). Each class is tinted and outlined in its colour.
    """
    from scipy import ndimage

    picture = plane.copy()
    for value, colour in enumerate(colours, start=1):
        rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)], dtype=np.float32)
        inside = labels == value
        edge = inside & ~ndimage.binary_erosion(inside, border_value=1)
        picture[inside] = (1 - OPACITY) * picture[inside] + OPACITY * rgb
        picture[edge] = rgb
    return (picture * 255).round().astype(np.uint8)


def save_grid(rows: Sequence[Sequence[np.ndarray]], path: Path, overwrite: bool = False) -> None:
    """Write rows of pictures of equal size as one PNG file.

    Raises
    ------
    OutputError
        If the file exists or cannot be written.
    """
    from PIL import Image

    height, width = rows[0][0].shape[:2]
    grid = np.full(
        (len(rows) * (height + GAP) - GAP, len(rows[0]) * (width + GAP) - GAP, 3),
        255,
        dtype=np.uint8,
    )
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            y, x = row * (height + GAP), column * (width + GAP)
            grid[y : y + height, x : x + width] = picture
    with replacing(path, overwrite) as beside:
        Image.fromarray(grid).save(beside)
