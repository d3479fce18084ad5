"""Choose the size of tiles from the size of the annotated objects."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np

from napari_ptsam.datasets.annotated_planes import AnnotatedPlane
from napari_ptsam.images.settings import ImageSettings
from napari_ptsam.images.tiling import MAXIMUM_SIDE, MINIMUM_SIDE, Tiling
from napari_ptsam.training.settings import TrainingSettings

# Object sizes that worked best, measured on left-out planes of four sets (docs/notes): a tile
# that is about 14 objects wide; whole planes up to 20 objects wide gain nothing from tiles.
OBJECTS_ACROSS_TILE = 14
OBJECTS_ACROSS_PLANE = 20
WIDTHS_OF_THIN = 3
"""Largest object size, as a multiple of the structure width. Membranes and outlines have a large
area but need small tiles. Compact objects, and rods up to 7 times as long as wide, stay below it."""
SMALLEST_TILE = 128
LONGEST_ASPECT = 2
"""Largest ratio of length to width of planes that are used whole; others would be mostly padding."""


def image_settings(examples: Sequence[AnnotatedPlane], settings: TrainingSettings) -> ImageSettings:
    """Return the settings with which images are prepared, choosing the tile size if it is ``auto``."""
    if settings.tile == "auto":
        tiling = choose_tiling(examples)
    elif settings.tile == "whole":
        tiling = Tiling(int(np.median([max(example.shape) for example in examples])), whole=True)
    else:
        tiling = Tiling(int(settings.tile))
    return ImageSettings(tiling, settings.normalization, settings.channels)


def choose_tiling(examples: Sequence[AnnotatedPlane]) -> Tiling:
    """Choose between whole planes and tiles whose side suits the annotated objects.

    The object size is the median of the square root of the areas, weighted by
    area, so that specks hardly count. For thin structures, it is limited to a
    multiple of their width.
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
    """Return the typical size of the annotated objects in pixels, or None if there are none."""
    areas = np.sort(np.concatenate([example.areas for example in examples]))
    if not len(areas):
        return None
    middle = np.searchsorted(areas.cumsum(), areas.sum() / 2)
    return float(np.sqrt(areas[middle]))


def structure_width(examples: Sequence[AnnotatedPlane]) -> float | None:
    """Return the width of the annotated structures in pixels.

    It is twice their area divided by the number of pixels on their edge, and None if
    no edge is annotated: a few strokes do not tell how wide the structure under them
    is.
    """
    area = sum(int(np.count_nonzero(example.labels)) for example in examples)
    edge = sum(_edge_pixels(example) for example in examples)
    return 2 * area / edge if edge else None


def _edge_pixels(example: AnnotatedPlane) -> int:
    """Count the labelled pixels that border on another class or on annotated background."""
    from scipy.ndimage import binary_erosion

    unknown = False if example.valid is None else ~example.valid
    classes = [example.labels == value for value in np.unique(example.labels) if value]
    return sum(
        int(np.count_nonzero(mask & ~binary_erosion(mask | unknown, border_value=1)))
        for mask in classes
    )


def _that_fits(length: int, side: int, overlap: float = 0.125) -> int:
    """Return a side near the given one with which whole tiles cover the plane's longer side."""
    count = max(1, round((length / side - overlap) / (1 - overlap)))
    return max(MINIMUM_SIDE, ceil(length / (count - (count - 1) * overlap)))
