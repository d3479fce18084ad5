"""Clicks on a plane to the outline of the object that is meant."""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from napari_ptsam.annotation.candidates import NOTHING_HERE, choose, usual_box
from napari_ptsam.backbones.point_prompts import Clicks, click_masks
from napari_ptsam.errors import InputError, NoObjectError
from napari_ptsam.images.tiling import MAXIMUM_SIDE, Tile, Tiling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_ptsam.backbones.loading import Backbone

SMALLEST_TILE, LARGEST_TILE = 512, 768
"""In pixels: smaller planes are padded to the first, larger planes than the second are cut."""

OVERLAP = 0.25
"""Part of a tile's side; an object of up to that size lies whole in the tile nearest to it."""

SMALL_HOLE = 0.05
"""Part of the object's area up to which a hole in it is filled."""


@dataclass(frozen=True, eq=False)
class Outline:
    """An object that was clicked on.

    Attributes
    ----------
    window
        Rows and columns of the plane that the mask covers: the tile's, cut at the plane's edge.
    mask
        bool, shape of the window; True on the object.
    logits
        What SAM answered in the tile, float32, shape (256, 256), to refine from.
    """

    window: tuple[slice, slice]
    mask: np.ndarray
    logits: torch.Tensor


def click_tiling(shape: tuple[int, int]) -> Tiling:
    """Tiles in which a plane of shape (y, x) is clicked on: one if it is not large.

    Mean IoU of one click with nuclei (696 px planes) in tiles of 512, 768 and
    1,024 px: 0.86, 0.84, 0.80; of a box with phase-contrast cells (1,024 px
    planes): 0.65, 0.67, 0.65; and 512 px needs twice as many embeddings as 768.
    Crops of 128 and 256 px from three sets: 0.57 and 0.70 as they are, 0.74 and
    0.74 padded to 512 px.
    """
    return Tiling(min(max(*shape, SMALLEST_TILE), LARGEST_TILE), overlap=OVERLAP)


def choose_tile(tiling: Tiling, shape: tuple[int, int], clicks: Clicks) -> Tile:
    """The tile in which to answer clicks.

    Of the tiles that hold all points and the box, the one whose centre is
    nearest to the box's centre or else to the first point, so that further
    clicks on the same object stay in its tile. Where there is none, the whole
    plane as one tile.

    Parameters
    ----------
    tiling
        See `click_tiling`.
    shape
        Of the plane: (y, x).
    clicks
        Positions in pixels of the plane.

    Raises
    ------
    InputError
        If a point or the whole box lies outside the plane, or no tile holds
        them and the plane is too large to be one tile.
    """
    points = list(clicks.points)
    if clicks.box is not None:
        # A box may be dragged over the plane's edge.
        y0, x0, y1, x1 = np.clip(clicks.box, 0, (shape[0] - 1, shape[1] - 1) * 2).tolist()
        if y0 >= y1 or x0 >= x1:
            raise InputError("The box lies outside the image; drag it around an object in it.")
        points = [((y0 + y1) / 2, (x0 + x1) / 2), (y0, x0), (y1, x1), *points]
    if not all(_within(point, shape) for point in points):
        raise InputError("A click lies outside the image; click on an object in it.")

    def holds_all(tile: Tile) -> bool:
        return all(_within((y - tile.y, x - tile.x), (tile.side,) * 2) for y, x in points)

    def distance(tile: Tile) -> float:
        middle = (tile.side - 1) / 2
        return hypot(tile.y + middle - points[0][0], tile.x + middle - points[0][1])

    tiles = [tile for tile in tiling.tiles(shape) if holds_all(tile)]
    if tiles:
        return min(tiles, key=distance)
    if max(shape) > MAXIMUM_SIDE:
        raise InputError(
            f"The clicks or the box reach over more than one tile of {tiling.side} pixels, and the "
            "image is too large to be taken whole; mark the object in parts."
        )
    return Tile(0, 0, max(shape))


