"""Preview a plane with detail heads while a training runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from napari_ptsam.inference.embedded_plane import embed_in_steps
from napari_ptsam.inference.preview import PlanePreview

if TYPE_CHECKING:
    import numpy as np
    import torch

    from napari_ptsam.backbones.early_features import EarlyFeatures
    from napari_ptsam.inference.detail import DetailCorrection


class CorrectedPreview(PlanePreview):
    """Preview of the labels that tokens and detail heads give on a plane.

    Parameters
    ----------
    corrections
        The detail head of each class, or None for a class without one.
    *source
        The backbone, the settings of the images, and the plane, see `PlanePreview`.
    """

    def __init__(self, corrections: Sequence[DetailCorrection | None], *source: Any) -> None:
        super().__init__(*source)
        self._heads = corrections

    def embed(self) -> Iterator[None]:
        """Embed the plane tile by tile; see `PlanePreview.embed`."""
        prepared = self._images.prepare(*self._source)
        # Early features take more memory than pixels, so they are computed when they are needed.
        encoder = self._backbone.encoder

        def early(number: int) -> EarlyFeatures:
            pixels = prepared.cut(prepared.tiles[number])
            assert pixels is not None  # tiles that show nothing are not decoded
            return encoder.plain.early_features([pixels])

        for plane in embed_in_steps(prepared, encoder, early=early):
            self._embedded = plane
            yield

    def labels(self, tokens: torch.Tensor) -> np.ndarray:
        """Predict labels with tokens, once the plane is embedded: uint8, shape (y, x)."""
        assert self._embedded is not None
        decoder = self._backbone.decoder
        return self._embedded.predict(decoder, tokens, corrections=self._heads).labels
