"""Download backbones: resume interrupted downloads, and verify them before they are used."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_ptsam.backbones.files import FOLDER_VARIABLE, BackboneFiles, matches
from napari_ptsam.errors import DownloadError, Message, Term
from napari_ptsam.io.downloads import failure_reason, quiet_pooch, server_of
from napari_ptsam.io.locking import locked
from napari_ptsam.io.writing import reason

if TYPE_CHECKING:
    import requests

    from napari_ptsam.backbones.catalogue import CatalogueEntry

MIRROR_VARIABLE = "NAPARI_PTSAM_MIRROR"
TIMEOUT = 20.0
"""Seconds to wait for a byte from the server."""
RETRIES = 3
"""Number of attempts in a row that bring no new bytes before the download fails."""
PAUSE = 1.0
"""Seconds between attempts."""
CHUNK = 1 << 16

Report = Callable[[int, int], object]
"""A function that is called with the bytes downloaded so far, and the size of the file (0 if
unknown)."""


@dataclass(frozen=True)
class Network:
    """Settings of the network connection.

    Attributes
    ----------
    mirror
        Address of a folder with the catalogue's files; empty for the publishers' servers.
    proxy
        Address of a proxy; empty for the one in the environment (HTTPS_PROXY), if any.
    """

    mirror: str = ""
    proxy: str = ""

    def address(self, entry: CatalogueEntry) -> str:
        """Return the address that a checkpoint is downloaded from."""
        mirror = os.environ.get(MIRROR_VARIABLE) or self.mirror
        return f"{mirror.rstrip('/')}/{entry.file}" if mirror else entry.url


def download(
    entry: CatalogueEntry,
    files: BackboneFiles | None = None,
    network: Network | None = None,
    report: Report = lambda done, total: None,
) -> Path:
    """Download a checkpoint, unless it is on this machine already.

    Parameters
    ----------
    entry
        The checkpoint.
    files
        Folder to download to; by default the user's folder.
    network
        Mirror and proxy; by default none.
    report
        Called repeatedly with the progress. An exception from it stops the
        download; the next download continues where it stopped.

    Returns
    -------
    pathlib.Path
        Path of the verified checkpoint.

    Raises
    ------
    DownloadError
        If the server cannot be reached, breaks the connection, does not have the
        file or sends another one, or if the file cannot be written.
    """
    files, network = files or BackboneFiles(), network or Network()
    if entry.embedded:
        return files.path(entry)
    lock = Path(f"{files.part(entry)}.lock")
    try:
        files.folder.mkdir(parents=True, exist_ok=True)
        with locked(lock):
            return _download(entry, files, network, report)
    except BlockingIOError as error:
        raise DownloadError(
            f"{entry.name} is being downloaded by another program; wait until it is done."
        ) from error
    except OSError as error:
        raise _no_place(error, files) from error


def _download(
    entry: CatalogueEntry, files: BackboneFiles, network: Network, report: Report
) -> Path:
    """Download a checkpoint while holding the lock."""
    import pooch
    import requests

    path, url = files.path(entry), network.address(entry)
    if path.is_file() and matches(path, entry):
        files.remember(entry)
        return path
    part = files.part(entry)
    _check_room(entry, part)
    fetch = _Fetch(entry, part, network, report)
    try:
        with quiet_pooch():
            pooch.retrieve(url, entry.digest, entry.file, files.folder, downloader=fetch)
    except requests.RequestException as error:
        raise DownloadError(_explain(error, entry, url, files)) from error
    except ValueError as error:  # the hash differs, or the file is too large
        part.unlink(missing_ok=True)
        raise DownloadError(
            f"What {server_of(url)} sent as {entry.name} is another file than the catalogue names, and was "
            f"deleted; try again, or ask the administrator of that server. {files.by_hand(entry)}"
        ) from error
    files.remember(entry)
    return path


class _Fetch:
    """The downloader that pooch calls; it continues an incomplete download."""

    def __init__(self, entry: CatalogueEntry, part: Path, network: Network, report: Report) -> None:
        self._entry, self._part, self._report = entry, part, report
        self._proxies = {"http": network.proxy, "https": network.proxy} if network.proxy else None

    def __call__(self, url: str, output: str, _: Any) -> None:
        """Download to ``output``, which pooch verifies and moves afterwards."""
        import requests

        tries = RETRIES
        with requests.Session() as session:
            while True:
                before = self._size()
                try:
                    self._stream(session, url)
                    break
                except (
                    requests.ConnectionError,
                    requests.Timeout,
                    requests.exceptions.ChunkedEncodingError,
                ):
                    tries = RETRIES if self._size() > before else tries - 1
                    if not tries:
                        raise
                    self._report(
                        self._size(), self._entry.size
                    )  # it may raise to stop the download
                    time.sleep(PAUSE)
        self._part.replace(output)

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _stream(self, session: requests.Session, url: str) -> None:
        """Request the missing bytes."""
        have = self._size()
        headers = {"Range": f"bytes={have}-"} if have else {}
        with session.get(
            url, stream=True, timeout=TIMEOUT, headers=headers, proxies=self._proxies
        ) as response:
            if response.status_code == 416:  # the file is complete, or longer than the server's
                if not self._whole(response, have):
                    self._part.unlink()
                    self._stream(session, url)
                return
            response.raise_for_status()
            if response.status_code != 206:  # the server ignored the range and sends the whole file
                have = 0
            total = self._entry.size or have + int(response.headers.get("Content-Length", 0))
            with self._part.open("ab" if have else "wb") as file:
                self._report(have, total)
                for chunk in response.iter_content(CHUNK):
                    file.write(chunk)
                    have += len(chunk)
                    if have > self._entry.limit:
                        raise ValueError(f"{url} is larger than {self._entry.limit} bytes")
                    self._report(have, total)

    def _whole(self, response: requests.Response, have: int) -> bool:
        """Return whether the file on the server is as long as the bytes downloaded so far."""
        return bool(response.headers.get("Content-Range", "").endswith(f"/{have}"))


def _check_room(entry: CatalogueEntry, part: Path) -> None:
    """Check that the disk has enough space for the download."""
    have = part.stat().st_size if part.exists() else 0
    free = shutil.disk_usage(part.parent).free
    if entry.size and entry.size - have > free:
        raise DownloadError(
            f"{part.parent} has room for {free / 1e6:,.0f} MB, and {entry.name} needs {entry.megabytes}; "
            f"free some space, or set {FOLDER_VARIABLE} to another folder."
        )


def _no_place(error: OSError, files: BackboneFiles) -> DownloadError:
    return DownloadError(
        f"Backbones cannot be kept in {files.folder} ({reason(error)}); set {FOLDER_VARIABLE} to a "
        "writable folder."
    )


def _explain(
    error: requests.RequestException, entry: CatalogueEntry, url: str, files: BackboneFiles
) -> Message:
    """Explain a failed download, and what to do."""
    what = failure_reason(error, entry.name, url, MIRROR_VARIABLE)
    kept = " The next attempt continues this download." if files.part(entry).exists() else ""
    return Message(
        "The ",
        Term.BACKBONE,
        f" {entry.name} could not be downloaded: {what}.{kept} Try again later. "
        f"Behind a firewall, set HTTPS_PROXY, or {MIRROR_VARIABLE} to a copy. {files.by_hand(entry)}",
    )
