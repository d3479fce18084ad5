"""The command line as a person and as a machine uses it."""

import json
import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from PIL import Image

from conftest_cli import fails, run
from conftest_prompts import head, make
from napari_ptsam.cli.commands import _report_training
from napari_ptsam.prompts.files import load

pytestmark = pytest.mark.usefixtures("loaded")

QUICK = [
    "--steps", "30", "--embeddings", "5", "--batch-size", "2", "--tile", "whole", "--seed", "0",
    "--markers", "no", "--minutes", "0", "--detail", "off",
]  # fmt: skip


SHORT = ["--steps", "2", *QUICK[2:], "--keep", "new", "--start"]
"""What was learned already is kept, however short it is."""


@pytest.fixture(scope="module")
def prompt_path(prompt, tmp_path_factory) -> Path:
    return prompt.save(tmp_path_factory.mktemp("prompt") / "nuclei.pt")


def test_train_segment_evaluate_info(folders, tmp_path: Path, capsys) -> None:
    images, masks = folders
    out = tmp_path / "a.pt"
    longer = ["--steps", "60", *QUICK[2:]]
    assert run("train", images, masks, "-o", out, *longer, "--notes", "crops", "--json") == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["steps"] == 60 and line["batch_size"] == 2 and line["trained_parameters"] == 2048
    assert line["tile"] == 128 and 0 < line["held_out_dice"] <= 1
    assert line["detail"] == []
    assert set(line["seconds"]) == {"embedding", "training", "total"}
    assert line["seconds"]["total"] >= line["seconds"]["embedding"] + line["seconds"]["training"]
    assert load(out).notes == "crops" and out.stat().st_size <= 12 * 1024

    assert run("segment", out, images, "-o", tmp_path / "labels") == 0
    written = sorted((tmp_path / "labels").iterdir())
    assert [path.name for path in written] == [f"{i:03}.tif" for i in range(6)]
    assert tifffile.imread(written[0]).shape == (128, 128)

    capsys.readouterr()
    assert run("evaluate", out, images, masks, "--json") == 0
    scores = json.loads(capsys.readouterr().out)
    assert len(scores["images"]) == 6
    assert scores["iou"] == pytest.approx(np.mean([one["iou"] for one in scores["images"]]))
    assert 0.5 < scores["iou"] < scores["dice"] <= 1 and 0 < scores["ap"] <= scores["ap50"] <= 1

    assert run("info", out) == 0
    assert "2,048 trained" in capsys.readouterr().out
    assert run("info", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["trained_parameters"] == 2048


@pytest.mark.parametrize(
    ("shares", "told"),
    [((0.5, None), "fine detail: labels are refined: class 0 at half strength"), ((), "")],
)
def test_the_end_of_a_training_names_fine_detail(shares, told, tmp_path, capsys) -> None:
    prompt = make(2, detail=tuple(None if share is None else head(share=share) for share in shares))
    path = tmp_path / "a.pt"
    path.write_bytes(b"1234")
    backbone = SimpleNamespace(device="cpu")
    training = SimpleNamespace(seconds={}, backbone=backbone, kept_start=None)
    _report_training(Namespace(json=True), path, training, prompt, 1.0)
    assert json.loads(capsys.readouterr().out)["detail"] == [share or 0 for share in shares]
    _report_training(Namespace(json=False), path, training, prompt, 1.0)
    text = capsys.readouterr().out
    assert told in text and ("fine detail" in text) == bool(told)


@pytest.mark.usefixtures("careless")
def test_a_training_that_makes_its_start_worse_writes_the_start(
    nuclei, prompt, prompt_path, tmp_path: Path, capsys
) -> None:
    stacks = tmp_path / "images.tif", tmp_path / "masks.tif"
    for path, arrays in zip(stacks, nuclei, strict=True):
        tifffile.imwrite(path, np.stack(arrays[:3]), photometric="minisblack")
    harmful = [*SHORT, prompt_path, "--learning-rate", "3", "--json"]
    better = [*harmful, "--keep", "better"]
    assert run("train", *stacks, "-o", tmp_path / "old.pt", *better, "--notes", "kept") == 0
    out, err = capsys.readouterr()
    kept = json.loads(out.splitlines()[-1])["kept_start"]
    assert kept["images"] == 3 and kept["dice"] > kept["new_dice"] + 0.01
    message = f"the prompt worse: Dice {kept['new_dice']:.3f} on the same 3 planes, before {kept['dice']:.3f}."
    assert message in err and "--keep new" in err
    written = load(tmp_path / "old.pt")
    assert np.array_equal(written.tokens, prompt.tokens) and written.origin == prompt.origin
    assert written.notes == "kept"

    assert run("train", *stacks, "-o", tmp_path / "new.pt", *harmful) == 0
    out, err = capsys.readouterr()
    assert json.loads(out.splitlines()[-1])["kept_start"] is None and "worse" not in err
    assert load(tmp_path / "new.pt").origin.start == "a prompt"


def test_evaluation_is_that_of_the_written_labels(folders, prompt_path, tmp_path, capsys) -> None:
    images, masks = folders
    run("segment", prompt_path, images, "-o", tmp_path / "out")
    capsys.readouterr()
    run("evaluate", prompt_path, images, masks, "--json")
    for one in json.loads(capsys.readouterr().out)["images"]:
        truth, found = (tifffile.imread(f / one["name"]) > 0 for f in (masks, tmp_path / "out"))
        assert one["iou"] == pytest.approx((truth & found).sum() / (truth | found).sum())


def test_words_for_people(folders, prompt_path, tmp_path: Path, capsys) -> None:
    assert run("train", *folders, "-o", tmp_path / "b.pt", *SHORT, prompt_path) == 0
    assert load(tmp_path / "b.pt").origin.start == "a prompt"
    out = capsys.readouterr().out
    assert "1 validation plane of 6" in out and "2,048 parameters" in out
    assert run("evaluate", prompt_path, *folders) == 0
    out = capsys.readouterr().out
    assert "mean: IoU" in out and "AP at IoU 0.5" in out


def test_a_stack_keeps_axes_and_pixel_size(nuclei, prompt_path, tmp_path: Path) -> None:
    stack = np.stack(nuclei[0][:4]).reshape(2, 2, 128, 128)
    source = tmp_path / "stack.tif"
    metadata = {"axes": "TZYX", "unit": "um", "spacing": 2.0}
    tifffile.imwrite(source, stack, imagej=True, metadata=metadata, resolution=(4, 2))
    for option, dtype in (("--instances", np.uint16), ("--probabilities", np.float32)):
        target = tmp_path / f"{option}.tif"
        assert run("segment", prompt_path, source, "-o", target, option) == 0
        with tifffile.TiffFile(target) as file:
            assert file.is_imagej and file.series[0].axes == "TZYX"
            assert file.series[0].shape == stack.shape and file.series[0].dtype == dtype
            assert file.imagej_metadata["spacing"] == 2.0 and file.imagej_metadata["unit"] == "um"
            tag = file.pages[0].tags["XResolution"].value
            assert tag[0] / tag[1] == 4


def test_two_stacks_train(nuclei, prompt_path, tmp_path: Path) -> None:
    for name, arrays in zip(("images.tif", "masks.tif"), nuclei, strict=True):
        tifffile.imwrite(tmp_path / name, np.stack(arrays), photometric="minisblack")
    out = tmp_path / "a.pt"
    stacks = tmp_path / "images.tif", tmp_path / "masks.tif"
    assert run("train", *stacks, "-o", out, *SHORT, prompt_path) == 0
    assert load(out).origin.images == 6


# What can be wrong. Each must leave nothing behind.


def test_images_and_masks_that_do_not_fit(folders, tmp_path: Path, capsys) -> None:
    images, masks = folders
    out, empty = tmp_path / "out.pt", tmp_path / "empty"
    empty.mkdir()

    def train_fails(message: str, *arguments: object) -> None:
        fails(capsys, message, "train", *arguments, "-o", out, *QUICK)
        assert not out.exists() and not list(tmp_path.glob(".out*"))

    train_fails("holds no images", empty, masks)
    train_fails("no file or folder", tmp_path / "none", masks)
    train_fails("must both be folders", images, masks / "000.tif")
    (images / "005.tif").rename(images / "extra.tif")
    train_fails("has the name of extra.tif", images, masks)
    (images / "extra.tif").unlink()
    train_fails("has the name of 005.tif", images, masks)
    (masks / "005.tif").unlink()
    mask = tifffile.imread(masks / "000.tif")
    for wrong, message in (
        (mask[:100], "128 x 128 pixels but its mask 000.tif has 100 x 128"),
        (np.zeros_like(mask), "000.tif has no foreground at all"),
        (np.ones_like(mask), "000.tif has no background at all"),
        (mask * 0.37, "000.tif holds fractions"),
    ):
        tifffile.imwrite(masks / "000.tif", wrong)
        train_fails(message, images, masks)
    tifffile.imwrite(masks / "000.tif", mask)
    whole = (images / "000.tif").read_bytes()
    (images / "000.tif").write_bytes(whole[: len(whole) // 2])
    train_fails("000.tif cannot be read: the file is truncated", images, masks)


def test_prompt_files_that_are_none(folders, prompt_path, tmp_path: Path, capsys) -> None:
    import torch

    mark = tmp_path / "ran"

    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(mark),)

    good = prompt_path.read_bytes()
    plain = torch.load(prompt_path, weights_only=True)
    del plain["sealed"]  # else nothing else would be looked at
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "picture.png")
    bad = tmp_path / "bad.pt"
    for content, message in (
        (good[:-200], "truncated or damaged"),
        (b"", "is empty"),
        ((tmp_path / "picture.png").read_bytes(), "no prompt file"),
        (plain | {"version": 99}, "update napari-ptsam"),
        (plain | {"backbone": "vit_b", "weights": "vit_b"}, "backbones download vit_b"),
        (plain | {"signature": "f" * 16}, "vit_t (signature ffffffffffffffff), and this is vit_t"),
        (plain | {"tokens": torch.zeros(1, 7, 256)}, "of shape"),
        (plain | {"tokens": torch.full((1, 8, 256), float("nan"))}, "NaN"),
        (plain | {"notes": Hostile()}, "it was not run"),
    ):
        bad.write_bytes(content) if isinstance(content, bytes) else torch.save(content, bad)
        fails(capsys, message, "segment", bad, folders[0], "-o", tmp_path / "labels")
    assert not mark.exists()
    assert not (tmp_path / "labels").exists()


def test_outputs_that_cannot_be_written(folders, prompt_path, tmp_path: Path, capsys) -> None:
    kept = tmp_path / "kept.pt"
    kept.write_bytes(b"mine")
    fails(capsys, "exists and is kept", "train", *folders, "-o", kept, *QUICK)
    assert kept.read_bytes() == b"mine"
    fails(capsys, "no folder", "train", *folders, "-o", tmp_path / "no" / "a.pt", *QUICK)
    labels = tmp_path / "labels.tif"
    labels.write_bytes(b"mine")
    image = folders[0] / "000.tif"
    fails(capsys, "exists and is kept", "segment", prompt_path, image, "-o", labels)
    assert labels.read_bytes() == b"mine"
    assert run("segment", prompt_path, image, "-o", labels, "--overwrite") == 0
    assert tifffile.imread(labels).shape == (128, 128)
    fails(
        capsys,
        "make the folder first",
        "segment",
        prompt_path,
        folders[0],
        "-o",
        tmp_path / "x.tif",
    )
    fails(capsys, ".tif files", "segment", prompt_path, image, "-o", tmp_path / "x.png")
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "000.tif").write_bytes(b"mine")
    fails(capsys, "exists and is kept", "segment", prompt_path, image, "-o", taken)


