"""What went wrong with a download, in words for people."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import requests


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
