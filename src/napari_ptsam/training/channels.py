"""Which channels a training shows the model, and whether its images agree in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_ptsam.errors import InputError
from napari_ptsam.images.channels import channels_of
from napari_ptsam.inference.channels import fit_channels

if TYPE_CHECKING:
    from napari_ptsam.images.channels import Channels
    from napari_ptsam.images.planes import Planes
    from napari_ptsam.images.settings import ImageSettings
    from napari_ptsam.prompts.prompt import Prompt


def channels_seen(
    stacks: Sequence[Planes],
    images: ImageSettings,
    choice: Sequence[int] | None,
    start: Prompt | None,
    option: str,
) -> tuple[ImageSettings, Channels | None, str]:
    """Find out what the images of a training have in common.

    Parameters
    ----------
    stacks
        The images.
    images
        How they are prepared: as the settings say, or as a start does.
    choice
        Channels that the settings name.
    start
        A prompt to go on from.
    option
        How messages tell to choose channels.

    Returns
    -------
    ImageSettings
        Those, with the channels that are shown.
    Channels
        Of the images, with the names of those that are shown; None where images
        differ, as grey and RGB images may.
    str
        A sentence if the start was trained on images of another kind.

    Raises
    ------
    InputError
        If an image has no such channels, or shows the model another number of
        them than another image, or than the start was trained on.
    """
    trained, caution, before = None, "", images
    if start is not None:
        trained = start.trained_channels
        choice = None if choice == images.channels else choice
    else:
        choice = None
    for planes in stacks:
        images, words = fit_channels(before, trained, planes, choice, option)
        caution = caution or (words if start is not None else "")
    found = [channels_of(planes).named(images.channels) for planes in stacks]
    shown = [replace(own.shown(images.channels), names=()) for own in found]
    first = shown[0]
    for planes, other in zip(stacks, shown, strict=True):
        if other.count != first.count and "composite" in (other.kind, first.kind):
            raise InputError(
                f"{stacks[0].name} is one of {channels_of(stacks[0])}, and {planes.name} is one of "
                f"{channels_of(planes)}; choose the same channels of all "
                f"({option.format(','.join(map(str, range(min(first.count, other.count)))))})."
            )
    same = len(set(shown)) == 1
    return images, found[0] if same else None, caution
