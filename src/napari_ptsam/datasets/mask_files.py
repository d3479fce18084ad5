"""Open mask files, whose pixels do not always hold the values that viewers show."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_ptsam.errors import InputError
from napari_ptsam.images.planes import Planes
from napari_ptsam.images.reading import JPEG, open_image
from napari_ptsam.images.tiff import TIFF
from napari_ptsam.io.safe_loading import read_or


def open_mask_file(path: Path, axes: str | None = None, alone: bool = False) -> Planes:
    """Open a file of masks.

    In TIFF files in which 0 is white, white pixels of 1 bit, and of black and white masks,
    are read as they are shown: white is the highest value. JPEG files are opened, too; whether
    they are black and white masks is checked when their values are interpreted.

    Parameters
    ----------
    path
        The file.
    axes
        Axes without channels; None for those named in the file, or guessed from the shape.
    alone
        Whether to leave out the planes that lie in other files of the same mask.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in JPEG:
        return open_image(path, axes)
    try:
        planes = open_image(path, axes, labels=True, alone=alone)
    except InputError:
        if axes is None:
            raise
        planes = open_image(path, None, labels=True, alone=alone)  # it may have one-hot channels
    white_is_zero = read_or("", lambda: _white_is_zero(path)) if suffix in TIFF else ""
    if white_is_zero:
        array = _WhiteIsZero(planes, white_is_zero == "yes")
        inverted = Planes(array, _plane_axes(planes), planes.name, planes.pixel_size)
        inverted.path, inverted.notes = planes.path, planes.notes
        return inverted
    return planes


def is_lossy(planes: Planes) -> bool:
    """Return whether the values of a mask come from a file that changes them."""
    return isinstance(planes.path, Path) and planes.path.suffix.lower() in JPEG


def _white_is_zero(path: Path) -> Literal["", "yes", "perhaps"]:
    """Return whether a file stores white as 0.

    ImageJ writes so for an inverted look-up table, and then the values are meant as they are.
    tifffile does by default for bool arrays, so that there the pixels have to tell.
    """
    import tifffile

    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        if int(page.photometric) != 0 or file.is_imagej:
            return ""
        return "perhaps" if page.bitspersample == 1 and "tifffile" in page.software else "yes"


def _plane_axes(planes: Planes) -> str:
    channels = planes.channels > 1
    return planes.leading_axes + "YX" + ("S" if planes.rgb else "C") * channels


class _WhiteIsZero:
    """The planes of a mask, in which white is the highest value where the file has only 0 for it.

    Parameters
    ----------
    planes
        The planes as stored.
    surely
        Whether 1 bit is black. Otherwise, the value of most pixels is taken to be black.
    """

    def __init__(self, planes: Planes, surely: bool) -> None:
        self._planes, self._surely, self.dtype = planes, surely, planes.dtype
        channels = (planes.channels,) * (planes.channels > 1)
        self.shape = (*planes.leading, *planes.shape, *channels)

    def __getitem__(self, index: tuple[Any, ...]) -> np.ndarray:
        at = index[: len(self._planes.leading)]
        number = int(np.ravel_multi_index(at, self._planes.leading)) if at else 0
        plane: np.ndarray = self._planes[number]
        rest = index[len(self._planes.leading) :]
        if plane.dtype == bool:
            return (~plane if self._surely or plane.mean() > 0.5 else plane)[rest]
        if plane.dtype.kind == "u" and plane.max(initial=0) == np.iinfo(plane.dtype).max:
            return (np.iinfo(plane.dtype).max - plane)[rest]
        return plane[rest]
