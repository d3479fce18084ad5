"""Downloads of backbones: gone on with after a break, verified, and only then put in their place."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_ptsam.backbones.files import FOLDER_VARIABLE, BackboneFiles, matches
from napari_ptsam.errors import DownloadError
from napari_ptsam.io.downloads import failure_reason, quiet_pooch, server_of
from napari_ptsam.io.locking import locked
from napari_ptsam.io.writing import reason

if TYPE_CHECKING:
    import requests

    from napari_ptsam.backbones.catalogue import CatalogueEntry

MIRROR_VARIABLE = "NAPARI_PTSAM_MIRROR"
TIMEOUT = 20.0
"""Seconds without a byte after which a server counts as silent."""
RETRIES = 3
"""Times that a download goes on by itself without having got anything new."""
PAUSE = 1.0
"""Seconds before it does."""
CHUNK = 1 << 16

Report = Callable[[int, int], object]
"""Called with the bytes that are here, and those of the whole file, as far as known."""


@dataclass(frozen=True)
class Network:
    """How to get out of the house.

    Attributes
    ----------
    mirror
        Address of a folder with the catalogue's files; empty for their makers' servers.
    proxy
        Address of a proxy; empty for that of the environment (HTTPS_PROXY), if any.
    """

    mirror: str = ""
    proxy: str = ""

    def address(self, entry: CatalogueEntry) -> str:
        """Where a checkpoint is downloaded from."""
        mirror = os.environ.get(MIRROR_VARIABLE) or self.mirror
        return f"{mirror.rstrip('/')}/{entry.file}" if mirror else entry.url


def download(
    entry: CatalogueEntry,
    files: BackboneFiles | None = None,
    network: Network | None = None,
    report: Report = lambda done, total: None,
) -> Path:
    """Download a checkpoint, unless it is here already.

    Parameters
    ----------
    entry
        Which one.
    files
        Where to; the user's folder by default.
    network
        How.
    report
        Called now and then; what it raises ends the download. What was
        downloaded is kept, and the next one goes on from there.

    Returns
    -------
    pathlib.Path
        Where it is: verified.

    Raises
    ------
    DownloadError
        If the server cannot be reached, breaks off, does not have the file or
        sends another one, or if it cannot be kept.
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
    """Download, while nobody else does."""
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
    except ValueError as error:  # another hash, or more bytes than there should be
        part.unlink(missing_ok=True)
        raise DownloadError(
            f"What {server_of(url)} sent as {entry.name} is another file than the catalogue names, and was "
            f"thrown away; try again, or ask who runs that server. {files.by_hand(entry)}"
        ) from error
    files.remember(entry)
    return path


class _Fetch:
    """What pooch calls to get a file; goes on from what an earlier call got."""

    def __init__(self, entry: CatalogueEntry, part: Path, network: Network, report: Report) -> None:
        self._entry, self._part, self._report = entry, part, report
        self._proxies = {"http": network.proxy, "https": network.proxy} if network.proxy else None

    def __call__(self, url: str, output: str, _: Any) -> None:
        """Download to ``output``, which pooch then verifies and moves."""
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
                    self._report(self._size(), self._entry.size)  # a chance to give up
                    time.sleep(PAUSE)
        self._part.replace(output)

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _stream(self, session: requests.Session, url: str) -> None:
        """One request, for what is missing."""
        have = self._size()
        headers = {"Range": f"bytes={have}-"} if have else {}
        with session.get(
            url, stream=True, timeout=TIMEOUT, headers=headers, proxies=self._proxies
        ) as response:
            if response.status_code == 416:  # nothing is missing, or what is here is too long
                if not self._whole(response, have):
                    self._part.unlink()
                    self._stream(session, url)
                return
            response.raise_for_status()
            if response.status_code != 206:  # it sends the whole file whatever it is asked for
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
        """Whether the server says that the file is as long as what is here."""
        return bool(response.headers.get("Content-Range", "").endswith(f"/{have}"))


def _check_room(entry: CatalogueEntry, part: Path) -> None:
    """Find out before the download whether there is room for it."""
    have = part.stat().st_size if part.exists() else 0
    free = shutil.disk_usage(part.parent).free
    if entry.size and entry.size - have > free:
        raise DownloadError(
            f"{part.parent} has room for {free / 1e6:,.0f} MB, and {entry.name} needs {entry.megabytes}; "
            f"make room, or set {FOLDER_VARIABLE} to another folder."
        )


def _no_place(error: OSError, files: BackboneFiles) -> DownloadError:
    return DownloadError(
        f"Backbones cannot be kept in {files.folder} ({reason(error)}); set {FOLDER_VARIABLE} to a folder "
        "that can be written to."
    )


def _explain(
    error: requests.RequestException, entry: CatalogueEntry, url: str, files: BackboneFiles
) -> str:
    """Say what went wrong, and what to do about it."""
    what = failure_reason(error, entry.name, url, MIRROR_VARIABLE)
    kept = " What is here already is kept for the next try." if files.part(entry).exists() else ""
    return (
        f"The backbone {entry.name} could not be downloaded: {what}.{kept} Try again later. "
        f"Behind a firewall, set HTTPS_PROXY, or {MIRROR_VARIABLE} to a copy. {files.by_hand(entry)}"
    )
