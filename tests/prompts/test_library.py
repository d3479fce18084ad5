"""Prompts in folders."""

from pathlib import Path

import numpy as np
import pytest

from conftest_prompts import make
from napari_ptsam.errors import InputError, KeptElsewhereError, OutputError
from napari_ptsam.io.user_folders import temporary_folder
from napari_ptsam.prompts import library
from napari_ptsam.prompts.files import load
from napari_ptsam.prompts.library import (
    FOLDER_VARIABLE,
    Library,
    LibraryFolders,
    duplicate,
    free_path,
    library_folder,
    put,
    rename,
    save_trained,
)
from napari_ptsam.prompts.thumbnail import (
    LIMIT,
    LIMIT_WITH_TEXT,
    SIDE,
    make_thumbnail,
    read_thumbnail,
)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "own"))
    return tmp_path / "own"


def test_put_finds_a_free_name(shelf: Path) -> None:
    paths = [put(make(), "nuclei") for _ in range(3)]
    assert [path.name for path in paths] == ["nuclei.pt", "nuclei (2).pt", "nuclei (3).pt"]
    assert paths[0].parent == shelf == library_folder()
    assert free_path(paths[1]).name == "nuclei (4).pt"


@pytest.mark.parametrize("name", ["", " ", "a/b", "a:b", ".hidden", "x" * 101, "CON", "dots."])
def test_what_is_no_name_for_a_file(name: str, shelf: Path) -> None:
    with pytest.raises(InputError, match=r"is no name for a file|Windows has no files"):
        put(make(), name)


def test_a_trained_prompt_is_kept_where_anything_can_be_written(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_, **__: data)
    gone = tmp_path / "gone" / "nuclei.pt"
    with pytest.raises(KeptElsewhereError, match="There is no folder") as told:
        save_trained(make(), gone)
    assert told.value.path == shelf / "nuclei.pt" and load(told.value.path) is not None
    assert f"it is kept in {told.value.path}." in str(told.value)
    # The library's folder is away too, as on the same share.
    (tmp_path / "file").touch()
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "file" / "library"))
    with pytest.raises(KeptElsewhereError) as told:
        save_trained(make(), gone.with_name("con.pt"))  # no name on Windows
    assert told.value.path == data / "prompts" / "prompt.pt" and told.value.path.is_file()
    data.rename(tmp_path / "moved")
    data.touch()
    with pytest.raises(KeptElsewhereError) as told:
        save_trained(make(), gone)
    assert temporary_folder() in told.value.path.parents and told.value.path.is_file()
    told.value.path.unlink()
    monkeypatch.setattr(library, "temporary_folder", lambda: data)
    with pytest.raises(OutputError, match="There is no folder") as error:
        save_trained(make(), gone)
    assert not isinstance(error.value, KeptElsewhereError)
    path = tmp_path / "fine.pt"
    assert save_trained(make(), path) == path and path.is_file()


def test_changes_on_disk_are_noticed(shelf: Path, tmp_path: Path) -> None:
    lab = tmp_path / "lab"
    library = Library([shelf, lab, tmp_path / "away"])
    assert not library.refresh()
    first = put(make(), "b")
    lab.mkdir()
    make(notes="of the lab").save(lab / "a.pt")
    assert library.refresh() and not library.refresh()
    assert [entry.path.name for entry in library.items] == ["b.pt", "a.pt"]
    first.write_bytes(b"damaged")
    assert library.refresh()
    damaged = library.items[0]
    assert damaged.prompt is None and "no prompt file" in damaged.problem
    first.unlink()
    assert library.refresh() and len(library.items) == 1


def test_only_what_changed_is_read_again(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_ptsam.prompts import library as module

    read: list[Path] = []
    monkeypatch.setattr(module, "load", lambda path: read.append(path) or load(path))
    library = Library([shelf])
    paths = [put(make(), name) for name in "abc"]
    library.refresh()
    make(notes="new").save(paths[1], overwrite=True)
    library.refresh()
    assert read == [*paths, paths[1]]


def test_search(shelf: Path) -> None:
    put(make(notes="Präparat", author="Ada Lovelace", weights="vit_t"), "Yeast buds")
    library = Library([shelf])
    library.refresh()
    (entry,) = library.items
    for words in ("", "yeast", "BUDS lovelace", "präparat", "class 0", "cc0", "vit_t", "2026-11"):
        assert entry.matches(words), words
    assert not entry.matches("yeast mitochondria")


def test_rename_and_duplicate_keep_what_is_there(shelf: Path) -> None:
    first, second = put(make(), "a"), put(make(notes="other"), "b")
    with pytest.raises(OutputError, match="exists and is kept"):
        rename(first, "b")
    moved = rename(first, "c.pt")
    assert moved.name == "c.pt" and not first.exists()
    assert rename(moved, "c") == moved
    copy = duplicate(second)
    assert copy.name == "b (2).pt" and copy.read_bytes() == second.read_bytes()
    with pytest.raises(OutputError):
        rename(shelf / "gone.pt", "d")


def test_folders_are_kept(shelf: Path, tmp_path: Path) -> None:
    file = tmp_path / "config" / "library.json"
    folders = LibraryFolders(file)
    assert folders.folders == [shelf]
    folders.add(tmp_path / "lab")
    folders.add(tmp_path / "lab")
    assert LibraryFolders(file).folders == [shelf, tmp_path / "lab"]
    folders.remove(tmp_path / "lab")
    assert folders.folders == [shelf]
    file.write_text("[damaged", encoding="utf-8")
    assert folders.folders == [shelf]


def test_a_picture_is_small_and_comes_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:300, :400]
    labels = ((y // 40 + x // 40) % 3 == 0).astype(np.uint8)
    guide = (0.3 * labels + 0.7 * rng.random((300, 400))).astype(np.float32)
    data = make_thumbnail(guide, labels, ["#E69F00"])
    assert 0 < len(data) <= LIMIT
    picture = read_thumbnail(data)
    assert picture is not None and picture.shape == (SIDE, SIDE, 3)
    tinted = picture[..., 0].astype(int) - picture[..., 2] > 60
    assert 0.15 < tinted.mean() < 0.6
    text = "n" * (LIMIT_WITH_TEXT - len(data) - len("CC0"))
    path = make(thumbnail=data, notes=text).save(tmp_path / "a.pt")
    assert path.stat().st_size <= 12 * 1024
    assert load(path).thumbnail == data
    path = make(thumbnail=data, notes=text + "n").save(tmp_path / "b.pt")
    assert load(path).thumbnail == b""


@pytest.mark.parametrize("data", [b"", b"RIFF", b"x" * LIMIT, b"\x89PNG\r\n\x1a\n" + b"0" * 50])
def test_what_is_no_picture(data: bytes) -> None:
    assert read_thumbnail(data) is None


def test_a_trained_prompt_has_a_picture(prompt) -> None:
    assert read_thumbnail(prompt.thumbnail) is not None
