"""Download and verify backbones in a thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_ptsam.backbones.catalogue import CatalogueEntry
from napari_ptsam.backbones.downloads import Network, download
from napari_ptsam.backbones.files import BackboneFiles
from napari_ptsam.widgets.shared.background_task import BackgroundTask
from napari_ptsam.widgets.shared.worker import Steps


@dataclass(frozen=True)
class BackboneRequest:
    """A backbone to download or verify.

    Attributes
    ----------
    entry
        The backbone in the catalogue.
    network
        Network settings for the download; None verifies the existing file.
    """

    entry: CatalogueEntry
    network: Network | None = None


class _Cancelled(Exception):  # noqa: N818, not an error
    """The user has cancelled the download."""


class BackboneRun(BackgroundTask):
    """Download or verify one backbone at a time."""

    notifies = False

    progressed = Signal(object, object)
    """Bytes downloaded so far, and the size of the file."""
    succeeded = Signal(str)
    """The result, as a sentence."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.request: BackboneRequest | None = None

    def start(self, request: Any) -> None:
        """Start a `BackboneRequest`."""
        self.request = request
        verb = "verification" if request.network is None else "download"
        self.title = f"The {verb} of {request.entry.name}"
        super().start(request)

    def _work(self, request: BackboneRequest) -> Steps:
        entry, files = request.entry, BackboneFiles()
        if request.network is None:
            files.verify(entry)
            yield f"{entry.name} is intact: its hash is the published one."
            return
        try:
            download(entry, files, request.network, self._report)
        except _Cancelled:
            yield f"The download of {entry.name} was cancelled; the next one resumes it."
            return
        yield f"{entry.name} was downloaded, and its hash is the published one."

    def _report(self, done: int, total: int) -> None:
        """Report the progress of the download, in the thread; cancel it if asked to."""
        if self._stop.is_set():
            raise _Cancelled
        self.progressed.emit(done, total)

    def _show(self, result: str) -> None:
        self.succeeded.emit(result)
