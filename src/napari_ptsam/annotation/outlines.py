"""Turn clicks on a plane into the outline of an object."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import hypot
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from napari_ptsam.annotation.candidates import NO_OBJECT, rank, usual_box
from napari_ptsam.backbones.point_prompts import Clicks, click_masks
from napari_ptsam.errors import InputError, NoObjectError
from napari_ptsam.images.tiling import MAXIMUM_SIDE, Tile, Tiling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_ptsam.backbones.loading import Backbone

SMALLEST_TILE, LARGEST_TILE = 512, 768
"""Sides of tiles in pixels. Smaller planes are padded to the first, and larger ones are cut."""

OVERLAP = 0.25
"""Overlap of tiles as a fraction of their side. Smaller objects lie wholly in the nearest tile."""

SMALL_HOLE = 0.05
"""Area of a hole, as a fraction of the object's area, up to which it is filled."""


@dataclass(frozen=True, eq=False)
class Outline:
    """An object that was clicked on.

    Attributes
    ----------
    window
        Rows and columns of the plane that the mask covers, which are those of
        the tile within the plane.
    mask
        Pixels of the object: bool, with the shape of the window.
    logits
        SAM's logits in the tile, from which the outline can be refined: float32,
        shape (256, 256).
    others
        Logits of the other outlines that these clicks may mean, the likelier
        ones first; see `next_outline`.
    tile
        Tile of the logits; None if it is unknown.
    """

    window: tuple[slice, slice]
    mask: np.ndarray
    logits: torch.Tensor
    others: tuple[torch.Tensor, ...] = ()
    tile: Tile | None = None


def click_tiling(shape: tuple[int, int]) -> Tiling:
    """Return the tiling for clicks on a plane of shape (y, x), which is one tile for most planes.

    Mean IoU of one click with nuclei (696 px planes) in tiles of 512, 768 and
    1,024 px: 0.86, 0.84, 0.80; of a box with phase-contrast cells (1,024 px
    planes): 0.65, 0.67, 0.65; and 512 px needs twice as many embeddings as 768.
    Crops of 128 and 256 px from three sets: 0.57 and 0.70 as they are, 0.74 and
    0.74 padded to 512 px.
    """
    return Tiling(min(max(*shape, SMALLEST_TILE), LARGEST_TILE), overlap=OVERLAP)


def choose_tile(tiling: Tiling, shape: tuple[int, int], clicks: Clicks) -> Tile:
    """Choose the tile in which SAM is prompted with clicks.

    Among the tiles that hold all points and the box, this is the one whose
    centre is nearest to the centre of the box or, without a box, to the first
    point, so that further clicks on the same object stay in its tile. If there
    is no such tile, it is the whole plane.

    Parameters
    ----------
    tiling
        Tiling of the plane, see `click_tiling`.
    shape
        Size of the plane: (y, x).
    clicks
        Clicks in pixels of the plane.

    Raises
    ------
    InputError
        If a point or the whole box lies outside the plane, or if no tile holds
        them all and the plane is too large to be one tile.
    """
    points = list(clicks.points)
    if clicks.box is not None:
        # The user may drag a box over the edge of the plane.
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
            f"The clicks or the box extend over more than one tile of {tiling.side} pixels, and the "
            "image is too large to be used whole; mark the object in parts."
        )
    return Tile(0, 0, max(shape))


