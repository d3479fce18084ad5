"""File locks between threads, processes and machines that share a disk."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from napari_ptsam.errors import OutputError

TAKEN = (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK)
"""Error numbers that mean that another holder has the lock."""


# filelock leaves its files beside the results, and falls back to files that outlive a crash where a
# disk has no locks.
@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a path.

    The operating system releases the lock when its process ends, however it
    ends. On a disk without locks, the context is entered without one.

    Parameters
    ----------
    path
        The lock file. It is created on entry and removed on exit.

    Raises
    ------
    BlockingIOError
        If another thread or process holds the lock.
    """
    handle = _acquire(path)
    try:
        yield
    finally:
        if handle is not None:
            _release(path, handle)


@contextmanager
def claim(targets: Sequence[Path]) -> Iterator[None]:
    """Keep other runs from writing the same targets.

    Raises
    ------
    OutputError
        If another run is writing one of them.
    """
    with ExitStack() as stack:
        for target in targets:
            try:
                stack.enter_context(locked(target.with_name(f"{target.name}.partial.lock")))
            except BlockingIOError as error:
                raise OutputError(
                    f"Another run is writing {target} at this moment; wait until it has ended, or "
                    "choose another name."
                ) from error
        yield


def _acquire(path: Path) -> int | None:
    """Open and lock a file. Return its descriptor, or None if files cannot be locked there."""
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT)
        except OSError:
            return None
        try:
            _lock(handle)
        except OSError as error:
            os.close(handle)
            if error.errno in TAKEN:
                raise BlockingIOError(error.errno, "locked", str(path)) from error
            return None
        if _is_at(path, handle):
            return handle
        os.close(handle)  # its holder removed it after it was opened here and before it was locked


def _is_at(path: Path, handle: int) -> bool:
    """Return whether a path still leads to the open file."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


def _release(path: Path, handle: int) -> None:
    """Release a lock and remove its file, but never the file of another holder.

    On POSIX systems the file is removed while it is still locked. A process
    that has opened it by then notices this in `_acquire`. Windows does not
    remove open files, so there the file is closed first. If another process
    has opened it in the meantime, its file stays.
    """
    if sys.platform == "win32":
        os.close(handle)
    with suppress(OSError):
        path.unlink()
    if sys.platform != "win32":
        os.close(handle)


def _lock(handle: int) -> None:
    """Lock an open file, or raise an OSError at once. Closing the file unlocks it."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
