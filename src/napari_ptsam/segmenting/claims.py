"""One run at a time for a target, across threads, processes and machines that share a disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from napari_ptsam.errors import OutputError


@contextmanager
def claim(targets: Sequence[Path]) -> Iterator[None]:
    """Keep other runs from the targets for as long as this is entered.

    The operating system lets go of a claim when its process ends, however it ends.

    Raises
    ------
    OutputError
        If another run has one of them.
    """
    with ExitStack() as stack:
        for target in targets:
            stack.enter_context(_claim(target))
        yield


@contextmanager
def _claim(target: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    path = target.with_name(f"{target.name}.partial.lock")
    # A generator that nobody finishes may be closed by another thread.
    lock = FileLock(path, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise OutputError(
            f"Another run is writing {target} at this moment; wait until it has ended, or choose "
            "another name."
        ) from error
    except (NotImplementedError, OSError):
        pass  # a disk that knows no locks is no reason not to work
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no file that is open
            path.unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):
            path.unlink(missing_ok=True)
