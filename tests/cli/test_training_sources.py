"""Training on a session folder from a terminal."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest_cli import fails, run
from napari_ptsam.annotation.scheme import IGNORED, Scheme
from napari_ptsam.annotation.session import Session, SessionImage, SessionPlane
from napari_ptsam.annotation.session_folder import SessionFolder
from napari_ptsam.backbones.checkpoints import embedded_checkpoint
from napari_ptsam.cli.parser import build_parser
from napari_ptsam.cli.training_sources import open_source
from napari_ptsam.errors import KeptElsewhereError, SessionError
from napari_ptsam.prompts.files import load
from napari_ptsam.prompts.prompt import Prompt
from napari_ptsam.training.settings import TrainingSettings

pytestmark = pytest.mark.usefixtures("loaded")

SETTINGS = {
    "preset": "thorough", "steps": 30, "embeddings": 6, "tile": "whole", "device": "none such",
    "normalization": {"mode": "stack", "low": 2, "high": 99}, "channels": None, "held_out": 0.2,
}  # fmt: skip


@pytest.fixture
def session(tmp_path: Path, nuclei) -> SessionFolder:
    """Six planes of real nuclei, all done; plane 5 is held out already."""
    folder = SessionFolder.create(tmp_path, "cells")
    image = SessionImage("cells", (6, 128, 128), "ZYX")
    planes = [SessionPlane(0, (z,), done=True, held_out=True if z == 5 else None) for z in range(6)]
    scheme = Scheme(("nucleus",), ("#112233",))
    folder.write(Session(scheme, (image,), tuple(planes), dict(SETTINGS)))
    for plane, pixels, mask in zip(planes, *nuclei, strict=True):
        folder.write_plane(plane, pixels, mask)
    return folder


def source_of(*arguments: object):
    return open_source(build_parser().parse_args(["train", *map(str, arguments)]))


def settings(*arguments: object) -> TrainingSettings:
    return source_of(*arguments).settings


def test_a_session_trains_as_it_says(session: SessionFolder, tmp_path: Path, capsys) -> None:
    options = "--notes", "of a session", "--minutes", 0, "--detail", "off", "--json"
    assert run("train", session.path, *options) == 0
    out, err = capsys.readouterr()
    line = json.loads(out.splitlines()[-1])
    path = session.path / "prompts" / "001.pt"
    assert line["prompt"] == str(path) and line["steps"] == 30 and line["tile"] == 128
    assert line["images"] == 6 and line["held_out_images"] == 1
    assert line["encoder_tokens"] == 0 and "Encoder tokens were left out" in err
    prompt = load(path)
    assert prompt.classes == ("nucleus",) and prompt.colours == ("#112233",)
    assert prompt.images.normalization.mode == "stack" and prompt.notes == "of a session"
    found = session.read()
    assert found.prompts == ("001.pt",) and found.problems == ()
    # What it was trained on is never to measure it.
    assert [plane.held_out for plane in found.planes] == [False] * 5 + [True]
    assert found.settings == SETTINGS and not found.closed

    fails(capsys, "classes", "train", session.path, "--start", path, "--classes", "cell")


def test_a_prompt_that_goes_elsewhere_is_not_the_sessions(session, tmp_path, prompt) -> None:
    elsewhere = tmp_path / "mine.pt"
    source = source_of(session.path, "-o", elsewhere, "--classes", "cell")
    found = source.annotations(None)
    assert found.classes == ("cell",) and found.colours == ("#112233",)
    before = (session.path / "session.json").read_bytes()
    assert source.save(prompt) == elsewhere and load(elsewhere).classes == prompt.classes
    assert (session.path / "session.json").read_bytes() == before
    assert not (session.path / "prompts").exists()


def test_a_sparse_session_is_learned_from(session: SessionFolder, nuclei) -> None:
    now = session.read()
    scheme = Scheme(("a", "b"), sparse=True)
    session.write(
        replace(now, scheme=scheme, planes=tuple(replace(p, done=False) for p in now.planes))
    )
    for plane, mask in zip(now.planes[:3], nuclei[1], strict=False):
        labels = np.zeros(mask.shape, np.uint8)
        labels[::2] = np.where(mask[::2] > 0, 2, 1)
        labels[60:, 64:][labels[60:, 64:] == 2] = 3
        session.write_plane(plane, None, labels)
    for plane in now.planes[3:]:
        session.write_plane(plane, None, np.zeros((128, 128), np.uint8))
    found = source_of(session.path).annotations(None)
    assert found.classes == ("a", "b") and len(found.examples) == 3
    assert {e.valid.sum() for e in found.examples} == {64 * 128}


def test_regions_and_ignored_pixels_of_a_session(session: SessionFolder, nuclei) -> None:
    now, region = session.read(), (20, 30, 90, 100)
    planes = (replace(now.planes[0], regions=(region,)), *now.planes[1:])
    session.write(replace(now, scheme=replace(now.scheme, ignored=IGNORED), planes=planes))
    labels = nuclei[1][1].astype(np.uint16)
    labels[:10] = IGNORED
    session.write_plane(planes[1], None, labels)
    first, second, *_ = source_of(session.path).annotations(None).examples
    assert first.valid.sum() == 70 * 70 and not first.labels[~first.valid].any()
    assert not second.valid[:10].any() and second.valid[10:].all()
    assert not second.labels[:10].any() and second.labels.any()


def test_what_cannot_be_read_is_told_and_left_out(session: SessionFolder, capsys) -> None:
    (session.path / "masks" / "000-2.tif").write_bytes(b"II*\0")
    found = source_of(session.path).annotations(None)
    out, err = capsys.readouterr()
    assert "napari-ptsam: cells, plane 2 is left out: " in err and "000-2.tif" in err and out == ""
    assert [e.name[-1] for e in found.examples] == ["0", "1", "3", "4", "5"]
    assert found.held_out == {4}


def test_settings_of_session_preset_and_options(session: SessionFolder, folders, tmp_path) -> None:
    saved = settings(session.path)
    assert (saved.steps, saved.embeddings, saved.tile, saved.held_out) == (30, 6, "whole", 0.2)
    assert saved.normalization.low == 2 and saved.seed == 0 and saved.channels is None
    quick = settings(session.path, "--preset", "quick")
    assert (quick.steps, quick.embeddings, quick.tile) == (150, 48, "whole")
    both = settings(session.path, "--preset", "quick", "--embeddings", 9, "--seed", 4)
    assert (both.steps, both.embeddings, both.seed) == (150, 9, 4)
    given = settings(
        session.path, "--tile", "auto", "--held-out", 0, "--channels", "0,1", "--batch-size", 3,
        "--learning-rate", 0.5, "--percentiles", "5,95",
    )  # fmt: skip
    assert (given.tile, given.held_out, given.channels) == ("auto", 0, (0, 1))
    assert (given.batch_size, given.learning_rate, given.steps) == (3, 0.5, 30)
    assert saved.detail == "auto" and settings(session.path, "--detail", "off").detail == "off"
    limits = given.normalization
    assert (limits.mode, limits.low, limits.high) == ("stack", 5, 95)
    limits = settings(session.path, "--normalize", "plane").normalization
    assert (limits.mode, limits.low, limits.high) == ("plane", 2, 99)
    limits = settings(session.path, "--normalize", "-5,5").normalization
    assert (limits.mode, limits.low, limits.high) == ("range", -5, 5)

    masks = (*folders, "-o", tmp_path / "a.pt")
    assert settings(*masks) == settings(*masks, "--preset", "normal") == TrainingSettings()
    assert settings(*masks, "--preset", "thorough").steps == 1000
    assert settings(*masks, "--preset", "thorough", "--steps", 3).embeddings == 224
    session.write(replace(session.read(), settings={}))
    assert settings(session.path) == TrainingSettings()


def test_masks_may_come_after_options(folders, tmp_path: Path) -> None:
    images, masks = folders
    for order in (
        (images, masks, "-o", tmp_path / "a.pt"),
        (images, "-o", tmp_path / "a.pt", masks),
        ("-o", tmp_path / "a.pt", images, "--steps", 3, masks),
        ("-o", tmp_path / "a.pt", images, "--normalize", "-1,1", masks, "--json"),
    ):
        options = build_parser().parse_args(["train", *map(str, order)])
        assert (options.images, options.masks) == (images, masks)


def test_what_is_missing_on_the_command_line(folders, session, tmp_path: Path, capsys) -> None:
    images, masks = folders
    out = ("-o", tmp_path / "a.pt")
    fails(capsys, "-o OUT.pt", "train", images, masks)
    fails(capsys, "Masks are required", "train", images, *out)
    fails(capsys, "it holds no session.json", "train", images)
    fails(capsys, "Masks are required", "train", images / "000.tif", *out)
    fails(capsys, "no file or folder", "train", tmp_path / "none", *out)
    fails(capsys, "required: images", "train", *out)
    fails(capsys, "unrecognized arguments: more", "train", images, *out, masks, "more")
    fails(capsys, "unrecognized arguments: --more", "train", images, masks, *out, "--more")
    fails(capsys, "invalid choice: 'fast'", "train", session.path, "--preset", "fast")
    # A session folder with masks is a folder of images like any other.
    fails(capsys, "holds no images", "train", session.path, masks, *out)


def test_sessions_that_cannot_be_trained_on(session: SessionFolder, tmp_path, capsys) -> None:
    good = session.read()

    def session_fails(message: str, *options: object, **changes: object) -> None:
        session.write(replace(good, **changes))
        fails(capsys, message, "train", session.path, *options)
        assert not list((session.path).glob("prompts/*"))

    undone = tuple(replace(plane, done=False) for plane in good.planes)
    session_fails("no plane is marked as done", planes=undone)
    session_fails("no preset 'fast'", settings={"preset": "fast"})
    session_fails("stands for no class", scheme=Scheme(("a", "b")))
    session_fails("--classes names 2", "--classes", "a,b")
    session_fails("--unlabelled is for masks", "--unlabelled", 255)
    session_fails("--empty is for masks", "--empty", "skip")
    session_fails("--axes is for masks", "--axes", "YX")
    session_fails("has no percentiles", "--normalize", "1,2", "--percentiles", "1,2")
    session_fails("at most 1000 fit", "--notes", "n" * 1001)
    session_fails(
        "has no percentiles", "--percentiles", "1,2",
        settings={"normalization": {"mode": "range", "low": 1, "high": 2}},
    )  # fmt: skip
    kept = tmp_path / "kept.pt"
    kept.write_bytes(b"mine")
    session_fails("exists and is kept", "-o", kept)
    assert kept.read_bytes() == b"mine"
    (session.path / "session.json").write_text("{", encoding="utf-8")
    fails(capsys, "is damaged", "train", session.path)
    (session.path / "session.json").write_text(
        json.dumps({"kind": "napari-ptsam session"}), encoding="utf-8"
    )
    fails(capsys, "no valid version", "train", session.path)


def test_a_session_that_changes_meanwhile(session: SessionFolder, prompt: Prompt) -> None:
    """Somebody goes on annotating in napari while the training runs."""
    source = source_of(session.path)
    source.annotations(None)
    now = session.read()
    session.remove_plane(now.planes[0])
    planes = (*now.planes[1:5], replace(now.planes[5], done=False))
    session.write(replace(now, planes=planes, prompts=("kept.pt",), settings={"seed": 1}))
    (session.path / "prompts" / "kept.pt").write_bytes(b"")
    path = source.save(prompt)
    found = session.read()
    assert found.prompts == ("kept.pt", "001.pt") and path.name == "001.pt"
    assert found.settings == {"seed": 1} and len(found.planes) == 5
    assert not found.planes[4].done and found.planes[4].held_out
    (session.path / "session.json").unlink()
    with pytest.raises(SessionError, match=r"The prompt is saved in .*002\.pt, but: "):
        source.save(prompt)


def test_where_the_session_is_gone_the_prompt_is_kept(session, prompt, monkeypatch) -> None:
    library = session.path.parent / "library"
    monkeypatch.setenv("NAPARI_PTSAM_PROMPTS", str(library))
    source = source_of(session.path)
    source.annotations(None)
    shutil.rmtree(session.path)
    with pytest.raises(KeptElsewhereError, match=r"The prompt is not lost: it is kept in ") as told:
        source.save(prompt)
    (kept,) = library.iterdir()
    assert kept == told.value.path and str(kept) in str(told.value)
    assert kept.stem == session.path.name and load(kept).classes == prompt.classes


def test_ctrl_c_leaves_the_session_as_it_was(session: SessionFolder, capsys, monkeypatch) -> None:
    def stop(self, progress) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("napari_ptsam.cli.commands.TrainingBar.show", stop)
    before = session.read()
    assert run("train", session.path) == 130
    out, err = capsys.readouterr()
    assert "the prompt was not written" in err and err.count("\n") == 1 and out == ""
    assert session.read() == before


def test_the_backbone_is_that_of_the_session(session, tmp_path: Path, capsys) -> None:
    def remember(backbone: str) -> None:
        session.write(replace(session.read(), settings=SETTINGS | {"backbone": backbone}))

    arguments = (
        "train", session.path, "--preset", "quick", "--steps", 3, "--embeddings", 2, "--detail", "off",
    )  # fmt: skip
    remember("vit_b")
    fails(capsys, "backbones download vit_b", *arguments)
    remember(str(tmp_path / "gone.pt"))
    fails(capsys, "no checkpoint file at", *arguments)
    own = tmp_path / "mine.pt"
    shutil.copyfile(embedded_checkpoint(), own)
    remember(str(own))
    for more, weights in (((), "mine.pt"), (("--backbone", "vit_t"), "vit_t")):
        assert run(*arguments, *more, "-o", tmp_path / "a.pt", "--overwrite") == 0
        assert load(tmp_path / "a.pt").weights == weights
