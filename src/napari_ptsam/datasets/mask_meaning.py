"""Work out what the values of masks mean: objects, classes or one foreground, and the background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from napari_ptsam.datasets.mask_channels import Coding, colour_of
from napari_ptsam.datasets.mask_statistics import (
    SEVERAL,
    Statistics,
    flatness,
    soft_middle,
    statistics,
)
from napari_ptsam.errors import InputError, Remedy

Kind = Literal["foreground", "instances", "classes"]
"""What the values other than the background are: one foreground, objects, or classes."""

MOST_CLASSES = 32
"""Largest number of values that are taken for classes without being asked to."""
LARGE_CLASS = 0.25
"""Part of all pixels from which on one of few values is a class."""
NEARLY_ALL, ALONG_EDGE = 0.7, 0.8
"""Part of all pixels, and of those at the edges of planes, that only a background covers."""
COMMON = 0.4
"""Part of all pixels that the background of numbered objects covers at least, unless it is 0."""
ONE_PART = 1.5
"""Mean number of parts up to which values are numbered objects."""
FLAT, NOISY = 0.7, 0.5
"""Part of equal neighbours from which on a plane is a mask, and below which it is a picture."""


@dataclass(frozen=True)
class Meaning:
    """How the values of masks are read.

    Attributes
    ----------
    kind
        What the values are.
    background
        Value of the background.
    middle
        Level above which a pixel is white, for masks with soft edges; None for others.
    values
        The values that stand for classes, in ascending order.
    assumed
        What was assumed, as sentences; empty if the masks are as usual: 0 is the background,
        and other values are objects, or there is only one.
    """

    kind: Kind
    background: float = 0
    middle: float | None = None
    values: tuple[float, ...] = ()
    assumed: str = ""

    def labels(self, values: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        """Return a mask with the usual values.

        Parameters
        ----------
        values
            Values of the mask, shape (y, x).
        valid
            Pixels that were annotated: bool, shape (y, x), or None if all were. Others get 0.

        Returns
        -------
        numpy.ndarray
            Integers of shape (y, x): 0 is background; classes count from 1; the single
            foreground is 1; objects keep their values, except that an object 0 gets the next
            free number.
        """
        if self.middle is not None:
            inside = values > self.middle
            labels = (inside != (self.background > self.middle)).astype(np.int32)
        elif self.kind == "instances":
            labels = self._objects(values)
        else:
            labels = np.zeros(values.shape, np.int32)
            single = self.kind == "foreground"
            for number, value in enumerate(self.values, start=1):
                labels[values == value] = 1 if single else number
        return labels if valid is None else np.where(valid, labels, 0).astype(labels.dtype)

    def _objects(self, values: np.ndarray) -> np.ndarray:
        if self.background == 0:
            return values
        values = values.astype(np.int64)
        objects = np.where(values == 0, values.max(initial=0) + 1, values)
        return np.where(values == self.background, 0, objects)


def meaning_of(
    planes: Sequence[np.ndarray],
    valid: Sequence[np.ndarray | None],
    coding: Coding = "values",
    background: int | None = None,
    instances: bool = False,
) -> Meaning:
    """Work out what the values of masks mean.

    Objects have one part or a few; few values with many parts or huge areas are classes.
    What is not 0 and covers nearly everything is background, and so is the most frequent value
    of masks without 0.

    Parameters
    ----------
    planes
        Values of each plane, shape (y, x), see `~napari_ptsam.datasets.mask_channels`.
    valid
        Pixels that were annotated: bool, shape (y, x), or None if all were.
    coding
        What the values come from.
    background
        Value of the background; None to work it out.
    instances
        Whether each value is an object, whatever it looks like.

    Raises
    ------
    InputError
        If the masks look like pictures.
    """
    if instances and background is not None:
        return Meaning("instances", background)
    found = statistics(planes, valid)
    middle = None
    if coding == "values" and not instances:
        middle = soft_middle(planes, found)
    if middle is not None:
        return _soft(found, middle, background)
    notes: list[str] = []
    chosen: float = background or 0
    if background is None:
        chosen, note = _background(found, coding)
        notes += [note] * bool(note)
    others = tuple(value for value in found.values.tolist() if value != chosen)
    if instances:
        return Meaning("instances", chosen, assumed=" ".join(notes))
    kind, note = _kind(found, others, chosen, coding)
    return Meaning(kind, chosen, None, others, " ".join([*notes, note]).strip())


def _soft(found: Statistics, middle: float, background: int | None) -> Meaning:
    low, high = found.values[0].item(), found.values[-1].item()
    note = (
        f"The masks are black and white with soft edges ({len(found.values)} grey levels from "
        f"{_number(low)} to {_number(high)}); levels above {middle:g} are taken as foreground."
    )
    if background is None:
        white = found.values > middle
        inverted = (
            found.pixels[white].sum() > NEARLY_ALL * found.pixels.sum()
            and found.border[white].sum() > ALONG_EDGE * found.border.sum()
        )
        background = high if inverted else low
    if background > middle:
        note = note.replace("above", "up to")
    return Meaning("foreground", background, middle, assumed=note)


def _background(found: Statistics, coding: Coding) -> tuple[float, str]:
    """Return the value of the background, and a sentence if it is not 0."""
    common = found.values[found.pixels.argmax()].item()
    if len(found.values) < 2 or common == 0:
        return 0, ""
    share, along = found.share(common), found.border_share(common)
    name = _name(common, coding)
    if 0 in found.values:
        numbered = len(found.values) > 3 and found.parts_of_others(common) < ONE_PART
        if found.values[0] < 0 and not numbered:
            return 0, ""  # it may stand for pixels that are not annotated
        covers = (
            f"{name[0].upper()}{name[1:]} covers {share:.0%} of the masks and most of their edges"
        )
        usual = coding == "values" and len(found.values) == 2 and common == 1
        if not usual and share >= NEARLY_ALL and along >= ALONG_EDGE:
            return common, f"{covers}; it is taken as background."
        if share > 0.5 and along > 0.5:
            return 0, f"{covers}, but 0 is taken as background."
        return 0, ""
    if share < COMMON and found.parts_of_others(common) < ONE_PART:
        return 0, ""  # objects that cover everything
    return common, f"The masks have no 0; {name}, which is most frequent, is taken as background."


def _kind(
    found: Statistics, others: Sequence[float], background: float, coding: Coding
) -> tuple[Kind, str]:
    """Return what the values are, and a sentence if they are not taken as objects."""
    if len(others) < 2:
        return "foreground", ""
    parts = found.parts_of_others(background)
    if parts >= SEVERAL and len(others) > MOST_CLASSES:
        raise InputError(
            f"The masks have {len(found.values)} values in many scattered parts, as pictures have, or "
            "masks after resizing or JPEG; save them again without either.",
            Remedy.ALL_OBJECTS,
        )
    largest = max(found.share(value) for value in others)
    lasting = min(found.pairs[found.values == value].sum() for value in others) == found.planes
    huge = len(others) <= 4 and largest > LARGE_CLASS and lasting
    if coding == "channels" or parts >= SEVERAL or huge:
        why = "each has several parts" if parts >= SEVERAL else "they cover large areas"
        why = "" if coding == "channels" else f", since {why}"
        names = [_name(value, coding) for value in others[:6]]
        listed = ", ".join(names) + (", ..." if len(others) > 6 else "")
        what = {"values": "values", "colours": "colours", "channels": "channels"}[coding]
        return "classes", f"The {what} of the masks ({listed}) are taken as classes{why}."
    return "instances", ""


def meaning_of_classes(
    planes: Sequence[np.ndarray],
    valid: Sequence[np.ndarray | None],
    names: Sequence[str],
    coding: Coding = "values",
    background: int | None = None,
) -> Meaning:
    """Work out which value of masks stands for which of several classes.

    Classes have the values 1, 2, ... in the order of their names; the value of the background is
    left out, and 0 is the first one if it is not the background. If there are as many other
    values as classes, these are the classes, in ascending order.

    Raises
    ------
    InputError
        If the values do not fit the classes.
    """
    inside = [p if v is None else p[v] for p, v in zip(planes, valid, strict=True)]
    present = sorted({value for plane in inside for value in np.unique(plane).tolist()})
    note, zero = "", float(background or 0)
    if background is None and coding != "values":
        zero, note = _background(statistics(planes, valid), coding)
    others = tuple(value for value in present if value != zero)
    start = 0 if zero != 0 and 0 in present else 1
    numbers = [n for n in range(start, start + len(names) + 1) if n != zero]
    values: tuple[float, ...] = tuple(numbers[: len(names)])
    if coding == "colours" or not set(others) <= set(values):
        if len(others) != len(names):
            highest = _name(others[-1], coding)
            what = highest if coding != "values" else f"the value {highest}"
            listed = ", ".join(_name(value, coding) for value in others[:8])
            raise InputError(
                f"A mask has {what}, but only {len(names)} classes were named; name all of them, in the "
                f"order of their values ({listed}).",
                Remedy.NAME_BACKGROUND,
            )
        values = others
        pairs = zip(names, others, strict=True)
        listed = ", ".join(f"{name} is {_name(value, coding)}" for name, value in pairs)
        note = f"{note} In the masks, {listed}.".strip()
    return Meaning("classes", zero, None, values, note)


def is_picture(plane: np.ndarray) -> bool:
    """Return whether a plane has many values and no flat areas, as a picture and no mask has."""
    return len(np.unique(plane[::2, ::2])) > MOST_CLASSES and flatness([plane]) < NOISY


def picture_as_mask(name: str) -> InputError:
    """Return the error for a mask that looks like a picture."""
    return InputError(
        f"The mask {name} looks like a picture: it has many values and no flat areas; is it the image?",
        Remedy.ALL_OBJECTS,
    )


def is_soft(planes: Sequence[np.ndarray]) -> bool:
    """Return whether masks are black and white with soft edges."""
    return soft_middle(planes, statistics(planes, [None] * len(planes))) is not None


def check_not_swapped(images: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> None:
    """Check that images and masks of unusual values are not given in each other's place.

    Parameters
    ----------
    images, masks
        Planes of both, as read.

    Raises
    ------
    InputError
        If the images have flat areas, as masks have, and the masks have none.
    """
    grey = [image for image in images if image.ndim == 2]
    if grey and flatness(grey) >= FLAT > flatness(masks):
        raise InputError(
            "The images look like masks, and the masks look like pictures; name the images first, and "
            "then the masks."
        )


def _name(value: float, coding: Coding) -> str:
    if coding == "colours":
        return f"colour {'-'.join(map(str, colour_of(int(value))))}"
    if coding == "channels":
        return f"channel {_number(value)}"
    return _number(value)


def _number(value: float) -> str:
    return f"{value:g}" if value % 1 or abs(value) < 1e6 else str(int(value))
