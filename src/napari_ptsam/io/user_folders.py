"""The user's folders for data, settings and caches, also for a user without a home."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Literal

NAME = "napari-ptsam"
Kind = Literal["data", "config", "cache"]


def user_folder(kind: Kind) -> Path:
    """Return the folder of this plugin for data, settings or caches of the user.

    Containers and batch systems run programs without a home, and under user ids that the system
    does not know. A folder among the temporary files stands in then.
    """
    import platformdirs

    find = {
        "data": platformdirs.user_data_path,
        "config": platformdirs.user_config_path,
        "cache": platformdirs.user_cache_path,
    }[kind]
    try:
        folder = find(NAME, appauthor=False)
    except (RuntimeError, KeyError):
        return temporary_folder() / kind
    return folder if folder.is_absolute() else temporary_folder() / kind


def named_folder(variable: str) -> Path | None:
    """Return the folder that an environment variable names; None if it names none."""
    text = os.environ.get(variable, "")
    if not text:
        return None
    try:
        return Path(text).expanduser()
    except RuntimeError:  # a ~ without a home
        return temporary_folder() / text.lstrip("~/\\")


def home() -> Path:
    """Return the user's home; without one, the current folder."""
    try:
        return Path.home()
    except RuntimeError:
        return Path.cwd()


def temporary_folder() -> Path:
    """Return a folder among the temporary files that only this user's programs write to."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    folder = Path(f"{NAME}-{user}").absolute()
    try:
        folder = Path(tempfile.gettempdir()) / folder.name
        folder.mkdir(mode=0o700, exist_ok=True)
        if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
            return Path(tempfile.mkdtemp(prefix=f"{NAME}-"))
    except OSError:
        pass  # where nothing can be written, callers say so
    return folder
