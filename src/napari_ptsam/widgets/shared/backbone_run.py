"""Getting and verifying backbones in a thread."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_ptsam.backbones.catalogue import CatalogueEntry
from napari_ptsam.backbones.downloads import Network, download
from napari_ptsam.backbones.files import BackboneFiles
from napari_ptsam.widgets.shared.background_task import BackgroundTask


@dataclass(frozen=True)
class BackboneRequest:
    """What is to be done.

    Attributes
    ----------
    entry
        With which backbone.
    network
        How to get it; None verifies what is here.
    """

    entry: CatalogueEntry
    network: Network | None = None


@dataclass(frozen=True)
class BackboneOutcome:
    """What came of it."""

    words: str


class _Cancelled(Exception):  # noqa: N818, not an error
    """The user has had enough."""


class BackboneRun(BackgroundTask):
    """Downloads or verifies one backbone at a time."""

    title, notifies = "Getting the backbone", False

    progressed = Signal(object, object)
    """Bytes that are here, and in all."""
    done = Signal(str)
    """What came of it, in words."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.wanted: BackboneRequest | None = None

    def start(self, request: Any) -> None:
        """Begin."""
        self.wanted = request
        super().start(request)

    def _work(self, request: BackboneRequest) -> Generator[object, None, None]:
        entry, files = request.entry, BackboneFiles()
        if request.network is None:
            files.verify(entry)
            yield BackboneOutcome(f"{entry.name} is as its makers published it.")
            return
        try:
            download(entry, files, request.network, self._report)
        except _Cancelled:
            yield BackboneOutcome(
                f"Cancelled; the next download of {entry.name} goes on from there."
            )
            return
        yield BackboneOutcome(f"{entry.name} is here, as its makers published it.")

    def _report(self, done: int, total: int) -> None:
        """In the thread."""
        if self._stop.is_set():
            raise _Cancelled
        self.progressed.emit(done, total)

    def _show(self, result: BackboneOutcome) -> None:
        self.done.emit(result.words)
