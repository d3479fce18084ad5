"""The features that the frozen TinyViT computes on its way to an embedding, pixel by pixel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from napari_ptsam.backbones.encoder import ImageEncoder
from napari_ptsam.backbones.loading import Backbone
from napari_ptsam.datasets.annotated_planes import AnnotatedPlane
from napari_ptsam.images.settings import ImageSettings
from napari_ptsam.images.tiling import Tile, cut

EMBEDDING_SIDE = 64


@dataclass(frozen=True, eq=False)
class TileFeatures:
    """Features of a tile.

    Attributes
    ----------
    tile
        Position and size of the tile.
    maps
        Stem, first stage and embedding of the tile: float32, shapes (1, 64, 256, 256),
        (1, 128, 128, 128) and (1, 256, 64, 64).
    """

    tile: Tile
    maps: tuple[torch.Tensor, ...]

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Interpolate the features bilinearly, as resizing the maps to the tile would.

        Parameters
        ----------
        rows, columns
            Pixels of the plane that lie in the tile: integers, shape (n,).

        Returns
        -------
        numpy.ndarray
            float32, shape (n, 448).
        """
        inside = np.stack([columns - self.tile.x, rows - self.tile.y], -1)
        places = (
            2 * inside.astype(np.float32) + 1
        ) / self.tile.side - 1  # -1 to 1, as torch has it
        grid = torch.from_numpy(places)[None, None].to(self.maps[0].device)
        sampled = [
            F.grid_sample(maps, grid, padding_mode="border", align_corners=False)[0, :, 0]
            for maps in self.maps
        ]
        return torch.cat(sampled).T.cpu().numpy()


def frozen_features(
    example: AnnotatedPlane, images: ImageSettings, backbone: Backbone
) -> Iterator[TileFeatures]:
    """Encode the tiles of a plane one after the other, and keep the early features.

    Parameters
    ----------
    example
        The plane.
    images
        How the plane is prepared and divided into tiles.
    backbone
        A backbone whose image encoder is TinyViT.

    Yields
    ------
    TileFeatures
        The features of the next tile.
    """
    plane, encoder = images.prepare(example.pixels, example.rgb), backbone.encoder.plain
    for tile in plane.tiles:
        with _outputs_of_early_stages(encoder) as early:
            embedding = encoder([cut(plane.pixels, tile)], dtype=torch.float32)
        square = embedding.transpose(1, 2).unflatten(2, (EMBEDDING_SIDE, EMBEDDING_SIDE))
        yield TileFeatures(tile, (*early, square.contiguous()))


@contextmanager
def _outputs_of_early_stages(encoder: ImageEncoder) -> Iterator[list[torch.Tensor]]:
    """Fill a list with the outputs of the stem and of the first stage, once the encoder has run.

    The first stage is what precedes the first block with attention: two inverted residual
    blocks, and the convolution that halves the resolution.
    """
    outputs: list[torch.Tensor] = []

    def keep_stem(module: Any, given: Any, output: torch.Tensor) -> None:
        outputs.append(output.float().contiguous())

    def keep_stage(module: Any, given: Any, output: torch.Tensor) -> None:
        outputs.append(output.permute(0, 3, 1, 2).float().contiguous())  # its channels are last

    hooks = [
        encoder.module.second.c.register_forward_hook(keep_stem),
        encoder.module.convolving.register_forward_hook(keep_stage),
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def nearest_tile(tiles: Sequence[Tile], rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return for each pixel the index of the tile in which it is farthest from an edge.

    Parameters
    ----------
    tiles
        Tiles that cover the plane.
    rows, columns
        Pixels: integers, shape (n,).

    Returns
    -------
    numpy.ndarray
        Integers, shape (n,).
    """
    depths = [
        np.minimum.reduce(
            [rows - t.y, t.y + t.side - 1 - rows, columns - t.x, t.x + t.side - 1 - columns]
        )
        for t in tiles
    ]
    return np.argmax(depths, 0)
