"""Weights: told apart by their tensors, and never run."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import napari_ptsam as ptsam
from napari_ptsam.backbones.checkpoints import (
    embedded_checkpoint,
    read_checkpoint,
    signature_of,
)
from napari_ptsam.backbones.families.registry import architecture_of
from napari_ptsam.backbones.loading import load_backbone


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return load_file(embedded_checkpoint())


def test_embedded_backbone_is_small_float16_and_known(state) -> None:
    assert embedded_checkpoint().stat().st_size < 21e6
    assert all(value.dtype == torch.float16 for value in state.values())
    assert architecture_of(state) == "vit_t"
    assert (embedded_checkpoint().parent / "LICENSE").is_file()


def test_signature_is_that_of_the_float32_copy(state) -> None:
    copy = {key: value.float() for key, value in state.items()}
    assert signature_of(copy) == signature_of(state)


def test_signature_is_that_of_unfolded_batch_norms(state) -> None:
    copy = {key: value.float() for key, value in state.items()}
    for key in [key for key in copy if key.endswith(".c.weight")]:
        factor = 1.5 + torch.rand(len(copy[key]))
        copy[key] /= factor.view(-1, 1, 1, 1)
        copy[key.replace(".c.", ".bn.")] *= factor
    assert signature_of(copy) == signature_of(state)


def test_signature_differs_after_fine_tuning(state) -> None:
    copy = dict(state)
    key = "image_encoder.layers.2.blocks.3.mlp.fc1.weight"
    copy[key] = copy[key] * 1.01
    assert signature_of(copy) != signature_of(state)


def test_prompt_fits_all_copies_of_its_backbone(state, tmp_path: Path, prompt) -> None:
    path = tmp_path / "copy.pt"
    torch.save({key: value.float() for key, value in state.items()}, path)
    backbone = load_backbone("vit_t", path, device="cpu")
    prompt.check_backbone(backbone.name, backbone.signature)


def test_script_makes_the_embedded_file_of_an_official_one(state, tmp_path: Path) -> None:
    import subprocess
    import sys

    official = {key: value.float() for key, value in state.items()}
    official["image_encoder.head.weight"] = torch.zeros(1000, 320)
    official["image_encoder.norm_head.weight"] = torch.zeros(320)
    counter = "image_encoder.patch_embed.seq.0.bn.num_batches_tracked"
    official[counter] = torch.tensor(7)
    torch.save(official, tmp_path / "mobile_sam.pt")
    script = Path(__file__).parents[2] / "scripts" / "embed_backbone.py"
    out = tmp_path / "out.safetensors"
    subprocess.run([sys.executable, script, tmp_path / "mobile_sam.pt", out], check=True)
    made = load_file(out)
    assert made.keys() == state.keys()
    assert all(torch.equal(made[key], state[key]) for key in state)


class Hostile:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_hostile_checkpoint_does_not_run(tmp_path: Path) -> None:
    torch.save({"a": Hostile(tmp_path / "ran")}, tmp_path / "bad.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Hostile(tmp_path / "ran")))
    for name in ("bad.pth", "bare.pth"):
        with pytest.raises(ptsam.CheckpointError, match="cannot be read"):
            read_checkpoint(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n", b"PK\x03\x04 truncated"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_is_no_checkpoint_is_refused(content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(ptsam.CheckpointError, match=r"weights.* cannot be read"):
        load_backbone("vit_b", path)


def test_another_architecture_is_named(state) -> None:
    with pytest.raises(ptsam.CheckpointError, match="a vit_t, but the backbone vit_b"):
        load_backbone("vit_b", embedded_checkpoint())


def test_other_networks_are_refused(tmp_path: Path) -> None:
    save_file({"fc.weight": torch.zeros(3)}, tmp_path / "resnet.safetensors")
    with pytest.raises(ptsam.CheckpointError, match="no SAM weights"):
        load_backbone("vit_t", tmp_path / "resnet.safetensors")


def test_missing_tensors_are_refused(state, tmp_path: Path) -> None:
    copy = dict(state)
    del copy["mask_decoder.mask_tokens.weight"]
    save_file(copy, tmp_path / "part.safetensors")
    with pytest.raises(ptsam.CheckpointError, match=r"missing: mask_decoder.mask_tokens.weight"):
        load_backbone("vit_t", tmp_path / "part.safetensors")


@pytest.mark.parametrize("prefix", ["module.", "sam.", "model.sam."])
@pytest.mark.parametrize("within", [(), ("model_state",), ("state", "anything")])
def test_weights_are_recognised_by_their_tensors(
    state, prefix: str, within: tuple[str, ...], tmp_path: Path
) -> None:
    content = {prefix + key: value for key, value in state.items()} | {"epoch": 3, "other.w": 1.0}
    for name in within:
        content = {"step": 7, name: content}
    torch.save(content, tmp_path / "tuned.bin")
    found = read_checkpoint(tmp_path / "tuned.bin")
    assert architecture_of(found) == "vit_t"
    assert signature_of(found) == signature_of(state)


def test_safetensors_under_another_ending(state, tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(embedded_checkpoint().read_bytes())
    assert read_checkpoint(tmp_path / "weights.pth").keys() == state.keys()


def test_adapters_are_refused(state, tmp_path: Path) -> None:
    copy = state | {"image_encoder.layers.1.adapter.weight": torch.zeros(3)}
    save_file(copy, tmp_path / "adapted.safetensors")
    with pytest.raises(ptsam.CheckpointError, match=r"not known: image_encoder.layers.1.adapter"):
        load_backbone("vit_t", tmp_path / "adapted.safetensors")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "vit_x"}, "Unknown backbone 'vit_x'"),
        ({"name": "vit_b"}, "vit_b .375 MB. is not on this machine"),
        ({"checkpoint": "nowhere.pth"}, "no checkpoint file at nowhere.pth"),
        ({"device": "tpu"}, "Unknown device 'tpu'"),
    ],
)
def test_wrong_requests(arguments: dict, message: str) -> None:
    with pytest.raises(ptsam.PtsamError, match=message):
        load_backbone(**arguments)


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ptsam.InputError, match="no cuda device"):
        load_backbone(device="cuda")
