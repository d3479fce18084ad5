"""Read the pages of TIFF files: when they are accessed, from any thread, and from several files."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from napari_ptsam.errors import InputError
from napari_ptsam.images.opened import unreadable
from napari_ptsam.io.safe_loading import unreadable_as

MOST_OPEN = 32
"""Largest number of files that stay open, since operating systems limit it."""


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


COMPLAINTS = _Complaints()
logging.getLogger("tifffile").addFilter(COMPLAINTS)


# tifffile's aszarr gives the same pixels, but takes 1.2 to 2.6 times as long.
class SeriesPages:
    """An array that reads a series of a TIFF file page by page, from any thread.

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
    series
        Number of the series in the file.
    """

    def __init__(
        self, path: Path, shape: tuple[int, ...], dtype: np.dtype, page_axes: int, series: int = 0
    ) -> None:
        self.path, self.shape, self.dtype = path, shape, dtype
        self._leading, self._series = len(shape) - page_axes, series
        self._file = OpenFile(path)
        weakref.finalize(self, self._file.close)

    def __getitem__(self, index: tuple[int | slice, ...]) -> np.ndarray:
        outer, inner = index[: self._leading], index[self._leading :]
        sizes = self.shape[: self._leading]
        numbers = np.arange(prod(sizes)).reshape(sizes)[outer]
        with self._file.opened() as file:
            pages = file.series[self._series].pages
            whole = [_page(pages[int(number)]) for number in np.ravel(numbers)]
        read = [page.reshape(self.shape[self._leading :])[inner] for page in whole]
        return np.stack(read).reshape(*np.shape(numbers), *read[0].shape)


class FilePages:
    """An array whose pages lie in several TIFF files, which are opened when they are read.

    Parameters
    ----------
    paths
        The files.
    where
        File and page of each plane, shape (..., 2) with the leading axes of the
        array in front.
    page_shape, dtype
        Shape and dtype of a page.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        where: np.ndarray,
        page_shape: tuple[int, ...],
        dtype: np.dtype,
    ) -> None:
        self.shape, self.dtype = (*where.shape[:-1], *page_shape), dtype
        self._where, self._page_shape = where, page_shape
        self._files = [OpenFile(path) for path in paths]
        for file in self._files:
            weakref.finalize(self, file.close)

    def __getitem__(self, index: tuple[int | slice, ...]) -> np.ndarray:
        count = self._where.ndim - 1
        places = self._where[index[:count]]
        read = [
            self._read(int(file), int(page))[index[count:]] for file, page in places.reshape(-1, 2)
        ]
        return np.stack(read).reshape(*places.shape[:-1], *read[0].shape)

    def _read(self, file: int, page: int) -> np.ndarray:
        if file < 0:
            raise InputError("this plane is in none of the files of the image")
        path = self._files[file].path
        if not path.is_file():
            raise InputError(f"{path} is missing; put it back beside the other files of the image.")
        with unreadable_as(InputError, lambda _: unreadable(path)), self._files[file].opened() as t:
            pixels = _page(t.pages[page])
            if pixels.shape != self._page_shape:
                raise ValueError("pages of different shape")
            return pixels


class OpenFile:
    """A TIFF file that is opened on demand, and used by one thread at a time."""

    _open: ClassVar[dict[OpenFile, None]] = {}
    """The open files, with the most recently used one at the end."""
    _lock_of_open: ClassVar[Any] = threading.RLock()  # garbage collection may close a file

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, threading.RLock()
        self._file: Any = None

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """Yield the file, while no other thread reads it and tifffile's log is not shown."""
        import tifffile

        # tifffile's messages were evaluated when the image was opened.
        with self._lock, COMPLAINTS.collected():
            if self._file is None:
                self._file = tifffile.TiffFile(self.path)
            self._keep()
            try:
                yield self._file
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
