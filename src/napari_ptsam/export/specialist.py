"""Backbone and prompt as one module, from pixels to probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from napari_ptsam.backbones.encoder import PIXEL_MEAN, PIXEL_STD, SIDE
from napari_ptsam.images.flips import flipped_maps
from napari_ptsam.inference.predict import mean_of_views

if TYPE_CHECKING:
    from torch import Tensor

    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.prompts.prompt import Prompt


class Specialist(nn.Module):
    """What `napari_ptsam.segment` does to one tile, for exports.

    Parameters
    ----------
    prompt
        What it finds.
    backbone
        Of the prompt, float32 on the CPU.
    side
        Of the square tiles that it takes.
    """

    mean: Tensor
    std: Tensor
    tokens: Tensor

    def __init__(self, prompt: Prompt, backbone: Backbone, side: int) -> None:
        super().__init__()
        self.encoder = backbone.encoder.plain.module
        self.decoder = backbone.decoder
        self.side, self.refinement, self.flips = side, prompt.refinement, prompt.flips
        self.register_buffer("mean", torch.tensor(PIXEL_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(PIXEL_STD).view(1, 3, 1, 1))
        self.register_buffer("tokens", torch.from_numpy(prompt.tokens.copy()))
        self.encoder_tokens = [torch.from_numpy(own.copy()) for own in prompt.encoder_tokens]

    def forward(self, image: Tensor) -> Tensor:
        """Find the classes on a tile.

        Parameters
        ----------
        image
            float32, shape (1, 1 to 3, side, side), range 0 to 1.

        Returns
        -------
        torch.Tensor
            Probability of each class: float32, shape (1, classes, side, side).
        """
        colour = image if image.shape[1] == 3 else _as_three(image)
        pixels = (colour - self.mean) / self.std
        if self.side != SIDE:
            pixels = _resized(pixels, SIDE)
        views = [pixels, *(flipped_maps(pixels, flip) for flip in self.flips)]
        logits = torch.stack([self._decoded(view) for view in views], dim=1)
        logits = _resized(mean_of_views(logits, self.flips), self.side)
        if self.refinement is not None:
            logits = self._refined(logits[0], colour.mean(1)[0])[None]
        return logits.sigmoid()

    def _decoded(self, pixels: Tensor) -> Tensor:
        """Logits of one view: (1, classes, 256, 256)."""
        embeddings = self.encoder(pixels, self.encoder_tokens).flatten(2).transpose(1, 2)
        return torch.stack([self.decoder(embeddings, own) for own in self.tokens], dim=1)

    def _refined(self, logits: Tensor, guide: Tensor) -> Tensor:
        from napari_ptsam.images.guided_filter import filtered

        assert self.refinement is not None
        found = filtered(logits, guide, self.refinement.radius, self.refinement.epsilon)
        return found - self.refinement.threshold


def _as_three(image: Tensor) -> Tensor:
    """One channel three times, or two and their mean."""
    if image.shape[1] == 1:
        return image.expand(-1, 3, -1, -1)
    return torch.cat([image, image.mean(1, keepdim=True)], dim=1)


def _resized(maps: Tensor, side: int) -> Tensor:
    """Bilinear, to a square; smoothed first where it becomes smaller."""
    smaller = side < maps.shape[-1]
    return F.interpolate(maps, size=(side, side), mode="bilinear", antialias=smaller)
