"""Where the real images are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("PTSAM_DATA", ROOT.parent / "shared" / "data"))
"""Annotated sets; PTSAM_DATA names another folder of the same layout."""


def real_pair(name: str, number: int = 0, part: str = "train") -> tuple[Path, Path]:
    """Paths of an image and its mask; the test is skipped where they are not to be had."""
    folder = DATA / name / part
    if not folder.is_dir():
        pytest.skip(f"needs {DATA / name} (set PTSAM_DATA)")
    return folder / "images" / f"{number:03}.tif", folder / "masks" / f"{number:03}.tif"
