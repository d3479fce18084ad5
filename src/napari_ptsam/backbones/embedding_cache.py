"""A cache of embeddings in memory and on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import torch
from cachetools import LRUCache

from napari_ptsam.backbones.early_features import EarlyFeatures

if TYPE_CHECKING:
    from napari_ptsam.backbones.disk_cache import DiskCache
    from napari_ptsam.backbones.encoder import Encoder, ImageEncoder
    from napari_ptsam.backbones.loading import Backbone

LIMIT = 512 * 2**20
"""Default size in bytes. An embedding in float16 takes 2 MB, so 256 embeddings fit."""


class EmbeddingCache:
    """A cache of embeddings, from which the least recently used are removed first.

    The key is computed from the tile's pixels, so no embedding is ever out of
    date, and clicks, suggestions, trainings and previews can share one cache.
    It may be used from several threads.

    Parameters
    ----------
    limit
        Largest size in bytes.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self._kept: LRUCache[bytes, torch.Tensor] = LRUCache(
            limit, lambda embedding: embedding.nbytes
        )
        self._lock = Lock()

    @property
    def size(self) -> int:
        """Size in bytes."""
        return int(self._kept.currsize)

    def get(self, key: bytes) -> torch.Tensor | None:
        """Return the embedding of a key; None if it is missing."""
        with self._lock:
            return self._kept.get(key)

    def put(self, key: bytes, embedding: torch.Tensor) -> None:
        """Store an embedding."""
        with self._lock:
            if embedding.nbytes <= self.limit:
                self._kept[key] = embedding

    def clear(self) -> None:
        """Remove all embeddings."""
        with self._lock:
            self._kept.clear()


def with_cache(
    backbone: Backbone, cache: EmbeddingCache, disk: DiskCache | None = None
) -> Backbone:
    """Return the backbone with an encoder that looks in the cache first, and then on disk."""
    encoder = _CachedEncoder(backbone.encoder, backbone.signature, cache, disk)
    return replace(backbone, encoder=encoder)


def with_users_cache(backbone: Backbone, cache: EmbeddingCache | None = None) -> Backbone:
    """Return the backbone with a cache in memory and the user's cache on disk.

    Parameters
    ----------
    backbone
        The backbone without a cache.
    cache
        Cache in memory; by default a new one.

    Raises
    ------
    InputError
        If NAPARI_PTSAM_CACHE_GB is not a number from 0 up.
    """
    from napari_ptsam.backbones.disk_cache import users_disk_cache

    cache = EmbeddingCache() if cache is None else cache
    return with_cache(backbone, cache, users_disk_cache())


def sparing_disk(backbone: Backbone) -> Backbone:
    """Return the backbone with a cache that reads from the disk, but does not write to it.

    Use it for whole stacks, whose planes are used only once. They would displace the
    annotated planes, which every training needs again.
    """
    encoder = backbone.encoder
    if not isinstance(encoder, _CachedEncoder):
        return backbone
    return replace(backbone, encoder=encoder.sparing_disk())


class _CachedEncoder:
    """An image encoder that does not compute an embedding twice.

    Parameters
    ----------
    encoder
        The encoder that computes.
    signature
        Fingerprint of its weights.
    cache
        Cache in memory, which may be shared.
    disk
        Cache on disk, if any.
    writes
        Whether new embeddings are written to the disk.
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
        self._prefix = f"{signature} {encoder.dtype} {encoder.device}{_digest(encoder.tokens)}"
        self.device, self.dtype = encoder.device, encoder.dtype

    def __call__(
        self, tiles: Sequence[np.ndarray], dtype: torch.dtype = torch.float16
    ) -> torch.Tensor:
        """See `napari_ptsam.backbones.encoder.ImageEncoder`."""
        embeddings = [self._embed(tile, dtype) for tile in tiles]
        # A single embedding is not copied, so that it shares the cache's memory.
        return embeddings[0][None] if len(tiles) == 1 else torch.stack(embeddings)

    def with_early(
        self, tiles: Sequence[np.ndarray], dtype: torch.dtype = torch.float16
    ) -> tuple[torch.Tensor, EarlyFeatures]:
        """See `napari_ptsam.backbones.encoder.ImageEncoder`; early features are not kept."""
        both = [self._embed_with_early(tile, dtype) for tile in tiles]
        embeddings = torch.stack([embedding for embedding, _ in both])
        return embeddings, EarlyFeatures.concatenated([early for _, early in both])

    def holds(self, tile: np.ndarray, dtype: torch.dtype = torch.float16) -> bool:
        """Return whether the embedding of a tile is in memory."""
        return self._cache.get(self._key(tile, dtype)) is not None

    def _embed(self, tile: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
        key = self._key(tile, dtype)
        embedding = self._get(key)
        if embedding is None:
            embedding = self._encoder([tile], dtype)[0]
            self._put(key, embedding)
        return embedding

    def _embed_with_early(
        self, tile: np.ndarray, dtype: torch.dtype
    ) -> tuple[torch.Tensor, EarlyFeatures]:
        key = self._key(tile, dtype)
        embedding = self._get(key)
        if embedding is not None:
            return embedding, self.plain.early_features([tile])
        embeddings, early = self._encoder.with_early([tile], dtype)
        self._put(key, embeddings[0])
        return embeddings[0], early

    def _get(self, key: bytes) -> torch.Tensor | None:
        """Return an embedding from memory or from the disk; None if it is in neither."""
        embedding = self._cache.get(key)
        if embedding is None and self._disk is not None:
            embedding = self._disk.get(key)
            if embedding is not None:
                embedding = embedding.to(self.device)
                self._cache.put(key, embedding)
        return embedding

    def _put(self, key: bytes, embedding: torch.Tensor) -> None:
        if self._disk is not None and self._writes:
            self._disk.put(key, embedding)
        self._cache.put(key, embedding)

    def on(self, device: torch.device, dtype: torch.dtype) -> _CachedEncoder:
        """Return a copy on another device, with the same cache."""
        encoder = self._encoder.on(device, dtype)
        return _CachedEncoder(encoder, self._signature, self._cache, self._disk, self._writes)

    def with_tokens(self, tokens: Sequence[torch.Tensor]) -> _CachedEncoder:
        """Return the same encoder with encoder tokens and the same cache in memory.

        The disk is not used, because every prompt has other encoder tokens.
        """
        encoder = self._encoder.with_tokens(tokens)
        return _CachedEncoder(encoder, self._signature, self._cache)

    @property
    def plain(self) -> ImageEncoder:
        """The encoder without a cache."""
        return self._encoder.plain

    def sparing_disk(self) -> _CachedEncoder:
        """Return the same encoder and cache, without writing to the disk."""
        return _CachedEncoder(self._encoder, self._signature, self._cache, self._disk, writes=False)

    def _key(self, tile: np.ndarray, dtype: torch.dtype) -> bytes:
        # SHA-256 takes half the time of BLAKE2 on processors that have instructions for it.
        digest = sha256(f"{self._prefix} {tile.shape} {dtype}".encode())
        digest.update(np.ascontiguousarray(tile).data)
        return digest.digest()


def _digest(tokens: Sequence[torch.Tensor]) -> str:
    """Return a fingerprint of encoder tokens; empty if there are none."""
    if not tokens:
        return ""
    digest = sha256()
    for layer in tokens:
        digest.update(layer.detach().float().cpu().numpy().tobytes())
    return f" {digest.hexdigest()}"
