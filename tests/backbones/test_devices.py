"""What is said about a GPU that PyTorch cannot use."""

from __future__ import annotations

import sys

import pytest
import torch

from conftest_cli import run
from napari_ptsam.backbones import devices
from napari_ptsam.backbones.devices import has_nvidia_driver, unused_gpu

WITHOUT_GPU = pytest.mark.skipif(
    torch.cuda.is_available() or torch.backends.mps.is_available(), reason="PyTorch has a GPU here"
)


def test_nothing_is_said_without_a_reason() -> None:
    if not has_nvidia_driver() or torch.cuda.is_available():
        assert unused_gpu() == ""


@WITHOUT_GPU
@pytest.mark.parametrize(
    ("nvidia", "cuda", "expected"),
    [
        (True, None, f'"{sys.executable}" --reinstall torch --torch-backend=auto'),
        (True, "12.6", "Update the driver"),
        (False, None, ""),
    ],
)
def test_a_gpu_that_pytorch_cannot_use(nvidia, cuda, expected, monkeypatch) -> None:
    monkeypatch.setattr(devices, "has_nvidia_driver", lambda: nvidia)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    assert expected in unused_gpu() and bool(unused_gpu()) == nvidia


@WITHOUT_GPU
def test_the_command_line_says_so(monkeypatch, capsys) -> None:
    monkeypatch.setattr(devices, "has_nvidia_driver", lambda: True)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert run("backbones", "list") == 0
    assert "was built without support for it" in capsys.readouterr().out


def test_the_driver_is_found_by_its_program(tmp_path, monkeypatch) -> None:
    if sys.platform == "win32":
        (tmp_path / "System32").mkdir()
        (tmp_path / "System32" / "nvcuda.dll").touch()
        monkeypatch.setenv("SYSTEMROOT", str(tmp_path))
    else:
        (tmp_path / "nvidia-smi").touch(mode=0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
    assert has_nvidia_driver()
