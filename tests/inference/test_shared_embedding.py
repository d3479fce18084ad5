"""Several prompts on one image."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np

from napari_ptsam.images.planes import Planes
from napari_ptsam.inference.result import ResultSettings
from napari_ptsam.inference.segment import Segmenter
from napari_ptsam.inference.shared_embedding import SharedSegmenter, segment_planes


class Counting:
    """An encoder that counts what it embeds."""

    def __init__(self, encoder) -> None:
        self.encoder, self.tiles = encoder, 0
        self.device, self.dtype = encoder.device, encoder.dtype

    def __call__(self, tiles, *options):
        self.tiles += len(tiles)
        return self.encoder(tiles, *options)


def test_prompts_that_see_alike_share_the_embedding(nuclei, prompt, backbone) -> None:
    counting = Counting(backbone.encoder)
    watched = replace(backbone, encoder=counting)
    other = replace(prompt, tokens=prompt.tokens[:, ::-1].copy() * np.float32(0.9))
    third = replace(
        prompt, images=replace(prompt.images, tiling=replace(prompt.images.tiling, side=80))
    )
    kinds = ResultSettings("instances", min_size=20), "probabilities", "labels"
    shared = SharedSegmenter(
        [Segmenter(p, watched, k) for p, k in zip((prompt, other, third), kinds, strict=True)]
    )
    image = Planes(nuclei[0][0])
    ((_, results),) = shared.planes(image, [0], shared.limits(image))
    tiles = [len(p.images.tiling.tiles(image.shape)) for p in (prompt, third)]
    assert counting.tiles == sum(tiles) and tiles[0] == 1
    for p, kind, result in zip((prompt, other, third), kinds, results, strict=True):
        alone = Segmenter(p, backbone, kind).plane(image[0])
        assert result.dtype == alone.dtype and np.array_equal(result, alone)


def test_each_prompt_has_the_limits_that_it_wants(nuclei, prompt, backbone) -> None:
    stack = Planes(np.stack(nuclei[0]))
    whole = replace(
        prompt,
        images=replace(
            prompt.images, normalization=replace(prompt.images.normalization, mode="stack")
        ),
    )
    shared = SharedSegmenter([Segmenter(p, backbone) for p in (prompt, whole)])
    limits = shared.limits(stack)
    assert limits[0] is None and np.shape(limits[1]) == (1, 2)
    ((_, results),) = shared.planes(stack, [1], limits)
    for own, result in zip((prompt, whole), results, strict=True):
        expected = next(islice(segment_planes(Segmenter(own, backbone), stack), 1, None))
        assert np.array_equal(result, expected)
