"""A preview and a batch with detail heads, where no early features are kept."""

from dataclasses import replace

import numpy as np
import pytest

from conftest_prompts import head
from napari_ptsam.inference.detail import corrections_of
from napari_ptsam.inference.preview import PlanePreview
from napari_ptsam.inference.segment import Segmenter
from napari_ptsam.inference.shared_embedding import SharedSegmenter


def test_a_preview_of_a_plane_with_tiles_that_show_nothing(prompt, nuclei, backbone) -> None:
    plane = np.pad(nuclei[0][0], ((0, 128), (0, 128)))
    detailed = replace(prompt, detail=(head(4, 0.5),), refinement=None, flips=())
    preview = PlanePreview(
        backbone,
        detailed.images,
        plane,
        corrections=corrections_of(detailed.detail, backbone.device),
    )
    assert len(list(preview.embed())) > 1
    segmenter = Segmenter(detailed, backbone)
    expected = segmenter.plane(plane)
    assert 0 < (expected > 0).mean() < 1
    for _ in range(2):  # it can be decoded again and again
        assert np.array_equal(preview.labels(segmenter.tokens), expected)


def test_prompts_with_and_without_heads_share_embeddings(prompt, nuclei, backbone) -> None:
    plain = replace(prompt, markers=None, detail=(), flips=())
    detailed = replace(plain, detail=(head(4, 0.5),))
    segmenters = [Segmenter(each, backbone, "probabilities") for each in (plain, detailed, plain)]
    shared = SharedSegmenter(segmenters)
    (prepared,) = shared._prepared(nuclei[0][0], False, [None])
    found = shared._results([prepared])
    for own, segmenter in zip(found, segmenters, strict=True):
        assert np.allclose(own, segmenter.plane(nuclei[0][0]), atol=0.02)
    assert np.array_equal(found[0], found[2]) and not np.allclose(found[0], found[1], atol=0.05)


def test_a_batch_can_be_stopped_before_tiles_with_early_features(nuclei, backbone) -> None:
    pytest.importorskip("napari")
    from napari_ptsam.widgets.batch.segmentation_run import _StoppableEncoder

    calls: list[int] = []
    encoder = _StoppableEncoder(backbone.encoder, lambda: calls.append(1))
    tile = np.repeat(nuclei[0][0][:128, :128, None].astype(np.float32) / 65535, 3, axis=2)
    embedding, early = encoder.with_early([tile])
    assert len(calls) == 1
    assert embedding.shape == (1, 4096, 256) and early.stem.shape == (1, 256, 256, 64)
