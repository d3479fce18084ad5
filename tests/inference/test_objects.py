"""Areas to objects, split and cleaned, compared with scikit-image."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage import measure, morphology, segmentation

from napari_ptsam.inference.objects import clean, connected_components, split_by_markers
from napari_ptsam.inference.result import ResultSettings


def discs(*centres: tuple[int, int], radius: int = 10, shape=(64, 64)) -> np.ndarray:
    """Signed distance to the nearest disc's edge: positive inside."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.max([radius - np.hypot(y - cy, x - cx) for cy, cx in centres], 0).astype(np.float32)


def numbers(instances: np.ndarray) -> list[int]:
    return np.unique(instances[instances > 0]).tolist()


@pytest.fixture
def blobs() -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=(120, 150))
    return (gaussian_filter(noise, 3) > 0.02).astype(np.uint8)


def test_components_are_scikit_images(blobs) -> None:
    found = connected_components(blobs)
    assert found.dtype == np.uint32
    assert np.array_equal(found, measure.label(blobs, connectivity=2))


def test_components_of_several_classes(blobs) -> None:
    labels = blobs + (blobs & (np.arange(150) > 70)).astype(np.uint8)  # cut at a column
    found, expected = connected_components(labels), measure.label(labels, connectivity=2)
    assert numbers(found) == list(range(1, expected.max() + 1))
    pairs = np.unique(np.stack([found.ravel(), expected.ravel()]), axis=1)
    assert pairs.shape[1] == expected.max() + 1  # one to one


def test_touching_discs_are_split_in_the_middle() -> None:
    logits = discs((32, 22), (32, 40))
    labels = (logits > 0).astype(np.uint8)
    assert connected_components(labels).max() == 1
    found = split_by_markers(labels, logits[None], logits[None] - 5)
    assert found.dtype == np.uint32 and numbers(found) == [1, 2]
    assert np.array_equal(found > 0, labels > 0)
    left, right = found[32, 22], found[32, 40]
    assert left != right
    # Never more than a pixel beyond the line where the discs meet.
    assert (found[:, :30] != right).all() and (found[:, 33:] != left).all()


def test_the_watershed_is_scikit_images() -> None:
    logits = discs((32, 22), (32, 40), (50, 31))
    labels = (logits > 0).astype(np.uint8)
    found = split_by_markers(labels, logits[None], logits[None] - 5)
    seeds = measure.label(logits > 5, connectivity=2)
    expected = segmentation.watershed(-logits, seeds, mask=labels > 0, connectivity=2)
    assert np.mean(found != expected) < 0.01  # only where two are equally near


def test_a_part_without_a_marker_stays_an_object() -> None:
    logits = discs((16, 14), (16, 32), (50, 50))
    markers = logits - 5
    markers[40:] = -9
    labels = (logits > 0).astype(np.uint8)
    found = split_by_markers(labels, logits[None], markers[None])
    assert numbers(found) == [1, 2, 3]
    assert np.array_equal(found[40:] > 0, labels[40:] > 0) and len(numbers(found[40:])) == 1


def test_markers_outside_of_the_foreground_are_no_objects() -> None:
    logits = discs((16, 16))
    labels = (logits > 0).astype(np.uint8)
    everywhere = np.ones((1, 64, 64), np.float32)
    assert np.array_equal(split_by_markers(labels, logits[None], everywhere), labels)
    empty = np.zeros_like(labels)
    assert not split_by_markers(empty, -everywhere, everywhere).any()


def test_markers_that_waver_split_nothing() -> None:
    logits = discs((32, 22), (32, 40))
    labels = (logits > 0).astype(np.uint8)
    ripples = 1.5 * np.random.default_rng(0).choice([-1, 1], (64, 64)).astype(np.float32)
    found = split_by_markers(labels, logits[None], logits[None] - 5 + ripples)
    assert len(numbers(found)) == 2


def test_each_class_is_split_by_its_own_markers() -> None:
    one, two = discs((16, 14), (16, 32)), discs((46, 14), (46, 32))
    labels = np.where(one > 0, 1, np.where(two > 0, 2, 0)).astype(np.uint8)
    found = split_by_markers(
        labels, np.stack([one, two]), np.stack([one - 5, np.full_like(two, 5)])
    )
    assert numbers(found) == [1, 2, 3]
    assert len(numbers(found[:32])) == 2 and len(numbers(found[32:])) == 1


def test_clean_is_scikit_images(blobs) -> None:
    instances = connected_components(blobs)
    for name, settings, expected in (
        ("size", ResultSettings("instances", min_size=40),
         morphology.remove_small_objects(instances.astype(int), max_size=39)),
        ("border", ResultSettings("instances", remove_border=True),
         segmentation.clear_border(instances.astype(int))),
    ):  # fmt: skip
        found = clean(instances, settings)
        assert np.array_equal(found, segmentation.relabel_sequential(expected)[0]), name
        assert numbers(found) == list(range(1, found.max() + 1)) and found.dtype == np.uint32


def test_holes_are_filled_with_their_object_alone() -> None:
    instances = np.zeros((40, 40), np.uint32)
    instances[5:25, 5:25] = 1
    instances[8:20, 8:20] = 0
    instances[12:15, 12:15] = 2  # an object in the hole of another stays
    instances[30:38, 30:38] = 7
    instances[33, 33] = 0
    found = clean(instances, ResultSettings("instances", fill_holes=True))
    assert numbers(found) == [1, 2, 3]
    assert (found[8:12, 8:20] == 1).all() and (found[12:15, 12:15] == 2).all()
    assert (found[30:38, 30:38] == 3).all()
