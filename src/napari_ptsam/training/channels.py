"""Find the channels that the model is shown, and check that all images have them."""

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


def training_channels(
    stacks: Sequence[Planes],
    images: ImageSettings,
    choice: Sequence[int] | None,
    start: Prompt | None,
    option: str,
) -> tuple[ImageSettings, Channels | None, str]:
    """Find the channels that the images of a training have in common.

    Parameters
    ----------
    stacks
        The images.
    images
        Settings with which they are prepared, given by the training or by ``start``.
    choice
        Channels named in the settings of the training.
    start
        Prompt to continue from.
    option
        Wording of messages about the choice of channels.

    Returns
    -------
    images : ImageSettings
        The settings with the channels that the model is shown.
    channels : Channels or None
        Channels of the images with the names of those shown; None if images
        differ, as grey and RGB images may.
    warning : str
        A sentence if the start was trained on images of another kind, else empty.

    Raises
    ------
    InputError
        If an image does not have the channels, or if their number differs
        between images, or from that of the start.
    """
    trained, warning, before = None, "", images
    if start is not None:
        trained = start.trained_channels
        choice = None if choice == images.channels else choice
    else:
        choice = None
    for planes in stacks:
        images, sentence = fit_channels(before, trained, planes, choice, option)
        warning = warning or (sentence if start is not None else "")
    named = [channels_of(planes).named(images.channels) for planes in stacks]
    shown = [replace(channels.shown(images.channels), names=()) for channels in named]
    first = shown[0]
    for planes, other in zip(stacks, shown, strict=True):
        if other.count != first.count and "composite" in (other.kind, first.kind):
            raise InputError(
                f"{stacks[0].name} is one of {channels_of(stacks[0])}, and {planes.name} is one of "
                f"{channels_of(planes)}; choose the same channels of all "
                f"({option.format(','.join(map(str, range(min(first.count, other.count)))))})."
            )
    same = len(set(shown)) == 1
    return images, named[0] if same else None, warning
