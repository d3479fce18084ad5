"""Rescale the tiles of a prompt for images with another pixel size than the training images."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import TYPE_CHECKING

from napari_ptsam.images.tiling import MAXIMUM_SIDE, MINIMUM_SIDE
from napari_ptsam.images.units import LENGTHS, length_name

if TYPE_CHECKING:
    from napari_ptsam.images.planes import PixelSize
    from napari_ptsam.prompts.prompt import Prompt

TOLERANCE = 1.25
"""Factor by which pixel sizes may differ before results suffer noticeably."""


def pixel_size_ratio(prompt: Prompt, pixel_size: PixelSize | None) -> float | None:
    """Return how many times larger the pixels of the training images are than those of an image.

    An object is that many times longer in pixels of the image.

    Returns
    -------
    float or None
        None if one of the sizes is unknown, or its unit is not a length.
    """
    trained = prompt.pixel_size
    if trained is None or pixel_size is None:
        return None
    there, here = (LENGTHS.get(length_name(size.unit)) for size in (trained, pixel_size))
    if there is None or here is None:
        return None
    # Pixels need not be square, but tiles are: both directions count equally.
    ratio = sqrt(trained.y * trained.x) * there.factor
    return ratio / (sqrt(pixel_size.y * pixel_size.x) * here.factor)


def differs(ratio: float | None) -> bool:
    """Return whether a ratio is known, and so far from 1 that results suffer."""
    return ratio is not None and not 1 / TOLERANCE <= ratio <= TOLERANCE


def rescaled(prompt: Prompt, pixel_size: PixelSize | None) -> Prompt:
    """Return the prompt with tiles that show as much of the sample as in training.

    Parameters
    ----------
    pixel_size
        Pixel size of the image to segment.

    Returns
    -------
    Prompt
        A prompt with another tile side, within the limits of tiles, and another
        radius of its guided filter, if it has one. The prompt itself if the
        sizes are equal or unknown.
    """
    ratio = pixel_size_ratio(prompt, pixel_size)
    if ratio is None:
        return prompt
    tiling = prompt.images.tiling
    side = min(max(round(tiling.side * ratio), MINIMUM_SIDE), MAXIMUM_SIDE)
    if side == tiling.side:
        return prompt
    images = replace(prompt.images, tiling=replace(tiling, side=side))
    refinement = None if prompt.refinement is None else prompt.refinement.scaled(ratio)
    return replace(prompt, images=images, pixel_size=pixel_size, refinement=refinement)