@pytest.mark.skipif(not Path("/proc/1").exists(), reason="needs a folder nobody may write to")
def test_a_folder_without_permission(folders, prompt_path, capsys) -> None:
    locked = Path("/proc/1")  # not even root may write there
    fails(capsys, "/proc/1", "train", *folders, "-o", locked / "a.pt", *QUICK[2:], "--steps", "1")
    image = folders[0] / "000.tif"
    fails(capsys, "/proc/1", "segment", prompt_path, image, "-o", locked / "a.tif")
    fails(capsys, "cannot be made", "segment", prompt_path, image, "-o", locked / "labels")


def test_a_full_disk(folders, prompt_path, tmp_path: Path, capsys, monkeypatch) -> None:
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    image, out = folders[0] / "000.tif", tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(tifffile, "imwrite", full)
        fails(capsys, "no space left", "segment", prompt_path, image, "-o", out)
    assert [path.name for path in out.iterdir()] == ["000.tif.partial"]
    assert run("segment", prompt_path, image, "-o", out, "--resume") == 0
    assert [path.name for path in out.iterdir()] == ["000.tif"]


def test_settings_that_make_no_sense(folders, prompt_path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "a.pt"
    for message, *options in (
        ("invalid choice: 'vit_x'", "--backbone", "vit_x"),
        ("vit_b (375 MB) is not on this machine", "--backbone", "vit_b"),
        ("no checkpoint file", "--backbone", "vit_b", "--checkpoint", tmp_path / "none.pth"),
        ("the weights of a vit_t, but", "--backbone", "vit_b", "--checkpoint", weights()),
        ("--tile is a whole number from 16 to 16,384", "--tile", "5"),
        ("'big' is not a whole number", "--tile", "big"),
        ("--steps is a whole number from 1 up, not 0", "--steps", "0"),
        ("LOW,HIGH", "--normalize", "minmax"),
        ("lower one first", "--normalize", "5,3"),
        ("between 0 and 100", "--percentiles", "1,101"),
        ("is a grey image; the prompt takes channel 3", "--channels", "3"),
        ("no prompt file at", "--start", tmp_path / "none.pt"),
    ):
        fails(capsys, message, "train", *folders, "-o", out, *QUICK, *options)
    assert not out.exists()
    fails(capsys, "invalid choice", "trane")
    fails(capsys, "required", "train", *folders)


def weights() -> Path:
    from napari_ptsam.backbones.checkpoints import embedded_checkpoint

    return embedded_checkpoint()


def test_ctrl_c_saves_nothing_and_says_how_to_go_on(folders, tmp_path, capsys, monkeypatch) -> None:
    def stop_at_step_3(self, progress) -> None:
        if progress.phase == "training" and progress.step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("napari_ptsam.cli.commands.TrainingBar.show", stop_at_step_3)
    out = tmp_path / "a.pt"
    assert run("train", *folders, "-o", out, *QUICK, "--json") == 130
    stdout, stderr = capsys.readouterr()
    assert "Stopped after 3 of 30 steps" in stderr and "was not written" in stderr
    assert "same command again" in stderr and stderr.count("\n") == 1 and stdout == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["images", "masks"]


@pytest.mark.skipif(os.name == "nt", reason="signals are sent another way there")
def test_a_real_interrupt_leaves_no_traceback(
    folders, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache = tmp_path_factory.mktemp("cache")
    command = [sys.executable, "-m", "napari_ptsam", "train", *map(str, folders)]
    command += ["-o", str(tmp_path / "a.pt"), "--steps", "100000", *QUICK[2:]]
    # A shell that runs the tests in the background has them ignore interrupts, and what they start.
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "NAPARI_PTSAM_CACHE": str(cache)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        while not any(cache.rglob("*")):  # until a tile is embedded
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        try:
            _, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Traceback" not in stderr and stderr.startswith("napari-ptsam: Stopped")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["images", "masks"]


def test_what_would_be_found_out_too_late_is_found_out_first(folders, tmp_path, capsys) -> None:
    """Before any training: a long one must not be lost for a note."""
    out = tmp_path / "a.pt"
    for message, *options in (
        ("at most 1000 fit", "--notes", "n" * 1001),
        ("no valid text", "--notes", "\udcff"),
        ("1 to 60 printable", "--classes", ""),
        ("1 to 60 printable", "--classes", "a,"),
        ("from 16 to 16,384", "--tile", "3000000"),
        ("same name", "--classes", "a,a"),
    ):
        fails(capsys, message, "train", *folders, "-o", out, "--steps", "10000000", *options)


def test_negative_values_are_no_options(folders, tmp_path: Path) -> None:
    out = tmp_path / "a.pt"
    for folder in folders:
        for number in range(2, 6):
            (folder / f"{number:03}.tif").unlink()
    few = ["--steps", "10", "--embeddings", "2", *QUICK[4:]]
    assert run("train", *folders, "-o", out, *few, "--normalize", "-10,2000") == 0
    assert load(out).images.normalization.low == -10


def test_results_never_replace_the_images(folders, prompt_path, capsys) -> None:
    before = (folders[0] / "000.tif").read_bytes()
    for out in (folders[0], folders[0] / "000.tif"):
        fails(
            capsys, "would replace the image", "segment", prompt_path,
            folders[0] / "000.tif", "-o", out, "--overwrite",
        )  # fmt: skip
    assert (folders[0] / "000.tif").read_bytes() == before


def test_evaluating_where_a_class_is_missing(nuclei, tmp_path: Path, capsys) -> None:
    from dataclasses import replace

    prompt = load_two_classes()
    image, mask = nuclei[0][0], (nuclei[1][0] > 0).astype(np.uint8)
    for name, array in (("i.tif", image), ("m.tif", mask)):
        tifffile.imwrite(tmp_path / name, array)
    replace(prompt).save(tmp_path / "p.pt")
    code = run("evaluate", tmp_path / "p.pt", tmp_path / "i.tif", tmp_path / "m.tif", "--json")
    assert code == 0
    assert set(json.loads(capsys.readouterr().out)["classes"]) == {"a", "b"}


def load_two_classes():
    from napari_ptsam.backbones.loading import load_backbone
    from napari_ptsam.images.settings import ImageSettings
    from napari_ptsam.images.tiling import Tiling
    from napari_ptsam.prompts.prompt import Prompt

    tokens = np.random.default_rng(0).normal(size=(2, 8, 256)).astype(np.float32)
    signature = load_backbone().signature
    settings = ImageSettings(Tiling(128, whole=True))
    return Prompt(tokens, ("a", "b"), ("#E69F00", "#56B4E9"), "vit_t", signature, settings)


def test_demo_writes_its_files_and_keeps_them(tmp_path: Path, capsys, monkeypatch) -> None:
    """With 5 planes to learn from and 4 to measure on, and a part of each."""
    from napari_ptsam.cli import demo
    from napari_ptsam.datasets import sample
    from napari_ptsam.datasets.sample import Sample, make_sample
    from napari_ptsam.training.encoder_token_training import EncoderTokenTraining

    whole = make_sample()
    part = slice(11, 20), slice(384, 512), slice(192, 320)
    few = Sample(whole.images[part], whole.instances[part])
    monkeypatch.setattr(demo, "make_sample", lambda: few)
    for module in (sample, demo):
        monkeypatch.setattr(module, "ANNOTATED", 5)
    monkeypatch.setattr(demo, "SHOWN", (6, 7, 8))
    out = tmp_path / "demo"
    monkeypatch.setattr(EncoderTokenTraining, "_time_a_tile", lambda self: 9.0)  # a slow machine
    assert run("demo", "--out", out, "--steps", "12", "--embeddings", "5", "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert 0 < figures["iou"] < figures["dice"] < 1 and figures["bytes"] <= 44 * 1024
    assert sorted(p.name for p in out.iterdir()) == [
        "labels.tif", "objects.tif", "overlay.png", "prompt.pt", "report.txt",
    ]  # fmt: skip
    for name in ("labels.tif", "objects.tif"):
        with tifffile.TiffFile(out / name) as file:
            assert file.is_imagej and file.series[0].axes == "ZYX"
            assert file.series[0].shape == (9, 128, 128)
    sizes = [np.bincount(plane.ravel())[1:] for plane in tifffile.imread(out / "objects.tif")]
    smallest = demo._smallest_size(few.annotated[1])
    assert smallest > 1 and all(size[size > 0].min(initial=smallest) >= smallest for size in sizes)
    with Image.open(out / "overlay.png") as picture:
        assert picture.size == (3 * 134 - 6, 2 * 134 - 6)
    report = (out / "report.txt").read_text(encoding="utf-8")
    for part in ("IoU of the foreground", "Dice", "embedding", "training", "bytes"):
        assert part in report
    assert f"{figures['trained_parameters']:,}" in report
    fails(capsys, "exists and is kept", "demo", "--out", out)
