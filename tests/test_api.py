"""The three functions, on real crops."""

from pathlib import Path

import numpy as np
import pytest

import napari_ptsam as ptsam
from napari_ptsam.training.detail_training import detail_steps
from napari_ptsam.training.settings import TrainingSettings

pytestmark = pytest.mark.usefixtures("loaded")

WITH_HEADS = {
    "steps": 12, "embeddings": 5, "batch_size": 1, "tile": "whole", "seed": 0, "markers": "no",
    "minutes": 0,
}  # fmt: skip
QUICK = WITH_HEADS | {"detail": "off"}
STEPS = WITH_HEADS["steps"]


def test_folders_and_arrays_give_the_same_prompt(folders, nuclei, device) -> None:
    of_folders = ptsam.train(*folders, device=device, **QUICK)
    of_arrays = ptsam.train(*nuclei, device=device, **QUICK)
    assert np.array_equal(of_folders.tokens, of_arrays.tokens)


def test_a_stack_with_its_masks(nuclei, device) -> None:
    images, masks = (np.stack(arrays[:3]) for arrays in nuclei)
    seen = []
    prompt = ptsam.train(images, masks, device=device, progress=seen.append, **QUICK)
    assert prompt.origin.images == 3
    assert seen[-1].phase == "done"


def test_train_save_load_segment(nuclei, device, tmp_path: Path) -> None:
    seen = []
    prompt = ptsam.train(*nuclei, device=device, progress=seen.append, **WITH_HEADS)
    # By default a head is trained for each of four folds, and then one that is kept if they help.
    folds = detail_steps(TrainingSettings(**WITH_HEADS), 1) - STEPS
    assert folds >= 4 and seen[-1].step == STEPS + folds + (STEPS if prompt.detail else 0)
    assert all(0 < head.share <= 1 for head in prompt.detail)
    path = prompt.save(tmp_path / "nuclei.pt")
    done = []
    stack = np.stack(nuclei[0][:2])
    labels = ptsam.segment(stack, path, device=device, progress=lambda *n: done.append(n))
    assert np.array_equal(labels, ptsam.segment(stack, ptsam.load(path), device=device))
    assert done == [(1, 2), (2, 2)]


@pytest.mark.usefixtures("careless")
def test_a_training_that_makes_its_start_worse_returns_the_start(nuclei, prompt, device) -> None:
    three = [arrays[:3] for arrays in nuclei]
    settings = QUICK | {"steps": 2, "learning_rate": 3, "detail": "off", "device": device}
    with pytest.warns(UserWarning, match=r"worse: Dice .* on the same 3 planes.*keep='new'"):
        assert ptsam.train(*three, start=prompt, **settings) is prompt
    new = ptsam.train(*three, start=prompt, keep="new", **settings)
    assert new.origin.start == "a prompt" and not np.array_equal(new.tokens, prompt.tokens)
    with pytest.raises(ptsam.InputError, match="keep is 'better' or 'new', not 'old'"):
        ptsam.train(*three, start=prompt, keep="old", **settings)


def test_the_choices_are_stored_and_used_again(nuclei, device, tmp_path: Path) -> None:
    """Channel, range and tile travel in the file: a decoy channel changes nothing."""
    rng = np.random.default_rng(0)
    images = [np.stack([rng.integers(0, 4096, i.shape), i], -1) for i in nuclei[0][:3]]
    prompt = ptsam.train(
        images, nuclei[1][:3], axes="YXC", channels=(1,), device=device,
        normalization=ptsam.images.normalize.Normalization("range", 0, 2000),
        **QUICK | {"embeddings": 3},
    )  # fmt: skip
    path = prompt.save(tmp_path / "a.pt")
    other = np.stack([np.zeros_like(nuclei[0][0]), nuclei[0][0]], -1)
    labels = [ptsam.segment(i, path, axes="YXC", device=device) for i in (images[0], other)]
    assert np.array_equal(*labels)
    assert ptsam.load(path).images == prompt.images


def test_objects_are_cleaned_and_linked(nuclei, prompt, device) -> None:
    stack = np.stack([np.stack([np.roll(nuclei[0][0], z, axis=1) for z in range(2)])] * 2)
    plain = ptsam.segment(stack, prompt, output="instances", device=device)
    assert np.array_equal(plain[0], plain[1]) and plain.dtype == np.uint32
    area = int(np.median(np.bincount(plain[0, 0].ravel())[1:]))
    large = ptsam.segment(stack, prompt, output="instances", min_size=area, device=device)
    assert 0 < large.max() < plain.max()
    assert np.bincount(large[0, 0].ravel())[1:].min() >= area
    inner = ptsam.segment(stack, prompt, output="instances", remove_border=True, device=device)
    assert inner.any() and not inner[..., 0, :].any() and not inner[..., -1].any()
    linked = ptsam.segment(stack, prompt, output="instances", link=True, device=device)
    # An object goes on from plane to plane; the next stack has numbers of its own.
    shared = set(np.unique(linked[0, 0])) & set(np.unique(linked[0, 1])) - {0}
    assert len(shared) > 1 and not set(np.unique(linked[0])) & set(np.unique(linked[1])) - {0}
    assert np.array_equal(linked > 0, plain > 0)


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("Only instances can be linked", {"link": True}),
        ("knows no markers", {"output": "instances", "split": "markers"}),
        ("split is auto, markers or components, not 'corse'", {"split": "corse"}),
        ("min_size is a whole number", {"min_size": -1}),
        ("output is labels, instances or probabilities, not 'masks'", {"output": "masks"}),
    ],
)
def test_results_that_cannot_be(message, options, nuclei, prompt, device) -> None:
    with pytest.raises(ptsam.InputError, match=message):
        ptsam.segment(nuclei[0][0], prompt, device=device, **options)


def test_unknown_settings_are_named(nuclei) -> None:
    with pytest.raises(ptsam.InputError, match=r"Unknown setting stepps; there are .*steps"):
        ptsam.train(*nuclei, stepps=3)


@pytest.mark.parametrize("count", [1, 2])
def test_one_and_two_images_are_enough_to_train(count: int, nuclei, device) -> None:
    images, masks = nuclei[0][:count], nuclei[1][:count]
    prompt = ptsam.train(images, masks, device=device, **QUICK | {"steps": 20})
    assert prompt.origin.measured_on_training and prompt.origin.held_out_images == 0


def test_no_images(tmp_path: Path) -> None:
    with pytest.raises(ptsam.InputError, match="no images to learn from"):
        ptsam.train([], [])


def test_errors_are_value_errors() -> None:
    for name in ptsam.__all__:
        if name.endswith("Error"):
            assert issubclass(getattr(ptsam, name), ptsam.PtsamError)
            assert issubclass(getattr(ptsam, name), ValueError)
