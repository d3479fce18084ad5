"""Versions of what made a prompt."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def package_version(package: str = "napari-ptsam") -> str:
    """Version of an installed package, or ``unknown``."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
