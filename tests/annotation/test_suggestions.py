"""Suggestions on made-up features and on real planes."""

import numpy as np
import pytest
import tifffile
import torch

from conftest_data import real_pair
from napari_ptsam.annotation.suggestions import (
    Judge,
    candidates,
    doubt,
    pool,
    suggest,
    whole_plane,
)
from napari_ptsam.images.normalize import normalize_plane


def test_a_start_set_takes_one_of_each_kind() -> None:
    rng = np.random.default_rng(0)
    kinds = np.repeat(np.eye(4) * 10, 5, axis=0)
    features = (kinds + rng.normal(0, 0.1, kinds.shape)).astype(np.float32)
    assert {number // 5 for number in suggest(features, [], 4)} == {0, 1, 2, 3}


def test_the_next_plane_is_unlike_those_annotated() -> None:
    features = np.array([[0.0], [1.0], [2.0], [3.0], [10.0]])
    assert suggest(features, {0, 4}) == [3]
    assert suggest(features, {0, 3}) == [4]
    assert suggest(features, {0, 1, 2, 3, 4}, 3) == []
    assert sorted(suggest(features, {1}, 10)) == [0, 2, 3, 4]


def test_planes_that_are_all_alike_can_be_suggested() -> None:
    assert sorted(suggest(np.ones((3, 4)), [], 3)) == [0, 1, 2]
    assert suggest(np.ones((1, 4)), []) == [0]
    assert suggest(np.empty((0, 4)), []) == []


@pytest.mark.parametrize("count", [1, 40, 64, 1000])
def test_candidates_of_large_stacks_are_spread(count: int) -> None:
    found = candidates(count)
    assert len(found) == min(count, 64) and found[0] == 0 and found[-1] == count - 1


def test_real_images_of_another_kind_are_suggested(backbone) -> None:
    """Three nuclei images and one of particles: the odd one comes first."""
    planes = [tifffile.imread(real_pair("bbbc039_nuclei", n)[0])[:512, :512] for n in range(3)]
    planes.append(tifffile.imread(real_pair("emps_particles", 0)[0])[:512, :512].mean(-1))
    features = []
    for plane in planes:
        low, high = np.percentile(plane, (1, 99.8))
        grey = ((plane - low) / (high - low)).clip(0, 1).astype(np.float32)
        features.append(pool(backbone.encoder([np.repeat(grey[..., None], 3, -1)])[0]))
    assert suggest(np.stack(features), {0}) == [3]


def test_a_plane_is_doubtful_where_it_is_neither_background_nor_object() -> None:
    logits = torch.full((1, 8, 8), -9.0)
    assert np.isnan(doubt(logits))
    logits[0, :4] = 9.0
    sure = doubt(logits)
    logits[0, 3] = 0.0
    assert sure < 0.01 and doubt(logits) == pytest.approx(0.25, abs=0.01)
    logits[0, :] = 0.0
    assert doubt(logits) == pytest.approx(1)
    small = torch.full((2, 8, 8), -9.0)
    small[1, 0, :2] = torch.tensor([0.0, 9.0])
    assert doubt(small) == pytest.approx(0.5, abs=0.01)  # however small the object


def test_planes_that_the_prompt_is_sure_of_are_not_suggested() -> None:
    features = np.arange(6, dtype=float)[:, None]
    doubts = np.array([0.9, 0.5, 0.6, 0.4, 0.2, 0.1])
    assert suggest(features, {0}) == [5]
    assert suggest(features, {0}, doubts=doubts) == [3]  # the farthest of the three least sure
    assert suggest(features, {0}, doubts=np.full(6, 0.3)) == [5]
    doubts[5] = np.nan  # nothing is found there
    assert suggest(features, {0}, doubts=doubts) == [5]
    assert sorted(suggest(features, {0}, 9, doubts)) == [1, 2, 3, 4, 5]
    assert suggest(features, set(range(6)), doubts=doubts) == []
    assert suggest(features, [], doubts=doubts) == suggest(features, [])


def test_a_judge_is_unsure_of_a_noisy_plane(nuclei, prompt, backbone) -> None:
    judge, plane = Judge(prompt, backbone), nuclei[0][0].astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 2 * plane.std(), plane.shape)
    clear, noisy = (
        judge.doubt(whole_plane(normalize_plane(each)), plane.shape)
        for each in (plane, plane + noise)
    )
    assert 0 < clear < noisy < 1
