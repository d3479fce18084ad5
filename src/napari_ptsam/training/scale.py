"""The scale to train at, chosen from the size of the annotated objects."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np

from napari_ptsam.datasets.annotated_planes import AnnotatedPlane
from napari_ptsam.images.settings import ImageSettings
from napari_ptsam.images.tiling import MAXIMUM_SIDE, MINIMUM_SIDE, Tiling
from napari_ptsam.training.settings import TrainingSettings

# How large objects look best, measured on left-out planes of four sets (docs/notes): a tile
# that is about 14 objects wide; whole planes up to 20 objects wide gain nothing from tiles.
OBJECTS_ACROSS_TILE = 14
OBJECTS_ACROSS_PLANE = 20
WIDTHS_OF_THIN = 3
"""Width of a thin structure that counts as one object: membranes and outlines have a large area,
and still want to be seen from near. Compact objects, and rods up to 7 times as long as wide, are
smaller than that."""
SMALLEST_TILE = 128
LONGEST_ASPECT = 2
"""Planes longer than this times their width are cut: whole, they would be mostly padding."""


def image_settings(examples: Sequence[AnnotatedPlane], settings: TrainingSettings) -> ImageSettings:
    """How images are prepared in a training: as asked for, with the scale chosen if need be."""
    if settings.tile == "auto":
        tiling = choose_tiling(examples)
    elif settings.tile == "whole":
        tiling = Tiling(int(np.median([max(example.shape) for example in examples])), whole=True)
    else:
        tiling = Tiling(int(settings.tile))
    return ImageSettings(tiling, settings.normalization, settings.channels)


def choose_tiling(examples: Sequence[AnnotatedPlane]) -> Tiling:
    """Whole planes, or tiles of a side that suits the annotated objects.

    The object size is the median, weighted by area, of the square root of the
    objects' areas, so that specks do not count as much as what they lie beside;
    of thin structures, it is a multiple of their width.
    """
    longer = int(np.median([max(example.shape) for example in examples]))
    aspect = max(max(example.shape) / min(example.shape) for example in examples)
    size, width = object_size(examples), structure_width(examples)
    if size is not None and width is not None:
        size = min(size, WIDTHS_OF_THIN * width)
    longer = min(longer, MAXIMUM_SIDE)
    if size is None or (aspect <= LONGEST_ASPECT and longer <= OBJECTS_ACROSS_PLANE * size):
        return Tiling(longer, whole=aspect <= LONGEST_ASPECT)
    side = max(SMALLEST_TILE, round(OBJECTS_ACROSS_TILE * size))
    return Tiling(_that_fits(longer, side)) if side < longer else Tiling(longer, whole=True)


def object_size(examples: Sequence[AnnotatedPlane]) -> float | None:
    """Typical width of the annotated objects in pixels; None if there are none."""
    areas = np.sort(np.concatenate([example.areas for example in examples]))
    if not len(areas):
        return None
    middle = np.searchsorted(areas.cumsum(), areas.sum() / 2)
    return float(np.sqrt(areas[middle]))


def structure_width(examples: Sequence[AnnotatedPlane]) -> float | None:
    """Width of the annotated structures in pixels: twice their area by the pixels of their edge.

    None if no edge is annotated: a few strokes do not tell how wide the structure
    under them is.
    """
    area = sum(int(np.count_nonzero(example.labels)) for example in examples)
    edge = sum(_edge_pixels(example) for example in examples)
    return 2 * area / edge if edge else None


def _edge_pixels(example: AnnotatedPlane) -> int:
    """Count of annotated pixels beside annotated ones of another class, or of the background."""
    from scipy.ndimage import binary_erosion

    unknown = False if example.valid is None else ~example.valid
    classes = [example.labels == value for value in np.unique(example.labels) if value]
    return sum(
        int(np.count_nonzero(own & ~binary_erosion(own | unknown, border_value=1)))
        for own in classes
    )


def _that_fits(length: int, side: int, overlap: float = 0.125) -> int:
    """Side near the one wanted, at which a whole number of tiles covers the plane's longer side."""
    count = max(1, round((length / side - overlap) / (1 - overlap)))
    return max(MINIMUM_SIDE, ceil(length / (count - (count - 1) * overlap)))
