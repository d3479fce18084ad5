"""The bundled sample: a synthetic stack that resembles microscopy.

Cells are smooth, and debris is as bright but grainy. The illumination falls off to one side, so
that no threshold separates them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

PLANES, SIDE = 40, 512
ANNOTATED = 16
"""Number of planes, counted from the first, that are annotated."""
SEED = 20
CELLS, DEBRIS = 170, 240
SPACING = 2.0
PIXEL_SIZE = 0.65
"""Distance of planes and pixel size, in micrometers."""


@dataclass(frozen=True)
class Sample:
    """A synthetic stack with its ground truth.

    Attributes
    ----------
    images
        uint16, shape (40, 512, 512), axes (z, y, x).
    instances
        uint16, same shape: 0 is background, and each cell has its own number.
    """

    images: np.ndarray
    instances: np.ndarray

    @property
    def annotated(self) -> tuple[np.ndarray, np.ndarray]:
        """Planes and instances for training."""
        return self.images[:ANNOTATED], self.instances[:ANNOTATED]

    @property
    def unseen(self) -> tuple[np.ndarray, np.ndarray]:
        """Planes and instances for evaluation."""
        return self.images[ANNOTATED:], self.instances[ANNOTATED:]


@lru_cache(maxsize=1)
def make_sample() -> Sample:
    """Make the sample, which is the same every time."""
    from scipy import ndimage

    rng = np.random.default_rng(SEED)
    cells = np.zeros((PLANES, SIDE, SIDE), dtype=np.float32)
    debris = np.zeros_like(cells)
    instances = np.zeros(cells.shape, dtype=np.uint16)
    smooth, grain = _textures(rng)
    for number in range(1, CELLS + 1):
        _draw_cell(cells, instances, number, smooth, rng)
    for _ in range(DEBRIS):
        _draw_debris(debris, instances, grain, rng)
    light = _light()
    images = np.empty(cells.shape, dtype=np.uint16)
    for z in range(PLANES):
        specimen = ndimage.gaussian_filter(np.maximum(cells[z], debris[z]), 1.2)
        drift = 1 + 0.08 * np.sin(z / 5)  # the lamp flickers slowly
        photons = drift * light * (60 + 110 * specimen)
        noisy = rng.poisson(photons) + rng.normal(0, 4, photons.shape)
        images[z] = np.clip(100 + 6 * noisy, 0, 65535)
    return Sample(images, instances)


def _textures(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the textures of cells (smooth) and of debris (grainy), both with mean 1."""
    from scipy import ndimage

    noise = rng.normal(size=(2, SIDE, SIDE)).astype(np.float32)
    smooth = ndimage.gaussian_filter(noise[0], 7, mode="wrap")
    grain = ndimage.gaussian_filter(noise[1], 1.5, mode="wrap")
    return 1 + 0.15 * smooth / smooth.std(), np.clip(1 + 0.75 * grain / grain.std(), 0, None)


def _light() -> np.ndarray:
    """Return an uneven illumination, brighter on one side, with a vignette."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32) / SIDE
    return 0.35 + 1.3 * x * (0.6 + 0.4 * y) - 0.35 * ((x - 0.5) ** 2 + (y - 0.5) ** 2)


def _outline(rng: np.random.Generator, roughness: float) -> np.ndarray:
    """Return the radius of a wavy outline at 360 angles, with mean 1."""
    angle = np.radians(np.arange(360))
    radius = np.ones(360)
    for wave in range(2, 7):
        phase, size = rng.uniform(0, 2 * np.pi), rng.normal(0, roughness / wave)
        radius += size * np.cos(wave * angle + phase)
    return radius


def _inside(
    y0: float, x0: float, radius: float, stretch: float, turn: float, outline: np.ndarray
) -> tuple[tuple[slice, slice], np.ndarray]:
    """Return a window around a shape, and the mask of its pixels inside the shape."""
    reach = int(radius * 2.2) + 2
    top, left = max(0, int(y0) - reach), max(0, int(x0) - reach)
    window = slice(top, min(SIDE, int(y0) + reach)), slice(left, min(SIDE, int(x0) + reach))
    y, x = np.mgrid[window[0], window[1]]
    across = (x - x0) * np.cos(turn) + (y - y0) * np.sin(turn)
    along = (y - y0) * np.cos(turn) - (x - x0) * np.sin(turn)
    distance = np.hypot(across / stretch, along * stretch)
    angle = np.degrees(np.arctan2(along, across)).astype(int) % 360
    return window, distance <= radius * outline[angle]


def _draw_cell(
    cells: np.ndarray,
    instances: np.ndarray,
    number: int,
    texture: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Draw an ellipsoid with a wavy outline through several planes, without overlap."""
    z0, y0, x0 = rng.uniform(-2, PLANES + 2), *rng.uniform(0, SIDE, 2)
    radius, height = rng.uniform(17, 27), rng.uniform(3.5, 6)
    stretch, turn = rng.uniform(1, 1.3), rng.uniform(0, np.pi)
    outline, brightness = _outline(rng, 0.22), rng.uniform(0.7, 1.1)
    for z in range(max(0, int(z0 - height) + 1), min(PLANES, int(z0 + height) + 1)):
        section = radius * np.sqrt(max(0.0, 1 - ((z - z0) / height) ** 2))
        if section < 6:
            continue
        window, inside = _inside(y0, x0, section, stretch, turn, outline)
        inside &= instances[z][window] == 0
        instances[z][window][inside] = number
        cells[z][window][inside] = brightness * texture[window][inside]


def _draw_debris(
    debris: np.ndarray, instances: np.ndarray, texture: np.ndarray, rng: np.random.Generator
) -> None:
    """Draw a ragged clump of grains between the cells in two or three planes."""
    z0, y0, x0 = int(rng.integers(PLANES)), *rng.uniform(0, SIDE, 2)
    radius, stretch, turn = rng.uniform(6, 20), rng.uniform(1, 1.6), rng.uniform(0, np.pi)
    outline, brightness = _outline(rng, 0.7), rng.uniform(0.8, 1.2)
    window, inside = _inside(y0, x0, radius, stretch, turn, outline)
    for z in range(z0, min(PLANES, z0 + int(rng.integers(2, 4)))):
        between = inside & (instances[z][window] == 0)
        debris[z][window][between] = brightness * texture[window][between]
