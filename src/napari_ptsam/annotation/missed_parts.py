"""Find a part that an annotated object lacks, from a click on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from napari_ptsam.annotation.object_edits import object_pixels
from napari_ptsam.annotation.outlines import Outline, find_outline
from napari_ptsam.backbones.decoder import MASK_SIDE
from napari_ptsam.backbones.point_prompts import Clicks
from napari_ptsam.errors import NoObjectError

if TYPE_CHECKING:
    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.images.tiling import Tile

SURE = 6.0
"""Logits in the interior of the object that is passed to SAM as a former mask; negative outside.

With a click on the missing part and one in the middle of the rest, the mean IoU of 36 objects of
each of three sets, of which up to half was missing, rose from 0.67, 0.65, 0.66 to about 0.92, 0.82,
0.94 (nuclei, phase contrast, particles); without the former mask to 0.86, 0.66, 0.94; with the
single click alone to 0.92, 0.77, 0.93. Values from 4 to 10 differ little."""

NOTHING_MISSED = (
    "No missing part was found here. Paint it with the brush, or click on it as an object of its "
    "own and merge the two."
)


def find_missed_part(
    backbone: Backbone,
    embedding: torch.Tensor,
    tile: Tile,
    labels: np.ndarray,
    at: tuple[float, float],
    label: int,
) -> Outline:
    """Find the pixels around a click that an object lacks.

    Parameters
    ----------
    backbone
        Backbone that computed the embedding.
    embedding
        Embedding of the tile, of shape (4096, 256).
    tile
        Tile that holds the click.
    labels
        Labels of the plane as painted: integer, shape (y, x).
    at
        Position of the click: (y, x) in pixels of the plane.
    label
        Label of the object.

    Returns
    -------
    Outline
        The unlabelled pixels that hang together with the click or, if the click is on the
        object, all unlabelled pixels of its new outline.

    Raises
    ------
    NoObjectError
        If nothing is found there.
    """
    shape = labels.shape[0], labels.shape[1]
    near = labels[tile.window]
    clicked = round(at[0]) - tile.y, round(at[1]) - tile.x
    known = _known_part(near, clicked, label)
    points = [at]
    if known.any():
        y, x = _middle(known)
        points.insert(0, (float(y + tile.y), float(x + tile.x)))
    clicks = Clicks(tuple(points), (True,) * len(points))
    former = _as_logits(known, tile.side) if known.any() else None
    try:
        outline = find_outline(backbone, embedding, tile, shape, clicks, former)
    except NoObjectError:
        raise NoObjectError(NOTHING_MISSED) from None
    new = outline.mask & (near == 0)
    if not near[clicked]:
        new = _around(new, clicked)
    if not new.any():
        raise NoObjectError(NOTHING_MISSED)
    return Outline(outline.window, new, outline.logits)


def _known_part(labels: np.ndarray, clicked: tuple[int, int], label: int) -> np.ndarray:
    """Return the connected component of a label that is nearest to a click: bool, shape (y, x)."""
    known = np.zeros(labels.shape, dtype=bool)
    rows, columns = np.nonzero(labels == label)
    if len(rows):
        nearest = int(np.hypot(rows - clicked[0], columns - clicked[1]).argmin())
        at = int(rows[nearest]), int(columns[nearest])
        known[object_pixels(labels, at, whole=False)] = True
    return known


def _middle(mask: np.ndarray) -> tuple[int, int]:
    """Return the pixel that is farthest from the border of a mask."""
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), mask.shape)
    return int(y), int(x)


def _as_logits(mask: np.ndarray, side: int) -> torch.Tensor:
    """Return a mask within a tile as logits: float32, shape (256, 256)."""
    tile = np.full((side, side), -SURE, np.float32)
    tile[: mask.shape[0], : mask.shape[1]][mask] = SURE
    size = (MASK_SIDE, MASK_SIDE)
    resized = F.interpolate(
        torch.from_numpy(tile)[None, None], size=size, mode="bilinear", antialias=True
    )
    return resized[0, 0]


def _around(mask: np.ndarray, pixel: tuple[int, int]) -> np.ndarray:
    """Return the connected component of a mask that holds a pixel; nothing if the mask does not."""
    component = np.zeros_like(mask)
    component[object_pixels(mask, pixel, whole=False)] = True
    return component
