"""Logits that follow the edges of the image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, uniform_filter

import napari_ptsam as ptsam
from napari_ptsam.images import guided_filter
from napari_ptsam.images.guided_filter import Refinement
from napari_ptsam.inference.segment import Segmenter
from napari_ptsam.prompts.files import load


def disc(side: int = 96) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - side / 2
    return y**2 + x**2 < (side / 4) ** 2


def by_the_book(logits: np.ndarray, guide: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """He, Sun and Tang's algorithm 1, away from the edges of the plane."""

    def mean(values: np.ndarray) -> np.ndarray:
        return uniform_filter(values.astype(np.float64), 2 * radius + 1)

    covariance = mean(guide * logits) - mean(guide) * mean(logits)
    slope = covariance / (mean(guide * guide) - mean(guide) ** 2 + epsilon)
    return mean(slope) * guide + mean(mean(logits) - slope * mean(guide))


def test_it_is_the_guided_filter_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    guide = gaussian_filter(rng.random((80, 90)), 1).astype(np.float32)
    logits = rng.normal(size=(2, 80, 90)).astype(np.float32)
    found = Refinement(3, 1e-3, 0.25).apply(logits, guide)
    for own, other in zip(logits, found, strict=True):
        expected = by_the_book(own, guide, 3, 1e-3) - 0.25
        np.testing.assert_allclose(other[6:-6, 6:-6], expected[6:-6, 6:-6], atol=1e-3)


def test_coarse_logits_find_the_edge_again() -> None:
    truth = disc()
    guide = (0.2 + 0.6 * truth + 0.02 * np.random.default_rng(0).normal(size=truth.shape)).astype(
        np.float32
    )
    coarse = gaussian_filter(np.where(truth, 4.0, -4.0), 4)[None].astype(np.float32) - 1.0
    before, after = (
        np.mean((logits[0] > 0) != truth)
        for logits in (coarse, Refinement(8, 1e-3).apply(coarse, guide))
    )
    assert after < 0.3 * before


def test_bands_do_not_show(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    guide, logits = rng.random((70, 40), np.float32), rng.normal(size=(1, 70, 40))
    logits = logits.astype(np.float32)
    whole = Refinement(5, 1e-2).apply(logits, guide)
    monkeypatch.setattr(guided_filter, "BAND", 16)
    np.testing.assert_allclose(Refinement(5, 1e-2).apply(logits, guide), whole, atol=1e-5)


@pytest.mark.parametrize(("shape", "radius"), [((2, 40, 57), 4), ((1, 9, 30), 16), ((3, 1, 1), 2)])
def test_running_means_are_means(shape, radius) -> None:
    """At the edges, too, and where the window is wider than the plane."""
    maps = torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    wanted = guided_filter.box(maps, radius)
    np.testing.assert_allclose(guided_filter.running_box(maps, radius), wanted, atol=1e-6)


def test_a_prompt_applies_and_keeps_it(prompt, backbone, nuclei, tmp_path) -> None:
    refined = replace(prompt, refinement=Refinement(4, 1e-3, 0.5))
    pixels, prompt = nuclei[0][0], replace(prompt, refinement=None)
    plain = Segmenter(prompt, backbone).predict(pixels).logits
    expected = refined.refinement.apply(plain, prompt.images.prepare(pixels).guide)
    assert np.array_equal(Segmenter(refined, backbone).predict(pixels).logits, expected)
    again = load(refined.save(tmp_path / "prompt.pt"))
    assert again.refinement == refined.refinement
    assert load(prompt.save(tmp_path / "plain.pt")).refinement is None


def test_a_file_of_version_1_has_none(prompt, tmp_path) -> None:
    import torch

    path = prompt.save(tmp_path / "prompt.pt")
    plain = torch.load(path, weights_only=True)
    del plain["refinement"], plain["sealed"]
    torch.save(plain | {"version": 1}, path)
    assert load(path).refinement is None


def test_its_window_grows_with_the_pixels() -> None:
    assert Refinement(4, 1e-3).scaled(2.0) == Refinement(8, 1e-3)
    assert Refinement(4, 1e-3).scaled(0.01).radius == 1
    assert Refinement(4, 1e-3).scaled(1e6).radius == guided_filter.LARGEST_RADIUS


@pytest.mark.parametrize(
    "values", [(0, 1e-3), (129, 1e-3), (4, 0.0), (4, float("nan")), (4, 1e-3, float("inf"))]
)
def test_values_that_make_no_sense(values) -> None:
    with pytest.raises(ptsam.InputError, match="guided filter"):
        Refinement(*values)
