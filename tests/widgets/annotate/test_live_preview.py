"""The preview during a training shows what its detail heads do, once there are some."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from conftest_prompts import head
from napari_ptsam.images.planes import Planes
from napari_ptsam.inference.detail import corrections_of
from napari_ptsam.inference.segment import Segmenter
from napari_ptsam.widgets.annotate.training_run import LivePrediction, PlaneInView, _LivePreview


def predictions(preview: _LivePreview, view: PlaneInView, steps: int = 8) -> list[LivePrediction]:
    """Return what some steps of a training show, as if a second passed between them."""
    shown = []
    for _ in range(steps):
        preview._next = 0.0
        shown += list(preview.step(view))
    return shown


def test_heads_are_shown_once_they_are_trained(nuclei, prompt, backbone) -> None:
    bare = replace(prompt, markers=None, encoder_tokens=(), refinement=None, flips=(), detail=())
    heads = tuple(head() for _ in bare.classes)
    training: Any = SimpleNamespace(
        prompted_backbone=backbone, tokens=torch.from_numpy(bare.tokens).to(backbone.device), images=bare.images,
        channels=bare.trained_channels, corrections=(),
    )  # fmt: skip
    stack = Planes(np.stack(nuclei[0][:2]), "ZYX", "nuclei")
    views = [PlaneInView(SimpleNamespace(chosen=None), stack, number) for number in (0, 1)]
    plain = Segmenter(bare, backbone)
    fine = Segmenter(replace(bare, detail=heads), backbone)
    preview = _LivePreview(training)

    shown = predictions(preview, views[0])
    assert len(shown) > 1  # again and again, since the tokens change
    assert np.array_equal(shown[-1].labels, plain.plane(stack[0]))
    training.corrections = corrections_of(heads, backbone.device)
    for view in views:
        (only,) = predictions(preview, view)
        assert only.view is view
        assert np.array_equal(only.labels, fine.plane(stack[view.number]))
    assert not np.array_equal(fine.plane(stack[0]), plain.plane(stack[0]))

    # A training that begins anew, on the CPU, has no heads yet.
    training.corrections = ()
    training.prompted_backbone = replace(backbone)
    shown = predictions(preview, views[0])
    assert len(shown) > 1 and np.array_equal(shown[-1].labels, plain.plane(stack[0]))