def _within(point: tuple[float, float], shape: tuple[int, ...]) -> bool:
    """Whether the pixel that holds a point lies in a plane or tile of that shape."""
    return all(0 <= round(at) < length for at, length in zip(point, shape, strict=True))


def find_outline(
    backbone: Backbone,
    embedding: torch.Tensor,
    tile: Tile,
    shape: tuple[int, int],
    clicks: Clicks,
    former: torch.Tensor | None = None,
    areas: Sequence[float] = (),
) -> Outline:
    """Outline of the object that is clicked on.

    Parameters
    ----------
    backbone
        That the embedding comes from.
    embedding
        Of the tile, shape (4096, 256).
    tile
        See `choose_tile`.
    shape
        Of the plane: (y, x).
    clicks
        All clicks on this object, in pixels of the plane.
    former
        ``logits`` of the outline that the clicks before the last one gave in
        the same tile; they are refined.
    areas
        Of objects that were annotated before, in pixels of the plane (see
        `object_areas`): a click most likely means an object of about that size.

    Returns
    -------
    Outline
        The parts that hold a positive click and the largest part in the box.

    Raises
    ------
    NoObjectError
        If what is found there is no object but the background, or nothing, or
        if the last click changes nothing.
    """
    own = clicks.seen_from(tile.y, tile.x)
    masks, ious = click_masks(backbone.decoder, embedding, own, tile.side, former)
    boxed = usual_box(own, areas)
    if boxed is not None:
        more, of_more = click_masks(backbone.decoder, embedding, boxed, tile.side)
        masks, ious = torch.cat([masks, more[:1]]), torch.cat([ious, of_more[:1]])
    rows, columns = min(tile.side, shape[0] - tile.y), min(tile.side, shape[1] - tile.x)
    logits = masks[choose(masks, ious, own, tile.side, (rows, columns), areas)]
    return outline_of(logits, tile, shape, clicks)


def outline_of(logits: torch.Tensor, tile: Tile, shape: tuple[int, int], clicks: Clicks) -> Outline:
    """Outline that one of SAM's masks stands for; parameters and errors as of `find_outline`."""
    side = (tile.side, tile.side)
    resized = F.interpolate(
        logits[None, None], size=side, mode="bilinear", antialias=tile.side < len(logits)
    )
    rows, columns = min(tile.side, shape[0] - tile.y), min(tile.side, shape[1] - tile.x)
    own = clicks.seen_from(tile.y, tile.x)
    mask = _object((resized[0, 0, :rows, :columns] > 0).cpu().numpy(), own)
    window = slice(tile.y, tile.y + rows), slice(tile.x, tile.x + columns)
    return Outline(window, mask, logits)


def _object(mask: np.ndarray, clicks: Clicks) -> np.ndarray:
    """Parts of a mask that are meant, without small holes; both bool, shape (y, x).

    Raises
    ------
    NoObjectError
        If none is meant.
    """
    from scipy import ndimage

    parts, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    meant = {int(parts[pixel]) for pixel in clicks.pixels(True, mask.shape)}
    if clicks.box is not None:
        y0, x0, y1, x1 = (max(round(edge), 0) for edge in clicks.box)
        sizes = np.bincount(parts[y0 : y1 + 1, x0 : x1 + 1].ravel())
        sizes[:1] = 0
        meant.add(int(sizes.argmax()) if sizes.any() else 0)
    meant.discard(0)
    if not meant:
        raise NoObjectError(
            NOTHING_HERE
            if clicks.box is None
            else "No object was found in the box; drag it closely around one object, or click on it."
        )
    found = np.isin(parts, list(meant))
    holes, _ = ndimage.label(ndimage.binary_fill_holes(found) & ~found)
    small = np.bincount(holes.ravel()) <= SMALL_HOLE * found.sum()
    small[0] = False  # what is no hole
    small[[holes[pixel] for pixel in clicks.pixels(False, mask.shape)]] = False  # made on purpose
    return found | small[holes]
