"""Open image files as planes: TIFF (with ImageJ and OME-TIFF), PNG, JPEG, NPY and zarr."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from napari_ptsam.errors import InputError
from napari_ptsam.images.axes import axes_for_mask
from napari_ptsam.images.opened import OpenedImage
from napari_ptsam.images.pictures import TooLargeError, open_picture
from napari_ptsam.images.planes import Planes
from napari_ptsam.images.tiff import open_tiff
from napari_ptsam.images.zarrs import ZARR, is_zarr, open_zarr
from napari_ptsam.io.safe_loading import unreadable_as

TIFF = (".tif", ".tiff")
JPEG = (".jpg", ".jpeg")
PICTURES = (".png", *JPEG)
SUFFIXES = (*TIFF, *PICTURES, ".npy", ZARR)


def list_images(folder: str | Path, accepts: Callable[[Path], bool] | None = None) -> list[Path]:
    """Return the image files of a folder in natural order; see `natural_order`.

    Parameters
    ----------
    folder
        The folder.
    accepts
        Whether a path is listed; by default, images are.

    Raises
    ------
    InputError
        If the folder does not exist, or holds no image.
    """
    folder = Path(folder)
    try:
        if not folder.is_dir():
            raise InputError(f"There is no folder {folder}; check the path.")
        accepts = accepts or is_image
        files = [path for path in folder.iterdir() if accepts(path) and path.name[0] != "."]
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be read ({error.strerror}).") from error
    if not files:
        raise InputError(f"The folder {folder} holds no images ({', '.join(SUFFIXES)}).")
    return natural_order(files)


def is_image(path: Path) -> bool:
    """Return whether a path is a file or zarr folder with the suffix of an image."""
    suffix = path.suffix.lower()
    return path.is_dir() if suffix == ZARR else suffix in SUFFIXES and path.is_file()


def natural_order(paths: Iterable[Path]) -> list[Path]:
    """Sort paths by file name, with digits compared as numbers: ``a2`` before ``a10``."""
    from natsort import natsorted

    return natsorted(paths, key=lambda path: path.name)


def open_image(path: str | Path, axes: str | None = None, labels: bool = False) -> Planes:
    """Open an image file. Its planes are read when they are accessed.

    Parameters
    ----------
    path
        A TIFF, PNG, JPEG or NPY file, or a zarr array or OME-Zarr image (a
        folder ``*.zarr``).
    axes
        Overrides the axes that the file states, or that its shape suggests.
    labels
        Whether the file is a mask. The indices of a palette are then the values
        of the mask; otherwise they stand for colours.

    Raises
    ------
    InputError
        If the file is missing, damaged or of another kind, or its axes are wrong.
    """
    path = Path(path)
    try:
        folder = is_zarr(path)
        if not path.is_file() and not folder:
            raise InputError(f"There is no file {path}; check the path.")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error
    suffix = ZARR if folder else path.suffix.lower()
    if suffix not in SUFFIXES or (suffix == ZARR and not folder):
        raise InputError(f"{path} is no image that can be read here ({', '.join(SUFFIXES)}).")
    if labels and suffix in JPEG:
        raise InputError(
            f"The mask {path} is a JPEG, which changes its values; save it as PNG or TIFF."
        )
    with unreadable_as(InputError, partial(_damaged, path)):
        if suffix in TIFF:
            opened = open_tiff(path, labels)
        elif suffix == ".npy":
            opened = OpenedImage(_open_npy(path))
        elif suffix == ZARR:
            opened = open_zarr(path)
        else:
            opened = OpenedImage(*open_picture(path, labels))
    if labels:
        axes = axes_for_mask(axes, opened.array.shape, opened.axes)
    if axes and opened.axes == axes.upper() + "S":
        axes = opened.axes  # colours, such as those of a palette, are on a further axis
    guarded = _Guarded(opened.array, path)
    planes = Planes(guarded, axes or opened.axes, path.name, opened.pixel_size)
    planes.path, planes.channel_names = path, opened.channel_names
    planes.time_step = opened.time_step
    return planes


def _damaged(path: Path, error: Exception) -> str:
    if isinstance(error, PermissionError):
        return f"{path} cannot be read: you have no permission to."
    if isinstance(error, MemoryError):
        return f"{path} cannot be read: it is damaged, or too large for this computer's memory."
    if isinstance(error, TooLargeError):
        return f"{path} is too large for its kind of file; save it as TIFF."
    if "imagecodecs" in str(error):
        return f"{path} is compressed in a way that needs the package imagecodecs; install it."
    return f"{path} cannot be read: the file is truncated, damaged or of another kind."


def _open_npy(path: Path) -> Any:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise ValueError("an archive of arrays")
    return array


class _Guarded:
    """An array whose reading errors name the file."""

    def __init__(self, array: Any, path: Path) -> None:
        self._array, self._path = array, path
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        with unreadable_as(InputError, partial(_damaged, self._path)):
            return np.asarray(self._array[index])
