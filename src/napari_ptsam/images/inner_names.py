"""Names of the images inside of one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_ptsam.errors import InputError
from napari_ptsam.io.writing import safe_file_name


def inner_names(names: Sequence[str]) -> list[str]:
    """Return a name for each image of a file, by which it can be chosen and its result be named.

    Parameters
    ----------
    names
        The names in the file. They may be empty or equal; the images are then
        called ``0``, ``1``, ...
    """
    safe = [safe_file_name(name, "") for name in names]
    if all(safe) and len({name.lower() for name in safe}) == len(safe):
        return safe
    return [str(number) for number in range(len(names))]


def chosen_image(path: Path, names: Sequence[str], image: str | None) -> int:
    """Return the number of the image that is chosen by its name or number.

    Parameters
    ----------
    path
        The file.
    names
        The result of `inner_names`.
    image
        Name or number; may be None if there is a single image.

    Raises
    ------
    InputError
        If there are several images and none is chosen, or there is no such image.
    """
    listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    if image is None:
        if len(names) == 1:
            return 0
        raise InputError(
            f"{path} holds {len(names)} images ({listed}); name one of them, for instance "
            f"{path / names[0]}."
        )
    if image in names:
        return names.index(image)
    if image.isdecimal() and int(image) < len(names):
        return int(image)
    raise InputError(f"{path} has no image called {image}; it holds {listed}.")
