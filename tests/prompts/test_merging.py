"""Prompts of one class to one of several, and back."""

from dataclasses import replace

import numpy as np
import pytest

from conftest_prompts import head, make
from napari_ptsam.errors import InputError
from napari_ptsam.images.guided_filter import Refinement
from napari_ptsam.images.settings import ImageSettings
from napari_ptsam.images.tiling import Tiling
from napari_ptsam.inference.embedded_plane import EmbeddedPlane, embed_tiles
from napari_ptsam.inference.prediction import labels_of
from napari_ptsam.prompts.merging import merge, split


def other(**parts):
    rng = np.random.default_rng(5)
    given = {
        "tokens": rng.normal(size=(1, 8, 256)).astype(np.float32),
        "classes": ("debris",),
        "colours": ("#56B4E9",),
        "notes": "another",
    }
    return replace(make(), **(given | parts))


def test_there_and_back() -> None:
    first, second = make(), other()
    both = merge([first, second])
    assert both.classes == ("class 0", "debris") and both.colours == ("#E69F00", "#56B4E9")
    assert both.origin.images == 32 and both.origin.held_out_dice == pytest.approx(0.91)
    assert both.origin.start == "merged"
    assert both.notes == "Präparat 7; another" and both.licence == "CC0"
    for one, own in zip((first, second), split(both), strict=True):
        assert np.array_equal(own.tokens, one.tokens)
        assert (own.classes, own.colours, own.images) == (one.classes, one.colours, one.images)


def test_each_class_keeps_its_detail_head() -> None:
    own = head(4)
    both = merge([make(), other(detail=(own,))])
    assert both.detail == (None, own)
    assert [each.detail for each in split(both)] == [(), (own,)]
    assert [each.detail for each in split(merge([both, other(classes=("c",))]))] == [(), (own,), ()]
    assert merge([make(), other()]).detail == ()


def test_classes_that_would_look_or_sound_the_same() -> None:
    with pytest.raises(InputError, match="the same name"):
        merge([make(), make()])
    both = merge([make(), make()], names=["a", "b"])
    assert both.classes == ("a", "b") and len(set(both.colours)) == 2
    with pytest.raises(InputError, match="have 2 classes; give as many names"):
        merge([make(), make()], names=["a"])


def test_what_only_some_have_is_left_out() -> None:
    markers, filter_ = np.ones((1, 8, 256), np.float32), Refinement(4, 0.01, 0.0)
    with_all = [
        make(markers=markers, refinement=filter_),
        other(markers=markers, refinement=filter_),
    ]
    assert merge(with_all).markers.shape == (2, 8, 256) and merge(with_all).refinement == filter_
    mixed = merge([with_all[0], other()])
    assert mixed.markers is None and mixed.refinement is None
    unmeasured = other(origin=replace(make().origin, held_out_dice=None))
    assert merge([make(), unmeasured]).origin.held_out_dice is None
    assert merge([make(), other(pixel_size=None)]).pixel_size is None


def test_prompts_that_do_not_fit_together() -> None:
    with pytest.raises(InputError, match="two prompts or more"):
        merge([make()])
    with pytest.raises(InputError, match="different backbones"):
        merge([make(), other(signature="f" * 16)])
    tokens = (np.zeros((8, 160), np.float32),)
    with pytest.raises(InputError, match="different encoder tokens"):
        merge([make(), other(encoder_tokens=tokens)])
    larger = other(images=ImageSettings(Tiling(1024)))
    with pytest.raises(InputError, match=r"1: .*tiles of 371 px.* 2: .*tiles of 1024 px"):
        merge([make(), larger])
    assert merge([make(), larger], images_of=1).images == larger.images
    with pytest.raises(InputError, match="prompts 1 to 2, not 3"):
        merge([make(), larger], images_of=2)


def test_a_merged_prompt_finds_what_each_found(prompt, backbone, nuclei) -> None:
    import torch

    first = replace(prompt, refinement=None)
    inverse = replace(first, tokens=-first.tokens, classes=("other",))
    both = merge([first, inverse])
    prepared = first.images.prepare(nuclei[0][0])
    embeddings = list(embed_tiles(prepared, backbone.encoder))
    plane = EmbeddedPlane(prepared.shape, prepared.tiles, embeddings)

    def logits(one) -> np.ndarray:
        tokens = torch.from_numpy(one.tokens.copy()).to(backbone.device)
        return plane.logits(backbone.decoder, tokens)

    apart = np.concatenate([logits(first), logits(inverse)])
    assert np.allclose(logits(both), apart, atol=1e-3)
    assert np.array_equal(labels_of(logits(both)), labels_of(apart))
