"""Tuning on crops of real nuclei, in few steps."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import napari_ptsam as ptsam
from napari_ptsam.datasets.annotated_planes import MaskReading, annotate
from napari_ptsam.evaluation.metrics import overlap
from napari_ptsam.images.planes import Planes
from napari_ptsam.inference.embedded_plane import EmbeddedPlane
from napari_ptsam.training import token_training, trainer
from napari_ptsam.training.loss import bce_dice
from napari_ptsam.training.settings import TrainingSettings
from napari_ptsam.training.tiles import PreparedPlanes
from napari_ptsam.training.trainer import Training
from napari_ptsam.training.validation import Measurement

QUICK = {
    "steps": 6, "embeddings": 3, "tile": "whole", "batch_size": 1, "markers": "no", "minutes": 0,
    "detail": "off",
}  # fmt: skip


def annotations(nuclei, count: int = 2, **reading):
    images, masks = ([Planes(a) for a in arrays[:count]] for arrays in nuclei)
    return annotate(images, masks, MaskReading(**reading))


@pytest.fixture(scope="module")
def two(nuclei):
    return annotations(nuclei)


def test_it_learns(nuclei, prompt, device) -> None:
    """Few steps on six crops are enough to find most of the nuclei."""
    labels = ptsam.segment(nuclei[0][0], prompt, device=device)
    assert overlap(nuclei[1][0] > 0, labels > 0).dice > 0.8
    assert prompt.origin.held_out_dice > 0.7 and not prompt.origin.measured_on_training
    assert (prompt.origin.images, prompt.origin.held_out_images) == (6, 1)


def test_progress_tells_phases_steps_and_time(two, backbone) -> None:
    seen = list(Training(two, backbone, TrainingSettings(**QUICK)))
    phases = [progress.phase for progress in seen]
    assert phases == ["embedding"] * phases.count("embedding") + ["training"] * 6 + ["done"]
    assert [p.step for p in seen if p.phase == "training"] == [1, 2, 3, 4, 5, 6]
    embedding = [p for p in seen if p.phase == "embedding"]
    assert embedding[-1].step == embedding[-1].steps == len(embedding)
    assert embedding[-1].seconds_left > 0 and seen[-2].seconds_left == 0
    assert all(np.isfinite(p.loss) for p in seen if p.phase == "training")
    assert seen[-1].held_out_dice is not None


def test_the_first_optimiser_of_a_process_is_not_timed(two, backbone, monkeypatch) -> None:
    """It imports torch's compiler. If that counted, each step would seem to take seconds."""
    training, made, now = Training(two, backbone, TrainingSettings(**QUICK)), [], [0.0]
    make = torch.optim.AdamW.__init__

    def slowly(self, *arguments, **options) -> None:
        now[0] += 0 if made else 3
        made.append(self)
        make(self, *arguments, **options)

    monkeypatch.setattr(torch.optim.AdamW, "__init__", slowly)
    for module in (trainer, token_training):
        monkeypatch.setattr(module, "perf_counter", lambda: now[0])
    for progress in training:
        if progress.phase == "training":
            break
    assert len(made) > 2 and training.seconds["embedding"] == 0
    made.clear()
    assert training._token_training.time_one_step() == 0 and now == [6]


@pytest.mark.parametrize("count", [2, 5])
def test_no_embedding_is_computed_twice(count: int, two, backbone, monkeypatch) -> None:
    calls = []
    encode = type(backbone.encoder).__call__

    def counting(self, tiles, *rest):
        calls.extend(tile.tobytes() for tile in tiles)
        return encode(self, tiles, *rest)

    monkeypatch.setattr(type(backbone.encoder), "__call__", counting)
    training = Training(annotate_many(two, count), backbone, TrainingSettings(**QUICK))
    seen = list(training)
    assert len(calls) == len(set(calls)) == sum(p.phase == "embedding" for p in seen)
    assert bool(training.held_out) == (count == 5)


def annotate_many(annotations, count: int):
    """Up to six different planes of two."""
    images = [np.roll(e.pixels, i, 0) for i in range(3) for e in annotations.examples][:count]
    masks = [np.roll(e.instances, i, 0) for i in range(3) for e in annotations.examples][:count]
    return annotate([Planes(i) for i in images], [Planes(m) for m in masks])


