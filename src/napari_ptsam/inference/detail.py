"""The detail head: correct mask logits with the fine features of the encoder's first stages.

SAM's mask decoder sees an image through a 64 x 64 embedding, and fine texture is lost by then. A
head is a small convolutional network on the 256 x 256 mask positions of a tile. It sees the early
features (see `napari_ptsam.backbones.early_features`), the embedding that the mask decoder has
upscaled under the tokens of a class, and the logits of that class. Its output is added to the
logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from napari_ptsam.prompts.detail import DILATIONS, FINE, POOLING, STAGE, DetailHead

if TYPE_CHECKING:
    from torch import Tensor

    from napari_ptsam.backbones.early_features import EarlyFeatures

LOGIT_SCALE = 0.25
"""Factor of the logits that a head sees, so that they are about as large as its other inputs."""


@dataclass(frozen=True, eq=False)
class InputScale:
    """How the inputs of a network are standardized within its first layers.

    Attributes
    ----------
    fine, coarse
        Factor of each channel of each tile: float32, shape (B, 99) and (B, 128).
    fine_mean, coarse_mean
        Mean of each channel after it was multiplied: float32, shape (99,) and (128,).
    """

    fine: Tensor
    coarse: Tensor
    fine_mean: Tensor
    coarse_mean: Tensor


class DetailNetwork(nn.Module):
    """The network of a detail head.

    A linear layer for each position is followed by residual 3 x 3 convolutions, some of them on a
    coarser grid so that they see more of the surroundings, and by a linear layer that starts at 0.

    Parameters
    ----------
    width
        Number of channels inside.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fine = nn.Linear(FINE + 1, width)
        self.coarse = nn.Linear(STAGE, width, bias=False)
        for part, dilations in DILATIONS.items():
            layers = [nn.Conv2d(width, width, 3, padding=d, dilation=d) for d in dilations]
            self.add_module(part, nn.ModuleList(layers))
        self.last = nn.Linear(width, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        self.to(memory_format=torch.channels_last)

    def forward(
        self, fine: Tensor, coarse: Tensor, logits: Tensor, scale: InputScale | None = None
    ) -> Tensor:
        """Return the correction of the logits.

        Parameters
        ----------
        fine
            Stem, pixels and upscaled embedding of each position: shape (B, y, x, 99).
        coarse
            Features of the first stage: shape (B, y / 2, x / 2, 128).
        logits
            float32, shape (B, y, x).
        scale
            If given, the features are standardized with it.

        Returns
        -------
        torch.Tensor
            float32, shape (B, y, x).
        """
        of_features, of_logits = self.fine.weight[:, :FINE], self.fine.weight[:, FINE:]
        bias: Tensor = self.fine.bias
        of_coarse = self.coarse.weight
        if scale is None:
            x, small = F.linear(fine, of_features), F.linear(coarse, of_coarse)
        else:
            # Scaling the weights instead of the features spares several passes over memory.
            bias = bias - of_features @ scale.fine_mean - of_coarse @ scale.coarse_mean
            x = _scaled_linear(fine, of_features, scale.fine)
            small = _scaled_linear(coarse, of_coarse, scale.coarse)
        # Linear layers and interpolation commute, and few channels are quicker to interpolate.
        small = F.interpolate(small.permute(0, 3, 1, 2), scale_factor=2.0, mode="bilinear")
        scaled = LOGIT_SCALE * logits[..., None].to(x.dtype)
        x = (x + scaled * of_logits[:, 0].to(x.dtype) + bias.to(x.dtype)).permute(0, 3, 1, 2)
        x = x + small
        x = self._convolve("before", x)
        pooled = self._convolve("pooled", F.avg_pool2d(x, POOLING))
        x = x + F.interpolate(pooled, scale_factor=float(POOLING), mode="bilinear")
        x = self._convolve("after", x)
        return F.linear(x.permute(0, 2, 3, 1), self.last.weight, self.last.bias)[..., 0].float()

    def _convolve(self, part: str, x: Tensor) -> Tensor:
        """Apply the residual convolutions of a part of the network."""
        for convolution in self.get_submodule(part).children():
            x = x + F.gelu(convolution(x))
        return x


def _scaled_linear(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """Multiply (B, y, x, channels) with a weight whose channels have a factor for each tile."""
    scaled = (weight * scale[:, None, :]).to(x.dtype).transpose(1, 2)
    return (x.flatten(1, 2) @ scaled).unflatten(1, x.shape[1:3])


class DetailCorrection(nn.Module):
    """A trained detail head, ready to correct logits.

    Parameters
    ----------
    head
        The head of a class.
    device
        Device to run on.
    """

    def __init__(self, head: DetailHead, device: torch.device) -> None:
        super().__init__()
        network = DetailNetwork(head.width)
        values = {name: torch.from_numpy(v.copy()) for name, v in head.named_parameters().items()}
        network.load_state_dict({name: value.float() for name, value in values.items()})
        self.network = network.to(device).requires_grad_(False)
        self.share = head.share

    def forward(self, logits: Tensor, decoded: Tensor, early: EarlyFeatures) -> Tensor:
        """Return corrected logits.

        Parameters
        ----------
        logits
            float32, shape (B, 256, 256).
        decoded
            The upscaled embedding, shape (B, 256, 256, 32); see
            `PromptDecoder.with_features`.
        early
            Early features of the same tiles.
        """
        dtype = decoded.dtype
        fine = torch.cat([early.stem.to(dtype), early.pixels.to(dtype), decoded], -1)
        with torch.autocast(logits.device.type, dtype, enabled=dtype != torch.float32):
            correction = self.network(fine, early.stage.to(dtype), logits)
        return logits + self.share * correction


def corrections_of(
    heads: Sequence[DetailHead | None], device: torch.device
) -> list[DetailCorrection | None]:
    """Return the heads of a prompt on a device."""
    return [None if head is None else DetailCorrection(head, device) for head in heads]
