"""Real images to begin with: 20 fields of nuclei (BBBC039), downloaded once and then kept.

The files are pinned by size and SHA-256 in ``data/bbbc039.json``. They come from a public
repository on GitHub, or from a copy of it that the environment variable NAPARI_PTSAM_SAMPLE_URL
names, and are kept in the user's cache, or in the folder that NAPARI_PTSAM_CACHE names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from napari_ptsam.errors import DownloadError
from napari_ptsam.images.reading import open_image
from napari_ptsam.io.downloads import (
    CACHE_VARIABLE,
    cache_folder,
    failure_reason,
    quiet_pooch,
    server_of,
)
from napari_ptsam.io.writing import reason

if TYPE_CHECKING:
    import requests

SERVER = "https://raw.githubusercontent.com"
URL_VARIABLE = "NAPARI_PTSAM_SAMPLE_URL"
PIXEL_SIZE = 0.645
"""Size of a pixel in micrometers, as the files' MetaMorph tags give it."""
SMALLEST = 25
"""Pixels; parts of a mask that are smaller are debris."""
TIMEOUT = 10.0
"""Seconds without a byte after which a server counts as silent; closing napari waits no longer."""
CHUNK = 1 << 16


@dataclass(frozen=True)
class RemoteFile:
    """A file as it must be.

    Attributes
    ----------
    path
        In the repository.
    size
        In bytes.
    sha256
        Of its bytes, in hexadecimal.
    """

    path: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """What it is called in the cache; no two files have the same name."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class DownloadProgress:
    """How far a download is; files that were in the cache count as well.

    Attributes
    ----------
    files, all_files
        Files that are there, and in all.
    size, full_size
        Their bytes.
    """

    files: int
    all_files: int
    size: int
    full_size: int


@dataclass(frozen=True)
class Nuclei:
    """Images of nuclei (U2OS, Hoechst) with their ground truth; each shows another place.

    Attributes
    ----------
    images
        uint16, shape (20, 520, 696), axes (image, y, x).
    instances
        uint16, same shape: 0 is background, each nucleus of an image has a number of its own.
    """

    images: np.ndarray
    instances: np.ndarray


@lru_cache(maxsize=1)
def _manifest() -> dict[str, Any]:
    file = resources.files("napari_ptsam").joinpath("data/bbbc039.json")
    manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return manifest


def remote_files() -> list[RemoteFile]:
    """The 40 files: image, mask, image, mask, ..."""
    pairs = _manifest()["pairs"]
    return [RemoteFile(**pair[kind]) for pair in pairs for kind in ("image", "mask")]


def origin() -> str:
    """Whose images these are, and under which licence, in a line."""
    return "{name}, {licence}: {origin}".format(**_manifest())


def default_url() -> str:
    """What comes before a file's path when it is downloaded."""
    manifest = _manifest()
    return os.environ.get(URL_VARIABLE) or "/".join(
        (SERVER, manifest["repository"], manifest["commit"])
    )


def is_fetched(cache: str | Path | None = None) -> bool:
    """Whether all files seem to be in the cache; they are verified when they are opened."""
    folder = _folder(cache)
    try:
        return all((folder / file.name).stat().st_size == file.size for file in remote_files())
    except OSError:
        return False


def _folder(cache: str | Path | None) -> Path:
    return (Path(cache) if cache else cache_folder()) / "bbbc039"


