"""A prompt that a training makes worse is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from conftest_prompts import head
from napari_ptsam.cli.remedies import on_command_line
from napari_ptsam.datasets.annotated_planes import MaskReading, annotate
from napari_ptsam.evaluation.metrics import overlap
from napari_ptsam.images.guided_filter import Refinement
from napari_ptsam.images.planes import Planes
from napari_ptsam.inference.segment import Segmenter
from napari_ptsam.training import comparison
from napari_ptsam.training.comparison import Comparison, is_worse
from napari_ptsam.training.settings import TrainingSettings
from napari_ptsam.training.trainer import Training

FEW = {
    "steps": 2, "embeddings": 3, "tile": "whole", "batch_size": 1, "markers": "no", "minutes": 0,
    "detail": "off",
}  # fmt: skip
CHANGED = {"encoder_tokens": 1, "encoder_steps": 1}
"""Encoder tokens that the user asks for are kept, and change all embeddings."""


def annotations(nuclei, count: int = 6, **reading):
    images, masks = ([Planes(a) for a in arrays[:count]] for arrays in nuclei)
    return annotate(images, masks, MaskReading(**reading))


def trained(annotated, backbone, start, keep="better", **settings) -> Training:
    training = Training(
        annotated, backbone, TrainingSettings(**FEW | settings), start=start, keep=keep
    )
    list(training)
    training.close()
    return training


def dice_of(prompt, annotated, number: int, backbone) -> float:
    """Return the mean Dice over the classes of what the prompt segments."""
    segmented = Segmenter(prompt, backbone).plane(annotated.examples[number].pixels)
    labels = annotated.examples[number].labels
    classes = [value for value in range(1, len(prompt.classes) + 1) if (labels == value).any()]
    return float(np.mean([overlap(labels == value, segmented == value).dice for value in classes]))


@pytest.mark.parametrize(
    ("before", "after", "worse"),
    [
        ([], [], False),
        ([0.9], [0.895], False),
        ([0.9], [0.88], True),
        ([0.9] * 4, [0.893] * 4, True),
        ([0.9] * 4, [0.896] * 4, False),
        ([0.9] * 3, [0.893] * 3, False),  # three planes tell less
        ([0.9] * 4, [0.93, 0.8, 0.93, 0.9], False),  # one plane that is much worse
        ([0.8] * 4, [0.9] * 4, False),
    ],
)
def test_what_is_worse(before: list[float], after: list[float], worse: bool) -> None:
    assert is_worse(before, after) == worse


def test_a_comparison_is_worded_for_each_front_end() -> None:
    found = Comparison(0.913, 0.871, 4)
    assert str(found.sentence) == (
        "This training made the prompt worse: Dice 0.871 on the same 4 planes, before 0.913. The old "
        "prompt is kept. Train with keep='new' to get the new one all the same."
    )
    assert "--keep new" in on_command_line(found.sentence)
    assert "the same plane, before" in replace(found, planes=1).sentence
    assert replace(found, planes=1).change == (
        "Agreement with your annotation on the same plane: 0.91 before, 0.87 now."
    )
    assert "the same 4 planes: 0.91" in found.change


@pytest.mark.usefixtures("careless")
def test_a_better_start_is_kept(nuclei, prompt, backbone) -> None:
    three = annotations(nuclei, 3)  # none is held out, so that all three are compared
    found = trained(three, backbone, prompt, learning_rate=3)
    kept = found.kept_start
    assert found.prompt is prompt and kept.planes == 3 and kept.before > kept.after + 0.01
    dice = [dice_of(prompt, three, number, backbone) for number in range(3)]
    assert kept.before == pytest.approx(np.mean(dice))
    new = found.new_prompt
    assert new.origin.start == "a prompt" and not np.array_equal(new.tokens, prompt.tokens)
    taken = trained(three, backbone, prompt, keep="new", learning_rate=3)
    assert taken.kept_start is None and np.array_equal(taken.prompt.tokens, new.tokens)


def test_a_worse_start_is_replaced(nuclei, prompt, backbone) -> None:
    noise = np.random.default_rng(0).normal(0, 1, prompt.tokens.shape).astype(np.float32)
    for start in (replace(prompt, tokens=noise), replace(prompt, detail=(head(),))):
        found = trained(annotations(nuclei), backbone, start, detail="auto")
        assert found.kept_start is None and found.prompt.origin.start == "a prompt"
        assert found.comparison.planes == 1 and found.comparison.before < found.comparison.after


@pytest.mark.parametrize("kind", ["filter", "detail", "encoder tokens", "two classes"])
def test_the_start_is_measured_as_a_whole(kind: str, nuclei, prompt, backbone, monkeypatch) -> None:
    """As it segments the validation plane, though the training changes or drops all of it."""
    monkeypatch.setattr(comparison, "is_worse", lambda *_: True)
    settings, reading = {"detail": "auto"}, {}
    if kind == "filter":
        start = replace(prompt, refinement=Refinement(4, 1e-3, 0.5))
    elif kind == "detail":
        start = replace(prompt, detail=(head(),))
    elif kind == "encoder tokens":
        rng = np.random.default_rng(0)
        widths = backbone.encoder.plain.token_widths
        tokens = tuple(rng.normal(0, 1, (1, width)).astype(np.float32) for width in widths)
        start, settings = replace(prompt, encoder_tokens=tokens), CHANGED
    else:
        reading = {"classes": ("left", "right")}
        rng = np.random.default_rng(0)
        other = prompt.tokens + rng.normal(0, 0.1, prompt.tokens.shape).astype(np.float32)
        parts = {"classes": ("left", "right"), "colours": ("#ff0000", "#00ff00")}
        detail = (head(seed=1), None)
        start = replace(
            prompt, tokens=np.concatenate([prompt.tokens, other]), detail=detail, **parts
        )
    if reading:
        masks = [(mask > 0).astype(np.uint8) for mask in nuclei[1][:4]]
        for mask in masks:
            mask[:, 64:] *= 2
        nuclei = nuclei[0][:4], masks
    annotated = annotations(nuclei, 4, **reading)
    found = trained(annotated, backbone, start, **settings)
    (held_out,) = [annotated.examples.index(plane) for plane in found.held_out]
    assert found.kept_start.planes == 1 and found.prompt is start
    expected = dice_of(start, annotated, held_out, backbone)
    assert found.kept_start.before == pytest.approx(expected, abs=1e-3)
    assert abs(expected - dice_of(found.new_prompt, annotated, held_out, backbone)) > 1e-3


def test_heads_that_may_have_seen_the_planes_are_compared_with_such(
    nuclei, prompt, backbone, monkeypatch
) -> None:
    monkeypatch.setattr(comparison, "is_worse", lambda *_: True)
    annotated = annotations(nuclei, 4)
    for images in (4, 5):
        start = replace(prompt, detail=(head(),), origin=replace(prompt.origin, images=images))
        training = Training(
            annotated,
            backbone,
            TrainingSettings(**FEW | {"detail": "on", "steps": 8}),
            start=start,
        )
        list(training)
        (held_out,) = [annotated.examples.index(plane) for plane in training.held_out]
        unseen = dict(training.plane_scores())[held_out]
        seen = dice_of(training.new_prompt, annotated, held_out, backbone)
        assert abs(seen - unseen) > 1e-6
        measured, other = (seen, unseen) if images == 4 else (unseen, seen)
        after = training.kept_start.after
        assert after == pytest.approx(measured, abs=1e-3)  # the prompt's tokens are rounded
        assert abs(after - measured) < abs(after - other)


def test_what_is_switched_off_or_changed_is_not_compared(
    nuclei, prompt, backbone, monkeypatch
) -> None:
    monkeypatch.setattr(comparison, "is_worse", lambda *_: True)
    four = annotations(nuclei, 4)
    start = replace(prompt, detail=(head(),))
    bare = trained(four, backbone, start)  # without fine detail
    (held_out,) = [four.examples.index(plane) for plane in bare.held_out]
    assert bare.kept_start.before == pytest.approx(dice_of(prompt, four, held_out, backbone))

    images = [np.stack([image] * 2, -1) for image in nuclei[0][:3]]
    planes = [Planes(image, "YXC") for image in images]
    two_channels = annotate(planes, [Planes(mask) for mask in nuclei[1][:3]], MaskReading())
    start = replace(prompt, images=replace(prompt.images, channels=(0,)))
    other = trained(two_channels, backbone, start, channels=(1,))
    assert other.kept_start is None and other.prompt.images.channels == (1,)
    same = trained(two_channels, backbone, start)
    assert same.kept_start is not None


def test_a_stopped_training_compares_nothing(nuclei, prompt, backbone, monkeypatch) -> None:
    monkeypatch.setattr(comparison, "is_worse", lambda *_: True)
    settings = TrainingSettings(**FEW | {"steps": 20})
    training = Training(annotations(nuclei), backbone, settings, start=prompt)
    for progress in training:
        if progress.phase == "training" and progress.step == 5:
            training.stop()
    assert training.kept_start is None and training.prompt.origin.start == "a prompt"
    assert training.comparison is None


def test_planes_without_foreground_are_left_out(nuclei, prompt, backbone, monkeypatch) -> None:
    monkeypatch.setattr(comparison, "is_worse", lambda *_: True)
    masks = [nuclei[1][0], np.zeros_like(nuclei[1][1]), nuclei[1][2]]
    three = annotations((nuclei[0][:3], masks), 3, empty="background")
    assert trained(three, backbone, prompt).kept_start.planes == 2
