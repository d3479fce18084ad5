"""What a training makes itself, so that nothing stays nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest_data import real_pair, whole_plane
from napari_ptsam.datasets.annotated_planes import AnnotatedPlane, annotate
from napari_ptsam.images.guided_filter import Refinement
from napari_ptsam.images.planes import Planes
from napari_ptsam.inference.segment import Segmenter
from napari_ptsam.training.blank_planes import FEWEST, MOST, blank_count, blank_examples
from napari_ptsam.training.optimization import Batches
from napari_ptsam.training.settings import TrainingSettings
from napari_ptsam.training.trainer import Training


def real_examples(count: int = 3) -> tuple[AnnotatedPlane, ...]:
    pairs = [[Planes(part) for part in whole_plane(number)] for number in range(count)]
    images, masks = zip(*pairs, strict=True)
    return annotate(images, masks).examples


def made(
    examples: tuple[AnnotatedPlane, ...], seed: int = 0, side: int = 200
) -> list[AnnotatedPlane]:
    return blank_examples(examples, side, MOST, np.random.default_rng(seed))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, bool])
@pytest.mark.parametrize("channels", [0, 2])
def test_blanks_are_of_the_kind_of_what_is_annotated(dtype, channels: int) -> None:
    example = real_examples(count=1)[0]
    pixels = example.pixels > 500 if dtype is bool else (example.pixels // 300).astype(dtype)
    if channels:
        pixels = np.stack([pixels] * channels, axis=-1)
    for blank in made((replace(example, pixels=pixels),)):
        assert blank.pixels.dtype == dtype and blank.pixels.ndim == pixels.ndim
        assert blank.pixels.shape[2:] == pixels.shape[2:]
        assert blank.pixels.shape[:2] == blank.labels.shape == blank.instances.shape == (200, 200)


def test_most_of_them_show_next_to_nothing_and_say_what_they_show() -> None:
    examples = real_examples()
    blanks = made(examples)
    assert len(blanks) == MOST
    assert sum((blank.labels > 0).mean() < 0.01 for blank in blanks) >= MOST - 2
    for blank in blanks:
        assert np.array_equal(blank.labels > 0, blank.instances > 0)
        if "padded" in blank.name:
            assert not blank.labels[blank.pixels == 0].any()
            assert (blank.pixels == 0).mean() > 0.05


def test_planes_full_of_objects_have_no_empty_corner() -> None:
    example = real_examples(count=1)[0]
    full = replace(example, labels=np.ones_like(example.labels))
    assert not any("blank" in blank.name for blank in made((full,)) if "a blank" not in blank.name)


def test_what_was_not_annotated_is_no_empty_corner() -> None:
    example = real_examples(count=1)[0]
    unknown = replace(example, valid=np.zeros(example.shape, bool))
    assert not any(
        blank.name.startswith(example.name)
        for blank in made((unknown,))
        if "padded" not in blank.name
    )
    padded = next(blank for blank in made((unknown,)) if "padded" in blank.name)
    assert np.array_equal(padded.valid, padded.pixels == 0)


def test_the_same_seed_makes_the_same() -> None:
    examples = real_examples()
    one, again, other = (made(examples, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(one, again, strict=True))
    assert not all(np.array_equal(a.pixels, b.pixels) for a, b in zip(one, other, strict=True))


def test_they_are_few() -> None:
    assert [blank_count(tiles) for tiles in (1, 16, 40, 64, 500)] == [FEWEST, FEWEST, 5, MOST, MOST]


@pytest.mark.parametrize("size", [1, 4, 16])
def test_one_tile_in_sixteen_is_blank(size: int) -> None:
    from test_optimization import tiles_of

    tiles, blanks = tiles_of([0, 1]), tiles_of([0])[:2]
    plain = Batches(tiles, size, torch.Generator().manual_seed(0))
    mixed = Batches(tiles, size, torch.Generator().manual_seed(0), blanks)
    before = [tile for _ in range(320 // size) for tile in plain.draw()]
    after = [tile for _ in range(320 // size) for tile in mixed.draw()]
    assert [sum(tile is blank for tile in after) for blank in blanks] == [10, 10]
    assert sum(a is b for a, b in zip(before, after, strict=True)) == 300


def test_a_training_sees_them_always(nuclei, backbone) -> None:
    images, masks = ([Planes(plane) for plane in planes] for planes in nuclei)
    settings = TrainingSettings(
        steps=6, embeddings=4, batch_size=2, tile="whole", markers="yes", minutes=0, detail="off"
    )
    training = Training(annotate(images, masks), backbone, settings)
    seen: set[int] = set()
    for _ in training:
        seen |= {id(tile) for tile in training._embedded.blanks}
        assert all(tile.job.example < len(training.training) for tile in training._embedded.tiles)
    assert len(seen) == FEWEST
    training.close()
    assert not training._embedded.blanks


def test_nothing_is_found_where_there_is_nothing(prompt, backbone, encoded_tiles) -> None:
    segmenter = Segmenter(prompt, backbone)
    rng = np.random.default_rng(0)
    for plane in (np.zeros((130, 140)), np.full((130, 140), 7), rng.normal(100, 5, (300, 300))):
        for values in (plane, plane.astype(np.uint16)):
            assert not segmenter.plane(values).any()
    assert not encoded_tiles


def test_padding_stays_empty_and_the_rest_as_it_was(prompt, nuclei, backbone) -> None:
    real_pair("bbbc039_nuclei")  # the bundled cells look otherwise at another scale
    image = nuclei[0][0]
    for segmenter in (
        Segmenter(prompt, backbone),
        Segmenter(replace(prompt, refinement=Refinement(4, 1e-2)), backbone),
    ):
        plain = segmenter.plane(image) > 0
        found = segmenter.plane(np.pad(image, ((0, 128), (60, 68)))) > 0
        inside = found[:128, 60:188]
        assert found.sum() == inside.sum()
        assert (inside & plain).sum() / (inside | plain).sum() > 0.85


def test_a_preview_says_the_same(prompt, nuclei, backbone) -> None:
    from napari_ptsam.inference.preview import PlanePreview

    plane = np.pad(nuclei[0][0], ((0, 128), (60, 68)))
    segmenter = Segmenter(prompt, backbone)
    for pixels in (plane, np.zeros((128, 128), np.uint16)):
        preview = PlanePreview(
            backbone, prompt.images, pixels, refinement=prompt.refinement, flips=prompt.flips
        )
        for _ in preview.embed():
            pass
        assert preview.ready
        assert np.array_equal(preview.labels(segmenter.tokens), segmenter.plane(pixels))
