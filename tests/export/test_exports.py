"""Specialists for other programs."""

import gc
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest

import napari_ptsam as ptsam
from conftest_cli import complains, fails, run
from conftest_prompts import head, make
from napari_ptsam.errors import InputError, OutputError
from napari_ptsam.export import bioimageio_package, onnx_file
from napari_ptsam.export.bioimageio_package import export_bioimageio
from napari_ptsam.export.onnx_file import AGREES, are_colours, channels_of, export_onnx
from napari_ptsam.images.channels import Channels
from napari_ptsam.images.guided_filter import Refinement
from napari_ptsam.images.normalize import Normalization
from napari_ptsam.images.settings import ImageSettings
from napari_ptsam.images.tiling import Tiling
from napari_ptsam.prompts.prompt import Prompt

# bioimageio leaves packages open.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """ONNX Runtime's threads wait by spinning, which tests beside these would pay for."""

    def session(*arguments, sess_options=None, **options):
        sess_options = sess_options or onnxruntime.SessionOptions()
        sess_options.intra_op_num_threads = 1
        return whole(*arguments, sess_options=sess_options, **options)

    whole = onnxruntime.InferenceSession
    with pytest.MonkeyPatch.context() as patch:
        import bioimageio.core.backends.onnx_backend  # noqa: F401, its types name the class

        patch.setattr(onnxruntime, "InferenceSession", session)
        yield


