"""A quick continuation keeps the choices of the prompt, and tunes the rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest_prompts import head
from napari_ptsam.datasets.annotated_planes import MaskReading, annotate
from napari_ptsam.images.guided_filter import Refinement
from napari_ptsam.images.planes import Planes
from napari_ptsam.training.detail_optimization import _head_of, _network
from napari_ptsam.training.detail_tiles import Standardization
from napari_ptsam.training.settings import TrainingSettings
from napari_ptsam.training.trainer import Training
from napari_ptsam.training.verdict import verdict


def continued(start, nuclei, backbone, **settings) -> Training:
    images, masks = ([Planes(array) for array in arrays[:5]] for arrays in nuclei)
    few = {"steps": 8, "embeddings": 5, "batch_size": 1, "continuation": "quick", **settings}
    annotations = annotate(images, masks, MaskReading())
    training = Training(annotations, backbone, TrainingSettings(**few), start, keep="new")
    for _ in training:
        pass
    return training


def test_a_head_continues_as_it_was() -> None:
    before, rng = head(8), torch.Generator().manual_seed(0)
    fine, coarse = torch.randn((2, 99), generator=rng), torch.randn((2, 128), generator=rng)
    scale = Standardization(fine[0], fine[1].abs() + 0.1, coarse[0], coarse[1].abs() + 0.1)
    after = _head_of(_network(before, scale, 0), scale)
    assert after.width == 8
    for name, values in before.named_parameters().items():
        assert np.allclose(after.named_parameters()[name], values, atol=2e-2), name


def test_choices_stay_and_numbers_change(nuclei, backbone, prompt) -> None:
    rng = np.random.default_rng(0)
    start = replace(
        prompt, refinement=Refinement(4, 0.01, 0.5), flips=("x",), detail=(head(8, 0.5),),
        markers=prompt.tokens, encoder_tokens=tuple(
            rng.normal(0, 0.5, (2, width)).astype(np.float32)
            for width in backbone.encoder.plain.token_widths
        ),
    )  # fmt: skip
    training = continued(start, nuclei, backbone)
    found = training.new_prompt
    assert training.steps_done == 2
    assert (found.refinement, found.flips) == (start.refinement, start.flips)
    assert (found.detail[0].share, found.detail[0].width) == (0.5, 8)
    assert not np.array_equal(found.detail[0].parameters, start.detail[0].parameters)
    assert not np.array_equal(found.tokens, start.tokens)
    assert all(map(np.array_equal, found.encoder_tokens, start.encoder_tokens))
    origin = found.origin
    assert not origin.cross_validated and origin.dice_error is None
    assert "Fine detail was learned from these planes, too" in verdict(origin, detail="half").text
    assert len(list(training.plane_scores())) == 5


def test_nothing_is_added(nuclei, backbone, prompt) -> None:
    start = replace(prompt, detail=(), markers=None, encoder_tokens=(), refinement=None, flips=())
    found = continued(start, nuclei, backbone, flips="auto", minutes=100).new_prompt
    assert (found.detail, found.markers, found.encoder_tokens) == ((), None, ())
    assert (found.refinement, found.flips) == (None, ())
    assert found.origin.dice_error is None or found.origin.held_out_images > 1


def test_stopped_early_it_keeps_its_heads(nuclei, backbone, prompt) -> None:
    start = replace(prompt, detail=(head(8, 0.5),))
    images, masks = ([Planes(array) for array in arrays[:5]] for arrays in nuclei)
    settings = TrainingSettings(steps=80, embeddings=5, batch_size=1, continuation="quick")
    training = Training(annotate(images, masks, MaskReading()), backbone, settings, start)
    for progress in training:
        if progress.phase == "training" and progress.step == 4:
            training.stop()
    (kept,) = training.new_prompt.detail
    assert np.array_equal(kept.parameters, start.detail[0].parameters)


@pytest.mark.parametrize("continuation", ["whole", "quick"])
def test_only_a_start_is_continued(continuation: str, nuclei, backbone) -> None:
    settings = TrainingSettings(steps=8, continuation=continuation)
    images, masks = ([Planes(array) for array in arrays[:1]] for arrays in nuclei)
    training = Training(annotate(images, masks, MaskReading()), backbone, settings)
    assert training.settings == settings
