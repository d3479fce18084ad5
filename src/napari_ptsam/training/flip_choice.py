"""Choose whether segmentation also uses flipped tiles, which takes several times as long."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ptsam.evaluation.metrics import standard_error
from napari_ptsam.images.tiling import FLIPS, Flip, flipped_pixels
from napari_ptsam.inference.embedded_plane import views_of
from napari_ptsam.training.validation import ValidationPlane, overlaps

if TYPE_CHECKING:
    from napari_ptsam.backbones.early_features import EarlyFeatures
    from napari_ptsam.training.settings import Progress
    from napari_ptsam.training.token_training import TrainingContext

CANDIDATES: tuple[tuple[Flip, ...], ...] = (("x",), FLIPS)
TILES = 8
"""Largest number of tiles that are embedded flipped for the comparison."""
FEWEST = 4
"""Smallest number of tiles on which flips are compared."""
STANDARD_ERRORS = 2.0
"""Standard errors over the tiles that are subtracted from the mean gain in IoU."""
SMALLEST_GAIN = 0.005
"""Smallest remaining gain for which flips are worth the extra time."""


def choose_flips(
    context: TrainingContext, tokens: torch.Tensor, now: Progress
) -> Generator[Progress, None, tuple[Flip, ...]]:
    """Choose the flips that gain most on a few tiles, half of them from validation planes.

    Parameters
    ----------
    context
        State that the stages of the training share.
    tokens
        Decoder tokens: float32, shape (classes, 8, 256).
    now
        Progress of the training, which is yielded after each tile.

    Returns
    -------
    tuple of Flip
        Empty if no flips gain enough, or if the training was stopped.
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
        early = None
        if any(context.corrections):
            early = backbone.encoder.plain.early_features(views_of(pixels, FLIPS))
        gains.append(_gains(tile, views, early, tokens, context))
        clock()
        yield now
        if context.stopping:
            return ()
    errors = standard_error(gains)
    reliable = np.mean(gains, axis=0) - STANDARD_ERRORS * errors
    best = int(reliable.argmax())
    return CANDIDATES[best] if reliable[best] > SMALLEST_GAIN else ()


def _gains(
    tile: ValidationPlane,
    views: torch.Tensor,
    early: EarlyFeatures | None,
    tokens: torch.Tensor,
    context: TrainingContext,
) -> list[float]:
    """Return the gain in IoU of each candidate over no flips."""

    def iou(flips: Sequence[Flip]) -> float:
        chosen = [0, *(1 + FLIPS.index(flip) for flip in flips)]
        embedded = replace(
            tile.embedded,
            embeddings=(views[chosen],),
            flips=tuple(flips),
            early=None if early is None else lambda _: early[chosen],
        )
        plane = replace(tile, embedded=embedded)
        class_overlaps = overlaps(plane, tokens, context.backbone, corrections=context.corrections)
        present = [overlap.iou for overlap in class_overlaps if overlap.truth]
        return float(np.mean(present or [overlap.iou for overlap in class_overlaps]))

    plain = iou(())
    return [iou(flips) - plain for flips in CANDIDATES]
