"""Markers of objects: what they are, and tuning the tokens that find them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

import napari_ptsam as ptsam
from napari_ptsam.datasets.annotated_planes import MaskReading, annotate
from napari_ptsam.evaluation.evaluate import evaluate, summary
from napari_ptsam.images.planes import Planes
from napari_ptsam.images.tiling import Tile
from napari_ptsam.inference.embedded_plane import EmbeddedPlane
from napari_ptsam.inference.segment import Segmenter
from napari_ptsam.training import marker_training
from napari_ptsam.training.markers import find_markers, with_markers
from napari_ptsam.training.presets import training_settings
from napari_ptsam.training.settings import TrainingSettings
from napari_ptsam.training.tiles import TileJob, crop, target_of
from napari_ptsam.training.trainer import Training

QUICK = {
    "steps": 60,
    "embeddings": 6,
    "batch_size": 2,
    "tile": "whole",
    "seed": 0,
    "minutes": 0,
    "detail": "off",
}
FEW = {"steps": 4, "embeddings": 3, "tile": "whole", "batch_size": 1, "minutes": 0, "detail": "off"}


def annotations(nuclei, count: int = 6, **reading):
    images, masks = ([Planes(a) for a in arrays[:count]] for arrays in nuclei)
    return annotate(images, masks, MaskReading(**reading))


@pytest.fixture(scope="module")
def two(nuclei):
    return annotations(nuclei, 2)


@pytest.fixture(scope="module")
def trained(nuclei, backbone):
    """A training with markers, and its progress."""
    training = Training(annotations(nuclei), backbone, TrainingSettings(**QUICK))
    return training, list(training)


def squares(gap: int = 0) -> np.ndarray:
    instances = np.zeros((40, 60), np.int64)
    instances[10:30, 10:30] = 1
    instances[10:30, 30 + gap : 50] = 2**62
    return instances


def parts(inner: np.ndarray) -> int:
    return ndimage.label(inner, np.ones((3, 3)))[1]


# What markers are


def test_touching_squares_have_two_markers_with_a_gap() -> None:
    inner = find_markers(squares())
    assert parts(inner) == 2
    assert not inner[:, 26:34].any() and inner[20, 20] and inner[20, 40]


def test_tiny_objects_keep_a_marker() -> None:
    instances = np.zeros((20, 20), np.int64)
    instances[2, 2] = 1
    instances[5:7, 5:7] = 2
    instances[10, 3:9] = 3
    inner = find_markers(instances)
    for number in (1, 2, 3):
        assert parts(inner & (instances == number)) == 1


def test_a_waist_leaves_one_marker_and_each_part_has_its_own() -> None:
    instances = np.zeros((40, 80), np.int64)
    instances[5:25, 5:25] = instances[8:20, 40:52] = 1
    instances[14:16, 25:40] = 1  # the waist
    instances[5:25, 60:75] = 1  # a part by itself with the same number
    inner = find_markers(instances)
    assert parts(inner[:, :56]) == 1 and inner[15, 15] and parts(inner[:, 56:]) == 1


def test_what_goes_on_has_no_boundary_there() -> None:
    instances = np.zeros((40, 40), np.int64)
    instances[10:30, :20] = 1
    assert find_markers(instances)[20, 0]  # the plane's edge
    instances[10:30, :] = 1
    valid = np.ones((40, 40), bool)
    valid[:, 25:] = False
    inner = find_markers(np.where(valid, instances, 0), valid)
    assert inner[20, 24] and not inner[:, 25:].any()
    assert (
        find_markers(np.ones((5, 5), int)).all() and not find_markers(np.zeros((5, 5), int)).any()
    )


def test_markers_are_cropped_turned_and_weighted_as_objects_are(nuclei) -> None:
    instances = squares()
    instances[instances > 2] = 2
    mask = instances.copy()
    mask[:, 55:] = 9
    found = annotate([Planes(np.eye(40, 60))], [Planes(mask)], MaskReading(unlabelled=9))
    inner = with_markers(found.examples[0])
    cropped = crop(found.examples[0], Tile(5, 5, 30))
    assert np.array_equal(cropped.instances, found.examples[0].instances[5:35, 5:35])
    targets = []
    for symmetry in (0, 1):
        target, weight = target_of(inner, TileJob(0, Tile(0, 0, 64), symmetry), 1)
        targets.append(target[0].numpy())
        assert target[0][weight == 0].max() == 0 and 0 < weight.mean() < 1
    assert np.allclose(np.rot90(targets[0]), targets[1])
    assert parts(targets[0] > 0.5) == 2


# The phase


def test_markers_are_kept_and_split_at_least_as_well(trained, nuclei, backbone) -> None:
    prompt = trained[0].prompt
    assert prompt.markers.shape == (1, 8, 256) and prompt.trained_parameters == 4096
    found = summary(
        list(evaluate(annotations(nuclei), Segmenter(prompt, backbone))), prompt.classes
    )
    assert found["split"] == "markers" and found["ap50"] >= found["ap50_components"] > 0
    plain = replace(prompt, markers=None)
    without = summary(
        list(evaluate(annotations(nuclei), Segmenter(plain, backbone))), plain.classes
    )
    assert without["split"] == "components" and without["ap50"] == found["ap50_components"]
    assert without["iou"] == found["iou"]


def test_progress_runs_through_both_sets_of_tokens(trained) -> None:
    training, seen = trained
    steps = [p for p in seen if p.phase == "training"]
    assert training.steps == 60 + 18 and training.steps_done == 60
    assert [p.step for p in steps] == list(range(1, 79)) and {p.steps for p in steps} == {78}
    assert all(p.loss is not None for p in steps[:60]) and steps[-1].loss is None
    assert steps[59].seconds_left > 0 == steps[-1].seconds_left
    assert steps[-1].held_out_dice == training.prompt.origin.held_out_dice
    assert (seen[-1].phase, seen[-1].step, seen[-1].steps) == ("done", 78, 78)


def test_class_tokens_are_the_same_without_markers(two, backbone) -> None:
    with_markers, without = (
        Training(two, backbone, TrainingSettings(**FEW, markers=markers))
        for markers in ("auto", "no")
    )
    list(with_markers), list(without)
    assert np.array_equal(with_markers.prompt.tokens, without.prompt.tokens)
    assert without.prompt.markers is None


def test_same_seed_same_markers(two, backbone) -> None:
    found = []
    for _ in range(2):
        training = Training(two, backbone, TrainingSettings(**FEW))
        list(training)
        found.append(training._marker_training)
    assert found[0].steps_done == 1
    assert (found[0].kept is None) == (found[1].kept is None)
    if found[0].kept is not None:
        assert torch.equal(found[0].kept, found[1].kept)


def test_useless_markers_are_left_out_and_said(two, backbone, monkeypatch) -> None:
    monkeypatch.setattr(marker_training, "useful", lambda *_: False)
    training = Training(two, backbone, TrainingSettings(**FEW))
    *_, last = training
    assert training.prompt.markers is None and "will not be split" in last.note


@pytest.mark.parametrize("value", [-9.0, 9.0])
def test_collapsed_markers_are_useless(value, trained, backbone, monkeypatch) -> None:
    training, _ = trained
    planes, tokens = training._marker_training._planes(), training._token_training.best[1]
    assert marker_training.useful(planes, tokens, training._marker_training.kept, backbone)
    whole = EmbeddedPlane.logits

    def collapsed(*arguments):
        logits = whole(*arguments)
        logits[1:] = value
        return logits

    monkeypatch.setattr(EmbeddedPlane, "logits", collapsed)
    assert not marker_training.useful(planes, tokens, training._marker_training.kept, backbone)


def test_stopping_in_the_phase_keeps_the_class_tokens(two, backbone, monkeypatch) -> None:
    for useful in (True, False):
        monkeypatch.setattr(marker_training, "useful", lambda *_, useful=useful: useful)
        training = Training(two, backbone, TrainingSettings(**FEW | {"steps": 20}))
        for progress in training:
            if progress.phase == "training" and progress.step == 22:
                training.stop()
        assert progress.phase == "done" and progress.step == 22
        assert training.prompt.origin.steps == 20
        assert (training.prompt.markers is not None) == useful


def test_closing_in_the_phase_leaves_out_what_was_not_checked(two, backbone) -> None:
    training = Training(two, backbone, TrainingSettings(**FEW | {"steps": 20}))
    for progress in training:
        if progress.phase == "training" and progress.step == 22:
            break
    training.close()
    assert training.prompt.markers is None and training.prompt.origin.held_out_dice > 0


def test_going_on_from_markers(two, trained, backbone, monkeypatch) -> None:
    monkeypatch.setattr(marker_training, "useful", lambda *_: True)
    start = trained[0].prompt
    training = Training(two, backbone, TrainingSettings(**FEW), start=start, keep="new")
    list(training)
    assert 0 < np.abs(training.prompt.markers - start.markers).mean() < 0.1


# Whether there is to be one


def test_masks_that_tell_nothing_apart_have_no_markers(nuclei, backbone) -> None:
    binary = [(mask > 0).astype(np.uint8) for mask in nuclei[1]]
    found = annotations((nuclei[0], binary), 2)
    assert Training(found, backbone, TrainingSettings(**FEW)).steps == 4
    with pytest.raises(ptsam.InputError, match="a number of its own"):
        Training(found, backbone, TrainingSettings(**FEW, markers="yes"))


def test_settings(two, backbone) -> None:
    assert Training(two, backbone, TrainingSettings(**FEW, markers="no")).steps == 4
    assert Training(two, backbone, TrainingSettings(**FEW, markers="yes")).steps == 5
    assert training_settings({"markers": "no"}).markers == "no"
    assert training_settings({"markers": None}).markers == training_settings({}).markers == "auto"
    with pytest.raises(ptsam.InputError, match="auto, yes or no"):
        training_settings({"markers": 3})
