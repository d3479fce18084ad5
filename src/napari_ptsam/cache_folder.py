"""Where files are kept that can be had again."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "NAPARI_PTSAM_CACHE"


def cache_folder() -> Path:
    """The folder that NAPARI_PTSAM_CACHE names, or else the user's own on this system."""
    from platformdirs import user_cache_path

    folder = os.environ.get(CACHE_VARIABLE)
    return Path(folder).expanduser() if folder else user_cache_path("napari-ptsam", appauthor=False)
