"""Encoder tokens in a training, on real nuclei."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import napari_ptsam as ptsam
from napari_ptsam.backbones.loading import with_encoder_tokens
from napari_ptsam.datasets.annotated_planes import AnnotationSet, MaskReading, annotate
from napari_ptsam.datasets.pairing import pair
from napari_ptsam.inference.segment import Segmenter
from napari_ptsam.prompts.describe import describe
from napari_ptsam.prompts.files import load
from napari_ptsam.training import encoder_token_training
from napari_ptsam.training.settings import TrainingSettings
from napari_ptsam.training.token_training import TrainingContext
from napari_ptsam.training.trainer import Training
from napari_ptsam.training.validation import Measurement

FEW = {
    "detail": "off",
    "steps": 4, "embeddings": 4, "tile": "whole", "markers": "no", "encoder_steps": 1,
    "encoder_tokens": 2, "held_out": 0.25, "minutes": 0,
}  # fmt: skip


@pytest.fixture
def annotations(nuclei) -> AnnotationSet:
    return annotate(*pair(nuclei[0][:4], nuclei[1][:4]), MaskReading())


def trained(annotations, backbone, **settings):
    training = Training(annotations, backbone, TrainingSettings(**FEW | settings))
    return training, list(training)


@pytest.fixture(scope="module")
def prompted(nuclei, backbone):
    """A short training with 8 tokens a layer, from a few steps of the decoder tokens."""
    annotations = annotate(*pair(nuclei[0][:4], nuclei[1][:4]), MaskReading())
    settings = FEW | {"steps": 24, "encoder_steps": 6, "encoder_tokens": 8}
    training = Training(annotations, backbone, TrainingSettings(**settings))
    return training, list(training)


def test_tuning_lowers_the_loss(prompted) -> None:
    training, told = prompted
    losses = [p.loss for p in told if p.phase == "training" and p.loss is not None]
    assert training.prompt.trained_parameters == 2048 + 14848
    before, after = np.mean(losses[20:24]), np.mean(losses[-3:])
    assert after < before
    assert told[-1].phase == "done" and told[-1].step == told[-1].steps == 30
    assert "Encoder tokens are part of the prompt" in told[-1].note


def test_the_dice_that_is_told_is_that_of_the_prompt(prompted, backbone) -> None:
    """Measured anew, by segmenting the held-out plane with the saved prompt."""
    training, _ = prompted
    prompt = training.prompt
    (example,) = training.held_out
    found = Segmenter(prompt, backbone).plane(example.pixels) > 0
    truth = example.labels > 0
    dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    assert prompt.origin.held_out_dice == pytest.approx(dice, abs=0.01)
    ((_, last),) = [score for score in training.plane_scores() if score[0] == held(training)]
    assert last == pytest.approx(dice, abs=0.01)


def held(training) -> int:
    return next(
        number
        for number, example in enumerate(training.annotations.examples)
        if example is training.held_out[0]
    )


def test_a_prompt_file_keeps_them(prompted, backbone, tmp_path) -> None:
    prompt = prompted[0].prompt
    path = prompt.save(tmp_path / "prompt.pt")
    again = load(path)
    assert len(again.encoder_tokens) == 10
    for own, other in zip(prompt.encoder_tokens, again.encoder_tokens, strict=True):
        assert np.array_equal(own, other)
    assert path.stat().st_size < 80_000
    assert "14,848 of them in encoder tokens" in describe(again)


def test_they_change_what_is_found(prompted, backbone, nuclei) -> None:
    from dataclasses import replace

    prompt = prompted[0].prompt
    without = replace(prompt, encoder_tokens=())
    pixels = nuclei[0][0]
    ours, theirs = (Segmenter(p, backbone).predict(pixels).logits for p in (prompt, without))
    assert np.abs(ours - theirs).max() > 0.1


def test_going_on_from_encoder_tokens(prompted, annotations, backbone) -> None:
    start = prompted[0].prompt
    training = Training(
        annotations, backbone, TrainingSettings(**FEW | {"encoder_tokens": 0}), start=start
    )
    list(training)
    for own, other in zip(training.prompt.encoder_tokens, start.encoder_tokens, strict=True):
        assert np.array_equal(own, other)
    training = Training(
        annotations,
        backbone,
        TrainingSettings(**FEW | {"encoder_tokens": 8}),
        start=start,
        keep="new",
    )
    list(training)
    change = np.abs(training.prompt.encoder_tokens[0] - start.encoder_tokens[0]).mean()
    assert 0 < change < 0.1


@pytest.mark.parametrize(("lower", "kept"), [(-0.01, True), (0.03, True), (0.08, False)])
def test_auto_keeps_what_does_no_harm(lower, kept, annotations, backbone, monkeypatch) -> None:
    """A few planes measure Dice only roughly: a little lower is kept, and the note says why."""
    monkeypatch.setattr(encoder_token_training, "COST", 0.0)
    settings = FEW | {"encoder_tokens": "auto", "minutes": 100.0}
    training = Training(annotations, backbone, TrainingSettings(**settings))
    monkeypatch.setattr(
        encoder_token_training,
        "measure",
        lambda *_, stopped: Measurement(training._token_training.best[0] - lower, False),
    )
    *_, last = training
    tokens = training.prompt.encoder_tokens
    assert [len(own) for own in tokens] == ([8] * 10 if kept else [])
    assert (training.prompted_backbone is not backbone) == kept
    assert ("part of the prompt" in last.note) == kept
    assert ("tried and left out" in last.note) != kept
    assert ("only roughly" in last.note) == (kept and lower > 0)


def test_auto_leaves_them_out_where_time_is_short(annotations, backbone) -> None:
    training, told = trained(annotations, backbone, encoder_tokens="auto", minutes=0)
    assert training.prompt.encoder_tokens == () and training.steps == 4
    assert "takes about" in told[-1].note and "minutes=" in told[-1].note


@pytest.mark.parametrize(
    ("tile_seconds", "settings", "steps"),
    [
        (0.1, {"encoder_tokens": 8}, 400),
        (0.4, {"encoder_tokens": 8}, 180),
        (0.4, {"encoder_tokens": 8, "minutes": 10.0}, 400),
        (9.0, {"encoder_tokens": 8}, 180),
        (9.0, {"encoder_tokens": 8, "encoder_steps": 300}, 300),
        (0.01, {}, 400),
        (0.1, {}, 180),
        (0.4, {}, 0),
        (0.4, {"minutes": 5.0}, 180),
        (0.01, {"encoder_steps": 300}, 300),
        (0.01, {"encoder_tokens": 0}, 0),
    ],
)
def test_as_many_steps_as_the_time_allows(tile_seconds, settings, steps, monkeypatch) -> None:
    embedded = SimpleNamespace(count=80, upright_count=14, measured_on_training=False)
    plain = SimpleNamespace(encoder=SimpleNamespace(tokens=()))
    run = TrainingContext(plain, TrainingSettings(steps=100, **settings), 1, embedded)
    run.seconds["embedding"] = tile_seconds * 80
    phase = encoder_token_training.EncoderTokenTraining(run)
    monkeypatch.setattr(phase, "_time_a_tile", lambda: tile_seconds)
    phase.decide(0.01)
    assert run.encoder_steps == steps
    assert ("left out" in phase.note) == (steps == 0 and settings.get("encoder_tokens") != 0)


def test_tiles_from_a_cache_do_not_tell_the_time(prompted, backbone, monkeypatch) -> None:
    """A second training, whose tiles are all embedded already, is not taken to be quick."""
    settings = TrainingSettings(**FEW | {"encoder_tokens": "auto", "minutes": 4.0})
    run = TrainingContext(backbone, settings, 1, prompted[0]._embedded)  # embedded in no time
    phase = encoder_token_training.EncoderTokenTraining(run)
    assert 0 < phase._time_a_tile() < 60
    monkeypatch.setattr(phase, "_time_a_tile", lambda: 30.0)
    phase.decide(0.01)
    assert run.encoder_steps == 0 and "takes about" in phase.note


def test_auto_wants_held_out_planes(nuclei, backbone, monkeypatch) -> None:
    monkeypatch.setattr(encoder_token_training, "COST", 0.0)
    two = annotate(*pair(nuclei[0][:2], nuclei[1][:2]), MaskReading())
    training, told = trained(two, backbone, encoder_tokens="auto", minutes=100.0)
    assert training.prompt.encoder_tokens == () and "at least 4 annotated planes" in told[-1].note
    # Asked for, they are tuned all the same.
    training, told = trained(two, backbone)
    assert [len(own) for own in training.prompt.encoder_tokens] == [2] * 10


def test_stopping_keeps_the_decoder_tokens(annotations, backbone) -> None:
    training = Training(annotations, backbone, TrainingSettings(**FEW))
    for progress in training:
        if progress.step == 5 and progress.phase == "training":
            training.stop()
    assert progress.step == 5 and training.prompt.encoder_tokens == ()
    assert training.prompt.origin.steps == 4


def test_a_full_gpu_leaves_them_out(annotations, backbone, monkeypatch) -> None:
    def full(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        yield

    monkeypatch.setattr(encoder_token_training, "optimise_both", full)
    monkeypatch.setattr(encoder_token_training, "gpu_is_full", lambda error, device: True)
    training, told = trained(annotations, backbone)
    assert training.prompt.encoder_tokens == () and "not enough memory" in told[-1].note


def test_markers_are_tuned_on_what_the_prompted_encoder_sees(annotations, backbone) -> None:
    training, told = trained(annotations, backbone, markers="yes")
    assert told[-1].step == told[-1].steps == 4 + 1 + 1
    tile = training._embedded.tiles[0]
    prompt = training.prompt
    seen = with_encoder_tokens(backbone, prompt.encoder_tokens).encoder(
        [training._embedded.pixels_of(tile.job)]
    )[0]
    assert torch.equal(seen, tile.embedding)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"encoder_tokens": -1}, "0 to 64"),
        ({"encoder_tokens": 65}, "0 to 64"),
        ({"encoder_tokens": "many"}, "whole number"),
        ({"encoder_steps": 0}, "from 1 up, or auto, not 0"),
        ({"encoder_steps": "few"}, "whole number"),
        ({"minutes": -1.0}, "from 0 and below 10,000, not -1.0"),
    ],
)
def test_settings_that_make_no_sense(settings, words) -> None:
    with pytest.raises(ptsam.InputError, match=words):
        TrainingSettings(**settings)


@pytest.mark.parametrize(
    "tokens",
    [
        (np.zeros((8, 128), np.float64),),
        (np.zeros((8, 128), np.float32), np.zeros((7, 128), np.float32)),
        (np.zeros((65, 128), np.float32),),
        (np.zeros((0, 128), np.float32),),
        (np.zeros(128, np.float32),),
        (np.full((8, 128), np.nan, np.float32),),
    ],
)
def test_tokens_that_make_no_sense(prompt, tokens) -> None:
    from dataclasses import replace

    with pytest.raises(ptsam.InputError, match="ncoder tokens"):
        replace(prompt, encoder_tokens=tokens)
