"""The interface of a family of backbones."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    StateDict = dict[str, torch.Tensor]


class PromptableEncoder(Protocol):
    """An image encoder that accepts encoder tokens.

    Attributes
    ----------
    token_widths
        Width of the tokens of each layer that accepts tokens, from the first
        layer to the last.
    """

    token_widths: tuple[int, ...]

    def __call__(self, pixels: Tensor, tokens: Sequence[Tensor] = ()) -> Tensor:
        """Encode normalized pixels of shape (B, 3, 1024, 1024) as (B, 256, 64, 64)."""

    def early(self, pixels: Tensor) -> Tensor:
        """Return the features in front of the first layer that accepts tokens."""

    def late(self, x: Tensor, tokens: Sequence[Tensor] = ()) -> Tensor:
        """Encode the features that `early` returns as (B, 256, 64, 64)."""


class BackboneFamily(ABC):
    """Architectures that are detected, built and computed in the same way.

    A family is an image encoder in front of SAM's prompt encoder and mask
    decoder. Importing a family must not load torch: the command line lists
    backbones without it.
    """

    parameters: ClassVar[Mapping[str, int]]
    """Names of the architectures, each with the number of its parameters."""
    unused: ClassVar[tuple[str, ...]] = ()
    """Prefixes of tensors that may be in a checkpoint's image encoder, but are not used."""
    unsigned: ClassVar[re.Pattern[str] | None] = None
    """Names of image encoder tensors that the signature leaves out, because equivalent
    checkpoints differ in them."""

    @abstractmethod
    def detect(self, state: StateDict) -> str | None:
        """Return the architecture that the tensors belong to.

        Parameters
        ----------
        state
            Tensors of image encoder, prompt encoder and mask decoder, under
            segment-anything's names.

        Returns
        -------
        str or None
            A key of `parameters`; None if the tensors belong to another family.
        """

    @abstractmethod
    def build(self, architecture: str) -> dict[str, Any]:
        """Return the modules of an architecture, whose weights are loaded afterwards.

        Returns
        -------
        dict of str to torch.nn.Module
            ``image_encoder``, ``prompt_encoder`` and ``mask_decoder``, with
            the tensor names of segment-anything's checkpoints. See
            `sam_decoder_modules` for the last two.
        """

    @abstractmethod
    def encoder(self, image_encoder: Any) -> PromptableEncoder:
        """Return the encoder that computes what ``image_encoder`` does, and accepts tokens.

        Parameters
        ----------
        image_encoder
            The module from `build`, with its weights. The encoder may change it.
        """


def sam_decoder_modules() -> dict[str, Any]:
    """Return segment-anything's ``prompt_encoder`` and ``mask_decoder``, with random weights."""
    from napari_ptsam.backbones.decoder import GRID, WIDTH
    from napari_ptsam.backbones.encoder import SIDE
    from napari_ptsam.backbones.sam_modules import sam_module

    sam = sam_module("modeling")
    transformer = sam.TwoWayTransformer(depth=2, embedding_dim=WIDTH, mlp_dim=2048, num_heads=8)
    return {
        "prompt_encoder": sam.PromptEncoder(WIDTH, (GRID, GRID), (SIDE, SIDE), mask_in_chans=16),
        "mask_decoder": sam.MaskDecoder(transformer_dim=WIDTH, transformer=transformer),
    }