def _within(point: tuple[float, float], shape: tuple[int, ...]) -> bool:
    """Return whether the pixel at a point lies in a plane or tile of this shape."""
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
    """Find the outline of an object that was clicked on.

    Parameters
    ----------
    backbone
        Backbone that computed the embedding.
    embedding
        Embedding of the tile, of shape (4096, 256).
    tile
        Tile from `choose_tile`.
    shape
        Size of the plane: (y, x).
    clicks
        All clicks on this object, in pixels of the plane.
    former
        ``logits`` of the outline that the clicks before the last one gave in
        the same tile; they are refined.
    areas
        Areas of objects that were annotated before, in pixels of the plane (see
        `object_areas`). A click most likely means an object of about that size.

    Returns
    -------
    Outline
        The parts that hold a positive click and the largest part in the box.

    Raises
    ------
    NoObjectError
        If only background or nothing is found there, or if the last click changes
        nothing.
    """
    tile_clicks = clicks.relative_to(tile.y, tile.x)
    masks, ious = click_masks(backbone.decoder, embedding, tile_clicks, tile.side, former)
    boxed = usual_box(tile_clicks, areas)
    if boxed is not None:
        box_masks, box_ious = click_masks(backbone.decoder, embedding, boxed, tile.side)
        masks, ious = torch.cat([masks, box_masks[:1]]), torch.cat([ious, box_ious[:1]])
    rows, columns = min(tile.side, shape[0] - tile.y), min(tile.side, shape[1] - tile.x)
    ranked = rank(masks, ious, tile_clicks, tile.side, (rows, columns), areas)
    outline = outline_of(masks[ranked[0]], tile, shape, clicks)
    return replace(outline, others=tuple(masks[number] for number in ranked[1:]))


def outline_of(logits: torch.Tensor, tile: Tile, shape: tuple[int, int], clicks: Clicks) -> Outline:
    """Turn one of SAM's masks into an outline, with parameters and errors as in `find_outline`."""
    side = (tile.side, tile.side)
    resized = F.interpolate(
        logits[None, None], size=side, mode="bilinear", antialias=tile.side < len(logits)
    )
    rows, columns = min(tile.side, shape[0] - tile.y), min(tile.side, shape[1] - tile.x)
    tile_clicks = clicks.relative_to(tile.y, tile.x)
    mask = _object((resized[0, 0, :rows, :columns] > 0).cpu().numpy(), tile_clicks)
    window = slice(tile.y, tile.y + rows), slice(tile.x, tile.x + columns)
    return Outline(window, mask, logits, tile=tile)


def next_outline(outline: Outline, shape: tuple[int, int], clicks: Clicks) -> Outline:
    """Return the next of the outlines that the same clicks may mean; the first follows the last.

    Parameters
    ----------
    outline
        Outline with ``others``.
    shape
        Size of the plane: (y, x).
    clicks
        The clicks that gave it, in pixels of the plane.

    Raises
    ------
    NoObjectError
        If the clicks select nothing in any other mask.
    """
    rest = (*outline.others, outline.logits)
    tile = outline.tile
    assert tile is not None, "an outline with others knows its tile"
    for turn, logits in enumerate(rest, start=1):
        try:
            found = outline_of(logits, tile, shape, clicks)
        except NoObjectError:
            continue
        return replace(found, others=(*rest[turn:], *rest[: turn - 1]))
    raise NoObjectError(NO_OBJECT)


def _object(mask: np.ndarray, clicks: Clicks) -> np.ndarray:
    """Keep the components of a mask that the clicks select, and fill small holes.

    Raises
    ------
    NoObjectError
        If the clicks select no component.
    """
    from scipy import ndimage

    components, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    selected = {int(components[pixel]) for pixel in clicks.pixels(True, mask.shape)}
    if clicks.box is not None:
        y0, x0, y1, x1 = (max(round(edge), 0) for edge in clicks.box)
        sizes = np.bincount(components[y0 : y1 + 1, x0 : x1 + 1].ravel())
        sizes[:1] = 0
        selected.add(int(sizes.argmax()) if sizes.any() else 0)
    selected.discard(0)
    if not selected:
        raise NoObjectError(
            NO_OBJECT
            if clicks.box is None
            else "No object was found in the box; drag it closely around one object, or click on it."
        )
    chosen = np.isin(components, list(selected))
    holes, _ = ndimage.label(ndimage.binary_fill_holes(chosen) & ~chosen)
    small = np.bincount(holes.ravel()) <= SMALL_HOLE * chosen.sum()
    small[0] = False  # label 0 is not a hole
    small[[holes[pixel] for pixel in clicks.pixels(False, mask.shape)]] = (
        False  # holes that the user clicked
    )
    return chosen | small[holes]
