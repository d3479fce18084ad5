"""Embeddings on disk, up to a limit, for the next time that napari is open."""

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
"""Gigabytes; an embedding has 2 MB, so 2,000 of them."""
SUFFIX = ".embedding"
HEADER = struct.Struct("<4sIII")
"""Mark, positions, channels, checksum of what follows."""
MARK = b"PTE1"
SLACK = 0.9
"""Part of the limit that is left after the oldest were removed, so that it is not done each time."""
LOOK_AGAIN = 256 * 2**20
"""Bytes that are written before it is looked again what others have written."""
ABANDONED = 3600.0
"""Seconds after which a temporary file is taken for one whose writer has died."""


# diskcache was last released in 2023, and keeps an SQLite index, which breaks on network shares.
class DiskCache:
    """Embeddings by what they were made of, a file each; those not asked for longest go first.

    Several processes may share the folder: files come to be under their names
    only when they are whole, and one that another process has removed, or that
    is damaged, counts as absent. A disk that is full or cannot be written is no
    error either: then nothing is kept.

    Parameters
    ----------
    folder
        Made when it is needed.
    limit
        Bytes that are kept, at most.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._room: int | None = None
        self._lock = Lock()

    def get(self, key: bytes) -> torch.Tensor | None:
        """The embedding kept under that key, float16, if there is a whole one."""
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
            os.utime(path)  # asked for now
        return torch.from_numpy(array)

    def put(self, key: bytes, embedding: torch.Tensor) -> None:
        """Keep an embedding; only float16 is kept, of shape (positions, channels)."""
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
        """Remove all that is kept."""
        with self._lock:
            for path, _, _ in self._files():
                self._drop(path)
            self._room = None

    @property
    def size(self) -> int:
        """Bytes in use."""
        return sum(size for _, size, _ in self._files())

    def _path(self, key: bytes) -> Path:
        return self.folder / f"{key.hex()}{SUFFIX}"

    def _files(self) -> list[tuple[Path, int, float]]:
        """Path, bytes and time of the last use of each file."""
        found = []
        with suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    about = entry.stat()
                    if entry.name.endswith(SUFFIX):
                        found.append((Path(entry.path), about.st_size, about.st_mtime))
        return found

    def _make_room(self, wanted: int) -> None:
        """Remove the oldest until ``wanted`` bytes and some more are free."""
        files = sorted(self._files(), key=lambda file: file[2])
        used = sum(size for _, size, _ in files)
        aim = self.limit if used + wanted <= self.limit else int(SLACK * self.limit) - wanted
        for path, size, _ in files:
            if used <= aim:
                break
            self._drop(path)
            used -= size
        self._room = min(self.limit - used, LOOK_AGAIN)
        self._sweep()

    def _sweep(self) -> None:
        """Remove what writers that died have left."""
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
    """The user's cache, in the folder of `cache_folder`; None if its limit is 0.

    NAPARI_PTSAM_CACHE_GB names another limit than 4 GB.

    Raises
    ------
    InputError
        If that is no number.
    """
    text = os.environ.get(LIMIT_VARIABLE, "").strip()
    try:
        limit = float(text) if text else LIMIT
        size = int(limit * 10**9)
    except (ValueError, OverflowError):
        size = -1
    if size < 0:
        raise InputError(
            f"{LIMIT_VARIABLE} is how many gigabytes of embeddings are kept on disk, for instance 4, "
            f"or 0 for none, not {text!r}."
        )
    return DiskCache(cache_folder() / "embeddings", size) if size else None


def _packed(array: np.ndarray) -> bytes:
    data = np.ascontiguousarray(array).tobytes()
    return HEADER.pack(MARK, *array.shape, zlib.crc32(data)) + data


def _unpacked(data: bytes) -> np.ndarray | None:
    """The array, or None if the file is damaged."""
    if len(data) < HEADER.size:
        return None
    mark, positions, channels, checksum = HEADER.unpack_from(data)
    rest = memoryview(data)[HEADER.size :]
    if mark != MARK or len(rest) != 2 * positions * channels or zlib.crc32(rest) != checksum:
        return None
    return np.frombuffer(rest, np.float16).reshape(positions, channels).copy()


def _write(path: Path, data: bytes) -> None:
    """Under a temporary name first, so that nobody ever reads half a file."""
    handle, name = tempfile.mkstemp(suffix=".new", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except OSError:
        with suppress(OSError):
            Path(name).unlink()
        raise
