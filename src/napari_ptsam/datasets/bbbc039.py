"""Real sample images: 20 fields of nuclei from BBBC039, which are downloaded once.

Size and SHA-256 of each file are in ``data/bbbc039.json``. The files come from a public repository
on GitHub, or from a copy of it named by the environment variable NAPARI_PTSAM_SAMPLE_URL. They are
kept in the user's cache, or in the folder named by NAPARI_PTSAM_CACHE.
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
"""Pixel size in micrometers, from the MetaMorph tags of the files."""
SMALLEST = 25
"""Area in pixels below which a component of a mask is debris."""
TIMEOUT = 10.0
"""Seconds without data after which a download fails. Closing napari waits no longer than this."""
CHUNK = 1 << 16


@dataclass(frozen=True)
class RemoteFile:
    """A file of the data set.

    Attributes
    ----------
    path
        Path in the repository.
    size
        Size in bytes.
    sha256
        SHA-256 of its content, in hexadecimal.
    """

    path: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """Name of the file in the cache, which is unique."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class DownloadProgress:
    """Progress of a download, in which files that were in the cache count as well.

    Attributes
    ----------
    files, all_files
        Number of files that are there, and their total number.
    size, full_size
        Sizes of these files in bytes.
    """

    files: int
    all_files: int
    size: int
    full_size: int


@dataclass(frozen=True)
class Nuclei:
    """Images of nuclei (U2OS cells, Hoechst) with their ground truth.

    Attributes
    ----------
    images
        uint16, shape (20, 520, 696), axes (image, y, x).
    instances
        uint16, same shape: 0 is background, and each nucleus of an image has its own number.
    """

    images: np.ndarray
    instances: np.ndarray


@lru_cache(maxsize=1)
def _manifest() -> dict[str, Any]:
    file = resources.files("napari_ptsam").joinpath("data/bbbc039.json")
    manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return manifest


def remote_files() -> list[RemoteFile]:
    """Return the 40 files in the order image, mask, image, mask, ..."""
    pairs = _manifest()["pairs"]
    return [RemoteFile(**pair[kind]) for pair in pairs for kind in ("image", "mask")]


def origin() -> str:
    """Return name, licence and origin of the data set in one line."""
    return "{name}, {licence}: {origin}".format(**_manifest())


def default_url() -> str:
    """Return the URL that precedes a file's path."""
    manifest = _manifest()
    return os.environ.get(URL_VARIABLE) or "/".join(
        (SERVER, manifest["repository"], manifest["commit"])
    )


def is_fetched(cache: str | Path | None = None) -> bool:
    """Return whether all files are in the cache, going by their sizes."""
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
    """Download the files that are not in the cache. Close the generator to cancel.

    A file gets its name in the cache once it is verified. Verified files stay
    there if the download fails or is cancelled, so that it can be continued.

    Parameters
    ----------
    base_url
        URL of a copy of the repository, used instead of `default_url`.
    cache
        Folder used instead of `cache_folder`.

    Returns
    -------
    list of Path
        Paths of the files, in the order of `remote_files`.

    Yields
    ------
    DownloadProgress
        The progress after each file.

    Raises
    ------
    DownloadError
        If the server cannot be reached, lacks a file or sends a wrong one, or
        if the cache cannot be written to.
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
    with requests.Session() as session:  # one connection for all files
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
    """Return a function with which pooch downloads a file into a temporary file."""

    def download(url: str, output: str, _: Any) -> None:
        with (
            session.get(url, stream=True, timeout=TIMEOUT) as response,
            Path(output).open("wb") as file,
        ):
            response.raise_for_status()
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                if file.tell() > size:  # a wrong file must not fill the disk
                    raise ValueError(f"{url} is larger than {size} bytes")

    return download


def _explain(error: Exception, file: RemoteFile, base_url: str, folder: Path) -> str:
    """Return a message about an error, and about what to do."""
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
        f"{server_of(base_url)} sent a wrong file for {file.name} of BBBC039, which was not kept; "
        "open the sample again."
    )


def read_nuclei(paths: list[Path]) -> Nuclei:
    """Read the files that `fetching` returned.

    Raises
    ------
    InputError
        If a file is missing.
    """
    images = np.stack([open_image(path)[0] for path in paths[::2]])
    # Touching nuclei have different values in the red channel.
    reds = (open_image(path, labels=True)[0][..., 0] for path in paths[1::2])
    return Nuclei(images, np.stack([_components(red) for red in reds]))


def _components(values: np.ndarray) -> np.ndarray:
    """Number the 4-connected components of equal value, and set debris to 0.

    Parameters
    ----------
    values
        Values of the mask: uint8, shape (y, x); 0 is background.

    Returns
    -------
    numpy.ndarray
        uint16, same shape.
    """
    from scipy import ndimage

    numbered = np.zeros(values.shape, dtype=np.uint16)
    count = 0
    for value in np.unique(values[values > 0]):
        components, _ = ndimage.label(values == value)
        kept = np.bincount(components.ravel()) >= SMALLEST
        kept[0] = False
        numbers = np.where(kept, count + np.cumsum(kept), 0)
        numbered += numbers[components].astype(np.uint16)  # components do not overlap
        count += int(kept.sum())
    return numbered


def fetch_nuclei(
    progress: Callable[[DownloadProgress], None] | None = None,
    base_url: str | None = None,
    cache: str | Path | None = None,
) -> Nuclei:
    """Download the files that are not in the cache, and read all of them.

    Parameters
    ----------
    progress
        Function called after each file; an exception raised by it cancels the download.
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
            state = next(download)
        except StopIteration as end:
            return read_nuclei(end.value)
        if progress is not None:
            progress(state)
