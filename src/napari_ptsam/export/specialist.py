"""Backbone and prompt as one torch module, from pixels to probabilities.

The steps are those of `napari_ptsam.inference.embedded_plane`, for one tile and in torch alone, as
an export needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from napari_ptsam.backbones.early_features import early_features
from napari_ptsam.backbones.encoder import PIXEL_MEAN, PIXEL_STD, encoder_input
from napari_ptsam.backbones.gpu_memory import CPU
from napari_ptsam.images.tiling import flipped_maps
from napari_ptsam.inference.decoding import mask_logits, merge_views
from napari_ptsam.inference.detail import corrections_of

if TYPE_CHECKING:
    from torch import Tensor

    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.prompts.prompt import Prompt


class Specialist(nn.Module):
    """Module that segments one tile as `napari_ptsam.segment` does, for exports.

    Parameters
    ----------
    prompt
        The prompt.
    backbone
        Backbone of the prompt, in float32 on the CPU.
    side
        Side of the square tiles in pixels.
    """

    pixel_mean: Tensor
    pixel_std: Tensor
    tokens: Tensor

    def __init__(self, prompt: Prompt, backbone: Backbone, side: int) -> None:
        super().__init__()
        plain = backbone.encoder.plain
        self.encoder = plain.module
        self.corrections = corrections_of(prompt.detail, CPU)
        self.heads = nn.ModuleList(each for each in self.corrections if each is not None)
        # A second module only if the backbone is not the embedded one.
        self.embedded: Any = None
        if prompt.detail and plain.embedded.module is not self.encoder:
            self.embedded = plain.embedded.module
        self.decoder = backbone.decoder
        self.side, self.refinement, self.flips = side, prompt.refinement, prompt.flips
        # Names that no operator has: the exporter would name its result alike.
        self.register_buffer("pixel_mean", torch.tensor(PIXEL_MEAN).view(1, 3, 1, 1))
        self.register_buffer("pixel_std", torch.tensor(PIXEL_STD).view(1, 3, 1, 1))
        self.register_buffer("tokens", torch.from_numpy(prompt.tokens.copy()))
        self.encoder_tokens = [
            torch.from_numpy(layer_tokens.copy()) for layer_tokens in prompt.encoder_tokens
        ]

    def forward(self, image: Tensor) -> Tensor:
        """Return the probabilities of the classes on a tile.

        Parameters
        ----------
        image
            float32, shape (1, 1 to 3, side, side), range 0 to 1.

        Returns
        -------
        torch.Tensor
            float32, shape (1, classes, side, side).
        """
        colour = image if image.shape[1] == 3 else _as_three(image)
        pixels = encoder_input(colour, self.pixel_mean, self.pixel_std)
        views = [pixels, *(flipped_maps(pixels, flip) for flip in self.flips)]
        masks = torch.stack([self._mask_logits(view) for view in views], dim=1)
        logits = merge_views(masks, self.flips, self.side)
        if self.refinement is not None:
            logits = self._refined(logits[0], colour.mean(1)[0])[None]
        return logits.sigmoid()

    def _mask_logits(self, pixels: Tensor) -> Tensor:
        """Embed and decode one view; return its logits, shape (1, classes, 256, 256)."""
        early = None
        if not self.corrections:
            features = self.encoder(pixels, self.encoder_tokens)
        elif self.embedded is None:
            early = early_features(self.encoder, pixels)
            features = self.encoder.late(early.stage, self.encoder_tokens)
        else:
            early = early_features(self.embedded, pixels)
            features = self.encoder(pixels, self.encoder_tokens)
        embeddings = features.flatten(2).transpose(1, 2)
        return mask_logits(self.decoder, embeddings, self.tokens, self.corrections, early)

    def _refined(self, logits: Tensor, guide: Tensor) -> Tensor:
        from napari_ptsam.images.guided_filter import filtered

        assert self.refinement is not None
        refined = filtered(logits, guide, self.refinement.radius, self.refinement.epsilon)
        return refined - self.refinement.threshold


def _as_three(image: Tensor) -> Tensor:
    """Repeat one channel three times, or add the mean of two."""
    if image.shape[1] == 1:
        return image.expand(-1, 3, -1, -1)
    return torch.cat([image, image.mean(1, keepdim=True)], dim=1)
