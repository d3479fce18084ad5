"""Locks of files, across threads, processes and machines that share a disk."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from napari_ptsam.errors import OutputError

TAKEN = (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK)
"""What locking a file says that is locked already."""


# filelock leaves its files beside the results, and falls back to files that outlive a crash where a
# disk has no locks.
@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep others from entering with the same path for as long as this is entered.

    The operating system lets go of a lock when its process ends, however it
    ends. A disk that knows no locks is no reason not to work: there, nobody is
    kept out.

    Parameters
    ----------
    path
        Of a file that is there only for this, and removed at the end.

    Raises
    ------
    BlockingIOError
        If another has it.
    """
    handle = _locked(path)
    try:
        yield
    finally:
        if handle is not None:
            _let_go(path, handle)


@contextmanager
def claim(targets: Sequence[Path]) -> Iterator[None]:
    """Keep other runs from the targets for as long as this is entered.

    Raises
    ------
    OutputError
        If another run has one of them.
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


def _locked(path: Path) -> int | None:
    """Open and lock a file; None where that cannot be done."""
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
        os.close(handle)  # whoever had it has removed it between the opening and the locking


def _is_at(path: Path, handle: int) -> bool:
    """Whether a path still leads to the file that is open."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


def _let_go(path: Path, handle: int) -> None:
    """Remove a lock's file, which is never that of another one.

    Elsewhere than on Windows, it is removed as long as it is locked; whoever has opened it by then
    notices. Windows removes no file that is open, so there it is closed before, and whoever
    has opened it meanwhile keeps it.
    """
    if sys.platform == "win32":
        os.close(handle)
    with suppress(OSError):
        path.unlink()
    if sys.platform != "win32":
        os.close(handle)


def _lock(handle: int) -> None:
    """Lock an open file, or raise an OSError at once; closing it unlocks it."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
