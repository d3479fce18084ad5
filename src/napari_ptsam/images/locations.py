"""Name the images inside of files, plates and servers like files in folders.

``plate.zarr/A/1/0`` is a field of a plate, ``slides.lif/Series 2`` or ``slides.lif/1`` an image of
a file with several.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from napari_ptsam.images.addresses import Address, Location
from napari_ptsam.images.ome_files import files_of_image
from napari_ptsam.images.raw_files import is_raw, raw_images
from napari_ptsam.images.tiff import SCANS, TIFF, tiff_images
from napari_ptsam.images.zarrs import ZARR, holds_zarr, is_zarr, zarr_images


def split_location(where: Location) -> tuple[Location, str | None]:
    """Split the location of an image inside of a file into the file and the image's name.

    Returns
    -------
    file
        The file; `where` itself if it does not lead into a file.
    image
        Name of the image in the file; None for `where` itself.
    """
    if isinstance(where, Path) and not where.exists():
        for parent in where.parents:
            if parent.is_file():
                return parent, where.relative_to(parent).as_posix()
    return where, None


def outermost(where: Location) -> tuple[Location, tuple[str, ...]]:
    """Return the outermost zarr or file that a location leads into, and the names inside it."""
    if isinstance(where, Address):
        for number, part in enumerate(where.parts):
            if part.lower().endswith(ZARR):
                inside = where.parts[number + 1 :]
                return Address(where.url.removesuffix("/".join(("", *inside)))), inside
        return where, ()
    whole = where.absolute()
    for parent in reversed(whole.parents):
        if parent.is_file() or parent.suffix.lower() == ZARR or holds_zarr(parent):
            return parent, whole.relative_to(parent).parts
    return where, ()


def shown_name(where: Location) -> str:
    """Return the name of an image in messages, such as ``plate.zarr/A/1/0``."""
    outer, inside = outermost(where)
    return "/".join((outer.name, *inside))


def result_name(where: Location) -> str:
    """Return the name of an image's result without an ending, such as ``plate-A-1-0``."""
    outer, inside = outermost(where)
    return "-".join((without_endings(outer), *inside))


def without_endings(where: Location) -> str:
    """Return the name of a file, folder or address without its endings, ``.ome`` among them."""
    return where.name.removesuffix(where.suffix).removesuffix(".ome")


def images_at(where: Location) -> list[Location]:
    """Return the images at a location: those of a plate or of a file with several, or itself.

    A location that cannot be read is returned, and reported when it is opened.
    """
    try:
        if isinstance(where, Address) or is_zarr(where):
            return zarr_images(where)
        if is_raw(where):
            names = raw_images(where)
        elif where.suffix.lower() in (*TIFF, *SCANS) and where.is_file():
            names = tiff_images(where)
        else:
            return [where]
    except Exception:
        return [where]
    return [where] if len(names) < 2 else [where / name for name in names]


def one_of_each_image(paths: Iterable[Path]) -> list[Path]:
    """Return files such that no two belong to the same image.

    Parameters
    ----------
    paths
        Files and folders. An OME-TIFF may be one of several files of an image; of these, the
        first one that names the others is kept.
    """
    found: list[Path] = []
    covered: set[Path] = set()
    for path in paths:
        if path in covered:
            continue
        files = files_of_image(path) if path.suffix.lower() in TIFF else frozenset([path])
        if len(files) > 1:  # some of them may be listed already, since they do not name the others
            covered |= files
            found = [other for other in found if other not in files]
        found.append(path)
    return found
