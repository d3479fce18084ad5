"""Whatever the readers of files raise becomes a sentence."""

import json
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import zarr
from PIL import Image

import napari_ptsam as ptsam
from conftest_prompts import make
from napari_ptsam.annotation import session_file
from napari_ptsam.annotation.plane_files import read_plane_file
from napari_ptsam.annotation.session_file import load_session
from napari_ptsam.backbones.checkpoints import embedded_checkpoint, read_checkpoint
from napari_ptsam.batch import work_folder
from napari_ptsam.batch.formats import is_result_of
from napari_ptsam.batch.work_folder import WorkFolder
from napari_ptsam.errors import (
    CheckpointError,
    InputError,
    OutputError,
    PromptFileError,
    PtsamError,
    SessionError,
)
from napari_ptsam.images.reading import open_image
from napari_ptsam.io.safe_loading import read_or, unreadable_as
from napari_ptsam.prompts import text
from napari_ptsam.prompts.text import from_text, to_text
from napari_ptsam.prompts.thumbnail import read_thumbnail


class NewError(Exception):
    """What no reader raises yet."""


ODD = [
    zlib.error("invalid block type"), struct.error("unpack requires 8 bytes"), RecursionError(),
    pickle.UnpicklingError("STACK_GLOBAL"), MemoryError(), OverflowError(), SyntaxError("broken PNG"),
    UnicodeDecodeError("utf-8", b"x", 0, 1, "invalid"), EOFError(), KeyError("shape"), NewError(),
]  # fmt: skip


@pytest.fixture(params=ODD, ids=lambda error: type(error).__name__)
def fails(request):
    """Raises what the readers of damaged files raise, now or some day."""

    def read(*arguments, **options):
        raise request.param

    return read


def test_errors_of_the_kind_pass_and_all_others_are_told() -> None:
    with pytest.raises(InputError, match="as it was"), unreadable_as(InputError, str):
        raise InputError("as it was")
    with (
        pytest.raises(SessionError, match="told: x") as caught,
        unreadable_as(SessionError, "told: {}".format),
    ):
        raise InputError("x")
    assert isinstance(caught.value.__cause__, InputError)
    with pytest.raises(KeyboardInterrupt), unreadable_as(InputError, str):
        raise KeyboardInterrupt
    assert read_or(1, lambda: 2) == 2 and read_or(1, lambda: int("x")) == 1


def test_prompts(fails, tmp_path: Path, monkeypatch) -> None:
    path, line = make().save(tmp_path / "a.pt"), to_text(make())
    monkeypatch.setattr(torch, "load", fails)
    monkeypatch.setattr(text, "from_plain", fails)
    with pytest.raises(PromptFileError, match=r"a\.pt"):
        ptsam.load(path)
    with pytest.raises(PromptFileError, match="text is damaged"):
        from_text(line)
    monkeypatch.setattr(Image, "open", fails)
    assert read_thumbnail(b"RIFF") is None


def test_checkpoints(fails, tmp_path: Path, monkeypatch) -> None:
    import safetensors.torch

    torch.save({}, tmp_path / "a.pt")
    monkeypatch.setattr(torch, "load", fails)
    monkeypatch.setattr(safetensors.torch, "load_file", fails)
    for path in (tmp_path / "a.pt", embedded_checkpoint()):
        with pytest.raises(CheckpointError, match=path.name):
            read_checkpoint(path)


READERS = {"a.tif": (tifffile, "TiffFile"), "a.png": (Image, "open"), "a.npy": (np, "load"),
           "a.zarr": (zarr, "open")}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_images(name: str, fails, tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / name
    if name == "a.zarr":
        path.mkdir()
        (path / "zarr.json").touch()
    path.touch()
    monkeypatch.setattr(*READERS[name], fails)
    with pytest.raises(InputError, match=f"{name} cannot be read"):
        open_image(path)
    with pytest.raises(SessionError, match=f"{name} cannot be read"):
        read_plane_file(path)


def test_pixels(fails, tmp_path: Path, monkeypatch) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 32, 32), np.uint8), compression="zlib")
    planes = open_image(tmp_path / "a.tif")
    monkeypatch.setattr(tifffile.TiffPage, "asarray", fails)
    with pytest.raises(PtsamError, match=r"a\.tif"):
        planes[1]


def test_sessions_and_results(fails, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "session.json").write_text("{}", encoding="utf-8")
    folder = WorkFolder(tmp_path / "a.tif")
    folder.create({})
    monkeypatch.setattr(session_file.json, "loads", fails)
    monkeypatch.setattr(work_folder.json, "loads", fails)
    with pytest.raises(SessionError, match="damaged"):
        load_session(tmp_path)
    with pytest.raises(OutputError, match=r"holds a run\.json that cannot be read"):
        folder.run()
    monkeypatch.setattr(tifffile, "TiffFile", fails)
    (tmp_path / "a.tif").touch()
    assert not is_result_of(tmp_path / "a.tif", "0")


@pytest.mark.parametrize("content", ["3", "[1]", "{", "", "[" * 100_000])
def test_a_run_that_is_none(content: str, tmp_path: Path) -> None:
    folder = WorkFolder(tmp_path / "a.tif")
    folder.create({"x": 1})
    (folder.path / "run.json").write_text(content, encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be read; remove it"):
        folder.run()


def test_a_journal_and_planes_that_are_none(tmp_path: Path) -> None:
    folder = WorkFolder(tmp_path / "a.tif")
    folder.create({"x": 1})
    (folder.path / "done").write_bytes(b"a b\n")
    with pytest.raises(OutputError, match="holds a done that cannot be read"):
        folder.open(2, (32, 32), np.dtype(np.uint8))
    (folder.path / "done").write_bytes(b"0 1\n")
    (folder.path / "planes.zarr").mkdir()
    (folder.path / "planes.zarr" / "zarr.json").write_text(json.dumps({}), encoding="utf-8")
    with pytest.raises(OutputError, match=r"holds a planes\.zarr that cannot be read"):
        folder.open(2, (32, 32), np.dtype(np.uint8))
