"""Prompts that are passed on, from a terminal."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest_cli import complains, fails, run
from conftest_prompts import make
from napari_ptsam.prompts.files import load


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    names = ("nuclei", "debris")
    prompts = (replace(make(), classes=(name,)) for name in names)
    return [p.save(tmp_path / f"{n}.pt") for n, p in zip(names, prompts, strict=True)]


def test_to_text_and_back(files: list[Path], tmp_path: Path, capsys, monkeypatch) -> None:
    assert run("text", files[0]) == 0
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert run("import", line, "-o", tmp_path / "pasted.pt") == 0
    assert np.allclose(load(tmp_path / "pasted.pt").tokens, load(files[0]).tokens, atol=2e-3)
    monkeypatch.setattr("sys.stdin", io.StringIO(line))
    assert run("import", "-o", tmp_path / "read.pt") == 0
    assert "nuclei, for the backbone vit_t" in capsys.readouterr().out
    fails(capsys, "is damaged", "import", line[:-5], "-o", tmp_path / "bad.pt")
    fails(capsys, "exists and is kept", "import", line, "-o", tmp_path / "read.pt")
    assert not (tmp_path / "bad.pt").exists()


def test_what_a_line_leaves_out_is_said(tmp_path: Path, capsys) -> None:
    path = make(markers=np.ones((1, 8, 256), np.float32)).save(tmp_path / "markers.pt")
    assert run("text", path) == 0
    assert "markers are left out" in capsys.readouterr().err


def test_merge_and_split(files: list[Path], tmp_path: Path, capsys) -> None:
    both = tmp_path / "both.pt"
    assert run("merge", *files, "-o", both) == 0
    assert load(both).classes == ("nuclei", "debris")
    fails(capsys, "exists and is kept", "merge", *files, "-o", both)
    assert run("merge", *files, "-o", both, "--classes", "a b, a/b", "--overwrite") == 0
    (tmp_path / "apart").mkdir()
    assert run("split", both, "-o", tmp_path / "apart") == 0
    parts = sorted((tmp_path / "apart").iterdir())
    assert [path.name for path in parts] == ["1-a_b.pt", "2-a_b.pt"]
    assert np.array_equal(load(parts[1]).tokens, load(files[1]).tokens)
    capsys.readouterr()
    complains(capsys, "exists and is kept", "split", both, "-o", tmp_path / "apart")
    fails(capsys, "no folder", "split", both, "-o", tmp_path / "nowhere")
    fails(capsys, "one class only", "split", files[0], "-o", tmp_path / "apart")
    fails(capsys, "two prompts or more", "merge", files[0], "-o", tmp_path / "one.pt")
