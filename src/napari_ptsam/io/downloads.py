"""Help with downloads: where files are kept, quiet libraries, and errors in plain words."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import requests

CACHE_VARIABLE = "NAPARI_PTSAM_CACHE"


def cache_folder() -> Path:
    """Return the folder that NAPARI_PTSAM_CACHE names, or else the user's own cache folder."""
    from platformdirs import user_cache_path

    folder = os.environ.get(CACHE_VARIABLE)
    return Path(folder).expanduser() if folder else user_cache_path("napari-ptsam", appauthor=False)


@contextmanager
def quiet_pooch() -> Iterator[None]:
    """Keep pooch from printing a line for each file."""
    import pooch

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def server_of(url: str) -> str:
    """Whom an address names."""
    return urlsplit(url).netloc or url


def trouble(error: requests.RequestException, name: str, url: str, variable: str) -> str:
    """What went wrong, as a part of a sentence.

    Parameters
    ----------
    error
        Of the request.
    name
        Of what was to be downloaded.
    url
        Where from.
    variable
        Of the environment, that names another address.
    """
    import requests

    wrong = requests.exceptions
    if isinstance(error, requests.HTTPError):
        status = "an error" if error.response is None else error.response.status_code
        return f"{server_of(url)} does not give out {name} (it answers {status})"
    if isinstance(error, wrong.ProxyError):
        return "the proxy cannot be reached or does not let it through"
    if isinstance(error, wrong.SSLError):
        return f"{server_of(url)} has no certificate that is trusted here"
    if isinstance(error, (wrong.InvalidURL, wrong.InvalidSchema, wrong.MissingSchema)):
        return f"{url} is no address to download from (see {variable})"
    return f"{server_of(url)} cannot be reached, or broke off"
