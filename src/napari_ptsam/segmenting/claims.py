"""One run at a time for a target, across threads, processes and machines that share a disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from napari_ptsam.errors import OutputError
from napari_ptsam.locking import locked


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
