"""A cache of embeddings on disk, with a limited size, which outlasts the process."""

from __future__ import annotations

import os
import struct
import tempfile
import zlib
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from napari_ptsam.errors import InputError
from napari_ptsam.io.downloads import cache_folder

if TYPE_CHECKING:
    import torch

LIMIT_VARIABLE = "NAPARI_PTSAM_CACHE_GB"
LIMIT = 4.0
"""Default size in gigabytes. An embedding takes 2 MB, so 2,000 embeddings fit."""
SUFFIX = ".embedding"
HEADER = struct.Struct("<4sIII")
"""Header of a file: magic number, positions, channels, and checksum of the data."""
MARK = b"PTE1"
SLACK = 0.9
"""Fraction of the limit that is filled after old files were removed. The free space saves removing
files for every new one."""
LOOK_AGAIN = 256 * 2**20
"""Bytes to write before the folder is measured again, as other processes write to it, too."""
ABANDONED = 3600.0
"""Age in seconds at which a temporary file counts as left behind by a killed process."""


# diskcache takes 2.3 times as long to write an embedding, keeps an SQLite index, which breaks on
# network shares, and was last released in 2023.
class DiskCache:
    """A cache with one file per embedding, from which the least recently used are removed first.

    Several processes may share the folder. Files get their names only when they
    are complete. A file that is damaged, or that another process has removed,
    counts as missing. If the disk is full or read-only, nothing is kept, and no
    error is raised.

    Parameters
    ----------
    folder
        Folder of the files; created when needed.
    limit
        Largest size in bytes.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._room: int | None = None
        self._lock = Lock()

    def get(self, key: bytes) -> torch.Tensor | None:
        """Return the embedding of a key, float16; None if it is missing or damaged."""
        import torch

        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        array = _unpacked(data)
        if array is None:
            self._drop(path)
            return None
        with suppress(OSError):
            os.utime(path)  # marks it as recently used
        return torch.from_numpy(array)

    def put(self, key: bytes, embedding: torch.Tensor) -> None:
        """Store an embedding, if it is float16 and of shape (positions, channels)."""
        array = embedding.cpu().numpy()
        if array.dtype != np.float16 or array.ndim != 2:
            return
        path, size = self._path(key), HEADER.size + array.nbytes
        if size > self.limit:
            return
        with self._lock, suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            if self._room is None or self._room < size:
                self._make_room(size)
            _write(path, _packed(array))
            self._room = (self._room or 0) - size

    def clear(self) -> None:
        """Remove all embeddings."""
        with self._lock:
            for path, _, _ in self._files():
                self._drop(path)
            self._room = None

    @property
    def size(self) -> int:
        """Size in bytes."""
        return sum(size for _, size, _ in self._files())

    def _path(self, key: bytes) -> Path:
        return self.folder / f"{key.hex()}{SUFFIX}"

    def _files(self) -> list[tuple[Path, int, float]]:
        """List the path, size in bytes and time of the last use of each file."""
        files = []
        with suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    about = entry.stat()
                    if entry.name.endswith(SUFFIX):
                        files.append((Path(entry.path), about.st_size, about.st_mtime))
        return files

    def _make_room(self, size_needed: int) -> None:
        """Remove the least recently used files until ``size_needed`` bytes and some more are free."""
        files = sorted(self._files(), key=lambda file: file[2])
        used = sum(size for _, size, _ in files)
        aim = (
            self.limit
            if used + size_needed <= self.limit
            else int(SLACK * self.limit) - size_needed
        )
        for path, size, _ in files:
            if used <= aim:
                break
            self._drop(path)
            used -= size
        self._room = min(self.limit - used, LOOK_AGAIN)
        self._sweep()

    def _sweep(self) -> None:
        """Remove temporary files of killed processes."""
        from time import time

        for path in self.folder.glob("*.new"):
            with suppress(OSError):
                if path.stat().st_mtime < time() - ABANDONED:
                    path.unlink()

    @staticmethod
    def _drop(path: Path) -> None:
        with suppress(OSError):
            path.unlink()


def users_disk_cache() -> DiskCache | None:
    """Return the user's cache; None if its limit is 0.

    NAPARI_PTSAM_CACHE_GB sets the limit; the default is 4 GB.

    Raises
    ------
    InputError
        If NAPARI_PTSAM_CACHE_GB is not a number from 0 up.
    """
    text = os.environ.get(LIMIT_VARIABLE, "").strip()
    try:
        limit = float(text) if text else LIMIT
        size = int(limit * 10**9)
    except (ValueError, OverflowError):
        size = -1
    if size < 0:
        raise InputError(
            f"{LIMIT_VARIABLE} says how many gigabytes of embeddings are kept on disk, for instance 4, "
            f"or 0 for none, not {text!r}."
        )
    return DiskCache(cache_folder() / "embeddings", size) if size else None


def _packed(array: np.ndarray) -> bytes:
    data = np.ascontiguousarray(array).tobytes()
    return HEADER.pack(MARK, *array.shape, zlib.crc32(data)) + data


def _unpacked(data: bytes) -> np.ndarray | None:
    """Return the array in a file's data; None if it is damaged."""
    if len(data) < HEADER.size:
        return None
    mark, positions, channels, checksum = HEADER.unpack_from(data)
    rest = memoryview(data)[HEADER.size :]
    if mark != MARK or len(rest) != 2 * positions * channels or zlib.crc32(rest) != checksum:
        return None
    return np.frombuffer(rest, np.float16).reshape(positions, channels).copy()


def _write(path: Path, data: bytes) -> None:
    """Write a file under a temporary name first, so that no incomplete file is ever read."""
    handle, name = tempfile.mkstemp(suffix=".new", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except OSError:
        with suppress(OSError):
            Path(name).unlink()
        raise
