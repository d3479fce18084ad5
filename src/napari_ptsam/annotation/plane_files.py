"""Write and read single planes and masks as TIFF files, which Fiji opens too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_ptsam.errors import InputError, OutputError, SessionError, framed
from napari_ptsam.images.planes import PixelSize
from napari_ptsam.images.reading import open_image
from napari_ptsam.io.safe_loading import unreadable_as
from napari_ptsam.io.writing import replacing

IMAGEJ_DTYPES = ("uint8", "uint16", "float32")
"""Dtypes that are written as ImageJ TIFFs, which hold the pixel size; others are plain TIFFs."""
COLOUR_DTYPES = ("uint8", "uint16")
"""Dtypes in which red, green and blue are written as colours; in others they are channels."""
SMALLEST, LARGEST = 1e-6, 1e6
"""Range of pixel sizes that are written into a TIFF."""


def write_plane_file(
    path: Path, pixels: np.ndarray, rgb: bool = False, size: PixelSize | None = None
) -> None:
    """Write a plane as a compressed file, replacing one that exists.

    Parameters
    ----------
    path
        Path that ends with ``.tif``.
    pixels
        Pixels: bool, integer or float, shape (y, x) or (y, x, channels).
    rgb
        Whether the channels are red, green and blue.
    size
        Pixel size, if it is known.

    Raises
    ------
    SessionError
        If the file cannot be written.
    """
    import tifffile

    colour = rgb and pixels.ndim == 3 and pixels.dtype.name in COLOUR_DTYPES
    if pixels.ndim == 3 and not colour:
        pixels = np.moveaxis(pixels, -1, 0)
    axes = "YX" if pixels.ndim == 2 else "YXS" if colour else "CYX"
    try:
        with replacing(path, overwrite=True) as beside:
            tifffile.imwrite(
                beside,
                np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("=")),
                compression="zlib",
                photometric="rgb" if colour else "minisblack",
                **_options(pixels.dtype, axes, size),
            )
    except OutputError as error:
        raise SessionError(framed(error, before="The session is not saved: ")) from error


def _options(dtype: np.dtype, axes: str, size: PixelSize | None) -> dict[str, Any]:
    metadata = {"axes": axes}
    options: dict[str, Any] = {"metadata": metadata}
    # ImageJ knows colours of 8 bits only.
    if dtype.name not in IMAGEJ_DTYPES or (axes == "YXS" and dtype.itemsize > 1):
        return options
    options["imagej"] = True
    if size is not None and _fits(size):
        options["resolution"] = (1 / size.x, 1 / size.y)
        metadata["unit"] = "um" if size.unit == "micrometer" else size.unit
    return options


def _fits(size: PixelSize) -> bool:
    """Return whether TIFF and ImageJ can represent a pixel size."""
    plain = size.unit.isascii() and size.unit.isprintable()
    return plain and all(SMALLEST < length < LARGEST for length in (size.y, size.x))


def read_plane_file(
    path: Path, labels: bool = False, shape: tuple[int, int] | None = None
) -> np.ndarray:
    """Read a plane that `write_plane_file` wrote.

    Parameters
    ----------
    path
        Path of the file.
    labels
        Whether the file is a mask.
    shape
        Size that the plane must have: (y, x); None for any size.

    Returns
    -------
    numpy.ndarray
        Pixels of shape (y, x) or (y, x, channels), in the dtype that was written.

    Raises
    ------
    SessionError
        If the file is missing or damaged, holds more than one plane, or has
        another size.
    """
    with unreadable_as(SessionError, str):
        planes = open_image(path, labels=labels)
        if len(planes) > 1:
            raise InputError(f"{path} holds {len(planes)} planes instead of one.")
        if shape is not None and planes.shape != shape:  # checked before the pixels are read
            (y, x), (image_y, image_x) = planes.shape, shape
            raise InputError(f"{path} has {y} x {x} pixels, its image {image_y} x {image_x}.")
        if labels and (planes.channels > 1 or planes.dtype.kind not in "ui"):
            raise InputError(f"{path} is not a mask: a mask has a single channel of whole numbers.")
        plane: np.ndarray = planes[0]
    return plane


class SavedPlanes:
    """An array-like stack of plane files, each of which is read when it is indexed.

    Parameters
    ----------
    paths
        Paths of at least one file.

    Raises
    ------
    SessionError
        If the first file cannot be read.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = list(paths)
        first = read_plane_file(self._paths[0])
        self.shape, self.dtype = (len(self._paths), *first.shape), first.dtype

    def __getitem__(self, index: tuple[Any, ...]) -> np.ndarray:
        """Return a part of one plane, whose number is the first index."""
        path = self._paths[index[0]]
        plane = read_plane_file(path)
        if plane.shape != self.shape[1:]:
            raise SessionError(f"{path} has other channels than the first plane of its image.")
        return plane[index[1:]]