def test_same_seed_same_prompt(two, backbone) -> None:
    def tokens(seed: int) -> np.ndarray:
        training = Training(two, backbone, TrainingSettings(**QUICK, seed=seed))
        list(training)
        return training.tokens.cpu().numpy()

    first = tokens(3)
    assert np.array_equal(first, tokens(3))
    assert not np.array_equal(first, tokens(4))


def test_closing_gives_the_best_prompt_so_far(two, backbone) -> None:
    training = Training(two, backbone, TrainingSettings(**QUICK | {"steps": 240}))
    for progress in training:
        if progress.phase == "training" and progress.step == 20:
            break
    training.close()
    assert training.prompt.origin.steps == 20
    assert training.prompt.origin.held_out_dice > 0
    assert list(training) == []


def test_closing_before_anything_is_learned_is_said(two, backbone) -> None:
    training = Training(two, backbone, TrainingSettings(**QUICK))
    next(iter(training))
    training.close()
    with pytest.raises(ptsam.CollapsedError, match="stopped before"):
        _ = training.prompt


def test_a_draft_shows_early_and_changes_nothing(nuclei, backbone) -> None:
    six = annotations(nuclei, 6)
    settings = TrainingSettings(**QUICK | {"embeddings": 7})
    with_draft = Training(six, backbone, settings, draft=True)
    shown = [with_draft.tokens.clone() for progress in with_draft if progress.phase == "embedding"]
    moved = [float((tokens - shown[0]).abs().mean()) for tokens in shown]
    assert moved[0] == 0 < moved[1] < moved[-1]
    without = Training(six, backbone, settings)
    assert without.tokens is None
    list(without)
    assert np.array_equal(with_draft.prompt.tokens, without.prompt.tokens)


def test_stopping_while_embedding_keeps_the_draft(nuclei, backbone) -> None:
    settings = TrainingSettings(**QUICK | {"embeddings": 16})
    training = Training(annotations(nuclei, 6), backbone, settings, draft=True)
    for progress in training:
        if progress.step == 12:
            training.stop()
    assert progress.phase == "embedding" and progress.step < progress.steps
    training.close()
    origin = training.prompt.origin
    assert origin.steps == 0 and origin.held_out_dice > 0.3 and not origin.measured_on_training


def test_stop_ends_the_iteration_from_outside(two, backbone) -> None:
    training = Training(two, backbone, TrainingSettings(**QUICK | {"steps": 240}))
    phases = []
    for progress in training:
        phases.append(progress.phase)
        if progress.phase == "training" and progress.step == 20:
            training.stop()
    assert phases.count("training") == 20 and "done" not in phases
    assert training.prompt.origin.steps == 20


def test_stop_while_starts_are_tried(two, backbone) -> None:
    training = Training(two, backbone, TrainingSettings(**QUICK | {"steps": 320}))
    for progress in training:
        if progress.phase == "training" and progress.step == 16:  # of the first start's 20
            training.stop()
    assert training.prompt.origin.steps == 16 and training.prompt.origin.held_out_dice > 0


def test_every_plane_gets_its_dice(nuclei, backbone) -> None:
    settings = TrainingSettings(**QUICK | {"steps": 20, "embeddings": 6})
    training = Training(annotations(nuclei, 6), backbone, settings)
    list(training)
    scores = dict(training.plane_scores())
    assert sorted(scores) == [0, 1, 2, 3, 4, 5]
    held_out = [i for i, e in enumerate(training.annotations.examples) if e in training.held_out]
    assert np.mean([scores[i] for i in held_out]) == pytest.approx(
        training.prompt.origin.held_out_dice
    )
    labels = ptsam.segment(nuclei[0][2], training.prompt, device=str(backbone.device))
    assert scores[2] == pytest.approx(overlap(nuclei[1][2] > 0, labels > 0).dice, abs=0.02)
    training.close()
    assert dict(training.plane_scores()) == {}


def test_colours_of_the_annotations_are_kept(two, backbone) -> None:
    coloured = replace(two, colours=("#123456",))
    training = Training(coloured, backbone, TrainingSettings(**QUICK))
    list(training)
    assert training.prompt.colours == ("#123456",)


