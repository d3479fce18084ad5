"""Which runs are the same, so that one can go on with the work of the other."""

from dataclasses import fields, replace

import numpy as np
import pytest

import napari_ptsam as ptsam
from conftest_prompts import head, make
from fakes import FakeSegmenter, fake_prompt, share_fakes, stack
from napari_ptsam.batch.job import Job
from napari_ptsam.batch.result_files import FileResult, segment_to_files
from napari_ptsam.batch.run_identity import EXCLUDED_FIELDS, digest_of
from napari_ptsam.images.channels import Channels
from napari_ptsam.images.guided_filter import Refinement
from napari_ptsam.images.settings import ImageSettings
from napari_ptsam.images.tiling import Tiling
from napari_ptsam.prompts.prompt import Prompt

CHANGES = {
    "tokens": np.ones((1, 8, 256), np.float32),
    "markers": np.ones((1, 8, 256), np.float32),
    "encoder_tokens": (np.ones((8, 160), np.float32),),
    "classes": ("another",),
    "colours": ("#000000",),
    "images": ImageSettings(Tiling(370)),
    "refinement": Refinement(4, 0.01),
    "flips": ("x",),
    "detail": (head(4),),
}


def test_every_field_of_a_prompt_counts_or_is_named_as_one_that_does_not() -> None:
    assert {field.name for field in fields(Prompt)} == {*CHANGES, *EXCLUDED_FIELDS}
    digests = [
        digest_of(make()),
        *(digest_of(replace(make(), **{k: v})) for k, v in CHANGES.items()),
    ]
    assert len(set(digests)) == len(digests)


def test_each_part_of_a_detail_head_counts() -> None:
    heads = head(4), head(4, 0.5), head(4, seed=1), head(5)
    digests = {digest_of(make(detail=(each,))) for each in heads}
    assert len(digests) == len(heads) and digest_of(make(detail=(head(4),))) in digests
    assert digest_of(make(2, detail=(None, heads[0]))) != digest_of(
        make(2, detail=(heads[0], None))
    )


@pytest.mark.parametrize("part", ["tiling", "normalization", "channels"])
def test_every_setting_of_the_images_counts(part: str) -> None:
    images = make().images
    assert {field.name for field in fields(images)} == {"tiling", "normalization", "channels"}
    other = replace(images, **{part: getattr(ImageSettings(Tiling(64)), part)})
    assert digest_of(make(images=other)) != digest_of(make())


def test_what_changes_no_label_does_not_count() -> None:
    aside = {
        "weights": "vit_t_lm", "pixel_size": None, "notes": "", "licence": "", "author": "me",
        "thumbnail": b"x", "trained_channels": Channels("composite", 3),
    }  # fmt: skip
    assert digest_of(replace(make(), **aside)) == digest_of(make())


def test_numbers_of_numpy_are_numbers() -> None:
    images = replace(make().images, tiling=Tiling(np.int64(371)))
    assert digest_of(make(images=images)) == digest_of(make())


def test_the_fingerprints_of_version_0_1_0_are_the_same() -> None:
    """Runs that it began are gone on with."""
    assert digest_of(make()) == "c6eeb7553bca39c5"
    rich = make(
        2, markers=make(2).tokens * 2, encoder_tokens=(np.ones((8, 160), np.float32),),
        refinement=Refinement(4, 0.01, 0.5),
    )  # fmt: skip
    assert digest_of(rich) == "b7196d7263a43945"


@pytest.fixture
def begun(monkeypatch, tmp_path):
    """A run of three planes that was broken off after the first."""
    share_fakes(monkeypatch)
    planes, path = stack(3), tmp_path / "a.tif"
    run = segment_to_files(planes, [FileResult(FakeSegmenter(), path)])
    next(run)
    run.close()
    return planes, path


def test_a_prompt_with_flips_is_not_mixed_with_one_without(begun) -> None:
    planes, path = begun
    flipped = FakeSegmenter(prompt=replace(fake_prompt(), flips=("x", "y")))
    with pytest.raises(ptsam.OutputError, match=r"differs in: prompt\. Start anew"):
        Job(planes, [FileResult(flipped, path)], resume=True)
    list(segment_to_files(planes, [FileResult(flipped, path)], overwrite=True))
    assert path.is_file()


def test_the_same_prompt_goes_on(begun) -> None:
    planes, path = begun
    done = list(segment_to_files(planes, [FileResult(FakeSegmenter(), path)], resume=True))
    assert [one.number for one in done if one.results is not None] == [1, 2]
