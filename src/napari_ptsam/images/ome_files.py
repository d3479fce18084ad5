"""Images that are spread over several OME-TIFF files, as Micro-Manager and Prairie View save them.

The OME-XML of one file, or a companion file, says in which file and page each plane lies. Only
that text and the file that was asked for are read to open an image; the other files are read
plane by plane. tifffile would open all files at once, and fills missing planes with zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from napari_ptsam.images.tiff_pages import COMPLAINTS

MOST_PLANES = 10**7
"""Largest number of planes of an image; larger numbers in a file are taken for damage."""


@dataclass(frozen=True)
class OmeImage:
    """One image of an OME-XML text, and the places of its planes.

    Attributes
    ----------
    name
        Name of the image; may be empty.
    number
        Its position among the images of the text.
    axes
        Letters of the axes in front of the pages, such as ``TCZ``.
    paths
        The files, in the order in which the text names them, also missing ones.
    where
        File and page of each plane, or -1 for planes that are in no file; shape
        (..., 2) with `axes` in front.
    """

    name: str
    number: int
    axes: str
    paths: tuple[Path, ...]
    where: np.ndarray

    @cached_property
    def missing(self) -> list[Path]:
        """The files that do not exist."""
        return [path for path in self.paths if not path.is_file()]

    def has_planes_in(self, path: Path) -> bool:
        """Return whether planes of the image lie in a file."""
        return path in self.paths

    def part_in(self, path: Path) -> OmeImage | None:
        """Return the planes in one file as an image; None if they form no regular block."""
        at = np.argwhere(self.where[..., 0] == self.paths.index(path))
        kept = [np.unique(column) for column in at.T]
        if len(at) != prod(map(len, kept)):
            return None
        where = self.where[np.ix_(*kept)] if kept else self.where
        return OmeImage(self.name, self.number, self.axes, (path,), _with_file(where, 0))

    def first_page_in(self, path: Path) -> int:
        """Return the number of the image's first page in a file."""
        return int(self.where[self.where[..., 0] == self.paths.index(path)][0, 1])

    @cached_property
    def squeezed(self) -> tuple[str, np.ndarray]:
        """`axes` and `where` without axes of length 1, as tifffile gives other images."""
        kept = [number for number, size in enumerate(self.where.shape[:-1]) if size > 1]
        axes = "".join(self.axes[number] for number in kept)
        return axes, self.where.reshape(*(self.where.shape[n] for n in kept), 2)


@dataclass(frozen=True)
class OmeText:
    """The OME-XML text that describes a file, and the file that it was read from."""

    text: str
    root: Any
    path: Path


def ome_text(path: Path, file: Any) -> OmeText | None:
    """Return the OME-XML text of an open TIFF file, or the one that the file refers to.

    Parameters
    ----------
    path, file
        The file, and what tifffile has opened.

    Returns
    -------
    OmeText or None
        None if there is none, or it cannot be read.
    """
    found = _parsed(file.ome_metadata, path)
    if found is None:
        return None
    reference = next(_children(found.root, "BinaryOnly"), None)
    if reference is None:
        return found
    other = _beside(path, reference.get("MetadataFile", ""))
    return None if other is None or not other.is_file() else _parsed(_stored_text(other), other)


def spread_images(path: Path, text: OmeText, count_pages: Callable[[Path], int]) -> list[OmeImage]:
    """Return the images that have planes in a file, if its text describes several files.

    Parameters
    ----------
    path
        The file.
    text
        The text that describes it.
    count_pages
        Returns the number of pages of a file.

    Returns
    -------
    list of OmeImage
        Empty if the text describes this file alone, or other files alone.
    """
    names = {name for name, _ in _uuids(text.root)}
    if not names or (len(names) == 1 and text.path == path):  # one file, maybe renamed
        return []
    identity = text.root.get("UUID") if text.path == path else None
    places = _Places(path, text.path, identity, count_pages)
    images = [
        _image(element, number, places)
        for number, element in enumerate(_children(text.root, "Image"))
    ]
    return [image for image in images if image is not None and image.has_planes_in(path)]


