"""Cross-validation: planes are predicted by tokens that have not seen them, if there is time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import napari_ptsam as ptsam
from napari_ptsam.datasets.annotated_planes import MaskReading, annotate
from napari_ptsam.images.planes import Planes
from napari_ptsam.prompts.describe import measured_where
from napari_ptsam.training import cross_validation, detail_training
from napari_ptsam.training.cross_validation import Folds
from napari_ptsam.training.head_sources import head_sources
from napari_ptsam.training.settings import TrainingSettings
from napari_ptsam.training.trainer import Training
from napari_ptsam.training.verdict import verdict

TIME = {
    "steps": 6, "embeddings": 6, "tile": "whole", "batch_size": 1, "markers": "no", "minutes": 60,
    "encoder_tokens": 0, "detail": "off",
}  # fmt: skip


def training(nuclei, backbone, count: int = 6, **settings) -> Training:
    images, masks = ([Planes(a) for a in arrays[:count]] for arrays in nuclei)
    annotations = annotate(images, masks, MaskReading())
    return Training(annotations, backbone, TrainingSettings(**{**TIME, **settings}))


@pytest.fixture
def seen(monkeypatch) -> list[set[int]]:
    """The planes that the tokens of each fold are tuned on."""
    recorded: list[set[int]] = []

    class Recording(cross_validation.Batches):
        def __init__(self, tiles, *rest) -> None:
            recorded.append({tile.job.example for tile in tiles})
            super().__init__(tiles, *rest)

    monkeypatch.setattr(cross_validation, "Batches", Recording)
    return recorded


@pytest.mark.parametrize("detail", ["off", "on"])
def test_every_plane_is_predicted_by_tokens_that_have_not_seen_it(
    nuclei, backbone, seen, tmp_path, detail: str
) -> None:
    run = training(nuclei, backbone, detail=detail)
    for progress in run:
        assert progress.step <= progress.steps
    # Five of the six planes train, and the last one validates.
    assert seen == [{1, 2, 3}, {0, 2, 3, 4}, {0, 1, 3, 4}, {0, 1, 2, 4}]
    scores = dict(run.plane_scores())
    assert sorted(scores) == list(range(6))
    prompt = run.prompt
    origin = prompt.origin
    assert origin.cross_validated and not origin.measured_on_training
    dices = np.array(list(scores.values()))
    assert origin.held_out_dice == pytest.approx(dices.mean())
    assert origin.dice_error == pytest.approx(dices.std(ddof=1) / 6**0.5)
    assert "by cross-validation of all 6 planes" in verdict(origin).text
    assert measured_where(origin) == "by cross-validation of all 6 planes"
    prompt.save(tmp_path / "prompt.pt")
    assert ptsam.load(tmp_path / "prompt.pt").origin == origin


def test_the_head_that_is_kept_learns_from_logits_of_both_kinds_of_tokens(
    nuclei, backbone, monkeypatch
) -> None:
    """Tokens that were tuned on a plane are too sure there; those of its fold are not."""
    learned, optimise = [], detail_training.optimise_head

    def recorded(tiles, *rest):
        learned.append(list(tiles))
        return optimise(tiles, *rest)

    monkeypatch.setattr(detail_training, "optimise_head", recorded)
    run = training(nuclei, backbone, detail="on")
    for _ in run:
        pass
    context, tokens = run._context, run._cross_validation.tokens
    folds = Folds.divide(context.embedded)
    sources = list(head_sources(context.embedded.tiles, context, folds))
    assert len(learned) == 5 and len(learned[-1]) == 2 * len(sources)
    assert all(len(of_fold) < 2 * len(sources) for of_fold in learned[:-1])
    for number, source in enumerate(sources):
        seen, unseen = learned[-1][number], learned[-1][number + len(sources)]
        of_fold = tokens[folds.of(source.group)][0]
        expected = source.decoded(context.backbone.decoder, of_fold, 0)
        assert seen.early is unseen.early and unseen.group == source.group
        assert torch.equal(unseen.logits, expected.logits)
        assert not torch.equal(unseen.logits, seen.logits)


def test_the_tokens_that_are_kept_are_the_same(nuclei, backbone) -> None:
    prompts = []
    for minutes in (0, 60):
        run = training(nuclei, backbone, minutes=minutes)
        for _ in run:
            pass
        prompts.append(run.prompt)
    without, validated = prompts
    assert np.array_equal(without.tokens, validated.tokens)
    assert validated.origin.cross_validated and not without.origin.cross_validated


def test_two_planes_are_enough(nuclei, backbone, seen) -> None:
    run = training(nuclei, backbone, 2)
    for _ in run:
        pass
    assert seen == [{1}, {0}]
    origin = run.prompt.origin
    assert origin.cross_validated and not origin.measured_on_training
    assert "rough" in verdict(origin).text


def test_one_plane_is_not_cross_validated(nuclei, backbone, seen) -> None:
    run = training(nuclei, backbone, 1)
    for _ in run:
        pass
    assert not seen and run.prompt.origin.measured_on_training


def test_a_training_that_is_stopped_meanwhile_has_its_validation_dice(nuclei, backbone) -> None:
    run = training(nuclei, backbone)
    for progress in run:
        if progress.phase == "training" and progress.step > TIME["steps"] + 7:
            run.stop()
    origin = run.prompt.origin
    assert not origin.cross_validated and origin.held_out_dice is not None
