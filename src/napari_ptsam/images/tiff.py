"""Open TIFF files (with ImageJ and OME-TIFF), with their axes, pixel size and channel names."""

from __future__ import annotations

import logging
import re
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from napari_ptsam.errors import InputError
from napari_ptsam.images.lazy_arrays import Coloured, Oriented
from napari_ptsam.images.opened import OpenedImage
from napari_ptsam.images.palettes import shown_values
from napari_ptsam.images.tiff_metadata import channel_names, pixel_size, time_step
from napari_ptsam.io.safe_loading import read_or

# Messages that tifffile logs, without an error, if pages or pixels are missing.
_TRUNCATED = re.compile("invalid page offset|failed to reshape|missing page")

MOST_OPEN = 32
"""Largest number of files that stay open, since operating systems limit it."""


def open_tiff(path: Path, labels: bool = False) -> OpenedImage:
    """Open the image in a TIFF file. Its pixels are read when they are accessed.

    Parameters
    ----------
    path
        The file.
    labels
        Whether the indices of a palette are the values of a mask.

    Raises
    ------
    InputError
        If the file holds several images.
    Exception
        Any exception that tifffile raises on truncated, damaged or other files.
    """
    import tifffile

    with _COMPLAINTS.collected() as complaints, tifffile.TiffFile(path) as file:
        pages = len(file.pages)  # walks through the whole file
        if not pages or not file.series or any(map(_TRUNCATED.search, complaints)):
            raise ValueError("no image, or not all of it")
        if len(file.series) > 1:
            raise InputError(
                f"{path} holds {len(file.series)} images (positions, or pages of different "
                "size); save each to a file of its own."
            )
        series = file.series[0]
        page = series.keyframe
        array, axes = _as_shown(
            _array(path, file, series), series.axes, page, labels, file.is_imagej
        )
        text = file.ome_metadata
        return OpenedImage(
            array,
            _known_axes(axes, _is_colour(page) or axes != series.axes),
            read_or(None, lambda: pixel_size(file, text)),
            read_or((), lambda: channel_names(file, text)),
            read_or(None, lambda: time_step(file, text)),
        )


class _Complaints(logging.Filter):
    """Suppress the log messages of tifffile in threads that collect them."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to show a record."""
        messages: list[str] | None = getattr(self._thread, "messages", None)
        if messages is not None:
            messages.append(record.getMessage())
        return messages is None

    @contextmanager
    def collected(self) -> Iterator[list[str]]:
        """Collect the messages that are logged in this thread."""
        before = getattr(self._thread, "messages", None)
        messages: list[str] = []
        self._thread.messages = messages
        try:
            yield messages
        finally:
            self._thread.messages = before


_COMPLAINTS = _Complaints()
logging.getLogger("tifffile").addFilter(_COMPLAINTS)


def _array(path: Path, file: Any, series: Any) -> Any:
    """Return a memory map if the pixels are contiguous, and otherwise an array that reads pages."""
    shape, dtype = series.shape, series.dtype
    if dtype is None:
        raise ValueError("pages of different dtype")
    if series.dataoffset is None:
        page = series.pages[0]
        return _Pages(path, shape, dtype, 2 if page is None else _page_axes(shape, page.shape))
    if series.dataoffset + prod(shape) * dtype.itemsize > file.filehandle.size:
        raise ValueError("the file is shorter than its pixels")
    return np.memmap(path, file.byteorder + dtype.str[1:], "r", series.dataoffset, shape)


def _page_axes(shape: tuple[int, ...], page_shape: tuple[int, ...]) -> int:
    """Return the number of trailing axes of a series that one page covers.

    Pages have no axes of length 1, which the series may have anywhere.
    """
    count = 1
    while prod(shape[-count:]) < prod(page_shape):
        count += 1
    return count


