"""Prompts on images with other channels than those that they were trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_ptsam.errors import InputError
from napari_ptsam.images.channels import MOST_SHOWN, Channels, as_numbers, channels_of

if TYPE_CHECKING:
    from napari_ptsam.images.planes import Planes
    from napari_ptsam.images.settings import ImageSettings
    from napari_ptsam.prompts.prompt import Prompt

API = "channels=[{}]"
"""How channels are chosen in Python; other front ends have words of their own."""


def for_image(
    prompt: Prompt, planes: Planes, choice: Sequence[int] | None = None, option: str = API
) -> tuple[Prompt, str]:
    """Fit a prompt to the channels of an image.

    Parameters
    ----------
    prompt
        The specialist.
    planes
        The image.
    choice
        Numbers of the channels that the prompt is shown; None: those that it was
        trained on.
    option
        How messages tell to choose channels; ``{}`` stands for their numbers.

    Returns
    -------
    Prompt
        The same one, shown those channels.
    str
        A sentence if the image is of another kind than those of the training;
        else empty.

    Raises
    ------
    InputError
        If the image has no such channels, or they are not as many as the prompt
        was trained on.
    """
    images, caution = fit_channels(prompt.images, prompt.trained_channels, planes, choice, option)
    if images is prompt.images:
        return prompt, caution
    return replace(prompt, images=images, trained_channels=None), caution


def fit_channels(
    images: ImageSettings,
    trained: Channels | None,
    planes: Planes,
    choice: Sequence[int] | None = None,
    option: str = API,
) -> tuple[ImageSettings, str]:
    """Fit what is known of a prompt's images to an image; see `for_image`.

    Parameters
    ----------
    images
        How the prompt sees images.
    trained
        What images it was trained on; None: that is not known, and nothing is compared.
    """
    if trained is not None and not trained.has(images.channels):
        trained = None  # other channels were put in the place of those of the training
    compared = _Compared(planes.name, channels_of(planes), images.channels, trained, option)
    if choice is None:
        compared.check(images.channels)
        return images, compared.caution()
    images = replace(images, channels=as_numbers(choice))
    compared.check(images.channels)
    return images, ""  # whoever has chosen channels knows what these are


@dataclass(frozen=True)
class _Compared:
    """An image beside what a prompt was trained on.

    Attributes
    ----------
    name, own
        Of the image, and its channels.
    before, trained
        Channels that the prompt was shown in training, and of what images; None: all of them,
        and not known.
    option
        How messages tell to choose channels.
    """

    name: str
    own: Channels
    before: tuple[int, ...] | None
    trained: Channels | None
    option: str

    @property
    def wanted(self) -> Channels | None:
        """What the prompt was shown in training."""
        return None if self.trained is None else self.trained.shown(self.before)

    def check(self, numbers: tuple[int, ...] | None) -> None:
        """Make sure that these channels are there, and as many as in training."""
        own, wanted = self.own, self.wanted
        if numbers is None:
            fits = own.count <= MOST_SHOWN
        elif numbers == self.before:
            fits = own.has(numbers)
        else:
            fits = True
            try:
                own.shown(numbers)
            except InputError as error:
                raise InputError(f"{self.name}: {error}") from error
        if fits and wanted is not None:
            seen = own.shown(numbers)
            fits = seen.count == wanted.count or _grey_and_colour(seen, wanted)
        if not fits:
            chosen = (
                ""
                if numbers is None or numbers == self.before
                else f", and {_listed(numbers)} shown"
            )
            raise InputError(f"{self._image}{chosen}; {self._prompt}; {self._remedy}.")

    def caution(self) -> str:
        """A sentence if the image is of another kind; `check` comes first."""
        own, wanted, seen = self.own, self.wanted, self.own.shown(self.before)
        if wanted is None or self.trained is None:
            if self.before is not None or seen.kind != "composite":
                return ""
            return (
                f"{self._image}, and the prompt does not tell what it was trained on; all of them "
                f"are shown to it together. If it was trained on one, choose it ({self._example(1)})."
            )
        if seen.kind != wanted.kind:
            remedy = f" Choose one channel if its colours differ ({self._example(1)})."
            return f"{self._image}; {self._prompt}.{remedy * (seen.kind == 'rgb')}"
        for number, here, there in zip(
            self.before or range(seen.count), seen.names, wanted.names, strict=False
        ):
            if here and there and here.casefold() != there.casefold():
                return (
                    f"Channel {number} of {self.name} is {here}, and the prompt was trained on "
                    f"{there}; look whether another one has to be chosen ({self._named(there)})."
                )
        known = any(seen.names) and any(wanted.names)
        if self.before is not None and own.count != self.trained.count and not known:
            return (
                f"{self._image}; {self._prompt}. Look whether it is the same here, or choose "
                f"({self._example(len(self.before))})."
            )
        return ""

    @property
    def _image(self) -> str:
        own = self.own
        if own.kind != "composite":
            return f"{self.name} is {'an RGB' if own.kind == 'rgb' else 'a grey'} image"
        names = ", ".join(f"{number}: {name}" for number, name in enumerate(own.names) if name)
        return f"{self.name} has {own.count} channels" + (f" ({names})" if names else "")

    @property
    def _prompt(self) -> str:
        shown = "" if self.before is None else f"{_listed(self.before)}"
        if self.trained is None:
            return f"the prompt takes {shown or 'three at most'}"
        return f"the prompt was trained on {shown}{' of ' * bool(shown)}{self.trained}"

    @property
    def _remedy(self) -> str:
        needed = len(self.before) if self.before else None
        if self.wanted is not None:
            needed = self.wanted.count
        if needed is not None and needed > self.own.count:
            return "use images that have so many channels"
        words = {None: "up to three", 1: "one"}.get(needed, str(needed))
        of_them = " of them" if self.own.count > 1 else ""
        return f"choose {words}{of_them} ({self._example(needed or 2)})"

    def _example(self, count: int) -> str:
        return self.option.format(",".join(map(str, range(count))))

    def _named(self, name: str) -> str:
        """The option, with the number of the channel of that name if the image has it."""
        names = [own.casefold() for own in self.own.names]
        number = names.index(name.casefold()) if name.casefold() in names else 0
        return self.option.format(number)


def _grey_and_colour(seen: Channels, wanted: Channels) -> bool:
    """Whether one is grey and the other RGB: the model can be shown either."""
    return {(seen.kind, seen.count), (wanted.kind, wanted.count)} == {("grey", 1), ("rgb", 3)}


def _listed(numbers: Sequence[int]) -> str:
    """Return ``channel 0`` or ``channels 0, 2``."""
    return f"channel{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