def fetching(
    base_url: str | None = None, cache: str | Path | None = None
) -> Generator[DownloadProgress, None, list[Path]]:
    """Download what is not in the cache, file by file; close the generator to cancel.

    A file gets its name in the cache after it was verified. What was verified
    stays there when the download fails or is cancelled, so that the next one
    goes on from there.

    Parameters
    ----------
    base_url
        Replaces `default_url`: a copy of the repository, without a last slash.
    cache
        Replaces `cache_folder`.

    Yields
    ------
    Fetched
        After each file.

    Returns
    -------
    list of Path
        In the order of `remote_files`.

    Raises
    ------
    DownloadError
        If the server cannot be reached, does not have a file or sends another
        one, or if the cache cannot be written to.
    """
    import pooch
    import requests

    files, folder = remote_files(), _folder(cache)
    base_url = (base_url or default_url()).rstrip("/")
    registry = pooch.create(
        path=folder,
        base_url=f"{base_url}/",
        registry={file.name: f"sha256:{file.sha256}" for file in files},
        urls={file.name: f"{base_url}/{quote(file.path)}" for file in files},
    )
    paths: list[Path] = []
    size, full_size = 0, sum(file.size for file in files)
    with requests.Session() as session:  # one connection for all of them
        for file in files:
            try:
                with quiet_pooch():
                    path = registry.fetch(file.name, downloader=_downloader(session, file.size))
            except (requests.RequestException, OSError, ValueError) as error:
                raise DownloadError(_explain(error, file, base_url, folder)) from error
            paths.append(Path(path))
            size += file.size
            yield DownloadProgress(len(paths), len(files), size, full_size)
    return paths


def _downloader(session: requests.Session, size: int) -> Callable[[str, str, Any], None]:
    """What pooch calls to get a file; pooch makes and removes the temporary file."""

    def download(url: str, output: str, _: Any) -> None:
        with (
            session.get(url, stream=True, timeout=TIMEOUT) as response,
            Path(output).open("wb") as file,
        ):
            response.raise_for_status()
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                if file.tell() > size:  # do not fill the disk with what is something else anyway
                    raise ValueError(f"{url} is larger than {size} bytes")

    return download


def _explain(error: Exception, file: RemoteFile, base_url: str, folder: Path) -> str:
    """Say what went wrong, and what to do about it."""
    import requests

    if isinstance(error, requests.RequestException):
        return (
            f"BBBC039 could not be downloaded: {failure_reason(error, file.name, base_url, URL_VARIABLE)}. Check "
            "the connection to the internet, then open the sample again."
        )
    if isinstance(error, OSError):
        return (
            f"BBBC039 cannot be kept in {folder} ({reason(error)}); "
            f"set {CACHE_VARIABLE} to a folder that can be written to."
        )
    return (
        f"What {server_of(base_url)} sent as {file.name} of BBBC039 is another file, and was thrown away; "
        "open the sample again."
    )


def read_nuclei(paths: list[Path]) -> Nuclei:
    """Read what `fetching` gave.

    Raises
    ------
    InputError
        If a file is not there any more.
    """
    images = np.stack([open_image(path)[0] for path in paths[::2]])
    # Touching nuclei have different values of red, others may have the same.
    reds = (open_image(path, labels=True)[0][..., 0] for path in paths[1::2])
    return Nuclei(images, np.stack([_components(red) for red in reds]))


def _components(values: np.ndarray) -> np.ndarray:
    """Number the 4-connected components of equal value; 0 and debris become 0.

    Parameters
    ----------
    values
        uint8, shape (y, x).

    Returns
    -------
    numpy.ndarray
        uint16, same shape.
    """
    from scipy import ndimage

    numbered = np.zeros(values.shape, dtype=np.uint16)
    count = 0
    for value in np.unique(values[values > 0]):
        parts, _ = ndimage.label(values == value)
        kept = np.bincount(parts.ravel()) >= SMALLEST
        kept[0] = False
        numbers = np.where(kept, count + np.cumsum(kept), 0)
        numbered += numbers[parts].astype(np.uint16)  # parts of two values do not overlap
        count += int(kept.sum())
    return numbered


def fetch_nuclei(
    progress: Callable[[DownloadProgress], None] | None = None,
    base_url: str | None = None,
    cache: str | Path | None = None,
) -> Nuclei:
    """Download what is not in the cache, and read it.

    Parameters
    ----------
    progress
        Called after each file; what it raises cancels the download.
    base_url, cache
        As in `fetching`.

    Raises
    ------
    DownloadError
        As in `fetching`.
    """
    download = fetching(base_url, cache)
    while True:
        try:
            fetched = next(download)
        except StopIteration as end:
            return read_nuclei(end.value)
        if progress is not None:
            progress(fetched)
