"""Preview a plane while tokens change: embed it once, decode it again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ptsam.images.tiling import Flip
from napari_ptsam.inference.embedded_plane import EmbeddedPlane, embed_in_steps, views_of

if TYPE_CHECKING:
    from napari_ptsam.backbones.early_features import EarlyFeatures
    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.images.guided_filter import Refinement
    from napari_ptsam.images.normalize import Limits
    from napari_ptsam.images.planes import Planes
    from napari_ptsam.images.settings import ImageSettings, PreparedPlane
    from napari_ptsam.inference.detail import DetailCorrection
    from napari_ptsam.inference.prediction import Prediction
    from napari_ptsam.inference.segment import Segmenter


class PlanePreview:
    """Preview of the labels that tokens give on a plane.

    Parameters
    ----------
    backbone
        The frozen SAM.
    images
        Settings with which images are prepared.
    plane
        Pixels as read, of shape (y, x) or (y, x, channels).
    rgb
        Whether the channels are red, green and blue.
    limits
        Value limits of the stack, for normalisation over the stack.
    refinement, flips
        Filter of the logits and flips of the tiles, if the prompt has any.
    corrections
        The detail head of each class, or None for a class without one.
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
        corrections: Sequence[DetailCorrection | None] = (),
    ) -> None:
        self._backbone, self._images = backbone, images
        self._source = plane, rgb, limits
        self._refinement, self._flips = refinement, flips
        self._corrections = corrections
        self._embedded: EmbeddedPlane | None = None

    @classmethod
    def of(cls, segmenter: Segmenter, planes: Planes, number: int) -> PlanePreview:
        """Return the preview of a plane as a segmenter would segment it."""
        prompt = segmenter.prompt
        return cls(
            segmenter.backbone, prompt.images, planes[number], planes.rgb,
            prompt.images.limits(planes), prompt.refinement, segmenter.flips, segmenter.corrections,
        )  # fmt: skip

    @property
    def ready(self) -> bool:
        """Whether the whole plane is embedded."""
        return self._embedded is not None

    def embed(self) -> Iterator[None]:
        """Embed the plane tile by tile.

        Raises
        ------
        InputError
            If the plane does not fit the settings.
        """
        prepared = self._images.prepare(*self._source)
        # Only the guide is kept, which takes a third of the memory of the pixels. Detail heads
        # need the pixels, since early features are computed anew each time that they are needed.
        image = None if self._refinement is None else prepared.guide
        early = self._early(prepared) if self._corrections else None

        def guide() -> np.ndarray:
            assert image is not None
            return image

        encoder = self._backbone.encoder
        for plane in embed_in_steps(prepared, encoder, self._flips, guide, early):
            self._embedded = plane
            yield

    def _early(self, prepared: PreparedPlane) -> Callable[[int], EarlyFeatures]:
        """Return a function that computes the early features of a tile, given its index."""
        encoder = self._backbone.encoder.plain

        def compute(number: int) -> EarlyFeatures:
            pixels = prepared.cut(prepared.tiles[number])
            assert pixels is not None  # a tile without pixels is not decoded
            return encoder.early_features(views_of(pixels, self._flips))

        return compute

    def predict(self, tokens: torch.Tensor, classes: int | None = None) -> Prediction:
        """Predict the plane with tokens, once it is embedded.

        Parameters
        ----------
        tokens, classes
            See `EmbeddedPlane.predict`.
        """
        assert self._embedded is not None
        return self._embedded.predict(
            self._backbone.decoder, tokens, self._refinement, classes, self._corrections
        )

    def labels(self, tokens: torch.Tensor) -> np.ndarray:
        """Predict labels with tokens, once the plane is embedded: uint8, shape (y, x)."""
        return self.predict(tokens).labels
