"""One plane under tokens that change: embedded once, decoded again and again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ptsam.images.flips import Flip
from napari_ptsam.images.guided_filter import Refinement, guide_of
from napari_ptsam.inference.predict import embed_views, labels_of, plane_logits

if TYPE_CHECKING:
    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.images.normalize import Limits
    from napari_ptsam.images.settings import ImageSettings


class PlanePreview:
    """What a prompt in the making finds on a plane.

    Parameters
    ----------
    backbone
        The frozen SAM.
    images
        How the training prepares images.
    plane
        Shape (y, x) or (y, x, channels).
    rgb
        Whether the channels are red, green and blue.
    limits
        Value limits of its stack, for normalisation over the stack.
    refinement, flips
        Of the prompt, if any.
    """

    def __init__(
        self,
        backbone: Backbone,
        images: ImageSettings,
        plane: np.ndarray,
        rgb: bool = False,
        limits: Limits | None = None,
        refinement: Refinement | None = None,
        flips: Sequence[Flip] = (),
    ) -> None:
        self._backbone, self._images = backbone, images
        self._source = plane, rgb, limits
        self._shape = (plane.shape[0], plane.shape[1])
        self._tiles = images.tiling.tiles(self._shape)
        self._embeddings: list[torch.Tensor | None] = []
        self._blank: np.ndarray | None = None
        self._refinement, self._flips = refinement, flips
        self._guide: np.ndarray | None = None

    @property
    def ready(self) -> bool:
        """Whether all of the plane is embedded."""
        return len(self._embeddings) == len(self._tiles)

    def embed(self) -> Iterator[None]:
        """Embed tile by tile.

        Raises
        ------
        InputError
            If the plane does not fit the settings.
        """
        prepared = self._images.prepared(*self._source)
        self._blank = prepared.blank
        if self._refinement is not None:
            self._guide = guide_of(prepared.pixels)
        for tile in self._tiles[len(self._embeddings) :]:
            seen = embed_views(self._backbone.encoder, prepared.cut(tile), self._flips)
            self._embeddings.append(seen)
            yield

    def labels(self, tokens: torch.Tensor) -> np.ndarray:
        """What the tokens find: uint8, shape (y, x); `embed` comes first."""
        decoder, shape = self._backbone.decoder, self._shape
        logits = plane_logits(
            decoder, self._embeddings, self._tiles, shape, tokens, self._flips, self._blank
        )
        if self._refinement is not None and self._guide is not None:
            logits = self._refinement.apply(logits, self._guide, self._blank)
        return labels_of(logits)
