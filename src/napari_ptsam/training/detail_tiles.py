"""What a detail head learns from: the features of tiles in 8 bits, and crops of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from napari_ptsam.backbones.early_features import EarlyFeatures
from napari_ptsam.inference.detail import InputScale

if TYPE_CHECKING:
    from torch import Tensor

BAND = 16
"""Number of rows that are compressed at a time."""
CROP = 96
"""Side of the crops in mask positions."""
DROPPED = 0.1
"""Fraction of the channels that are replaced by their mean in each crop, so that a head does not rely
on few of them."""


@dataclass(frozen=True, eq=False)
class Compressed:
    """Values in 8 bits with a scale for each channel, a quarter of the memory of float32.

    Attributes
    ----------
    values
        int8, shape (y, x, channels).
    scale
        float32, shape (channels,).
    mean, square
        Mean of each channel, and mean of its squares: float32, shape (channels,).
    """

    values: Tensor
    scale: Tensor
    mean: Tensor
    square: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Compressed:
        """Compress features of shape (y, x, channels)."""
        largest = torch.maximum(features.amax((0, 1)), -features.amin((0, 1)))
        scale = largest.float().clamp(min=1e-6) / 127
        values = torch.empty(features.shape, dtype=torch.int8, device=features.device)
        total, squares = torch.zeros_like(scale), torch.zeros_like(scale)
        # Large temporary arrays between those that are kept would leave holes in memory.
        for row in range(0, len(features), BAND):
            band = features[row : row + BAND].float()
            values[row : row + BAND] = (band / scale).round_()
            total += band.sum((0, 1))
            squares += band.square().sum((0, 1))
        count = values[..., 0].numel()
        return cls(values, scale, total / count, squares / count)

    def restored(self) -> Tensor:
        """Return the features: float32, shape (y, x, channels)."""
        return self.values.float() * self.scale


@dataclass(frozen=True, eq=False)
class CompressedFeatures:
    """The early features of a tile in 8 bits: 6 MB."""

    stem: Compressed
    stage: Compressed
    pixels: Compressed

    @classmethod
    def of(cls, early: EarlyFeatures) -> CompressedFeatures:
        """Compress the features of the only tile of a batch."""
        return cls(
            Compressed.of(early.stem[0]),
            Compressed.of(early.stage[0]),
            Compressed.of(early.pixels[0]),
        )

    def restored(self) -> EarlyFeatures:
        """Return the features as a batch of one tile, in float32."""
        parts = self.stem, self.stage, self.pixels
        return EarlyFeatures(*(part.restored()[None] for part in parts))


@dataclass(frozen=True, eq=False)
class DetailTile:
    """A tile that a detail head learns from.

    Attributes
    ----------
    early
        Its early features.
    decoded
        The upscaled embedding under the tokens of the class: (256, 256, 32).
    logits
        Logits of the class without the head: float32, shape (256, 256).
    target, weight
        See `napari_ptsam.training.tiles.TrainingTile`: float32, shape (256, 256).
    group
        Number of the annotated plane, or of the part of it, that the tile belongs to; no
        group is divided between the folds of a cross-validation.
    blank
        Whether the tile was made to show nothing.
    """

    early: CompressedFeatures
    decoded: Compressed
    logits: Tensor
    target: Tensor
    weight: Tensor
    group: int
    blank: bool = False

    @property
    def fine(self) -> tuple[Compressed, ...]:
        """The features with 256 x 256 positions."""
        return self.early.stem, self.early.pixels, self.decoded

    @property
    def fine_scale(self) -> Tensor:
        """Scale of their channels: float32, shape (99,)."""
        return torch.cat([part.scale for part in self.fine])


@dataclass(frozen=True, eq=False)
class Standardization:
    """Mean and standard deviation of each input of a detail head.

    Attributes
    ----------
    fine_mean, fine_std
        float32, shape (99,): stem, pixels and upscaled embedding.
    coarse_mean, coarse_std
        float32, shape (128,).
    """

    fine_mean: Tensor
    fine_std: Tensor
    coarse_mean: Tensor
    coarse_std: Tensor

    @classmethod
    def of(cls, tiles: Sequence[DetailTile]) -> Standardization:
        """Return the statistics of some tiles."""
        fine = [
            _moments([tile.early.stem for tile in tiles]),
            _moments([tile.early.pixels for tile in tiles]),
            _moments([tile.decoded for tile in tiles]),
        ]
        mean, std = (torch.cat(parts) for parts in zip(*fine, strict=True))
        return cls(mean, std, *_moments([tile.early.stage for tile in tiles]))


def _moments(parts: Sequence[Compressed]) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel over several tiles."""
    mean = torch.stack([part.mean for part in parts]).mean(0)
    variance = torch.stack([part.square for part in parts]).mean(0) - mean**2
    return mean, variance.clamp(min=0).sqrt().clamp(min=1e-4)


@dataclass(frozen=True, eq=False)
class Crops:
    """A batch of crops, as the network takes them, and what they are compared with."""

    fine: Tensor
    coarse: Tensor
    scale: InputScale
    logits: Tensor
    target: Tensor
    weight: Tensor
    blank: Tensor


def draw_crops(
    tiles: Sequence[DetailTile],
    count: int,
    statistics: Standardization,
    generator: torch.Generator,
    dtype: torch.dtype,
) -> Crops:
    """Draw crops of random tiles at random positions."""
    chosen = [tiles[i] for i in torch.randint(len(tiles), (count,), generator=generator).tolist()]
    side = chosen[0].logits.shape[-1]
    corners = torch.randint((side - CROP) // 2 + 1, (count, 2), generator=generator).tolist()
    fine, coarse, logits, targets, weights = [], [], [], [], []
    for tile, (row, column) in zip(chosen, corners, strict=True):
        small = slice(row, row + CROP // 2), slice(column, column + CROP // 2)
        large = slice(2 * row, 2 * row + CROP), slice(2 * column, 2 * column + CROP)
        fine.append(torch.cat([part.values[large] for part in tile.fine], -1))
        coarse.append(tile.early.stage.values[small])
        logits.append(tile.logits[large])
        targets.append(tile.target[large])
        weights.append(tile.weight[large])
    fine_factor = _kept(count, statistics.fine_std, generator) / statistics.fine_std
    coarse_factor = _kept(count, statistics.coarse_std, generator) / statistics.coarse_std
    scale = InputScale(
        torch.stack([tile.fine_scale for tile in chosen]) * fine_factor,
        torch.stack([tile.early.stage.scale for tile in chosen]) * coarse_factor,
        statistics.fine_mean * fine_factor,
        statistics.coarse_mean * coarse_factor,
    )
    return Crops(
        torch.stack(fine).to(dtype),
        torch.stack(coarse).to(dtype),
        scale,
        torch.stack(logits),
        torch.stack(targets),
        torch.stack(weights),
        torch.tensor([tile.blank for tile in chosen], device=weights[0].device),
    )


def _kept(count: int, channels: Tensor, generator: torch.Generator) -> Tensor:
    """Return factors that drop some channels of each crop, and make up for them: (count, channels)."""
    kept = torch.rand((count, len(channels)), generator=generator) >= DROPPED
    return kept.to(channels.device) / (1 - DROPPED)