def describes_others(path: Path, text: OmeText) -> bool:
    """Return whether a text describes several files, but not the file that it belongs to."""
    names = {name for name, _ in _uuids(text.root)}
    return len(names) > 1 and path.name not in names


def files_of_image(path: Path) -> frozenset[Path]:
    """Return the files that hold an image together with a TIFF file; the file alone if none do."""
    import tifffile

    alone = frozenset([path])
    try:
        with COMPLAINTS.collected(), tifffile.TiffFile(path) as file:
            text = ome_text(path, file)
            images = [] if text is None else spread_images(path, text, page_count)
    except Exception:  # a damaged file is reported when it is opened
        return alone
    return alone.union(*(image.paths for image in images))


def page_count(path: Path) -> int:
    """Return the number of pages of a TIFF file; 0 if it cannot be read."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            return len(file.pages)
    except Exception:
        return 0


@dataclass(frozen=True)
class _Places:
    """Resolves the names and ids of files in an OME-XML text."""

    path: Path
    described_by: Path
    identity: str | None
    count_pages: Callable[[Path], int]

    def file(self, data: Any) -> Path:
        """Return the file of a TiffData element."""
        for name, identity in _uuids(data):
            if self.identity is not None and identity == self.identity:  # it may be renamed
                return self.path
            return _beside(self.described_by, name) or self.described_by
        return self.described_by


def _image(element: Any, number: int, places: _Places) -> OmeImage | None:
    """Return an image of the text; None if it has no pixels."""
    pixels = next(_children(element, "Pixels"), None)
    if pixels is None:
        return None
    first = next(_children(pixels, "Channel"), None)
    samples = 1 if first is None else int(first.get("SamplesPerPixel", 1))
    axes = pixels.get("DimensionOrder")[:1:-1]
    sizes = [int(pixels.get(f"Size{axis}")) // (samples if axis == "C" else 1) for axis in axes]
    if not 0 < prod(sizes) <= MOST_PLANES:
        raise ValueError("an implausible number of planes")
    where = np.full((prod(sizes), 2), -1)
    paths: dict[Path, int] = {}
    for data in _children(pixels, "TiffData"):
        index = [int(data.get(f"First{axis}", 0)) for axis in axes]
        start, page = int(np.ravel_multi_index(index, sizes)), int(data.get("IFD", 0))
        path = places.file(data)
        count = data.get("PlaneCount", data.get("NumPlanes"))
        if count is None:
            count = 1 if "IFD" in data.attrib else places.count_pages(path)
        stop = min(start + int(count), len(where))
        where[start:stop, 0] = paths.setdefault(path, len(paths))
        where[start:stop, 1] = np.arange(page, page + max(stop - start, 0))
    return OmeImage(element.get("Name", ""), number, axes, tuple(paths), where.reshape(*sizes, 2))


def _uuids(element: Any) -> Iterator[tuple[str, str]]:
    """Yield name and id of each file that an element refers to."""
    for child in element.iter():
        if _tag(child) == "UUID":
            yield child.get("FileName", ""), (child.text or "").strip()


def _children(element: Any, tag: str) -> Iterator[Any]:
    return (child for child in element if _tag(child) == tag)


def _tag(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]


def _parsed(text: str | None, path: Path) -> OmeText | None:
    try:
        return None if not text else OmeText(text, ElementTree.fromstring(text), path)
    except ElementTree.ParseError:
        return None


def _stored_text(path: Path) -> str | None:
    """Return the OME-XML text in a TIFF file or a companion file."""
    import tifffile

    if path.suffix.lower() not in (".tif", ".tiff"):
        return path.read_text(encoding="utf-8")
    with tifffile.TiffFile(path) as file:
        text: str | None = file.ome_metadata
        return text


def _beside(path: Path, name: str) -> Path | None:
    """Return the file of that name in the same folder; folders in the name do not count."""
    name = name.replace("\\", "/").rpartition("/")[2]
    return path.with_name(name) if name else None


def _with_file(where: np.ndarray, file: int) -> np.ndarray:
    return np.stack([np.full(where.shape[:-1], file), where[..., 1]], axis=-1)
