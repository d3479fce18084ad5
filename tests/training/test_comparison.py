"""A prompt that a training makes worse is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import napari_ptsam as ptsam
from conftest_prompts import head
from napari_ptsam.datasets.annotated_planes import MaskReading, annotate
from napari_ptsam.images.planes import Planes
from napari_ptsam.training.comparison import Comparison, is_worse
from napari_ptsam.training.settings import TrainingSettings
from napari_ptsam.training.trainer import Training

FEW = {
    "steps": 2, "embeddings": 6, "tile": "whole", "batch_size": 1, "markers": "no", "minutes": 0,
    "detail": "off",
}  # fmt: skip
HARMFUL = {"encoder_tokens": 2, "encoder_steps": 2}
"""Encoder tokens that the user asks for are kept even if they do harm."""


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


def worse(prompt, backbone, **parts):
    """Return a prompt with other tokens that find little."""
    noise = np.random.default_rng(0).normal(0, 1, prompt.tokens.shape).astype(np.float32)
    return replace(prompt, tokens=noise, **parts)
