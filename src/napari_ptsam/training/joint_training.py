"""Decoder and encoder tokens tuned together, through the image encoder."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from napari_ptsam.training.loss import bce_dice
from napari_ptsam.training.optimization import (
    OFFSETS,
    ScaledAdamW,
    Step,
    class_losses,
    limit_each_class,
)

if TYPE_CHECKING:
    from napari_ptsam.backbones.encoder import ImageEncoder
    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.training.embedding import EmbeddedTiles
    from napari_ptsam.training.loss import Loss
    from napari_ptsam.training.optimization import TileSource
    from napari_ptsam.training.tiles import TileJob

SPREAD = 0.5
"""Standard deviation of the encoder tokens at the start."""
RATE = 0.03
"""Highest learning rate of encoder and decoder tokens."""
BATCH = 1
"""Tiles a step: twice as many steps of one did better than steps of two."""
FEATURES_LIMIT = 512 * 2**20
"""Bytes of features that are kept, at most; what does not fit is computed again."""


def start_encoder_tokens(
    widths: Sequence[int], count: int, generator: torch.Generator
) -> list[torch.Tensor]:
    """Tokens to start from: one float32 tensor (count, width) for each layer."""
    return [SPREAD * torch.randn((count, width), generator=generator) for width in widths]


class Features:
    """What of the training tiles' embeddings does not depend on encoder tokens.

    Parameters
    ----------
    encoder
        Of the backbone.
    tiles
        Whose pixels are wanted.
    """

    def __init__(self, encoder: ImageEncoder, tiles: EmbeddedTiles) -> None:
        self._encoder, self._tiles = encoder, tiles
        self._kept: OrderedDict[TileJob, torch.Tensor] = OrderedDict()
        self._size = 0

    def of(self, job: TileJob) -> torch.Tensor:
        """Features of one tile."""
        found = self._kept.get(job)
        if found is None:
            found = self._encoder.early(self._tiles.pixels_of(job))
            if self._size + found.nbytes <= FEATURES_LIMIT:
                self._kept[job] = found
                self._size += found.nbytes
        return found


@dataclass(frozen=True, eq=False)
class JointStep(Step):
    """One step of decoder and encoder tokens together.

    Attributes
    ----------
    encoder_tokens
        After the step: one tensor of shape (any number, width) for each layer.
    """

    encoder_tokens: list[torch.Tensor]


def optimise_both(
    backbone: Backbone,
    tokens: torch.Tensor,
    encoder_tokens: Sequence[torch.Tensor],
    batches: TileSource,
    features: Features,
    steps: int,
    loss: Loss = bce_dice,
) -> Iterator[JointStep]:
    """Tune decoder and encoder tokens together with AdamW.

    Parameters
    ----------
    backbone
        Frozen.
    tokens
        Decoder tokens to start from: float32, shape (classes, 8, 256); not changed.
    encoder_tokens
        To start from; not changed.
    batches
        Where tiles are drawn from; their embeddings are not used.
    features
        Of the same tiles.
    steps
        How many.
    loss
        The loss to minimize.
    """
    encoder, decoder = backbone.encoder.plain, backbone.decoder
    tuned = tokens.clone().requires_grad_()
    own = [one.to(encoder.device).clone().requires_grad_() for one in encoder_tokens]
    optimiser = ScaledAdamW([tuned, *own], RATE, steps, decoder)
    for number in range(1, steps + 1):
        optimiser.zero_grad()
        drawn, losses = batches.draw(), torch.zeros(len(tuned), device=tuned.device)
        for tile in drawn:  # one at a time, so that one has to fit into memory
            embedding = encoder.late(features.of(tile.job), own)[0]
            seen = [replace(tile, embedding=embedding)]
            offset = OFFSETS[number % len(OFFSETS)]
            each = class_losses(decoder, tuned, seen, offset, loss) / len(drawn)
            optimiser.backward(each.sum())
            losses += each.detach()
        optimiser.unscale()
        limit_each_class(tuned)
        torch.nn.utils.clip_grad_norm_(own, 1.0)
        optimiser.step()
        yield JointStep(number, losses, tuned.detach(), [one.detach() for one in own])
