"""Warnings about prompts that may not suit an image, before they are applied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_ptsam.errors import InputError
from napari_ptsam.inference.channels import fit_prompt
from napari_ptsam.inference.rescaling import differs, pixel_size_ratio
from napari_ptsam.widgets.shared.channels import IN_BATCH
from napari_ptsam.widgets.shared.remedies import in_form

if TYPE_CHECKING:
    from napari_ptsam.images.planes import PixelSize, Planes
    from napari_ptsam.prompts.prompt import Prompt
    from napari_ptsam.widgets.batch.task import OpenedPrompt

MAX_WARNINGS = 4
"""Largest number of warnings that are shown."""


def scale_warning(prompt: Prompt, planes: Planes) -> str:
    """Return a sentence if the pixel size differs from that of the training, else ``""``."""
    if not differs(pixel_size_ratio(prompt, planes.pixel_size)):
        return ""
    assert prompt.pixel_size is not None and planes.pixel_size is not None
    return (
        f"its pixels are {_format_size(planes.pixel_size)}, but the prompt was trained at "
        f"{_format_size(prompt.pixel_size)}."
    )


def channel_warning(prompt: Prompt, planes: Planes, channels: Sequence[int] | None) -> str:
    """Return a sentence if the image lacks the channels of the training, else ``""``."""
    try:
        return fit_prompt(prompt, planes, channels, IN_BATCH)[1]
    except InputError as error:
        return in_form(error)


def _format_size(size: PixelSize) -> str:
    sides = f"{size.x:.3g}" if np.isclose(size.y, size.x) else f"{size.y:.3g} x {size.x:.3g}"
    return f"{sides} {size.unit}"


def compatibility_warnings(
    prompts: Sequence[OpenedPrompt], images: Sequence[Planes], channels: Sequence[int] | None = None
) -> tuple[list[str], bool]:
    """Return the warnings for all prompts and images.

    Parameters
    ----------
    prompts
        The prompts to be applied.
    images
        The images to be segmented.
    channels
        Channels that the prompts are shown; None for those of their training.

    Returns
    -------
    list of str
        The warnings; if there are many, the last entry says how many more there are.
    bool
        Whether any of them is about the pixel size.
    """
    about_scale, about_channels = [], []
    for planes in images:
        for opened in prompts:
            if warning := scale_warning(opened.prompt, planes):
                about_scale.append(f"{planes.name} – {opened.name}: {warning}")
            if warning := channel_warning(opened.prompt, planes, channels):
                about_channels.append(f"{opened.name}: {warning}")
    warnings = about_channels + about_scale
    more = len(warnings) - MAX_WARNINGS
    shown = warnings[:MAX_WARNINGS] + ([f"… and {more} more."] if more > 0 else [])
    return shown, bool(about_scale)