def test_best_prompt_is_kept_not_the_last(two, backbone, monkeypatch) -> None:
    dice = iter([0.5, 0.9, 0.7, *[0.1] * 20])
    monkeypatch.setattr(token_training, "measure", lambda *_: Measurement(next(dice), False))
    training = Training(two, backbone, TrainingSettings(**QUICK))
    list(training)
    assert training.prompt.origin.held_out_dice == 0.9


def test_dice_that_falls_slowly_is_not_followed_down(two, backbone, monkeypatch) -> None:
    dice = iter([0.90, 0.86, 0.82, 0.78, 0.74, 0.70])
    monkeypatch.setattr(token_training, "measure", lambda *_: Measurement(next(dice), False))
    training = Training(two, backbone, TrainingSettings(**QUICK))
    list(training)
    assert training.prompt.origin.held_out_dice == 0.86


def test_closing_while_starts_are_tried_gives_the_best_of_them(two, backbone, monkeypatch) -> None:
    dice = iter([0.9])
    monkeypatch.setattr(token_training, "measure", lambda *_: Measurement(next(dice), False))
    training = Training(two, backbone, TrainingSettings(**QUICK | {"steps": 160}))
    for progress in training:
        if progress.phase == "training" and progress.step == 12:  # the second start's second step
            break
    training.close()
    assert training.prompt.origin.held_out_dice == 0.9


def test_a_prompt_to_go_on_from_competes(nuclei, prompt, backbone) -> None:
    settings = TrainingSettings(**QUICK | {"steps": 100})
    training = Training(annotations(nuclei, 6), backbone, settings, start=prompt)
    for progress in training:
        if progress.phase == "training":
            break  # before the first check
    training.close()
    assert np.array_equal(training.prompt.tokens, prompt.tokens)


def test_collapse_is_seen_though_the_held_out_plane_is_empty(nuclei, backbone, monkeypatch) -> None:
    images, masks = nuclei[0][:4], [nuclei[1][0], *[np.zeros_like(nuclei[1][0])] * 3]
    found = annotate(
        [Planes(i) for i in images], [Planes(m) for m in masks], MaskReading(empty="background")
    )
    nothing = lambda plane, *_: np.full((1, *plane.shape), -1.0, np.float32)  # noqa: E731
    monkeypatch.setattr(EmbeddedPlane, "logits", nothing)
    training = Training(found, backbone, TrainingSettings(**QUICK))
    with pytest.raises(ptsam.CollapsedError):
        list(training)


def test_few_planes_are_measured_on_themselves(nuclei, backbone) -> None:
    for count in (1, 2, 3):
        training = Training(annotations(nuclei, count), backbone, TrainingSettings(**QUICK))
        assert len(training.training) == count and training.held_out == []
    alone = Training(annotations(nuclei, 1), backbone, TrainingSettings(**QUICK | {"steps": 12}))
    list(alone)
    assert alone.prompt.origin.measured_on_training


def test_collapse_is_tried_again_and_then_reported(two, backbone, monkeypatch) -> None:
    monkeypatch.setattr(token_training, "measure", lambda *_: Measurement(0.0, True))
    training = Training(two, backbone, TrainingSettings(**QUICK))
    with pytest.raises(ptsam.CollapsedError, match="collapsed from 3 different starts"):
        list(training)
    with pytest.raises(ptsam.CollapsedError):
        _ = training.prompt


def test_second_start_saves_a_collapsed_run(two, backbone, monkeypatch) -> None:
    measured = token_training.measure
    calls = []

    def first_collapses(*arguments):
        calls.append(0)
        return Measurement(0.0, True) if len(calls) <= 4 else measured(*arguments)

    monkeypatch.setattr(token_training, "measure", first_collapses)
    training = Training(two, backbone, TrainingSettings(**QUICK | {"steps": 40}))
    notes = {progress.note for progress in training}
    assert any("another start" in note for note in notes)
    assert training.prompt.origin.held_out_dice > 0.5


def test_going_on_from_a_prompt(nuclei, prompt, backbone) -> None:
    settings = TrainingSettings(**QUICK)
    training = Training(annotations(nuclei, 6), backbone, settings, start=prompt, keep="new")
    list(training)
    assert training.prompt.origin.start == "a prompt"
    assert training.prompt.images == prompt.images
    moved = np.abs(training.prompt.tokens - prompt.tokens).mean()
    assert 0 < moved < 0.3
    assert training.prompt.origin.held_out_dice > prompt.origin.held_out_dice - 0.1


