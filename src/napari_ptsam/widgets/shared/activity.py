"""The progress of long work in napari's activity dock."""

from __future__ import annotations

from time import perf_counter

from napari.utils import progress

UPDATE_INTERVAL = 0.2
"""Seconds between two updates, since napari redraws at each of them."""


class ActivityBar:
    """A progress bar in napari's activity dock, where it also shows while a dock is hidden.

    Parameters
    ----------
    title
        Name of the work.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar: progress | None = None
        self._updated = 0.0

    def show(self, done: int, total: int) -> None:
        """Show how many of all steps are done; the first call adds the bar."""
        if self._bar is None:
            self._bar = progress(total=total, desc=self._title)
        now = perf_counter()
        if now < self._updated + UPDATE_INTERVAL and done != total:
            return
        self._updated = now
        if self._bar.total != total:
            self._bar.total = total
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Remove the bar; the next call of `show` adds another one."""
        if self._bar is not None:
            self._bar.close()
        self._bar = None
