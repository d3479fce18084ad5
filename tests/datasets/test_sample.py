import numpy as np
from skimage.filters import threshold_otsu

from napari_ptsam.datasets.sample import ANNOTATED, make_sample
from napari_ptsam.evaluation.metrics import overlap


def test_sample_is_what_it_says() -> None:
    sample = make_sample()
    assert sample.images.shape == sample.instances.shape == (40, 512, 512)
    assert sample.images.dtype == sample.instances.dtype == np.uint16
    assert len(sample.annotated[0]) == ANNOTATED == 16 and len(sample.unseen[1]) == 24
    assert all((plane > 0).any() and len(np.unique(plane)) > 5 for plane in sample.instances)


def test_sample_is_always_the_same() -> None:
    first = make_sample()
    make_sample.cache_clear()
    again = make_sample()
    assert first is not again
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(first.instances, again.instances)


def test_otsus_threshold_does_not_solve_it() -> None:
    images, truth = make_sample().unseen
    scores = [
        overlap(mask > 0, image > threshold_otsu(image)).iou
        for image, mask in zip(images, truth, strict=True)
    ]
    assert np.mean(scores) < 0.6


def test_debris_is_as_bright_as_cells() -> None:
    sample = make_sample()
    image, inside = sample.images[20].astype(float), sample.instances[20] > 0
    flat = image / np.percentile(image, 50, axis=0)  # the light falls off along x
    assert np.percentile(flat[~inside], 99.5) > np.median(flat[inside])
