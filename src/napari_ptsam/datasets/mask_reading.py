"""Read masks: from the pixels of files to the labels of planes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from napari_ptsam.datasets.mask_channels import colour_picture, grey_values, without_channels
from napari_ptsam.datasets.mask_meaning import (
    Meaning,
    check_not_swapped,
    is_picture,
    is_soft,
    meaning_of,
    meaning_of_classes,
    picture_as_mask,
)
from napari_ptsam.errors import InputError, Remedy, framed
from napari_ptsam.prompts.prompt import MAX_CLASSES, check_names

Empty = Literal["refuse", "background", "skip"]
"""How to treat a mask without foreground."""

DEFAULT_CLASS = "foreground"


@dataclass(frozen=True)
class MaskReading:
    """How the values of masks are interpreted.

    Attributes
    ----------
    classes
        Names of the classes 1, 2, ... of the masks. With one name, or None,
        every value but the background is foreground, so that instance masks and
        binary masks are read alike.
    unlabelled
        Value of pixels that were not annotated and are ignored; None if all
        pixels were annotated.
    empty
        How to treat a mask without foreground: ``refuse`` it (most likely the
        annotation was forgotten), take it as ``background``, or ``skip`` the plane.
    background
        Value of the background. None works it out; it is 0 in most masks.
    instances
        Whether every value is an object. If not, and there is one class, it is worked out
        whether the values are objects.

    Raises
    ------
    InputError
        If there are too many classes, or a value is not one of those above.
    """

    classes: tuple[str, ...] | None = None
    unlabelled: int | None = None
    empty: Empty = "refuse"
    background: int | None = None
    instances: bool = False

    def __post_init__(self) -> None:
        if self.empty not in get_args(Empty):
            raise InputError(f"Empty masks are treated by one of {', '.join(get_args(Empty))}.")
        if self.classes is not None and not 1 <= len(self.classes) <= MAX_CLASSES:
            raise InputError(f"Name 1 to {MAX_CLASSES} classes, not {len(self.classes)}.")
        check_names(self.names)
        if self.instances and self.tells_classes:
            raise InputError("The values of a mask are objects, or several classes, but not both.")
        if self.background is not None and self.background == self.unlabelled:
            raise InputError(
                f"The value {self.background} is either background or not annotated, but not both."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each class."""
        return self.classes or (DEFAULT_CLASS,)

    @property
    def tells_classes(self) -> bool:
        """Whether the values of a mask are classes; otherwise they may be instances."""
        return len(self.names) > 1


@dataclass(frozen=True, eq=False)
class MaskPlane:
    """A plane of a mask as read from a file.

    Attributes
    ----------
    name
        Name of the plane in messages.
    pixels
        Pixels of shape (y, x) or (y, x, channels).
    rgb
        Whether the channels are red, green and blue.
    lossy
        Whether the file changes values, as JPEG does; then only black and white is of use.
    """

    name: str
    pixels: np.ndarray
    rgb: bool = False
    lossy: bool = False


@dataclass(frozen=True, eq=False)
class LabelledPlane:
    """The labels of a plane.

    Attributes
    ----------
    number
        Number of the plane among those that were interpreted.
    values
        int32 or int64, shape (y, x): 0 is background, others are objects or classes.
    valid
        Pixels that were annotated: bool, shape (y, x); None if all were.
    """

    number: int
    values: np.ndarray
    valid: np.ndarray | None


@contextmanager
def leaving_out(problems: list[str] | None) -> Iterator[None]:
    """Add the error of something that cannot be used to a list; None raises it."""
    try:
        yield
    except InputError as error:
        if problems is None:
            raise
        problems.append(framed(error))


def interpret(
    planes: Sequence[MaskPlane],
    reading: MaskReading,
    images: Sequence[np.ndarray] = (),
    left_out: list[str] | None = None,
) -> tuple[list[LabelledPlane], Meaning]:
    """Read the labels of masks. Pixels that are NaN were not annotated.

    Parameters
    ----------
    planes
        The planes.
    reading
        How their values are interpreted.
    images
        The planes of the images, by which images that are given as masks are noticed.
    left_out
        List to which errors about single planes are added; None raises them.

    Returns
    -------
    planes : list of LabelledPlane
        Those that can be read.
    meaning : Meaning
        How the values are read.

    Raises
    ------
    InputError
        If the masks cannot be interpreted.
    """
    usable: list[MaskPlane] = []
    numbers: list[int] = []
    missing: dict[int, np.ndarray] = {}
    for number, plane in enumerate(planes):
        with leaving_out(left_out):
            if plane.pixels.dtype.kind == "f" and (nan := np.isnan(plane.pixels)).any():
                missing[number] = nan if nan.ndim == 2 else nan.any(-1)
                plane = replace(plane, pixels=np.where(nan, 0, plane.pixels))
            _check_numbers(plane)
            usable.append(plane)
            numbers.append(number)
    usable, numbers = _without_foreign_kinds(usable, numbers, left_out)
    names = [plane.name for plane in usable]
    values, coding = without_channels([p.pixels for p in usable], [p.rgb for p in usable], names)
    if coding == "values":
        kept, values = _without_pictures(values, names, reading, images, numbers, left_out)
        numbers, names = [numbers[n] for n in kept], [names[n] for n in kept]
    valid = [
        _annotated(plane, reading.unlabelled, missing.get(number))
        for number, plane in zip(numbers, values, strict=True)
    ]
    own = [images[number] for number in numbers] if len(images) else []
    try:
        if reading.tells_classes:
            found = meaning_of_classes(values, valid, reading.names, coding, reading.background)
        else:
            found = meaning_of(values, valid, coding, reading.background, reading.instances)
    except InputError:
        check_not_swapped(own, values)
        raise
    if found.assumed:
        check_not_swapped(own, values)
    labelled = []
    for number, name, levels, inside in zip(numbers, names, values, valid, strict=True):
        with leaving_out(left_out):
            _check_negative(levels if inside is None else levels[inside], name, found.background)
            if planes[number].lossy and found.kind != "foreground":
                raise InputError(
                    f"The mask {name} is a JPEG, which changes its values; save it as PNG or TIFF."
                )
            labelled.append(LabelledPlane(number, _small(found.labels(levels, inside)), inside))
    return labelled, found


