"""Embeddings that were computed before, kept in memory and on disk up to limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import torch
from cachetools import LRUCache

if TYPE_CHECKING:
    from napari_ptsam.backbones.disk_cache import DiskCache
    from napari_ptsam.backbones.encoder import Encoder, ImageEncoder
    from napari_ptsam.backbones.loading import Backbone

LIMIT = 512 * 2**20
"""Bytes; an embedding in float16 has 2 MB, so 256 of them."""


class EmbeddingCache:
    """Embeddings by what they were made of; those not asked for longest go first.

    Since the key is the tile's pixels, nothing is ever out of date, and
    whatever needs an embedding - clicks, suggestions, trainings, previews -
    can share one cache. Safe to use from several threads.

    Parameters
    ----------
    limit
        Bytes that are kept, at most.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self._kept: LRUCache[bytes, torch.Tensor] = LRUCache(limit, lambda one: one.nbytes)
        self._lock = Lock()

    @property
    def size(self) -> int:
        """Bytes in use."""
        return int(self._kept.currsize)

    def get(self, key: bytes) -> torch.Tensor | None:
        """The embedding kept under that key, if any."""
        with self._lock:
            return self._kept.get(key)

    def put(self, key: bytes, embedding: torch.Tensor) -> None:
        """Keep an embedding."""
        with self._lock:
            if embedding.nbytes <= self.limit:
                self._kept[key] = embedding

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()


def with_cache(
    backbone: Backbone, cache: EmbeddingCache, disk: DiskCache | None = None
) -> Backbone:
    """The same backbone, whose encoder looks into the cache first, and then on the disk."""
    encoder = _CachedEncoder(backbone.encoder, backbone.signature, cache, disk)
    return replace(backbone, encoder=encoder)


def with_users_cache(backbone: Backbone, cache: EmbeddingCache | None = None) -> Backbone:
    """As `with_cache`, with the user's cache on disk; without a cache, with one of its own.

    Raises
    ------
    InputError
        If the limit that the user has set makes no sense.
    """
    from napari_ptsam.backbones.disk_cache import users_disk_cache

    cache = EmbeddingCache() if cache is None else cache
    return with_cache(backbone, cache, users_disk_cache())


def sparing_disk(backbone: Backbone) -> Backbone:
    """The same backbone, which reads what is on disk and writes nothing there.

    For whole stacks, of which each plane is seen once: they would drive out the
    annotated planes, which are trained on again and again.
    """
    encoder = backbone.encoder
    if not isinstance(encoder, _CachedEncoder):
        return backbone
    return replace(backbone, encoder=encoder.sparing_disk())


class _CachedEncoder:
    """An image encoder that computes no embedding twice.

    Parameters
    ----------
    encoder
        The one that computes.
    signature
        Of its weights.
    cache
        Shared with others.
    disk
        Where embeddings outlast the process, if anywhere.
    writes
        Whether new ones are kept there.
    """

    def __init__(
        self,
        encoder: Encoder,
        signature: str,
        cache: EmbeddingCache,
        disk: DiskCache | None = None,
        writes: bool = True,
    ) -> None:
        self._encoder, self._cache, self._disk, self._writes = encoder, cache, disk, writes
        self._signature = signature
        self.tokens = encoder.tokens
        self._whose = f"{signature} {encoder.dtype} {encoder.device}{_digest(encoder.tokens)}"
        self.device, self.dtype = encoder.device, encoder.dtype

    def __call__(
        self, tiles: Sequence[np.ndarray], dtype: torch.dtype = torch.float16
    ) -> torch.Tensor:
        """See `napari_ptsam.backbones.encoder.ImageEncoder`."""
        embeddings = [self._embed(tile, dtype) for tile in tiles]
        # One alone is not copied, so that who keeps it shares the cache's memory.
        return embeddings[0][None] if len(tiles) == 1 else torch.stack(embeddings)

    def holds(self, tile: np.ndarray, dtype: torch.dtype = torch.float16) -> bool:
        """Whether the tile's embedding is there already."""
        return self._cache.get(self._key(tile, dtype)) is not None

    def _embed(self, tile: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
        key = self._key(tile, dtype)
        embedding = self._cache.get(key)
        if embedding is None:
            embedding = self._from_disk(key)
            if embedding is None:
                embedding = self._encoder([tile], dtype)[0]
                if self._disk is not None and self._writes:
                    self._disk.put(key, embedding)
            self._cache.put(key, embedding)
        return embedding

    def _from_disk(self, key: bytes) -> torch.Tensor | None:
        found = None if self._disk is None else self._disk.get(key)
        return None if found is None else found.to(self.device)

    def on(self, device: torch.device, dtype: torch.dtype) -> _CachedEncoder:
        """A copy on another device, with the same cache."""
        encoder = self._encoder.on(device, dtype)
        return _CachedEncoder(encoder, self._signature, self._cache, self._disk, self._writes)

    def with_tokens(self, tokens: Sequence[torch.Tensor]) -> _CachedEncoder:
        """The same with encoder tokens, which make other embeddings, and the same cache.

        They are a prompt's, of which there are many: the disk is left alone.
        """
        encoder = self._encoder.with_tokens(tokens)
        return _CachedEncoder(encoder, self._signature, self._cache)

    @property
    def plain(self) -> ImageEncoder:
        """The encoder without a cache."""
        return self._encoder.plain

    def sparing_disk(self) -> _CachedEncoder:
        """The same with the same cache, which writes nothing to the disk."""
        return _CachedEncoder(self._encoder, self._signature, self._cache, self._disk, writes=False)

    def _key(self, tile: np.ndarray, dtype: torch.dtype) -> bytes:
        # Processors have instructions for it; it takes half the time of BLAKE2 there.
        digest = sha256(f"{self._whose} {tile.shape} {dtype}".encode())
        digest.update(np.ascontiguousarray(tile).data)
        return digest.digest()


def _digest(tokens: Sequence[torch.Tensor]) -> str:
    """Fingerprint of encoder tokens; nothing where there are none."""
    if not tokens:
        return ""
    found = sha256()
    for own in tokens:
        found.update(own.detach().float().cpu().numpy().tobytes())
    return f" {found.hexdigest()}"
