"""Describe the channels of an image, and select those that the model is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import index
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from napari_ptsam.errors import InputError

if TYPE_CHECKING:
    from napari_ptsam.images.planes import Planes

Kind = Literal["grey", "rgb", "composite"]
MOST_SHOWN = 3
"""Largest number of channels that the model takes."""
LONGEST_NAME = 40
"""Largest number of characters of a channel's name; the rest is cut off."""


@dataclass(frozen=True)
class Channels:
    """The channels of an image, or the channels that the model is shown.

    Attributes
    ----------
    kind
        ``grey``: one channel; ``rgb``: red, green and blue, with or without
        alpha; ``composite``: several channels of any other kind.
    count
        Number of channels without alpha.
    names
        One name for each channel, empty if it is not known; or no names at all.

    Raises
    ------
    InputError
        If kind, count and names contradict each other.
    """

    kind: Kind
    count: int
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind) or self.count < 1:
            raise InputError(f"There are no {self.kind!r} images of {self.count} channels.")
        if (self.kind == "grey") != (self.count == 1):
            raise InputError("Grey images have one channel, all others have more.")
        if len(self.names) not in (0, self.count):
            raise InputError(f"{self.count} channels cannot have {len(self.names)} names.")
        if not all(len(name) <= LONGEST_NAME and (name + "-").isprintable() for name in self.names):
            raise InputError("The name of a channel is no short, printable text.")

    def has(self, numbers: Sequence[int] | None) -> bool:
        """Return whether channels of these numbers exist; ``None`` stands for all."""
        return numbers is None or all(0 <= number < self.count for number in numbers)

    def shown(self, numbers: Sequence[int] | None) -> Channels:
        """Return the channels that the model is shown; ``None`` shows all.

        Raises
        ------
        InputError
            If a channel does not exist, or more than three are chosen.
        """
        if numbers is None:
            return self
        if not 1 <= len(numbers) <= MOST_SHOWN:
            raise InputError(f"Choose one to three channels, not {len(numbers)}.")
        if not self.has(numbers):
            missing = f"{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
            there = (
                f"{self.count} (numbered 0 to {self.count - 1})" if self.count > 1 else "one (0)"
            )
            raise InputError(
                f"Channel{missing} cannot be shown to the prompt: the image has {there}."
            )
        names = tuple(self.names[number] for number in numbers) if self.names else ()
        return Channels("grey" if len(numbers) == 1 else self.kind, len(numbers), names)

    def named(self, numbers: Sequence[int] | None) -> Channels:
        """Return the same channels, with names only for those that the model is shown."""
        shown = range(self.count) if numbers is None else numbers
        names = tuple(name if i in shown else "" for i, name in enumerate(self.names))
        return replace(self, names=names if any(names) else ())

    def __str__(self) -> str:
        """Return ``grey images``, ``RGB images`` or ``images of 2 channels (DAPI, GFP)``."""
        words = {"grey": "grey images", "rgb": "RGB images"}
        names = [name for name in self.names if name]
        return words.get(self.kind, f"images of {self.count} channels") + (
            f" ({', '.join(names)})" if names else ""
        )


def channels_of(planes: Planes) -> Channels:
    """Return the channels of an image."""
    if planes.rgb:
        # Grey with alpha has two samples, RGB with alpha four.
        return Channels("rgb", 3) if planes.channels > 2 else Channels("grey", 1)
    labels = planes.channel_names if len(planes.channel_names) == planes.channels else ()
    names = tuple("".join(filter(str.isprintable, name))[:LONGEST_NAME] for name in labels)
    kind: Kind = "grey" if planes.channels == 1 else "composite"
    return Channels(kind, planes.channels, names if any(names) else ())


def as_numbers(channels: Sequence[int]) -> tuple[int, ...]:
    """Convert chosen channels to a tuple of integers.

    Raises
    ------
    InputError
        If they are not whole numbers.
    """
    try:
        return tuple(index(channel) for channel in channels)
    except TypeError as error:
        raise InputError("Channels are a list of numbers, such as [0, 2].") from error


def select_channels(plane: np.ndarray, channels: Sequence[int] | None, rgb: bool) -> np.ndarray:
    """Select the channels of a plane that the model is shown.

    Parameters
    ----------
    plane
        Shape (y, x) or (y, x, channels).
    channels
        Numbers of up to three channels, from 0. None takes a grey plane, an RGB
        plane or up to three channels as they are.
    rgb
        Whether the channels are red, green and blue (and alpha, which is dropped).

    Returns
    -------
    numpy.ndarray
        Shape (y, x, 1 to 3), same dtype.

    Raises
    ------
    InputError
        If a channel does not exist, or if there are more than three and none is
        chosen.
    """
    if plane.ndim == 2:
        plane = plane[..., None]
    count = plane.shape[-1]
    if channels is None:
        if rgb:
            # Grey with alpha has two samples, RGB with alpha four.
            return plane[..., : 1 if count == 2 else 3]
        if count > 3:
            raise InputError(
                f"The image has {count} channels; choose up to three of them (for instance channels 0,2)."
            )
        return plane
    if not 1 <= len(channels) <= 3:
        raise InputError(f"Choose one to three channels, not {len(channels)}.")
    if not all(0 <= channel < count for channel in channels):
        raise InputError(
            f"Channels {', '.join(map(str, channels))} were asked for, but the image has {count} "
            f"(numbered 0 to {count - 1})."
        )
    return plane[..., list(channels)]
