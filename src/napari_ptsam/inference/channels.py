"""Fit prompts to the channels of images, and warn if these differ from the training images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_ptsam.errors import InputError, framed
from napari_ptsam.images.channels import MOST_SHOWN, Channels, as_numbers, channels_of

if TYPE_CHECKING:
    from napari_ptsam.images.planes import Planes
    from napari_ptsam.images.settings import ImageSettings
    from napari_ptsam.prompts.prompt import Prompt

API = "channels=[{}]"
"""Wording of the choice of channels in Python; other front ends have their own wording."""


def fit_prompt(
    prompt: Prompt, planes: Planes, choice: Sequence[int] | None = None, option: str = API
) -> tuple[Prompt, str]:
    """Fit a prompt to the channels of an image.

    Parameters
    ----------
    prompt
        The prompt.
    planes
        The image.
    choice
        Numbers of the channels to show to the prompt. None chooses those that
        it was trained on.
    option
        How messages name the choice of channels; ``{}`` stands for the numbers.

    Returns
    -------
    Prompt
        The prompt with the choice of channels.
    str
        A warning if the image is of another kind than the training images,
        otherwise an empty string.

    Raises
    ------
    InputError
        If the image does not have these channels, or their number differs from
        that of the training images.
    """
    images, warning = fit_channels(prompt.images, prompt.trained_channels, planes, choice, option)
    if images is prompt.images:
        return prompt, warning
    return replace(prompt, images=images, trained_channels=None), warning


def fit_channels(
    images: ImageSettings,
    trained: Channels | None,
    planes: Planes,
    choice: Sequence[int] | None = None,
    option: str = API,
) -> tuple[ImageSettings, str]:
    """Fit image settings to the channels of an image; see `fit_prompt`.

    Parameters
    ----------
    images
        Settings with which the prompt's images are prepared.
    trained
        Channels of the training images. None if they are unknown, so that
        nothing is compared.
    """
    if trained is not None and not trained.has(images.channels):
        trained = None  # the channels of the training were replaced by others
    comparison = _Comparison(planes.name, channels_of(planes), images.channels, trained, option)
    if choice is None:
        comparison.check(images.channels)
        return images, comparison.warning()
    images = replace(images, channels=as_numbers(choice))
    comparison.check(images.channels)
    return images, ""  # users who choose channels need no warning


@dataclass(frozen=True)
class _Comparison:
    """Comparison of an image with the images that a prompt was trained on.

    Attributes
    ----------
    name
        Name of the image.
    available
        Channels of the image.
    chosen
        Numbers of the channels that the prompt was trained on; None for all.
    trained
        Channels of the training images; None if they are unknown.
    option
        How messages name the choice of channels.
    """

    name: str
    available: Channels
    chosen: tuple[int, ...] | None
    trained: Channels | None
    option: str

    @property
    def expected(self) -> Channels | None:
        """Channels that the prompt was shown in training."""
        return None if self.trained is None else self.trained.shown(self.chosen)

    def check(self, numbers: tuple[int, ...] | None) -> None:
        """Raise an InputError unless these channels exist, and are as many as in training."""
        available, expected = self.available, self.expected
        if numbers is None:
            fits = available.count <= MOST_SHOWN
        elif numbers == self.chosen:
            fits = available.has(numbers)
        else:
            fits = True
            try:
                available.shown(numbers)
            except InputError as error:
                raise InputError(framed(error, before=f"{self.name}: ")) from error
        if fits and expected is not None:
            shown = available.shown(numbers)
            fits = shown.count == expected.count or _grey_and_colour(shown, expected)
        if not fits:
            chosen = (
                ""
                if numbers is None or numbers == self.chosen
                else f", and {_listed(numbers)} shown"
            )
            raise InputError(f"{self._image}{chosen}; {self._prompt}; {self._remedy}.")

    def warning(self) -> str:
        """Return a warning if the image is of another kind than the training images.

        Call `check` first.
        """
        available, expected = self.available, self.expected
        shown = available.shown(self.chosen)
        if expected is None or self.trained is None:
            if self.chosen is not None or shown.kind != "composite":
                return ""
            return (
                f"{self._image}, and the prompt does not tell what it was trained on; all of them "
                f"are shown to it together. If it was trained on one, choose it ({self._example(1)})."
            )
        if shown.kind != expected.kind:
            remedy = f" Choose one channel if its colours differ ({self._example(1)})."
            return f"{self._image}; {self._prompt}.{remedy * (shown.kind == 'rgb')}"
        for number, here, there in zip(
            self.chosen or range(shown.count), shown.names, expected.names, strict=False
        ):
            if here and there and here.casefold() != there.casefold():
                return (
                    f"Channel {number} of {self.name} is {here}, and the prompt was trained on "
                    f"{there}; look whether another one has to be chosen ({self._named(there)})."
                )
        known = any(shown.names) and any(expected.names)
        if self.chosen is not None and available.count != self.trained.count and not known:
            return (
                f"{self._image}; {self._prompt}. Look whether it is the same here, or choose "
                f"({self._example(len(self.chosen))})."
            )
        return ""

    @property
    def _image(self) -> str:
        available = self.available
        if available.kind != "composite":
            return f"{self.name} is {'an RGB' if available.kind == 'rgb' else 'a grey'} image"
        names = ", ".join(f"{n}: {name}" for n, name in enumerate(available.names) if name)
        return f"{self.name} has {available.count} channels" + (f" ({names})" if names else "")

    @property
    def _prompt(self) -> str:
        shown = "" if self.chosen is None else f"{_listed(self.chosen)}"
        if self.trained is None:
            return f"the prompt takes {shown or 'three at most'}"
        return f"the prompt was trained on {shown}{' of ' * bool(shown)}{self.trained}"

    @property
    def _remedy(self) -> str:
        needed = len(self.chosen) if self.chosen else None
        if self.expected is not None:
            needed = self.expected.count
        if needed is not None and needed > self.available.count:
            return "use images that have so many channels"
        words = {None: "up to three", 1: "one"}.get(needed, str(needed))
        of_them = " of them" if self.available.count > 1 else ""
        return f"choose {words}{of_them} ({self._example(needed or 2)})"

    def _example(self, count: int) -> str:
        return self.option.format(",".join(map(str, range(count))))

    def _named(self, name: str) -> str:
        """Return the option with the number of the channel of that name, if the image has one."""
        names = [each.casefold() for each in self.available.names]
        number = names.index(name.casefold()) if name.casefold() in names else 0
        return self.option.format(number)


def _grey_and_colour(shown: Channels, expected: Channels) -> bool:
    """Return whether one is grey and the other RGB: the model can be shown either."""
    return {(shown.kind, shown.count), (expected.kind, expected.count)} == {("grey", 1), ("rgb", 3)}


def _listed(numbers: Sequence[int]) -> str:
    """Return ``channel 0`` or ``channels 0, 2``."""
    return f"channel{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
