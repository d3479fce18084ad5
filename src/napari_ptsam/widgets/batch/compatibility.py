"""What speaks against applying a prompt to an image as it is, before it is tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_ptsam.errors import InputError
from napari_ptsam.inference.channels import for_image
from napari_ptsam.inference.rescaling import differs, pixel_size_ratio
from napari_ptsam.widgets.shared.channels import IN_BATCH
from napari_ptsam.widgets.shared.remedies import in_form

if TYPE_CHECKING:
    from napari_ptsam.images.planes import PixelSize, Planes
    from napari_ptsam.prompts.prompt import Prompt
    from napari_ptsam.widgets.batch.task import OpenedPrompt

MOST = 4
"""Sentences that are shown, at most."""


def other_scale(prompt: Prompt, planes: Planes) -> str:
    """A sentence if the pixels have another size than those that the prompt was made on."""
    if not differs(pixel_size_ratio(prompt, planes.pixel_size)):
        return ""
    assert prompt.pixel_size is not None and planes.pixel_size is not None
    return (
        f"its pixels are {_words(planes.pixel_size)}, the prompt was made at "
        f"{_words(prompt.pixel_size)}."
    )


def other_channels(prompt: Prompt, planes: Planes, choice: Sequence[int] | None) -> str:
    """A sentence if the image has not the channels that the prompt was trained on."""
    try:
        return for_image(prompt, planes, choice, IN_BATCH)[1]
    except InputError as error:
        return in_form(error)


def _words(size: PixelSize) -> str:
    sides = f"{size.x:.3g}" if np.isclose(size.y, size.x) else f"{size.y:.3g} x {size.x:.3g}"
    return f"{sides} {size.unit}"


def cautions(
    prompts: Sequence[OpenedPrompt], images: Sequence[Planes], choice: Sequence[int] | None = None
) -> tuple[list[str], bool]:
    """Sentences about prompts and images, and whether any of them is about the pixel size.

    Parameters
    ----------
    choice
        Channels that the prompts are shown; None: those that they were trained on.
    """
    scale, channels = [], []
    for planes in images:
        for opened in prompts:
            name = f"{planes.name} – {opened.name}"
            if words := other_scale(opened.prompt, planes):
                scale.append(f"{name}: {words}")
            if words := other_channels(opened.prompt, planes, choice):
                channels.append(f"{opened.name}: {words}")
    found = channels + scale
    more = len(found) - MOST
    return found[:MOST] + ([f"… and {more} more."] if more > 0 else []), bool(scale)
