"""Helpers for downloads: the cache folder, a quiet pooch, and readable error messages."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from napari_ptsam.io.user_folders import named_folder, user_folder

if TYPE_CHECKING:
    import requests

CACHE_VARIABLE = "NAPARI_PTSAM_CACHE"


def cache_folder() -> Path:
    """Return the folder named by NAPARI_PTSAM_CACHE, or the user's cache folder by default."""
    return named_folder(CACHE_VARIABLE) or user_folder("cache")


@contextmanager
def quiet_pooch() -> Iterator[None]:
    """Stop pooch from printing a line for each file."""
    import pooch

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def server_of(url: str) -> str:
    """Return the name of the server in a URL."""
    return urlsplit(url).netloc or url


def failure_reason(error: requests.RequestException, name: str, url: str, variable: str) -> str:
    """Explain why a download failed, as a clause of a sentence.

    Parameters
    ----------
    error
        The error that requests raised.
    name
        The name of the file.
    url
        The address of the file.
    variable
        The environment variable that sets another address.
    """
    import requests

    exceptions = requests.exceptions
    if isinstance(error, requests.HTTPError):
        status = "an error" if error.response is None else error.response.status_code
        return f"{server_of(url)} does not give out {name} (it answers {status})"
    if isinstance(error, exceptions.ProxyError):
        return "the proxy cannot be reached or refuses the connection"
    if isinstance(error, exceptions.SSLError):
        return f"{server_of(url)} has no certificate that this computer trusts"
    if isinstance(
        error, (exceptions.InvalidURL, exceptions.InvalidSchema, exceptions.MissingSchema)
    ):
        return f"{url} is no address to download from (see {variable})"
    return f"{server_of(url)} cannot be reached, or broke off"
