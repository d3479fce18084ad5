"""Objects as other programs save them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import roifile
from skimage import measure


def rings_of(mask: np.ndarray) -> list[np.ndarray]:
    """The outline of each object: (x, y) of the corners, where pixels extend from whole numbers."""
    rings = []
    for value in np.unique(mask[mask > 0]):
        padded = np.pad(mask == value, 1)
        longest = max(measure.find_contours(padded.astype(float), 0.5), key=len)
        rings.append(longest[:, ::-1] - 0.5)
    return rings


def as_rois(path: Path, rings, positions=None) -> Path:
    path.unlink(missing_ok=True)
    for number, ring in enumerate(rings):
        roi = roifile.ImagejRoi.frompoints(ring)
        roi.name, roi.position = f"cell {number}", positions[number] if positions else 0
        roi.tofile(path)
    return path
