"""Embeddings that are kept."""

import numpy as np
import torch

from napari_ptsam.backbones.embedding_cache import EmbeddingCache, with_cache


def tile(value: float) -> np.ndarray:
    return np.full((32, 32, 3), value, np.float32)


def test_nothing_is_computed_twice(exact_backbone, encoded) -> None:
    backbone = exact_backbone
    cached = with_cache(backbone, EmbeddingCache())
    calls = encoded
    first = cached.encoder([tile(0.2)])
    assert not cached.encoder.holds(tile(0.7)) and cached.encoder.holds(tile(0.2))
    both = cached.encoder([tile(0.7), tile(0.2)])
    assert calls == [1, 1]
    assert torch.equal(both[1], first[0]) and not torch.equal(both[0], first[0])
    assert torch.equal(first, backbone.encoder([tile(0.2)]))
    assert cached.encoder([tile(0.2)], torch.float32).dtype == torch.float32
    assert cached.signature == backbone.signature and cached.device == backbone.device


def test_those_not_asked_for_longest_go_first() -> None:
    cache = EmbeddingCache(limit=3 * 400)
    for key in (b"a", b"b", b"c"):
        cache.put(key, torch.zeros(100))
    assert cache.get(b"a") is not None
    cache.put(b"d", torch.zeros(100))
    assert cache.get(b"b") is None and cache.get(b"a") is not None
    assert cache.size == 1200 <= cache.limit
    cache.put(b"d", torch.zeros(100))
    assert cache.size == 1200
    cache.clear()
    assert cache.size == 0 and cache.get(b"d") is None
