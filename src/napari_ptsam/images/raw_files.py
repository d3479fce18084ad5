"""Open the files of microscopes (CZI, LIF, ND2) with bioio, where it is installed."""

from __future__ import annotations

from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from napari_ptsam.errors import InputError
from napari_ptsam.images.inner_names import chosen_image, inner_names
from napari_ptsam.images.opened import OpenedImage
from napari_ptsam.images.planes import PixelSize, TimeStep
from napari_ptsam.io.safe_loading import read_or

RAW = (".czi", ".lif", ".nd2")
"""Suffixes of the files that are read with bioio."""


def is_raw(path: Path) -> bool:
    """Return whether a path is a file with the suffix of a microscope's format."""
    return path.suffix.lower() in RAW and path.is_file()


def raw_images(path: Path) -> list[str]:
    """Return the names of the images (scenes) in a file.

    Raises
    ------
    InputError
        If bioio, or its reader for the file, is not installed.
    Exception
        Any exception that the reader raises on damaged files.
    """
    return inner_names(_bioimage(path).scenes)


def open_raw(path: Path, image: str | None = None) -> OpenedImage:
    """Open an image of a file. Its planes are read when they are accessed.

    Parameters
    ----------
    path
        The file.
    image
        Name or number of the image (scene), if the file holds several.

    Raises
    ------
    InputError
        If bioio, or its reader for the file, is not installed, or if the file
        holds several images and none is chosen.
    Exception
        Any exception that the reader raises on damaged files.
    """
    opened = _bioimage(path)
    number = chosen_image(path, inner_names(opened.scenes), image)
    opened.set_scene(opened.scenes[number])
    try:
        data, axes = opened.dask_data, opened.dims.order
    except ImportError as error:  # some readers import a package only now
        raise _not_installed(path) from error
    if _kind(path) == "czi" and "S" in axes:
        data = _Colours(opened)
    kept = [n for n, axis in enumerate(axes) if data.shape[n] > 1 or axis in "YXS"]
    names = tuple(str(name) for name in opened.channel_names or ())
    letters = "".join(axes[n] for n in kept)
    return OpenedImage(
        _Squeezed(data, kept),
        letters,
        _pixel_size(opened),
        names if "C" in letters else (),
        _time_step(opened),
    )


class _Squeezed:
    """An array without its axes of length 1."""

    def __init__(self, array: Any, kept: list[int]) -> None:
        self._array, self._kept = array, kept
        self.shape, self.dtype = tuple(array.shape[axis] for axis in kept), array.dtype

    def __getitem__(self, index: tuple[int | slice, ...]) -> np.ndarray:
        whole: list[int | slice] = [0] * len(self._array.shape)
        for axis, part in zip(self._kept, index, strict=True):
            whole[axis] = part
        return np.asarray(self._array[tuple(whole)])


class _Colours:
    """The colours of a CZI file, read at once: bioio-czi 3.0 gives one sample thrice otherwise.

    The samples of CZI are blue, green and red.
    """

    def __init__(self, opened: Any) -> None:
        self._opened = opened
        self.shape, self.dtype = opened.shape, np.dtype(opened.dtype)

    def __getitem__(self, index: tuple[int | slice, ...]) -> np.ndarray:
        return self._opened.data[index][..., ::-1]


def _bioimage(path: Path) -> Any:
    """Open a file with bioio, in chunks of one plane where its reader offers that."""
    try:
        from bioio import BioImage

        reader = import_module(f"bioio_{_kind(path)}").Reader
    except ImportError as error:
        raise _not_installed(path) from error
    # By itself, bioio would try all readers, and log what each of them says.
    known = signature(reader).parameters
    in_planes = {"chunk_dims": ["Y", "X"]} if {"chunk_dims", "kwargs"} & set(known) else {}
    return BioImage(path, reader=reader, **in_planes)


def _not_installed(path: Path) -> InputError:
    return InputError(
        f"To read {path}, the packages bioio and bioio-{_kind(path)} are needed; install them "
        "with pip install 'napari-ptsam[bioio]', or save the image as OME-TIFF."
    )


def _kind(path: Path) -> str:
    return path.suffix.lower().lstrip(".")


def _pixel_size(opened: Any) -> PixelSize | None:
    """Return the pixel size in micrometers, which is bioio's unit; None if it is not known."""
    size = opened.physical_pixel_sizes
    if not size.Y or not size.X:
        return None
    return PixelSize(float(size.Y), float(size.X), float(size.Z) if size.Z else None)


def _time_step(opened: Any) -> TimeStep | None:
    """Return the time between frames; None if it is not known. Some readers do not tell it."""
    seconds = read_or(None, lambda: float(opened.time_interval.total_seconds()))
    return TimeStep(seconds) if seconds else None
