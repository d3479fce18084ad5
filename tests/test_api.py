"""The three functions, on real crops."""

from pathlib import Path

import numpy as np
import pytest

import napari_ptsam as ptsam

QUICK = {"steps": 30, "embeddings": 5, "batch_size": 2, "tile": "whole", "seed": 0, "cores": "no"}


def test_folders_and_arrays_give_the_same_prompt(folders, nuclei, device) -> None:
    shorter = QUICK | {"steps": 12}
    of_folders = ptsam.train(*folders, device=device, **shorter)
    of_arrays = ptsam.train(*nuclei, device=device, **shorter)
    assert np.array_equal(of_folders.tokens, of_arrays.tokens)


def test_a_stack_with_its_masks(nuclei, device) -> None:
    images, masks = (np.stack(arrays[:3]) for arrays in nuclei)
    seen = []
    prompt = ptsam.train(images, masks, device=device, progress=seen.append, **QUICK)
    assert prompt.origin.images == 3
    assert seen[-1].phase == "done"


def test_train_save_load_segment(nuclei, device, tmp_path: Path) -> None:
    prompt = ptsam.train(*nuclei, device=device, **QUICK)
    path = prompt.save(tmp_path / "nuclei.pt")
    done = []
    stack = np.stack(nuclei[0][:2])
    labels = ptsam.segment(stack, path, device=device, progress=lambda *n: done.append(n))
    assert np.array_equal(labels, ptsam.segment(stack, ptsam.load(path), device=device))
    assert done == [(1, 2), (2, 2)]


def test_the_choices_are_stored_and_used_again(nuclei, device, tmp_path: Path) -> None:
    """Channel, range and tile travel in the file: a decoy channel changes nothing."""
    rng = np.random.default_rng(0)
    images = [np.stack([rng.integers(0, 4096, i.shape), i], -1) for i in nuclei[0]]
    prompt = ptsam.train(
        images, nuclei[1], axes="YXC", channels=(1,), device=device,
        normalization=ptsam.images.normalize.Normalization("range", 0, 2000), **QUICK,
    )  # fmt: skip
    path = prompt.save(tmp_path / "a.pt")
    other = np.stack([np.zeros_like(nuclei[0][0]), nuclei[0][0]], -1)
    labels = [ptsam.segment(i, path, axes="YXC", device=device) for i in (images[0], other)]
    assert np.array_equal(*labels)
    assert ptsam.load(path).images == prompt.images


def test_unknown_settings_are_named(nuclei) -> None:
    with pytest.raises(ptsam.InputError, match=r"Unknown setting stepps; there are .*steps"):
        ptsam.train(*nuclei, stepps=3)


@pytest.mark.parametrize("count", [1, 2])
def test_one_and_two_images_are_enough_to_train(count: int, nuclei, device) -> None:
    images, masks = nuclei[0][:count], nuclei[1][:count]
    prompt = ptsam.train(images, masks, device=device, **QUICK | {"steps": 40})
    assert prompt.origin.measured_on_training and prompt.origin.held_out_images == 0


def test_no_images(tmp_path: Path) -> None:
    with pytest.raises(ptsam.InputError, match="no images to learn from"):
        ptsam.train([], [])


def test_errors_are_value_errors() -> None:
    for name in ptsam.__all__:
        if name.endswith("Error"):
            assert issubclass(getattr(ptsam, name), ptsam.PtsamError)
            assert issubclass(getattr(ptsam, name), ValueError)
