"""Draw training tiles with random crops, deformations and intensities, and embed them anew.

These are the augmentations of Piater, Barz and Freytag, "Prompt-Tuning SAM", arXiv 2504.16739, as
others describe them; their ranges are ours where none are given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ptsam.training.optimization import TileSource
from napari_ptsam.training.tiles import TileJob, TrainingTile, annotation_of, target_from

if TYPE_CHECKING:
    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.training.embedding import EmbeddedTiles

SMALLEST_CROP = 0.8
"""Smallest side of a crop, relative to that of the tile."""
MOST_DEGREES = 30.0
"""Largest angle by which a crop is rotated."""
WAVES = 8
"""Number of control points of the elastic deformation along each side."""
MOST_SHIFT = 0.02
"""Standard deviation of their shifts, relative to the side of the tile."""
MOST_NOISE = 0.05
"""Largest standard deviation of the noise that is added to values from 0 to 1."""
MOST_GAMMA = 1.5
"""Largest exponent of the values; the smallest is its inverse."""
MOST_BRIGHTNESS = 0.2
"""Largest number that is added to all values."""


def random_positions(side: int, rng: np.random.Generator) -> np.ndarray:
    """Return where the pixels of an augmented tile come from.

    The tile is cropped, flipped, rotated and deformed.

    Parameters
    ----------
    side
        Side of the tile in pixels.
    rng
        Random generator.

    Returns
    -------
    numpy.ndarray
        Rows and columns of the tile: float64, shape (2, side, side).
    """
    from scipy import ndimage

    crop = rng.uniform(SMALLEST_CROP, 1.0)
    centre = (side - 1) / 2 + rng.uniform(-1, 1, 2) * (1 - crop) * side / 2
    angle = np.deg2rad(rng.uniform(-MOST_DEGREES, MOST_DEGREES))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    flips = rng.choice([-1.0, 1.0], 2)
    grid = np.mgrid[:side, :side].reshape(2, -1) - (side - 1) / 2
    positions = (crop * turn * flips) @ grid + centre[:, None]
    shifts = rng.normal(0, MOST_SHIFT * side, (2, WAVES, WAVES))
    smooth = [ndimage.zoom(part, side / WAVES, order=3, mode="nearest") for part in shifts]
    shifted: np.ndarray = positions.reshape(2, side, side) + np.stack(smooth)[:, :side, :side]
    return shifted


def with_random_intensities(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change gamma and brightness of pixels, and add noise.

    Parameters
    ----------
    pixels
        float32, range 0 to 1.
    rng
        Random generator.

    Returns
    -------
    numpy.ndarray
        The same shape, dtype and range.
    """
    gamma = np.exp(rng.uniform(-1, 1) * np.log(MOST_GAMMA))
    changed = pixels.astype(np.float64) ** gamma
    changed += rng.uniform(-MOST_BRIGHTNESS, MOST_BRIGHTNESS)
    changed += rng.normal(0, rng.uniform(0, MOST_NOISE), pixels.shape)
    clipped: np.ndarray = changed.clip(0, 1).astype(np.float32)
    return clipped


class AugmentedTiles(TileSource):
    """Random upright training tiles, each augmented and embedded anew in every step.

    Parameters
    ----------
    embedded
        The tiles of the training.
    backbone
        Backbone that embeds them; its cache is not used.
    classes
        Number of classes.
    size
        Number of tiles in a batch.
    generator
        Random generator.
    """

    def __init__(
        self,
        embedded: EmbeddedTiles,
        backbone: Backbone,
        classes: int,
        size: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__(size)
        self._embedded, self._backbone, self._classes = embedded, backbone, classes
        self._rng = np.random.default_rng(
            int(torch.randint(2**62, (1,), generator=generator).item())
        )
        upright = [tile.job for tile in embedded.tiles if tile.upright]
        self._jobs = upright + [tile.job for tile in embedded.blanks]

    def draw(self) -> list[TrainingTile]:
        """Return the next batch."""
        chosen = self._rng.integers(len(self._jobs), size=self.size)
        return [self._augmented(self._jobs[index]) for index in chosen]

    def _augmented(self, job: TileJob) -> TrainingTile:
        positions = random_positions(job.tile.side, self._rng)
        pixels = _resampled(self._embedded.pixels_of(job), positions, 1)
        pixels = with_random_intensities(pixels, self._rng)
        annotation = annotation_of(self._embedded.examples[job.example], job.tile)
        moved = _resampled(np.stack(annotation, -1), positions, 0)
        target, weight = target_from(moved[..., 0], moved[..., 1].astype(bool), self._classes)
        with torch.no_grad():
            embedding = self._backbone.encoder.plain([np.ascontiguousarray(pixels)])[0]
        device = self._backbone.device
        return TrainingTile(embedding, target.to(device), weight.to(device), job)


def _resampled(maps: np.ndarray, positions: np.ndarray, order: int) -> np.ndarray:
    """Return maps of shape (y, x, channels) at other positions, mirrored beyond their edges."""
    from scipy import ndimage

    channels = np.moveaxis(maps, -1, 0)
    moved = [ndimage.map_coordinates(c, positions, order=order, mode="mirror") for c in channels]
    stacked: np.ndarray = np.stack(moved, -1)
    return stacked
