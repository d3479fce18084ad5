"""Pixels that are not there: NaN, infinite and transparent ones."""

from __future__ import annotations

import numpy as np
import pytest

import napari_ptsam as ptsam
from napari_ptsam.datasets.annotated_planes import annotate
from napari_ptsam.evaluation.evaluate import evaluate
from napari_ptsam.images.missing import missing_pixels
from napari_ptsam.images.normalize import Normalization, normalize_plane, stack_limits
from napari_ptsam.images.planes import Planes
from napari_ptsam.images.settings import ImageSettings
from napari_ptsam.images.tiling import Tiling
from napari_ptsam.inference.measurements import measure_plane
from napari_ptsam.inference.segment import Segmenter


def rgba(alpha: np.ndarray) -> np.ndarray:
    colours = np.random.default_rng(0).integers(0, 255, (*alpha.shape, 3))
    return np.dstack([colours, alpha]).astype(np.uint8)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers(bad: float) -> None:
    plane = np.ones((20, 20, 2), np.float32)
    assert missing_pixels(plane) is None
    plane[3, 4, 1] = bad
    assert np.argwhere(missing_pixels(plane)).tolist() == [[3, 4]]
    assert missing_pixels(plane, (0,)) is None  # that channel is whole
    assert missing_pixels(plane.astype(np.float16)).sum() == 1


def test_transparent_pixels() -> None:
    alpha = np.full((20, 24), 255)
    alpha[:, :5] = 0
    assert np.array_equal(missing_pixels(rgba(alpha), rgb=True), alpha == 0)
    grey = rgba(alpha)[..., [0, 3]]
    assert np.array_equal(missing_pixels(grey, rgb=True), alpha == 0)
    assert missing_pixels(grey) is None  # two channels
    assert missing_pixels(rgba(alpha), (3,), rgb=True) is None  # alpha itself is shown
    # Written by programs that do not care, or no transparency at all.
    assert missing_pixels(rgba(np.zeros((20, 24))), rgb=True) is None
    infrared = np.random.default_rng(0).integers(0, 90, (20, 24))
    assert missing_pixels(rgba(infrared), rgb=True) is None


def test_padding_of_nan_is_prepared_like_any_padding(nuclei) -> None:
    image = nuclei[0][0].astype(np.float32)
    image[:, :40] = np.nan
    settings = ImageSettings(Tiling(128, whole=True))
    whole, part = settings.prepare(image), settings.prepare(image[:, 40:])
    assert np.isfinite(whole.pixels).all() and whole.blank[:, :40].all()
    assert np.array_equal(whole.pixels[:, 40:], part.pixels)
    assert np.isfinite(normalize_plane(image)).all()
    nothing = settings.prepare(np.full((128, 128), np.nan))
    assert nothing.blank.all() and not nothing.pixels.any()


def test_limits_of_a_stack_leave_out_what_is_missing() -> None:
    plane = rgba(np.full((32, 32), 255))
    plane[..., :3] = plane[..., :3] // 4 + 100
    plane[:, :10] = 0
    limits = stack_limits(Planes(plane[None], "ZYXS"), Normalization("stack", 0, 100), None, True)
    assert limits[:, 0].min() >= 100


def test_missing_pixels_have_no_result_and_the_others_do(nuclei, prompt, loaded) -> None:
    stack = np.stack(nuclei[0][:3]).astype(np.float32)
    whole = ptsam.segment(stack, prompt)
    stack[0, 60, :], stack[1, :, :9], stack[2] = np.inf, np.nan, np.nan
    found = ptsam.segment(stack, prompt)
    assert not found[~np.isfinite(stack)].any()
    for number in (0, 1):
        there = np.isfinite(stack[number])
        same = (found[number] > 0) == (whole[number] > 0)
        assert same[there].mean() > 0.97 and found[number].any()
    probabilities = ptsam.segment(stack, prompt, output="probabilities")
    assert np.isfinite(probabilities).all()
    assert probabilities[0][~np.isfinite(stack)].max() < 1e-6


def test_scores_leave_them_out(nuclei, prompt, backbone) -> None:
    image, mask = nuclei[0][0].astype(np.float32), nuclei[1][0].astype(np.uint16)
    image[:, 100:], mask[:, 100:] = np.nan, 1  # nobody looks at that annotation
    annotations = annotate([Planes(image)], [Planes(mask)])
    (score,) = evaluate(annotations, Segmenter(prompt, backbone))
    assert score.dice[0] > 0.8


def test_training_leaves_them_out(nuclei, loaded) -> None:
    images = [image[:64, :64].astype(np.float32) for image in nuclei[0][:3]]
    masks = [mask[:64, :64].astype(np.uint16) for mask in nuclei[1][:3]]
    for image, mask in zip(images, masks, strict=True):
        image[:, 50:], mask[:, 50:] = np.nan, 1  # nobody looks at that annotation
    images[2][:] = np.nan
    settings = {"steps": 2, "embeddings": 4, "encoder_tokens": 0, "markers": "no", "tile": "whole"}
    prompt = ptsam.train(images, masks, detail="off", minutes=0, seed=0, **settings)
    assert prompt.origin.images == 3


def test_intensities_without_missing_pixels() -> None:
    pixels = np.array([[1.0, 3.0, np.nan], [5.0, 5.0, np.inf]])
    labels = np.array([[1, 1, 1], [0, 2, 3]])
    rows = measure_plane(labels, pixels, np.array([0, 1, 1, 1]))
    assert rows.intensities[:2, 0].tolist() == [2, 5] and np.isnan(rows.intensities[2, 0])
