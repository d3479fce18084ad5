"""Compute embeddings of tiles with a frozen image encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from torch import nn
from torch.nn import functional as F

from napari_ptsam.backbones.devices import choose_dtype
from napari_ptsam.backbones.early_features import EarlyFeatures, early_features
from napari_ptsam.backbones.gpu_memory import (
    CPU,
    copied,
    gpu_is_full,
    release_memory,
    warn_of_full_gpu,
)
from napari_ptsam.errors import Message, PromptFileError, Term

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

SIDE = 1024
"""Side in pixels of the square that the image encoder takes."""

PIXEL_MEAN = (123.675 / 255, 116.28 / 255, 103.53 / 255)
PIXEL_STD = (58.395 / 255, 57.12 / 255, 57.375 / 255)
"""Mean and standard deviation that SAM normalizes by, for channels in the range 0 to 1."""


def resize(maps: torch.Tensor, side: int) -> torch.Tensor:
    """Resize maps (B, channels, y, x) to squares, bilinearly, with smoothing if they shrink."""
    shrinks = side < maps.shape[-1]
    return F.interpolate(maps, size=(side, side), mode="bilinear", antialias=shrinks)


def encoder_input(pixels: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """Normalize square tiles as SAM does, and resize them to the side of its encoder.

    Parameters
    ----------
    pixels
        float32, shape (B, 3, side, side), range 0 to 1.
    mean, std
        `PIXEL_MEAN` and `PIXEL_STD` as tensors of shape (1, 3, 1, 1).

    Returns
    -------
    torch.Tensor
        float32, shape (B, 3, 1024, 1024).
    """
    # Normalized before it is resized: the result is the same, and most tiles are smaller.
    pixels = (pixels - mean) / std
    return pixels if pixels.shape[-1] == SIDE else resize(pixels, SIDE)


T = TypeVar("T")


class Encoder(Protocol):
    """The interface of an encoder of tiles; see `ImageEncoder`."""

    device: torch.device
    dtype: torch.dtype
    tokens: tuple[torch.Tensor, ...]

    @property
    def plain(self) -> ImageEncoder:
        """The encoder without a cache."""

    def __call__(
        self, tiles: Sequence[np.ndarray], dtype: torch.dtype = torch.float16
    ) -> torch.Tensor:
        """Compute the embeddings of square tiles: shape (tiles, 4096, 256)."""

    def with_early(
        self, tiles: Sequence[np.ndarray], dtype: torch.dtype = torch.float16
    ) -> tuple[torch.Tensor, EarlyFeatures]:
        """Compute the embeddings and the early features of square tiles."""

    def on(self, device: torch.device, dtype: torch.dtype) -> Encoder:
        """Return a copy on another device."""

    def with_tokens(self, tokens: Sequence[torch.Tensor]) -> Encoder:
        """Return the same encoder with encoder tokens."""


class ImageEncoder:
    """A frozen image encoder for tiles of any size.

    Parameters
    ----------
    module
        Image encoder, from (B, 3, 1024, 1024) to (B, 256, 64, 64), with the interface of
        `napari_ptsam.backbones.families.family.PromptableEncoder`.
    device
        Device to run on.
    dtype
        Dtype: ``torch.float32``, or ``torch.bfloat16`` or ``torch.float16``
        for speed.
    tokens
        Encoder tokens, one tensor of shape (any number, width) for each layer
        that accepts tokens; empty for none.
    load_embedded
        Function that loads the embedded encoder on a device, in a number format, for
        the early features. None if this is the embedded encoder.
    """

    module: Any

    def __init__(
        self,
        module: nn.Module,
        device: torch.device,
        dtype: torch.dtype,
        tokens: Sequence[torch.Tensor] = (),
        load_embedded: Callable[[torch.device, torch.dtype], ImageEncoder] | None = None,
    ) -> None:
        self.device, self.dtype = device, dtype
        self._load_embedded = load_embedded
        module = module.eval().requires_grad_(False)
        self.module = module.to(device, dtype).to(memory_format=torch.channels_last)
        self._mean = torch.tensor(PIXEL_MEAN, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(PIXEL_STD, device=device).view(1, 3, 1, 1)
        self.tokens = tuple(layer.detach().to(device) for layer in tokens)
        self._spare: ImageEncoder | None = None

    @torch.no_grad()
    def __call__(
        self, tiles: Sequence[np.ndarray], dtype: torch.dtype = torch.float16
    ) -> torch.Tensor:
        """Compute the embeddings of square tiles.

        Parameters
        ----------
        tiles
            Arrays of shape (side, side, 3), float32 in the range 0 to 1. The
            sides may differ.
        dtype
            Dtype of the result. float16 takes half the memory, without a
            measurable loss.

        Returns
        -------
        torch.Tensor
            Shape (tiles, 4096, 256): the 64 x 64 positions in row-major order,
            channels last.
        """
        # One at a time: on a CPU, a batch does not fit into the cache and is slower.
        return torch.cat(
            [self._or_on_cpu(ImageEncoder._embed, tile).to(self.device, dtype) for tile in tiles]
        )

    @torch.no_grad()
    def with_early(
        self, tiles: Sequence[np.ndarray], dtype: torch.dtype = torch.float16
    ) -> tuple[torch.Tensor, EarlyFeatures]:
        """Compute the embeddings and the early features of square tiles.

        The embedded encoder computes both in one pass.

        Parameters
        ----------
        tiles, dtype
            As for a call; the early features have the number format of the encoder.
        """
        if self._load_embedded is not None:
            return self(tiles, dtype), self.early_features(tiles)
        both = [self._or_on_cpu(ImageEncoder._embed_with_early, tile) for tile in tiles]
        embeddings = torch.cat([embedding.to(self.device, dtype) for embedding, _ in both])
        return embeddings, EarlyFeatures.concatenated([early.to(self.device) for _, early in both])

    @torch.no_grad()
    def early_features(self, tiles: Sequence[np.ndarray]) -> EarlyFeatures:
        """Compute the early features of square tiles, with the embedded encoder."""
        if self._load_embedded is not None:
            return self.embedded.early_features(tiles)
        parts = [self._or_on_cpu(ImageEncoder._early, tile).to(self.device) for tile in tiles]
        return EarlyFeatures.concatenated(parts)

    def on(self, device: torch.device, dtype: torch.dtype) -> ImageEncoder:
        """Return a copy on another device."""
        module = copied(self.module, device)
        return ImageEncoder(module, device, dtype, self.tokens, self._load_embedded)

    @property
    def plain(self) -> ImageEncoder:
        """The encoder itself, which has no cache."""
        return self

    @property
    def embedded(self) -> ImageEncoder:
        """The embedded encoder, which computes early features; it may be this one."""
        if self._load_embedded is None:
            return self
        return self._load_embedded(self.device, self.dtype)

    @property
    def token_widths(self) -> tuple[int, ...]:
        """Width of the tokens of each layer that accepts tokens."""
        widths: tuple[int, ...] = self.module.token_widths
        return widths

    def with_tokens(self, tokens: Sequence[torch.Tensor]) -> ImageEncoder:
        """Return the same encoder with encoder tokens.

        Raises
        ------
        PromptFileError
            If the tokens do not fit the layers.
        """
        if tuple(layer.shape[-1] for layer in tokens) != self.token_widths:
            raise PromptFileError(
                Message(
                    "The prompt's encoder tokens do not fit the layers of this ",
                    Term.BACKBONE,
                    "; use the one that it was tuned with.",
                )
            )
        return ImageEncoder(self.module, self.device, self.dtype, tokens, self._load_embedded)

    @torch.no_grad()
    def early(self, tile: np.ndarray) -> torch.Tensor:
        """Compute the features of a tile that do not depend on encoder tokens; see `late`."""
        features: torch.Tensor = self.module.early(self._pixels(tile))
        return features

    def late(self, features: torch.Tensor, tokens: Sequence[torch.Tensor]) -> torch.Tensor:
        """Compute embeddings, with gradients for the encoder tokens.

        Parameters
        ----------
        features
            Results of `early`, concatenated to a batch.
        tokens
            float32, one tensor of shape (any number, width) for each layer.

        Returns
        -------
        torch.Tensor
            Shape (B, 4096, 256).
        """
        cast = [layer.to(self.device, self.dtype) for layer in tokens]
        embeddings: torch.Tensor = self.module.late(features, cast)
        return embeddings.flatten(2).transpose(1, 2)

    def _or_on_cpu(self, compute: Callable[[ImageEncoder, np.ndarray], T], tile: np.ndarray) -> T:
        """Compute something for a tile; on the CPU if the GPU does not have enough memory."""
        try:
            return compute(self, tile)
        except RuntimeError as error:
            if not gpu_is_full(error, self.device):
                raise
        release_memory(self.device)
        warn_of_full_gpu()
        if self._spare is None:
            self._spare = self.on(CPU, choose_dtype(CPU))
        return compute(self._spare, tile)

    def _embed(self, tile: np.ndarray) -> torch.Tensor:
        tokens = [layer.to(self.dtype) for layer in self.tokens]
        features: torch.Tensor = self.module(self._pixels(tile), tokens)
        return features.flatten(2).transpose(1, 2).contiguous()

    def _embed_with_early(self, tile: np.ndarray) -> tuple[torch.Tensor, EarlyFeatures]:
        early = self._early(tile)
        return self.late(early.stage, self.tokens).contiguous(), early

    def _early(self, tile: np.ndarray) -> EarlyFeatures:
        return early_features(self.module, self._pixels(tile))

    def _pixels(self, tile: np.ndarray) -> torch.Tensor:
        pixels = torch.from_numpy(tile).to(self.device).permute(2, 0, 1)[None]
        pixels = encoder_input(pixels, self._mean, self._std)
        return pixels.to(self.dtype).contiguous(memory_format=torch.channels_last)
