"""Open the files of microscopes (CZI, LIF, ND2) with bioio, where it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_ptsam.errors import InputError
from napari_ptsam.images.inner_names import chosen_image, inner_names
from napari_ptsam.images.opened import OpenedImage
from napari_ptsam.images.planes import PixelSize

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
    data, axes = opened.dask_data, opened.dims.order
    kept = [n for n, axis in enumerate(axes) if data.shape[n] > 1 or axis in "YXS"]
    array = data[tuple(slice(None) if n in kept else 0 for n in range(len(axes)))]
    names = tuple(str(name) for name in opened.channel_names or ())
    letters = "".join(axes[n] for n in kept)
    return OpenedImage(array, letters, _pixel_size(opened), names if "C" in letters else ())


def _bioimage(path: Path) -> Any:
    """Open a file with bioio, in chunks of one plane where its reader offers that."""
    try:
        from bioio import BioImage
        from bioio_base.exceptions import UnsupportedFileFormatError
    except ImportError as error:
        raise _not_installed(path) from error
    try:
        try:
            return BioImage(path, chunk_dims=["Y", "X"])
        except TypeError:
            return BioImage(path)
    except (ImportError, UnsupportedFileFormatError) as error:
        raise _not_installed(path) from error


def _not_installed(path: Path) -> InputError:
    reader = f"bioio-{path.suffix.lower().lstrip('.')}"
    return InputError(
        f"To read {path}, the packages bioio and {reader} are needed; install them with "
        "pip install 'napari-ptsam[bioio]', or save the image as OME-TIFF."
    )


def _pixel_size(opened: Any) -> PixelSize | None:
    """Return the pixel size in micrometers, which is bioio's unit; None if it is not known."""
    size = opened.physical_pixel_sizes
    if not size.Y or not size.X:
        return None
    return PixelSize(float(size.Y), float(size.X), float(size.Z) if size.Z else None)
