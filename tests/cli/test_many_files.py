"""Folders as people have them: bad files among good ones, masks beside images, odd names."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tifffile

from conftest_cli import run
from napari_ptsam.cli.inputs import find_images
from napari_ptsam.errors import InputError, OutputError
from napari_ptsam.prompts.library import save_trained

pytestmark = pytest.mark.usefixtures("loaded")


def images(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(folder / name, np.eye(32, dtype=np.uint8))
    return folder


@pytest.fixture(scope="module")
def prompt_path(prompt, tmp_path_factory) -> Path:
    return prompt.save(tmp_path_factory.mktemp("prompt") / "nuclei.pt")


def test_segment_goes_on_without_bad_files(prompt_path, tmp_path, capsys) -> None:
    folder = images(tmp_path / "in", "a.tif", "a_mask.tif", "b.tif", "c.tif")
    (folder / "c.tif").write_bytes((folder / "c.tif").read_bytes()[:300])
    np.save(folder / "a_seg.npy", {"masks": 0}, allow_pickle=True)
    assert run("segment", prompt_path, folder, "-o", tmp_path / "out") == 2
    err = capsys.readouterr().err.splitlines()
    assert "1 file is a mask (a_mask.tif)" in err[0] and len(err) == 2
    assert (
        "Left out: " in err[1] and "c.tif cannot be read" in err[1] and "rest is written" in err[1]
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.tif", "b.tif"]


def test_equal_names_in_nested_folders(prompt_path, tmp_path, capsys) -> None:
    folder = images(tmp_path / "in", "x/a.tif", "y/a.tif")
    assert run("segment", prompt_path, folder, "-o", tmp_path / "out") == 0
    assert run("segment", prompt_path, folder / "**" / "*.tif", "-o", tmp_path / "again") == 0
    for out in ("out", "again"):
        found = sorted(path.relative_to(tmp_path / out) for path in (tmp_path / out).glob("*/*"))
        assert found == [Path("x/a.tif"), Path("y/a.tif")]


def test_brackets_and_letters_in_patterns(tmp_path) -> None:
    if os.name != "nt":
        images(tmp_path, "set[1]/z[a]1.tif", "set[1]/z[a]2.tif", "set1/other.tif")
        for pattern in ("set[1]/*.tif", "set[1]/z[a]*.tif", "s*[1]/z[a]?.tif"):
            assert [p.name for p in find_images([tmp_path / pattern])] == ["z[a]1.tif", "z[a]2.tif"]
    images(tmp_path, unicodedata.normalize("NFD", "Zählung 1.tif"))
    for name in ("Zählung*.tif", "Zählung 1.tif"):
        (found,) = find_images([tmp_path / unicodedata.normalize("NFC", name)])
        assert found.exists()
    with pytest.raises(InputError, match="No image matches"):
        find_images([tmp_path / "[x]*.tif"])


def test_what_masks_are_taken_for_is_said(folders, prompt_path, capsys) -> None:
    for path in folders[1].iterdir():
        tifffile.imwrite(path, tifffile.imread(path) + 1)
    (folders[0] / "005.tif").write_bytes(b"II*")
    assert run("evaluate", prompt_path, *folders) == 2
    out, err = capsys.readouterr()
    first, last = err.splitlines()
    assert "1, which is most frequent, is taken as background" in first and "--background" in first
    assert "005.tif cannot be read" in last and last.endswith("the others were evaluated.")
    assert "mean: IoU" in out
    assert run("evaluate", prompt_path, *folders, "--background", 1) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="file names are UTF-16 there")
def test_names_that_are_not_utf8(prompt_path, tmp_path, capsys) -> None:
    name = os.fsdecode(b"Z\xe4hlung.tif")
    try:
        images(tmp_path, "a.tif")
        (tmp_path / "a.tif").rename(tmp_path / name)
    except OSError:
        pytest.skip("this disk takes UTF-8 names only")
    for result in (b"r\xf6.ome.zarr", b"r\xf6.ome.tif", b"r\xf6.tif"):
        out = tmp_path / os.fsdecode(result)
        for options in ((), ("--resume",), ("--resume", "--json")):
            assert run("segment", prompt_path, tmp_path / name, "-o", out, *options) == 0
        assert out.exists()


def test_a_prompt_survives_full_disks(prompt, tmp_path, monkeypatch) -> None:
    from napari_ptsam.cli import commands
    from napari_ptsam.errors import KeptElsewhereError
    from napari_ptsam.prompts.text import from_text

    monkeypatch.setenv("NAPARI_PTSAM_PROMPTS", str(tmp_path / "none.pt" / "library"))
    (tmp_path / "none.pt").write_bytes(b"")
    monkeypatch.setattr("napari_ptsam.prompts.library.user_folder", lambda _: tmp_path / "none.pt")
    monkeypatch.setattr("napari_ptsam.prompts.library.temporary_folder", lambda: tmp_path / "tmp")
    with pytest.raises(KeptElsewhereError, match="it is kept in") as kept:
        save_trained(prompt, tmp_path / "gone" / "a.pt")
    assert kept.value.path.parent == tmp_path / "tmp"

    said: list[str] = []
    monkeypatch.setattr("builtins.print", lambda text, **_: said.append(text))
    error = commands._with_text(prompt, OutputError("The disk is full."))
    assert "“import” reads" in str(error) and from_text(said[0]).classes == prompt.classes
