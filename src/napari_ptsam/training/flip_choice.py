"""Whether it is worth several times the work to look at flipped tiles too when segmenting."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ptsam.images.tiling import FLIPS, Flip, flipped_pixels
from napari_ptsam.training.validation import ValidationPlane, overlaps

if TYPE_CHECKING:
    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.training.settings import Progress
    from napari_ptsam.training.token_training import TrainingContext

CANDIDATES: tuple[tuple[Flip, ...], ...] = (("x",), FLIPS)
TILES = 8
"""That are embedded flipped, at most, to find out."""
FEWEST = 4
"""Tiles below which there is no telling."""
SURE = 2.0
"""Standard errors over the tiles that are taken off the mean gain in IoU."""
WORTH = 0.005
"""What has to be left of it for flips to be worth their time."""


def choose_flips(
    context: TrainingContext, tokens: torch.Tensor, now: Progress
) -> Generator[Progress, None, tuple[Flip, ...]]:
    """The flips that gain most on a few tiles, half of them held out; none if too little.

    Parameters
    ----------
    context
        What the parts of the training share; if it is stopped, there are none.
    tokens
        float32, shape (classes, 8, 256).
    now
        Where the training stands.
    """
    backbone, clock, gains = context.backbone, context.clock(), []
    tiles = context.embedded.single_tiles(TILES)
    if len(tiles) < FEWEST:
        return ()
    for pixels, tile in tiles:
        flipped = backbone.encoder([flipped_pixels(pixels, flip) for flip in FLIPS])
        (upright,) = tile.embedded.embeddings
        assert upright is not None
        views = torch.cat([upright.to(flipped.device), flipped])
        gains.append(_gains(tile, views, tokens, backbone))
        clock()
        yield now
        if context.stopping:
            return ()
    found = np.array(gains)
    sure = found.mean(0) - SURE * found.std(0, ddof=1) / np.sqrt(len(found))
    best = int(sure.argmax())
    return CANDIDATES[best] if sure[best] > WORTH else ()


def _gains(
    tile: ValidationPlane, views: torch.Tensor, tokens: torch.Tensor, backbone: Backbone
) -> list[float]:
    """IoU of each candidate, less that without flips."""

    def iou(flips: Sequence[Flip]) -> float:
        chosen = [0, *(1 + FLIPS.index(flip) for flip in flips)]
        embedded = replace(tile.embedded, embeddings=(views[chosen],), flips=tuple(flips))
        found = overlaps(replace(tile, embedded=embedded), tokens, backbone)
        present = [one.iou for one in found if one.truth]
        return float(np.mean(present or [one.iou for one in found]))

    plain = iou(())
    return [iou(flips) - plain for flips in CANDIDATES]
