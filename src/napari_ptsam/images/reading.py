"""Open image files as planes: TIFF (with ImageJ and OME-TIFF), PNG, JPEG, NPY and zarr."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from napari_ptsam.errors import InputError
from napari_ptsam.images.addresses import Address, Location, as_location, reason_of
from napari_ptsam.images.axes import axes_for_mask
from napari_ptsam.images.locations import shown_name, split_location
from napari_ptsam.images.opened import OpenedImage, unreadable
from napari_ptsam.images.pictures import TooLargeError, open_picture
from napari_ptsam.images.planes import Planes
from napari_ptsam.images.raw_files import RAW, open_raw
from napari_ptsam.images.tiff import SCANS, TIFF, open_tiff
from napari_ptsam.images.zarrs import ZARR, is_zarr, open_zarr
from napari_ptsam.io.safe_loading import unreadable_as

JPEG = (".jpg", ".jpeg")
PICTURES = (".png", *JPEG)
SUFFIXES = (*TIFF, *PICTURES, ".npy", ZARR)


def list_images(folder: str | Path, accepts: Callable[[Path], bool] | None = None) -> list[Path]:
    """Return the image files of a folder in natural order; see `natural_order`.

    Files of microscopes and scanners are listed only where there is no image of another kind,
    since a folder often holds both the originals and what was saved from them.

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
        shown = [path for path in folder.iterdir() if path.name[0] != "."]
        files = list(filter(accepts or is_image, shown)) or list(filter(is_original, shown))
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be read ({error.strerror}).") from error
    if not files:
        raise InputError(f"The folder {folder} holds no images ({', '.join(SUFFIXES)}).")
    return natural_order(files)


def is_image(path: Path) -> bool:
    """Return whether a path is a file or zarr folder with the suffix of an image."""
    suffix = path.suffix.lower()
    if path.name.lower().endswith("_seg.npy"):  # objects as Cellpose saves them
        return False
    return path.is_dir() if suffix == ZARR else suffix in SUFFIXES and path.is_file()


def is_original(path: Path) -> bool:
    """Return whether a path is a file as a microscope or a scanner writes it."""
    return path.suffix.lower() in (*RAW, *SCANS) and path.is_file()


def natural_order(paths: Iterable[Path]) -> list[Path]:
    """Sort paths by file name, with digits compared as numbers: ``a2`` before ``a10``."""
    from natsort import natsorted

    return natsorted(paths, key=lambda path: path.name)


def open_image(
    path: str | Path | Address,
    axes: str | None = None,
    labels: bool = False,
    alone: bool = False,
) -> Planes:
    """Open an image file. Its planes are read when they are accessed.

    Parameters
    ----------
    path
        A TIFF, PNG, JPEG or NPY file, or a zarr array or OME-Zarr image (a
        folder ``*.zarr``, or its address, such as ``https://...``); CZI, LIF
        and ND2 files if bioio is installed. ``plate.zarr/A/1/0`` is an image in
        a plate, ``slides.lif/NAME`` one of a file with several images.
    axes
        Overrides the axes that the file states, or that its shape suggests.
    labels
        Whether the file is a mask. The indices of a palette are then the values
        of the mask; otherwise they stand for colours.
    alone
        Whether to leave out the planes of an image that lie in other files: an
        OME-TIFF may be one of several files of a single image.

    Raises
    ------
    InputError
        If the file is missing, damaged or of another kind, or its axes are wrong.
    """
    where = as_location(path)
    image = None
    try:
        folder = isinstance(where, Address) or is_zarr(where)
        if not folder:
            where, image = split_location(where)
        if not folder and isinstance(where, Path) and not where.is_file():
            raise InputError(f"There is no file {where}; check the path.")
    except OSError as error:
        raise InputError(f"{where} cannot be read ({error.strerror}).") from error
    suffix = ZARR if folder else where.suffix.lower()
    several = (*TIFF, *SCANS, *RAW)
    if suffix not in (*SUFFIXES, *several) or (suffix == ZARR and not folder):
        raise InputError(f"{where} is no image that can be read here ({', '.join(SUFFIXES)}).")
    if image is not None and suffix not in several:
        raise InputError(f"{where} is a file with a single image; leave out /{image}.")
    if labels and suffix in JPEG:
        raise InputError(
            f"The mask {where} is a JPEG, which changes its values; save it as PNG or TIFF."
        )
    with unreadable_as(InputError, partial(_damaged, where)):
        opened = _opened(where, suffix, image, labels, alone)
    if labels:
        axes = axes_for_mask(axes, opened.array.shape, opened.axes)
    if axes and opened.axes == axes.upper() + "S":
        axes = opened.axes  # colours, such as those of a palette, are on a further axis
    where = where if image is None else where / image
    guarded = _Guarded(opened.array, where)
    planes = Planes(guarded, axes or opened.axes, shown_name(where), opened.pixel_size)
    planes.path, planes.channel_names, planes.notes = where, opened.channel_names, opened.notes
    planes.time_step = opened.time_step
    return planes


def planes_of_mask(image: Planes, mask: Planes) -> Planes:
    """Return the planes of an image that a mask is for.

    If the image is spread over several files, and the mask has as many planes as
    the file that was opened, these are the planes in that file.
    """
    # There are notes on every image in several files, and few others have to be opened again.
    if len(mask) == len(image) or not isinstance(image.path, Path) or not image.notes:
        return image
    alone = open_image(image.path, alone=True)
    return alone if len(alone) == len(mask) else image


def _opened(
    where: Location, suffix: str, image: str | None, labels: bool, alone: bool
) -> OpenedImage:
    """Open an image with the reader for its suffix."""
    if isinstance(where, Address) or suffix == ZARR:
        return open_zarr(where)
    if suffix in (*TIFF, *SCANS):
        return open_tiff(where, labels, image, alone)
    if suffix in RAW:
        return open_raw(where, image)
    if suffix == ".npy":
        return OpenedImage(_open_npy(where))
    return OpenedImage(*open_picture(where, labels))


def _damaged(path: Location, error: Exception) -> str:
    if isinstance(path, Address):
        return f"{path} cannot be read ({reason_of(error)})."
    if isinstance(error, PermissionError):
        return f"{path} cannot be read: you have no permission to."
    if isinstance(error, MemoryError):
        return f"{path} cannot be read: it is damaged, or too large for this computer's memory."
    if isinstance(error, TooLargeError):
        return f"{path} is too large for its kind of file; save it as TIFF."
    if "imagecodecs" in str(error):
        return f"{path} is compressed in a way that needs the package imagecodecs; install it."
    return unreadable(path)


def _open_npy(path: Path) -> Any:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise ValueError("an archive of arrays")
    return array


class _Guarded:
    """An array whose reading errors name the file."""

    def __init__(self, array: Any, path: Location) -> None:
        self._array, self._path = array, path
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        with unreadable_as(InputError, partial(_damaged, self._path)):
            return np.asarray(self._array[index])