def label_values(values: np.ndarray, rgb: bool, name: str) -> np.ndarray:
    """Return the values of a mask that was read from a file, without a look at their meaning.

    Parameters
    ----------
    values
        Pixels as read, of shape (y, x) or (y, x, channels).
    rgb
        Whether the channels are red, green and blue.
    name
        Name of the mask in messages.

    Returns
    -------
    numpy.ndarray
        int32 or int64, shape (y, x).

    Raises
    ------
    InputError
        If the mask is a colour picture, or holds fractions.
    """
    plane = MaskPlane(name, values, rgb)
    _check_numbers(plane)
    grey = grey_values(values, rgb)
    if grey is None:
        raise colour_picture(name)
    if has_fractions(grey):
        raise _fractions(name)
    return _small(grey)


def has_fractions(values: np.ndarray) -> bool:
    """Return whether values are not whole numbers."""
    return values.dtype.kind == "f" and bool((values != np.round(values)).any())


def _check_numbers(plane: MaskPlane) -> None:
    values, name = plane.pixels, plane.name
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError(
            f"The mask {name} holds NaN or infinity; save it with 0 for the background and whole "
            "numbers for objects."
        )
    if values.dtype.kind in "uf" and values.max() >= 2**63:
        raise InputError(
            f"The mask {name} has values that are too large for numbers of objects; is it a mask?"
        )


def _annotated(
    values: np.ndarray, unlabelled: int | None, missing: np.ndarray | None
) -> np.ndarray | None:
    """Return which pixels were annotated; None if all were."""
    valid = None if unlabelled is None else values != unlabelled
    if missing is None:
        return valid
    return ~missing if valid is None else valid & ~missing


def _check_negative(values: np.ndarray, name: str, background: float) -> None:
    lowest = values.min(initial=0)
    if lowest < 0 and lowest != background:
        raise InputError(
            f"The mask {name} has negative values.", Remedy.NAME_UNLABELLED, value=int(lowest)
        )


def _fractions(name: str) -> InputError:
    return InputError(
        f"The mask {name} holds fractions; a mask holds whole numbers (0 is background). "
        "Is it a probability map, or the image itself?"
    )


def _small(values: np.ndarray) -> np.ndarray:
    """Return int32, or int64 if the values need it: it takes twice the memory."""
    small = values.size == 0 or (values.max() < 2**31 and values.min() >= -(2**31))
    return values.astype(np.int32 if small else np.int64)


def _without_foreign_kinds(
    planes: list[MaskPlane], numbers: list[int], left_out: list[str] | None
) -> tuple[list[MaskPlane], list[int]]:
    """Return the planes without colour pictures among grey masks."""
    colour = [grey_values(plane.pixels, plane.rgb) is None for plane in planes]
    if not any(colour) or all(plane.pixels.ndim == 3 for plane in planes):
        return planes, numbers
    kept = []
    for number, (plane, is_colour) in enumerate(zip(planes, colour, strict=True)):
        with leaving_out(left_out):
            if is_colour:
                raise colour_picture(plane.name)
            kept.append(number)
    return [planes[number] for number in kept], [numbers[number] for number in kept]


def _without_pictures(
    values: list[np.ndarray],
    names: Sequence[str],
    reading: MaskReading,
    images: Sequence[np.ndarray],
    numbers: Sequence[int],
    left_out: list[str] | None,
) -> tuple[list[int], list[np.ndarray]]:
    """Return the numbers and values of the planes that are no pictures and hold no fractions.

    Fractions are rounded to 255 levels if the masks are black and white with soft edges.
    """
    fractional = [has_fractions(plane) for plane in values]
    insisted = reading.instances
    pictures = [not insisted and is_picture(plane) for plane in values]
    everything = list(range(len(values)))
    if not any(fractional) and not any(pictures):
        return everything, values
    shown = _levels(values) if any(fractional) else values
    if not reading.tells_classes and not insisted and is_soft(shown):
        return everything, shown
    if all(pictures):
        check_not_swapped([images[number] for number in numbers] if len(images) else [], values)
    kept = []
    for number, name in enumerate(names):
        with leaving_out(left_out):
            if fractional[number]:
                raise _fractions(name)
            if pictures[number]:
                raise picture_as_mask(name)
            kept.append(number)
    return kept, [values[number] for number in kept]


def _levels(values: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return whole numbers; what lies between 0 and 1 becomes 0 to 255."""
    highest = max((float(plane.max()) for plane in values if plane.size), default=0.0)
    scale = 255 if highest <= 1 else 1
    return [np.round(plane * float(scale)).astype(np.int64) for plane in values]
