"""Lock a session folder, so that only one napari works on it."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QLockFile

LOCK = ".in-use"


def lock_session(path: Path) -> QLockFile:
    """Mark a session folder as in use until the lock is released or this process ends."""
    lock = _lock_file(path)
    lock.tryLock(0)
    return lock


def is_in_use(path: Path) -> bool:
    """Return whether another napari works on a session folder."""
    lock = _lock_file(path)
    if lock.tryLock(0):
        lock.unlock()
    # A folder that is missing or read-only cannot be locked, but nobody uses it.
    return lock.error() == QLockFile.LockError.LockFailedError


def _lock_file(path: Path) -> QLockFile:
    lock = QLockFile(str(path / LOCK))
    lock.setStaleLockTime(0)
    return lock
