"""Letters for the axes of arrays: guessed from a shape, or taken from the names of the axes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from napari_ptsam.errors import InputError
from napari_ptsam.images.tiling import MINIMUM_SIDE

CHANNEL_AXES = "CS"
"""C stands for channels, S for red, green and blue samples."""

INDEPENDENT = {"I": "image", "P": "position"}
"""Axes that count images that are independent of each other, such as the files of a folder, and
what they count."""

PLANE_AXES = "TZYX"
"""Axes of an array without channels whose axes are not known; the last of these letters."""

NAMES = {
    "T": ("t", "time", "times", "timepoint", "timepoints", "frame", "frames"),
    "Z": ("z", "depth", "slice", "slices", "section", "sections"),
    "Y": ("y", "row", "rows", "height"),
    "X": ("x", "col", "cols", "column", "columns", "width"),
    "C": ("c", "ch", "channel", "channels"),
    "S": ("s", "sample", "samples", "rgb", "rgba"),
    "I": ("i", "image", "images", "file", "files"),
    "P": ("p", "position", "positions"),
}
"""Names of axes in lower case, by the letter that stands for them."""
_LETTERS = {name: letter for letter, names in NAMES.items() for name in names}

_UNNAMED = re.compile(r"(axis |dim_)?-?\d*")
"""Names that napari and xarray give to axes that nobody has named."""

OTHER = "ABDEFGHIJKLMNOPQRUVW"
"""Letters for axes of any other meaning."""


def guess_axes(shape: Sequence[int]) -> str:
    """Guess the axes of an array.

    The last axis holds channels if it is shorter than the smallest side of a
    plane. The axes before it are (y, x), (z, y, x) or (t, z, y, x). If that does
    not fit, the axes of length 1 are disregarded.

    Raises
    ------
    InputError
        If the array has fewer than two or more than four axes besides channels.
    """
    samples = len(shape) > 2 and shape[-1] < MINIMUM_SIDE
    channels = ("S" if shape[-1] in (3, 4) else "C") if samples else ""
    spatial = len(shape) - len(channels)
    if spatial == 5 and shape[1] == 1 and channels != "C":
        return "TCZYX" + channels
    fits = 2 <= spatial <= 4 and min(shape[:spatial][-2:]) >= MINIMUM_SIDE
    long = [size for size in shape if size != 1]
    # Of five axes with a longer second one, this one is most likely the channels.
    if not fits and spatial != 5 and len(long) < len(shape):
        return _with_singletons(guess_axes(long), shape)
    if not 2 <= spatial <= 4:
        raise InputError(
            f"An array of shape {tuple(shape)} is no plane, (z, y, x) or (t, z, y, x) stack; "
            "name its axes, for instance axes='TCYX'."
        )
    return PLANE_AXES[-spatial:] + channels


def fitting_axes(axes: str, shape: Sequence[int]) -> str:
    """Return a letter for each axis of an array, also if those of length 1 were left out.

    Parameters
    ----------
    axes
        The letters as given, in upper case.
    shape
        Shape of the array.

    Returns
    -------
    str
        The axes as given, unless they fit the array without its axes of length 1.
    """
    long = sum(size != 1 for size in shape)
    return _with_singletons(axes, shape) if len(axes) == long < len(shape) else axes


def axes_for_mask(axes: str | None, shape: Sequence[int], stated: str | None = None) -> str | None:
    """Return the axes of a mask, which may have other axes of length 1 than its image.

    Parameters
    ----------
    axes
        The axes that were given for images and masks.
    shape
        Shape of the mask.
    stated
        The axes that its file states.

    Returns
    -------
    str or None
        The given axes if they fit, else those of the file. None lets them be guessed.
    """
    if axes is not None and len(fitting_axes(axes.upper(), shape)) == len(shape):
        return axes
    long = [size for size in shape if size != 1]
    if stated is not None or len(shape) < 5 or len(long) == len(shape):
        return stated
    return _with_singletons(guess_axes(long), shape)  # a mask has no channels


def _with_singletons(axes: str, shape: Sequence[int]) -> str:
    """Insert a letter for each axis of length 1 into the letters of the others."""
    given, spare = iter(axes), _spare_letters(axes)
    return "".join(next(spare) if size == 1 else next(given) for size in shape)


def _spare_letters(taken: Iterable[str], first: str = "C") -> Iterator[str]:
    """Yield letters that are not taken."""
    return iter([letter for letter in dict.fromkeys(f"{first}{OTHER}TZ") if letter not in taken])


def any_named(names: Iterable[object]) -> bool:
    """Return whether somebody has named an axis; programs give names like ``dim_0`` to the others."""
    return not all(name is None or _UNNAMED.fullmatch(str(name).strip().lower()) for name in names)


def axes_of_names(
    names: Sequence[object], shape: Sequence[int], own_letters: bool = True
) -> str | None:
    """Return a letter for each axis of an array whose axes have names.

    If neither y nor x is among the names, the last two axes without a name are y and x.
    Further axes without a name are z or t.

    Parameters
    ----------
    names
        Names such as ``time``, ``z`` or ``channel``. Names like ``dim_0``, which programs give
        to axes, do not count.
    shape
        Shape of the array. An axis called samples holds a colour if it is 3 or 4 long.
    own_letters
        Whether axes with another meaning, such as positions, have a letter of their own. Else
        they are z or t, too.

    Returns
    -------
    str or None
        None if no axis has a name, or the names do not tell which axes are y and x.
    """
    if len(names) != len(shape) or not any_named(names):
        return None
    words = ["" if name is None else str(name).strip().lower() for name in names]
    letters = [_LETTERS.get(word, "") for word in words]
    letters = [
        "" if letter == "S" and size not in (3, 4) else letter
        for letter, size in zip(letters, shape, strict=True)
    ]
    unnamed = [i for i, word in enumerate(words) if _UNNAMED.fullmatch(word)]
    if not {"Y", "X"} & set(letters) and len(unnamed) >= 2:
        letters[unnamed[-2]], letters[unnamed[-1]] = "Y", "X"
    found = [letter for letter in letters if letter]
    if len(set(found)) < len(found) or not {"Y", "X"} <= set(found):
        return None
    for i in reversed(range(len(letters))):
        if letters[i]:
            continue
        first = "ZT"
        if own_letters and i not in unnamed:
            first = words[i][0].upper() if words[i][0].upper() in OTHER else ""
        letters[i] = next(_spare_letters(letters, first))
    return "".join(letters)


def axis_column(axis: str) -> str:
    """Return the name that the column with positions on an axis has in a table."""
    return INDEPENDENT.get(axis, axis.lower())
