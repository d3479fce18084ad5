"""Tiles that are deformed, and embedded anew in every step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_ptsam.datasets.annotated_planes import MaskReading, annotate
from napari_ptsam.images.planes import Planes
from napari_ptsam.training.augmentation import (
    AugmentedTiles,
    random_positions,
    with_random_intensities,
)
from napari_ptsam.training.loss import bce_dice, weighted_bce_dice
from napari_ptsam.training.presets import training_settings
from napari_ptsam.training.settings import TrainingSettings
from napari_ptsam.training.trainer import Training

ANEW = {
    "steps": 3, "embeddings": 3, "tile": "whole", "batch_size": 2, "markers": "no", "minutes": 0,
    "detail": "off", "augmentation": "anew",
}  # fmt: skip


def training(nuclei, backbone, **settings) -> Training:
    images, masks = ([Planes(a) for a in arrays[:3]] for arrays in nuclei)
    annotations = annotate(images, masks, MaskReading())
    return Training(annotations, backbone, TrainingSettings(**{**ANEW, **settings}))


def test_positions_cover_most_of_a_tile_in_any_orientation() -> None:
    rng, orientations = np.random.default_rng(0), set()
    for _ in range(40):
        positions = random_positions(64, rng)
        assert positions.shape == (2, 64, 64) and np.isfinite(positions).all()
        assert 32 - 16 < positions.mean() < 32 + 16
        spans = np.ptp(positions.reshape(2, -1), axis=1)
        assert (spans > 0.7 * 64).all() and (spans < 1.7 * 64).all()
        down, right = (
            positions[0, -1, 32] - positions[0, 0, 32],
            positions[1, 32, -1] - positions[1, 32, 0],
        )
        orientations.add((down > 0, right > 0))
    assert len(orientations) == 4


def test_intensities_stay_in_range() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.random((32, 32, 3), np.float32)
    changed = [with_random_intensities(pixels, rng) for _ in range(10)]
    for each in changed:
        assert each.dtype == np.float32 and each.min() >= 0 and each.max() <= 1
    assert np.ptp([each.mean() for each in changed]) > 0.1


def test_labels_move_with_the_pixels(backbone, monkeypatch) -> None:
    """A bright square on the left is foreground; the right quarter is not annotated."""
    image = np.random.default_rng(0).integers(20, 40, (128, 128)).astype(np.uint8)
    mask = np.zeros((128, 128), np.uint8)
    image[30:90, 20:60] = 200
    mask[30:90, 20:60] = 1
    annotations = annotate([Planes(image)], [Planes(mask)], MaskReading())
    valid = np.ones((128, 128), bool)
    valid[:, 96:] = False
    annotations = replace(annotations, examples=(replace(annotations.examples[0], valid=valid),))
    run = Training(annotations, backbone, TrainingSettings(**{**ANEW, "embeddings": 1}))
    for _ in run._embed():
        pass
    seen: list[np.ndarray] = []

    def noting(encoder, tiles, *rest):
        """What is looked at are the pixels, which need not be encoded."""
        seen.extend(tiles)
        return torch.stack([torch.full((256, 64, 64), float(tile.mean())) for tile in tiles])

    monkeypatch.setattr(type(backbone.encoder.plain), "__call__", noting)
    source = AugmentedTiles(run._embedded, backbone, 1, 1, torch.Generator().manual_seed(0))
    drawn = [source.draw()[0] for _ in range(12)]
    upright = [
        (tile, pixels) for tile, pixels in zip(drawn, seen, strict=True) if not tile.job.blank
    ]
    assert len(upright) >= 3
    for tile, pixels in upright:
        bright = torch.from_numpy(pixels[..., 0] > (pixels.min() + pixels.max()) / 2)[
            None, None
        ].float()
        small = torch.nn.functional.interpolate(bright, size=(256, 256), mode="area")[0, 0]
        target = tile.target[0].cpu() > 0.5
        shared = (target & (small > 0.5)).sum() / (target | (small > 0.5)).sum()
        assert shared > 0.8
        assert 0.5 < float(tile.weight.mean()) < 1
    embeddings = [tile.embedding for tile, _ in upright]
    assert not torch.equal(embeddings[0], embeddings[1])


def test_a_training_embeds_tiles_in_every_step(nuclei, backbone, monkeypatch) -> None:
    tokens, few = [], {"steps": 2, "batch_size": 1, "embeddings": 2}
    for _ in range(2):
        run = training(nuclei, backbone, **few)
        for _ in run:
            pass
        tokens.append(run.prompt.tokens)
    assert np.array_equal(*tokens)  # the same seed, the same prompt
    turned = training(nuclei, backbone, augmentation="turned", **few)
    for _ in turned:
        pass
    assert not np.array_equal(tokens[0], turned.prompt.tokens)


def test_the_preset_is_the_published_recipe() -> None:
    settings = training_settings({"preset": "paper"})
    assert (settings.steps, settings.batch_size, settings.learning_rate) == (20_000, 2, 0.05)
    assert (settings.weight_decay, settings.loss, settings.augmentation) == (
        0.01,
        "weighted-bce-dice",
        "anew",
    )


def test_the_loss_weighs_dice_higher() -> None:
    rng = torch.Generator().manual_seed(0)
    logits, weight = torch.randn((2, 8, 8), generator=rng), torch.ones(2, 8, 8)
    target = (torch.rand((2, 8, 8), generator=rng) > 0.5).float()
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
    dice = bce_dice(logits, target, weight) - entropy
    assert weighted_bce_dice(logits, target, weight) == pytest.approx(
        float(0.2 * entropy + 0.8 * dice)
    )