def test_a_start_with_other_classes_is_refused(nuclei, prompt, backbone) -> None:
    other = annotations(nuclei, 2)
    other = type(other)(other.examples, ("else",), None, other.stacks)
    with pytest.raises(ptsam.InputError, match="they must be the same"):
        Training(other, backbone, start=prompt)


def partly_annotated(nuclei, cell_and_rest, left_out: int):
    """Two classes; what the left-out lower part says must not matter."""
    masks = [mask.copy() for mask in cell_and_rest]
    for mask in masks:
        mask[100:] = left_out
    images = [Planes(image) for image in nuclei[0][:2]]
    return annotate(images, [Planes(m) for m in masks], MaskReading(("cell", "rest"), left_out))


def test_several_classes_have_a_token_set_each(two_classes) -> None:
    assert two_classes.tokens.shape == (2, 8, 256) and two_classes.trained_parameters == 4096
    assert two_classes.classes == ("cell", "rest") and len(set(two_classes.colours)) == 2


def test_unlabelled_pixels_do_not_count(nuclei, cell_and_rest, backbone) -> None:
    targets = []
    for left_out in (9, 77):
        found = partly_annotated(nuclei, cell_and_rest, left_out)
        training = Training(found, backbone, TrainingSettings(**QUICK))
        for progress in training:
            if progress.phase == "training":
                targets.append(training._embedded.tiles[0])
                break
        training.close()
    assert targets[0].weight[:200].min() == 1 and targets[0].weight[201:].max() == 0
    assert torch.equal(targets[0].target, targets[1].target)
    assert targets[0].target[:, 201:].max() == 0


def test_pixels_that_do_not_count_do_not_change_the_loss() -> None:
    logits, target = torch.randn(2, 256, 256), (torch.rand(2, 256, 256) > 0.7).float()
    weight = torch.ones(2, 256, 256)
    weight[:, 128:] = 0
    other = target.clone()
    other[:, 128:] = 1 - other[:, 128:]
    assert bce_dice(logits, target, weight) == bce_dice(logits, other, weight)
    assert bce_dice(logits, target, weight) != bce_dice(logits, target, torch.ones_like(weight))


def test_blank_tiles_have_no_dice_loss_unless_they_show_something() -> None:
    logits, empty = torch.full((2, 256, 256), -6.0), torch.zeros(2, 256, 256)
    weight, neither = torch.ones_like(empty), torch.tensor([False, False])
    whole = bce_dice(logits, empty, weight)
    assert bce_dice(logits, empty, weight, neither) == whole
    entropy = bce_dice(logits, empty, weight, ~neither)
    assert entropy < 0.01 < whole
    padded = empty.clone()
    padded[:, :100] = 1
    assert bce_dice(logits, padded, weight, ~neither) == bce_dice(logits, padded, weight)


def test_loss_is_least_for_the_truth() -> None:
    target = (torch.rand(1, 256, 256) > 0.7).float()
    weight = torch.ones_like(target)
    perfect = bce_dice(target * 40 - 20, target, weight)
    assert perfect < 1e-3 < bce_dice(torch.zeros_like(target), target, weight)


def test_collapse_is_seen_in_both_directions(two, backbone, monkeypatch) -> None:
    from napari_ptsam.training import validation

    images = Training(two, backbone, TrainingSettings(**QUICK)).images
    prepared_planes = PreparedPlanes(images, [None] * 2)
    embedding = validation.embed_planes(two.examples, prepared_planes, backbone)
    planes = [plane for plane in embedding if plane is not None]
    shape = two.examples[0].shape
    tokens = torch.zeros(1, 8, 256)
    for value, collapsed in ((-1.0, True), (1.0, True)):
        flat = np.full((1, *shape), value, np.float32)
        monkeypatch.setattr(EmbeddedPlane, "logits", lambda *_, flat=flat: flat)
        assert validation.measure(planes, tokens, backbone).collapsed == collapsed
    truth = iter([np.where(e.labels, 1.0, -1.0)[None] for e in two.examples])
    monkeypatch.setattr(EmbeddedPlane, "logits", lambda *_: next(truth))
    perfect = validation.measure(planes, tokens, backbone)
    assert perfect.dice == 1 and not perfect.collapsed
