"""A prompt on images whose pixels have another size than those it was trained on."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import TYPE_CHECKING

from napari_ptsam.images.tiling import MAXIMUM_SIDE, MINIMUM_SIDE

if TYPE_CHECKING:
    from napari_ptsam.images.planes import PixelSize
    from napari_ptsam.prompts.prompt import Prompt

METERS = {
    "nanometer": 1e-9, "micrometer": 1e-6, "millimeter": 1e-3, "centimeter": 1e-2, "meter": 1.0,
    "inch": 0.0254,
}  # fmt: skip

TOLERANCE = 1.25
"""Factor by which pixel sizes may differ without much harm."""


def pixel_size_ratio(prompt: Prompt, pixel_size: PixelSize | None) -> float | None:
    """How many times larger the prompt's pixels are than an image's.

    That is also how many times more pixels an object has in the image.

    Returns
    -------
    float or None
        None where one of the sizes is not known, or in a unit that is no length.
    """
    own = prompt.pixel_size
    if own is None or pixel_size is None:
        return None
    if own.unit not in METERS or pixel_size.unit not in METERS:
        return None
    # Pixels need not be squares; tiles are, so that both directions count alike.
    ratio = sqrt(own.y * own.x) * METERS[own.unit]
    ratio /= sqrt(pixel_size.y * pixel_size.x) * METERS[pixel_size.unit]
    return ratio


def differs(ratio: float | None) -> bool:
    """Whether a ratio is known, and so far from 1 that results suffer."""
    return ratio is not None and not 1 / TOLERANCE <= ratio <= TOLERANCE


def rescaled(prompt: Prompt, pixel_size: PixelSize | None) -> Prompt:
    """The prompt with tiles that show as much of the sample as in training.

    Parameters
    ----------
    pixel_size
        Of the image that it is for.

    Returns
    -------
    Prompt
        With another tile side, within what tiles can be, and another window of
        its guided filter, if it has one; the prompt itself
        where the sizes are alike or not known.
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
