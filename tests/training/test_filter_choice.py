"""The choice of a guided filter from the annotated planes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_ptsam.evaluation.metrics import overlap
from napari_ptsam.training import filter_choice
from napari_ptsam.training.filter_choice import choose_refinement
from napari_ptsam.training.validation import PlaneLogits


class Plane:
    """As an embedded plane with its annotation."""

    def __init__(self, guide, labels) -> None:
        self.guide = guide.astype(np.float32)
        self.example = type(
            "AnnotatedPlane", (), {"labels": labels, "valid": None, "shape": labels.shape}
        )


def predicted(logits, guide, labels) -> PlaneLogits:
    return PlaneLogits(Plane(guide, labels), logits[None].astype(np.float32))


def planes(count: int = 8, noise: float = 0.02, follows: bool = True) -> list[PlaneLogits]:
    """Discs whose logits are blurred and low; the image shows their edges, or something else."""
    found = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:96, :96] - rng.uniform(40, 56, (2, 1, 1))
        truth = y**2 + x**2 < rng.uniform(18, 26) ** 2
        seen = truth if follows else rng.random(truth.shape) > 0.5
        guide = 0.3 + 0.5 * gaussian_filter(seen.astype(float), 0.5)
        guide += noise * rng.normal(size=truth.shape)
        logits = gaussian_filter(np.where(truth, 4.0, -4.0), 3) - 1.0
        found.append(predicted(logits, guide, truth.astype(np.uint8)))
    return found


def iou(each: PlaneLogits, refinement=None) -> float:
    logits = each.logits
    if refinement is not None:
        logits = refinement.apply(logits, each.plane.guide)
    return overlap(each.plane.example.labels > 0, logits[0] > 0).iou


def test_what_is_chosen_is_better_on_every_plane() -> None:
    chosen = choose_refinement(planes())
    assert chosen is not None
    assert all(iou(plane, chosen) > iou(plane) + 0.02 for plane in planes())


def test_where_the_image_tells_nothing_there_is_no_strong_filter() -> None:
    chosen = choose_refinement(planes(follows=False))
    # The logits are low: a threshold is found, and a window that does as little as may be.
    assert chosen is None or chosen.radius == min(filter_choice.RADII)
    if chosen is not None:
        assert np.mean([iou(p, chosen) - iou(p) for p in planes(follows=False)]) > 0


def test_a_gain_that_cannot_be_relied_on_is_none(monkeypatch) -> None:
    gains = np.zeros((8, len(filter_choice.THRESHOLDS)))
    one = iter([0.3, -0.1, -0.1, -0.05, 0.2, 0.0, 0.1, -0.1])
    monkeypatch.setattr(filter_choice, "_gains", lambda *_: gains + next(one))
    assert choose_refinement(planes()) is None


def test_few_planes_do_not_shift_the_threshold() -> None:
    many, few = (choose_refinement(planes(count)) for count in (8, 7))
    assert many is not None and many.threshold < 0  # the logits are low
    assert few is not None and few.threshold == 0


def test_no_threshold_turns_blank_planes_into_foreground() -> None:
    empty, seen = np.zeros((96, 96), np.uint8), planes()
    faint = predicted(np.full((96, 96), -0.6), np.zeros((96, 96)), empty)
    free = choose_refinement(seen, [predicted(np.full((96, 96), -9.6), empty, empty)])
    assert free == choose_refinement(seen) and free.threshold < -0.6
    held = choose_refinement(seen, [faint])
    assert held is not None and held.threshold >= -0.5


def test_few_planes_tell_nothing() -> None:
    assert choose_refinement(planes(3)) is None


def test_the_gain_is_counted_as_the_metric_does() -> None:
    (plane,) = planes(1)
    candidates = [(2, 1e-3), (8, 1e-2)]
    gains = filter_choice._gains(plane, candidates)
    for row, (radius, epsilon) in zip(gains, candidates, strict=True):
        for place, threshold in enumerate(filter_choice.THRESHOLDS):
            filtered = filter_choice.Refinement(radius, epsilon, float(threshold))
            assert row[place] == pytest.approx(iou(plane, filtered) - iou(plane), abs=2e-3)
