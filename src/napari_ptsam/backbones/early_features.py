"""The features of TinyViT's first stages, which are finer than an embedding.

An embedding has 64 x 64 positions, and SAM's mask decoder upscales it without looking at the
image again. The first stages of the embedded TinyViT have 256 x 256 and 128 x 128 positions, and
a detail head sees them. They do not depend on encoder tokens. All backbones use the embedded
TinyViT's, since the vision transformers of SAM have no stage that is finer than their embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor

POOLED = 4
"""Side in pixels of the squares of the encoder's input whose mean is one position."""


@dataclass(frozen=True, eq=False)
class EarlyFeatures:
    """Features of a batch of tiles, channels last.

    Attributes
    ----------
    stem
        Output of TinyViT's stem: shape (B, 256, 256, 64).
    stage
        Output of its first stage: shape (B, 128, 128, 128).
    pixels
        The normalized pixels: shape (B, 256, 256, 3).
    """

    stem: Tensor
    stage: Tensor
    pixels: Tensor

    def __getitem__(self, part: slice | list[int]) -> EarlyFeatures:
        """Return some tiles of the batch."""
        return EarlyFeatures(self.stem[part], self.stage[part], self.pixels[part])

    def to(self, device: torch.device) -> EarlyFeatures:
        """Return the features on a device."""
        return EarlyFeatures(
            self.stem.to(device), self.stage.to(device), self.pixels.to(device)
        )  # fmt: skip

    @classmethod
    def concatenated(cls, parts: Sequence[EarlyFeatures]) -> EarlyFeatures:
        """Return several batches as one."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            torch.cat([part.stem for part in parts]),
            torch.cat([part.stage for part in parts]),
            torch.cat([part.pixels for part in parts]),
        )


def early_features(module: Any, pixels: Tensor) -> EarlyFeatures:
    """Compute the early features of tiles.

    Parameters
    ----------
    module
        The embedded TinyViT, a `napari_ptsam.backbones.kernels.tiny_vit.QuickTinyViT`.
    pixels
        Its input, normalized and resized: shape (B, 3, 1024, 1024).
    """
    stem, stage = module.early_stages(pixels)
    return EarlyFeatures(stem, stage, F.avg_pool2d(pixels, POOLED).permute(0, 2, 3, 1))
