"""Folders of a user, who may have no home."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs
import pytest

from napari_ptsam.io.user_folders import home, named_folder, user_folder
from napari_ptsam.io.writing import printable


@pytest.fixture
def homeless(monkeypatch, tmp_path) -> Path:
    def unknown(*_, **__):
        raise RuntimeError("could not determine the home directory")

    for name in ("user_data_path", "user_config_path", "user_cache_path"):
        monkeypatch.setattr(platformdirs, name, unknown)
    monkeypatch.setattr(Path, "home", classmethod(unknown))
    monkeypatch.setattr(Path, "expanduser", unknown)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    return tmp_path


def test_a_user_without_a_home_gets_temporary_folders(homeless: Path, monkeypatch) -> None:
    for kind in ("data", "config", "cache"):
        folder = user_folder(kind)
        assert folder.is_relative_to(homeless) and folder.name == kind
        if os.name != "nt":
            assert folder.parent.stat().st_mode & 0o077 == 0
    assert home() == Path.cwd()
    monkeypatch.setenv("A_FOLDER", "~/prompts")
    assert named_folder("A_FOLDER").is_relative_to(homeless)


def test_named_folders(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("A_FOLDER", raising=False)
    assert named_folder("A_FOLDER") is None
    monkeypatch.setenv("A_FOLDER", str(tmp_path))
    assert named_folder("A_FOLDER") == tmp_path
    assert user_folder("data") == platformdirs.user_data_path("napari-ptsam", appauthor=False)


def test_names_that_cannot_be_encoded() -> None:
    assert printable("Zählung.tif") == "Zählung.tif"
    name = printable("Z\udce4hlung")
    assert name.encode() and name.startswith("Z") and name.endswith("hlung")
