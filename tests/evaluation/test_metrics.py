import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import f1_score, jaccard_score

from conftest_data import whole_plane
from napari_ptsam.evaluation.metrics import AP_THRESHOLDS, average_precision, overlap


def test_iou_and_dice_are_those_of_scikit_learn() -> None:
    truth = whole_plane()[1] > 0
    found = ndimage.shift(truth, (3, -2), order=0)
    areas = overlap(truth, found)
    assert areas.iou == pytest.approx(jaccard_score(truth.ravel(), found.ravel()))
    assert areas.dice == pytest.approx(f1_score(truth.ravel(), found.ravel()))


def test_pixels_that_do_not_count() -> None:
    truth, found = np.eye(4, dtype=bool), np.ones((4, 4), dtype=bool)
    assert overlap(truth, found, truth).iou == 1
    assert overlap(truth, found).iou == 0.25


def test_nothing_and_nothing_found() -> None:
    none = np.zeros((4, 4), dtype=bool)
    assert overlap(none, none).iou == overlap(none, none).dice == 1
    assert overlap(none, ~none).iou == 0


def test_average_precision_by_hand() -> None:
    truth, found = np.zeros((20, 40), int), np.zeros((20, 40), int)
    truth[:10, :10], truth[:10, 20:30], truth[15:, :5] = 7, 3, 9
    found[:10, :10] = 1  # IoU 1
    found[:10, 20:26] = 2  # IoU 0.6
    found[15:, 30:] = 3  # nowhere near
    precision = average_precision(truth, found)
    expected = [2 / 4 if threshold <= 0.6 else 1 / 5 for threshold in AP_THRESHOLDS]
    assert precision.tolist() == pytest.approx(expected)


def test_average_precision_of_real_instances_with_themselves() -> None:
    truth = whole_plane()[1]
    assert average_precision(truth, truth).tolist() == [1.0] * 10
    merged, _ = ndimage.label(truth > 0, structure=np.ones((3, 3)))
    assert average_precision(truth, merged)[0] < 1
    assert average_precision(truth, np.zeros_like(truth)).tolist() == [0.0] * 10


def test_two_halves_at_exactly_one_half() -> None:
    truth = np.ones((4, 4), int)
    halves = np.repeat([[1, 1, 2, 2]], 4, axis=0)
    assert average_precision(truth, halves, (0.5,))[0] == 0.5  # one found, one too many


def test_empty_images() -> None:
    none = np.zeros((4, 4), int)
    assert average_precision(none, none).tolist() == [1.0] * 10