@pytest.fixture(scope="module")
def exported(prompt: Prompt, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A prompt with a filter and a detail head, as a package and as the ONNX file in it.

    One export serves several tests, as it takes long. Flips would double the network; what the
    module does with them is compared with `segment` in test_every_prompt.py.
    """
    import bioimageio.core

    whole = replace(
        prompt, refinement=Refinement(4, 0.01, 0.5), author="Ada Lovelace", licence="CC0-1.0",
        detail=(head(8, 0.5),),
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("exported")
    found = SimpleNamespace(prompt=whole, statuses=[])
    check = bioimageio.core.test_description

    def keeping(*arguments, **options):
        checked = export_onnx(*arguments, **options)
        found.onnx = replace(checked, path=shutil.copyfile(checked.path, folder / "whole.onnx"))
        return checked

    def noting(package: Path):
        summary = check(package)
        found.statuses.append(summary.status)
        return summary

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bioimageio_package, "export_onnx", keeping)
        patch.setattr(bioimageio.core, "test_description", noting)
        found.package = export_bioimageio(whole, folder / "nuclei.zip")
    return found


def test_onnx_runtime_gives_what_torch_gives(exported) -> None:
    assert exported.onnx.difference <= AGREES
    assert (exported.onnx.side, exported.onnx.channels) == (128, 1)


def test_it_finds_on_real_nuclei_what_segmenting_finds(exported, nuclei) -> None:
    whole, plane = exported.prompt, nuclei[0][0]
    session = onnxruntime.InferenceSession(exported.onnx.path, providers=["CPUExecutionProvider"])
    seen = whole.images.prepare(plane).pixels[..., 0]
    (found,) = session.run(None, {"image": seen[None, None]})
    wanted = ptsam.segment(plane, whole, output="probabilities", device="cpu")
    assert found.shape == (1, 1, 128, 128) and found.dtype == np.float32
    # Segmenting computes in bfloat16 where the processor has it.
    assert np.abs(found[0] - wanted).mean() < 0.01


def test_the_file_tells_what_is_to_be_known(exported) -> None:
    model = onnx.load(exported.onnx.path)
    onnx.checker.check_model(model)
    told = json.loads({p.key: p.value for p in model.metadata_props}["napari-ptsam"])
    assert told["classes"] == list(exported.prompt.classes)
    assert told["normalization"]["high"] == 99.8 and told["tile"]["side"] == 128


def test_the_zoo_s_own_test_passes(exported) -> None:
    import bioimageio.core

    assert exported.statuses == ["passed"]
    description = bioimageio.core.load_model_description(exported.package)
    assert description.license == "CC0-1.0" and description.authors[0].name == "Ada Lovelace"
    assert description.outputs[0].axes[1].channel_names == ["foreground"]
    del description
    gc.collect()


@pytest.fixture
def quick(monkeypatch) -> None:
    """A network that is nothing but a weighted sum of the channels."""
    from onnx import TensorProto, helper, numpy_helper

    def translated(prompt, checkpoint, tile):
        weights = np.array([0.2, 0.3, 0.5][: tile.shape[1]], np.float32).reshape(1, -1, 1, 1)
        shape = [1, 1, *tile.shape[2:]]
        graph = helper.make_graph(
            [helper.make_node("Conv", ["image", "w"], ["probability"])], "sum",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, tile.shape)],
            [helper.make_tensor_value_info("probability", TensorProto.FLOAT, shape)],
            [numpy_helper.from_array(weights, "w")],
        )  # fmt: skip
        opset = [helper.make_opsetid("", onnx_file.OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=9)
        return model, (weights * tile).sum(1, keepdims=True)

    monkeypatch.setattr(onnx_file, "_translated", translated)


def with_images(mode: str = "plane", channels=None, **parts) -> Prompt:
    values = Normalization(mode, 5, 1500) if mode == "range" else Normalization(mode)
    return make(images=ImageSettings(Tiling(64), values, channels), **parts)


@pytest.mark.parametrize(
    ("mode", "channels", "rgb"),
    [("plane", (0, 2), False), ("stack", (0, 1, 2), False), ("plane", None, True)],
)
def test_values_are_scaled_as_in_training(
    mode, channels, rgb, quick, tmp_path, monkeypatch
) -> None:
    prompt, path = with_images(mode, channels), tmp_path / "a.zip"
    export_bioimageio(prompt, path, rgb=rgb)
    gc.collect()
    # The zoo's own test would have noticed the other way.
    scaled = bioimageio_package._preprocessing
    monkeypatch.setattr(
        bioimageio_package, "_preprocessing", lambda prompt, zoo, rgb: scaled(prompt, zoo, not rgb)
    )
    with pytest.raises(OutputError, match="did not pass the test"):
        export_bioimageio(prompt, path, rgb=rgb, overwrite=True)
    gc.collect()


def test_a_fixed_range_of_values(quick, tmp_path) -> None:
    assert export_bioimageio(with_images("range", (0, 2)), tmp_path / "a.zip").is_file()
    gc.collect()


@pytest.mark.parametrize(
    ("own", "asked", "told"),
    [("", None, None), ("", "MIT", "MIT"), ("CC0-1.0", None, "CC0-1.0"), ("CC0-1.0", "MIT", "MIT"),
     ("Ask the lab.", None, "LICENSE.txt")],
)  # fmt: skip
def test_no_licence_is_claimed_that_nobody_gave(own, asked, told, quick, tmp_path) -> None:
    import bioimageio.core

    path = export_bioimageio(with_images(licence=own), tmp_path / "a.zip", licence=asked)
    description = bioimageio.core.load_model_description(path)
    found = description.license
    assert (found if found is None or isinstance(found, str) else str(found.source)) == told
    del description, found
    gc.collect()


def test_a_licence_of_another_name_is_asked_for_again(tmp_path) -> None:
    with pytest.raises(InputError, match="'free' is no name of a licence"):
        export_bioimageio(make(), tmp_path / "a.zip", licence="free")


def test_the_command_line_tells_of_a_missing_licence(quick, tmp_path, capsys) -> None:
    path, target = with_images(licence="").save(tmp_path / "a.pt"), tmp_path / "a.zip"
    assert run("export", path, "--bioimageio", target) == 0
    assert "names no licence" in capsys.readouterr().err
    assert run("export", path, "--bioimageio", target, "--license", "MIT", "--overwrite") == 0
    assert "licence" not in capsys.readouterr().err
    gc.collect()


def test_command_line(quick, tmp_path: Path, capsys, monkeypatch) -> None:
    path = with_images().save(tmp_path / "a.pt")
    fails(capsys, "Say what to write", "export", path)
    (tmp_path / "a.onnx").write_text("there already", encoding="utf-8")
    fails(capsys, "exists and is kept", "export", path, "--onnx", tmp_path / "a.onnx")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxruntime", None)
        complains(capsys, "pip install", "export", path, "--onnx", tmp_path / "b.onnx")
    assert run("export", path, "--onnx", tmp_path / "b.onnx") == 0
    assert "1 channel(s)" in capsys.readouterr().out


def test_an_export_that_differs_is_thrown_away(quick, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(onnx_file, "AGREES", -1.0)
    with pytest.raises(OutputError, match="differs from PyTorch by"):
        export_onnx(with_images(), tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_channels_are_those_of_the_prompt() -> None:
    grey = replace(make(), images=ImageSettings(Tiling(64)))
    assert channels_of(grey, rgb=False) == 1 and channels_of(grey, rgb=True) == 3
    assert channels_of(make(), rgb=True) == 2  # it takes two of the channels


@pytest.mark.parametrize(
    ("trained", "rgb", "colours"),
    [(None, False, False), (None, True, True), (Channels("rgb", 3), False, True),
     (Channels("composite", 3), True, False), (Channels("grey", 1), True, True)],
)  # fmt: skip
def test_colours_are_what_the_prompt_was_trained_on(trained, rgb: bool, colours: bool) -> None:
    prompt = make(images=ImageSettings(Tiling(64)), trained_channels=trained)
    assert are_colours(prompt, rgb) == colours


def test_a_backbone_that_is_too_large(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="vit_h has more than the 2 GB"):
        export_onnx(make(backbone="vit_h"), tmp_path / "a.onnx")
