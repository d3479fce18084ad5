"""Specialists for other programs."""

import gc
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import napari_ptsam as ptsam
from conftest_cli import complains, fails, run
from napari_ptsam.errors import InputError, OutputError
from napari_ptsam.exporting.bioimageio_package import export_bioimageio
from napari_ptsam.exporting.onnx_file import AGREES, export_onnx
from napari_ptsam.prompts.merging import merge
from napari_ptsam.prompts.prompt import Prompt
from napari_ptsam.prompts.refinement import Refinement


@pytest.fixture(scope="module")
def exported(prompt: Prompt, tmp_path_factory: pytest.TempPathFactory):
    """A prompt of two classes with a guided filter, and its ONNX file."""
    other = replace(prompt, tokens=-prompt.tokens, classes=("other",))
    both = replace(merge([prompt, other]), refinement=Refinement(4, 0.01, 0.5), flips=("x",))
    return both, export_onnx(both, tmp_path_factory.mktemp("onnx") / "both.onnx")


def test_onnx_runtime_gives_what_torch_gives(exported) -> None:
    _, checked = exported
    assert checked.difference <= AGREES
    assert (checked.side, checked.channels) == (128, 1)


def test_it_finds_on_real_nuclei_what_segmenting_finds(exported, nuclei) -> None:
    both, checked = exported
    plane = nuclei[0][0]
    session = onnxruntime.InferenceSession(checked.path, providers=["CPUExecutionProvider"])
    seen = both.images.prepare(plane, rgb=False)[..., 0]
    (found,) = session.run(None, {"image": seen[None, None]})
    wanted = ptsam.segment(plane, both, output="probabilities", device="cpu")
    assert found.shape == (1, 2, 128, 128) and found.dtype == np.float32
    # Segmenting computes in bfloat16 where the processor has it.
    assert np.abs(found[0] - wanted).mean() < 0.01


def test_the_file_tells_what_is_to_be_known(exported) -> None:
    both, checked = exported
    model = onnx.load(checked.path)
    onnx.checker.check_model(model)
    told = json.loads({p.key: p.value for p in model.metadata_props}["napari-ptsam"])
    assert told["classes"] == list(both.classes) and told["normalization"]["high"] == 99.8
    assert told["tile"]["side"] == 128


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # it leaves the package open
def test_the_zoo_s_own_test_passes(prompt: Prompt, tmp_path: Path) -> None:
    import bioimageio.core

    own = replace(prompt, author="Ada Lovelace", licence="CC0-1.0")
    path = export_bioimageio(own, tmp_path / "nuclei.zip")
    summary = bioimageio.core.test_description(path)
    assert summary.status == "passed", summary.display()
    description = bioimageio.core.load_model_description(path)
    assert description.license == "CC0-1.0" and description.authors[0].name == "Ada Lovelace"
    del summary, description
    gc.collect()


def test_command_line(prompt: Prompt, tmp_path: Path, capsys, monkeypatch) -> None:
    path = prompt.save(tmp_path / "a.pt")
    fails(capsys, "Say what to write", "export", path)
    (tmp_path / "a.onnx").write_text("there already")
    fails(capsys, "exists and is kept", "export", path, "--onnx", tmp_path / "a.onnx")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    complains(capsys, "pip install", "export", path, "--onnx", tmp_path / "b.onnx")
    monkeypatch.undo()
    assert run("export", path, "--onnx", tmp_path / "b.onnx", "--rgb") == 0
    assert "3 channel(s)" in capsys.readouterr().out


def test_an_export_that_differs_is_thrown_away(
    prompt: Prompt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_ptsam.exporting.onnx_file.AGREES", -1.0)
    with pytest.raises(OutputError, match="differs from PyTorch by"):
        export_onnx(prompt, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_backbone_that_is_not_here(prompt: Prompt, tmp_path: Path) -> None:
    with pytest.raises((InputError, ptsam.CheckpointError), match="backbones download vit_b"):
        export_onnx(replace(prompt, weights="vit_b", signature="0" * 16), tmp_path / "a.onnx")