# tifffile's aszarr gives the same pixels, but takes 1.2 to 2.6 times as long.
class _Pages:
    """An array that reads a TIFF series page by page, from any thread.

    The file stays open, so that it is not parsed again for each plane. It is
    closed when the array is garbage-collected, or when many other files are
    read.

    Parameters
    ----------
    path
        The file. It is opened when the first page is read.
    shape, dtype
        Shape and dtype of the whole series.
    page_axes
        Number of trailing axes that one page covers.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype, page_axes: int) -> None:
        self.path, self.shape, self.dtype = path, shape, dtype
        self._leading = len(shape) - page_axes
        self._file = _OpenFile(path)
        weakref.finalize(self, self._file.close)

    def __getitem__(self, index: tuple[int | slice, ...]) -> np.ndarray:
        outer, inner = index[: self._leading], index[self._leading :]
        sizes = self.shape[: self._leading]
        numbers = np.arange(prod(sizes)).reshape(sizes)[outer]
        with self._file.pages() as pages:
            whole = [_page(pages[int(number)]) for number in np.ravel(numbers)]
        read = [page.reshape(self.shape[self._leading :])[inner] for page in whole]
        return np.stack(read).reshape(*np.shape(numbers), *read[0].shape)


class _OpenFile:
    """A TIFF file that is opened on demand, and used by one thread at a time."""

    _open: ClassVar[dict[_OpenFile, None]] = {}
    """The open files, with the most recently used one at the end."""
    _lock_of_open: ClassVar[Any] = threading.RLock()  # garbage collection may close a file

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.RLock()
        self._file: Any = None

    @contextmanager
    def pages(self) -> Iterator[Any]:
        """Yield the pages of the first series, while no other thread reads them."""
        import tifffile

        with self._lock:
            if self._file is None:
                with _COMPLAINTS.collected():  # they were evaluated by open_tiff
                    self._file = tifffile.TiffFile(self._path)
            self._keep()
            try:
                yield self._file.series[0].pages
            except BaseException:
                self.close()
                raise
        self._close_others()

    def _keep(self) -> None:
        with self._lock_of_open:
            self._open.pop(self, None)
            self._open[self] = None

    def _close_others(self) -> None:
        """Close the least recently used files, if too many are open."""
        with self._lock_of_open:
            many = list(self._open)[:-MOST_OPEN]
        for other in many:
            other.close()

    def close(self) -> None:
        """Close the file. It is opened again when the next page is read."""
        with self._lock:
            with self._lock_of_open:
                self._open.pop(self, None)
            file, self._file = self._file, None
            if file is not None:
                file.close()


def _page(page: Any) -> np.ndarray:
    if page is None:
        raise ValueError("a page is missing")
    return page.asarray()


def _is_colour(page: Any) -> bool:
    """Return whether samples are colours, or grey and alpha. Otherwise they are channels."""
    alpha = any(int(extra) in (1, 2) for extra in page.extrasamples)
    return int(page.photometric) in (2, 6) or (page.samplesperpixel == 2 and alpha)


def _known_axes(axes: str, colour: bool) -> str | None:
    """Return the axes of the file, or None if it only counts pages and states no channels."""
    if not colour and "C" not in axes:
        axes = axes.replace("S", "C")
    if "Q" in axes and not set(axes) & set("CS"):
        return None
    free = iter([axis for axis in "ZTABDE" if axis not in axes])
    return "".join(next(free) if axis in "QI" else axis for axis in reversed(axes))[::-1]


def _as_shown(array: Any, axes: str, page: Any, labels: bool, imagej: bool) -> tuple[Any, str]:
    """Return an array and its axes with the colours of a palette, as the tag Orientation has it."""
    if int(page.photometric) == 3 and page.colormap is not None and not labels:
        values = shown_values(page.colormap.T, imagej)
        if values is not None:
            array = Coloured(array, values)
            axes += "S" * (values.ndim - 1)
    tag = page.tags.get("Orientation")
    orientation = 1 if tag is None else int(tag.value)
    if 2 <= orientation <= 8:
        array = Oriented(array, axes.index("Y"), axes.index("X"), orientation)
    return array, axes
