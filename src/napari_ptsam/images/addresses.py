"""Addresses of images on servers, such as ``https://`` and ``s3://``, read through fsspec."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_ptsam.errors import InputError

_ADDRESS = re.compile(r"(?P<protocol>[A-Za-z][A-Za-z0-9+.-]+)://(?P<rest>.+)")
# What pathlib makes of an address: it takes two slashes for one.
_AS_PATH = re.compile(r"(?P<protocol>https?|s3|gs|gcs|az|abfs|ftp):[\\/](?P<rest>[^\\/].*)")
_PACKAGES = {"http": "aiohttp", "https": "aiohttp", "s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs",
             "az": "adlfs", "abfs": "adlfs"}  # fmt: skip
"""The package, besides fsspec, that a protocol needs."""


@dataclass(frozen=True)
class Address:
    """The address of an OME-Zarr on a server; it offers what paths offer for names.

    Attributes
    ----------
    url
        The address, without a slash at the end.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> Address:
        return Address(f"{self.url}/{name}")

    @property
    def protocol(self) -> str:
        """The part in front of ``://``, such as ``https``."""
        return self.url.partition("://")[0].lower()

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the server and of the folders, the last one being that of the image."""
        return tuple(part for part in self.url.partition("://")[2].split("/") if part)

    @property
    def name(self) -> str:
        """Name of the last folder."""
        return self.parts[-1]

    @property
    def suffix(self) -> str:
        """Suffix of the last folder, with its dot."""
        return Path(self.name).suffix


Location = Path | Address
"""Where an image is: a file or folder, or an address."""


def as_location(where: str | Path | Address) -> Location:
    """Return a path or, for text such as ``https://...``, an address.

    Addresses that pathlib has changed (``Path("https://...")``) are restored.
    """
    if isinstance(where, Address):
        return where
    found = (_AS_PATH if isinstance(where, Path) else _ADDRESS).fullmatch(str(where))
    if found is None:
        return Path(where)
    rest = found["rest"].replace("\\", "/") if isinstance(where, Path) else found["rest"]
    if found["protocol"] == "file":
        return Path(rest)
    return Address(f"{found['protocol']}://{rest.rstrip('/')}")


def open_remote(address: Address) -> Any:
    """Open the zarr at an address for reading.

    Returns
    -------
    zarr.Array or zarr.Group
        What is stored at the address.

    Raises
    ------
    InputError
        If a package is missing, or there is no zarr, or the server does not answer.
    """
    _check_packages(address)
    import zarr

    try:
        try:
            return zarr.open(address.url, mode="r")
        except Exception as error:
            if address.protocol != "s3" or isinstance(error, FileNotFoundError):
                raise
            # Most public buckets are read without credentials.
            return zarr.open(address.url, mode="r", storage_options={"anon": True})
    except FileNotFoundError as error:
        raise InputError(
            f"There is no zarr at {address}; check the address. Other images cannot be read from a "
            "server; download them first."
        ) from error
    except Exception as error:
        raise InputError(f"{address} cannot be read ({reason_of(error)}).") from error


def reason_of(error: Exception) -> str:
    """Return the first line of an error's text, or the name of its type."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _check_packages(address: Address) -> None:
    """Check that fsspec, and what it needs for the protocol, is installed.

    Raises
    ------
    InputError
        If not, or the protocol is unknown.
    """
    package = "fsspec"
    try:
        import fsspec

        package = _PACKAGES.get(address.protocol, package)
        fsspec.get_filesystem_class(address.protocol)
    except ImportError as error:
        raise InputError(
            f"To read {address}, the package {package} is needed; install it, for instance with "
            "pip install 'napari-ptsam[remote]'."
        ) from error
    except ValueError as error:
        raise InputError(
            f"{address} cannot be read: {address.protocol}:// is unknown; use https:// or s3://."
        ) from error
