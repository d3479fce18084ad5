"""Tune decoder and encoder tokens together, with gradients through the image encoder."""

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
"""Tiles per step. Twice as many steps with one tile gave better tokens than steps with two."""
FEATURES_LIMIT = 512 * 2**20
"""Largest size of the cached features in bytes; what does not fit is computed again."""


def start_encoder_tokens(
    widths: Sequence[int], count: int, generator: torch.Generator
) -> list[torch.Tensor]:
    """Return tokens to start from: a float32 tensor of shape (count, width) for each layer."""
    return [SPREAD * torch.randn((count, width), generator=generator) for width in widths]


class Features:
    """A cache of those features of training tiles that do not depend on encoder tokens.

    Parameters
    ----------
    encoder
        Image encoder of the backbone.
    tiles
        Embedded tiles, which give access to the pixels.
    """

    def __init__(self, encoder: ImageEncoder, tiles: EmbeddedTiles) -> None:
        self._encoder, self._tiles = encoder, tiles
        self._kept: OrderedDict[TileJob, torch.Tensor] = OrderedDict()
        self._size = 0

    def of(self, job: TileJob) -> torch.Tensor:
        """Return the features of one tile."""
        features = self._kept.get(job)
        if features is None:
            features = self._encoder.early(self._tiles.pixels_of(job))
            if self._size + features.nbytes <= FEATURES_LIMIT:
                self._kept[job] = features
                self._size += features.nbytes
        return features


@dataclass(frozen=True, eq=False)
class JointStep(Step):
    """One step of decoder and encoder tokens together.

    Attributes
    ----------
    encoder_tokens
        Encoder tokens after the step: a tensor of shape (count, width) for each layer.
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
        Frozen backbone.
    tokens
        Decoder tokens to start from: float32, shape (classes, 8, 256); they are
        not changed.
    encoder_tokens
        Encoder tokens to start from; they are not changed.
    batches
        Source of batches. The embeddings of the tiles are not used.
    features
        Features of the same tiles.
    steps
        Number of steps.
    loss
        Loss to minimize.
    """
    encoder, decoder = backbone.encoder.plain, backbone.decoder
    tuned = tokens.clone().requires_grad_()
    layers = [layer.to(encoder.device).clone().requires_grad_() for layer in encoder_tokens]
    optimiser = ScaledAdamW([tuned, *layers], RATE, steps, decoder)
    for number in range(1, steps + 1):
        optimiser.zero_grad()
        offset = OFFSETS[number % len(OFFSETS)]
        drawn, losses = batches.draw(), torch.zeros(len(tuned), device=tuned.device)
        for tile in drawn:  # one at a time, so that only one has to fit into memory
            embedding = encoder.late(features.of(tile.job), layers)[0]
            embedded = [replace(tile, embedding=embedding)]
            offset = OFFSETS[number % len(OFFSETS)]
            each = class_losses(decoder, tuned, embedded, offset, loss) / len(drawn)
            optimiser.backward(each.sum())
            losses += each.detach()
        optimiser.unscale()
        limit_each_class(tuned)
        torch.nn.utils.clip_grad_norm_(layers, 1.0)
        optimiser.step()
        yield JointStep(number, losses, tuned.detach(), [layer.detach() for layer in layers])
