"""From a prepared plane to its prediction: the one path that every caller takes.

Segmenting, the live preview, the checks of a training and the evaluation all call
`ImageSettings.prepare`, embed the tiles of the prepared plane with `embed_tiles`, and get a
`Prediction` from the `EmbeddedPlane`. Only exports, which have to be one torch module, put the
same steps together themselves (`napari_ptsam.export.specialist`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ptsam.backbones.early_features import EarlyFeatures
from napari_ptsam.images.guided_filter import NOTHING
from napari_ptsam.images.tiling import Blend, Flip, Tile, flipped_pixels
from napari_ptsam.inference.decoding import decode, merge_views
from napari_ptsam.inference.prediction import Prediction

if TYPE_CHECKING:
    from napari_ptsam.backbones.decoder import PromptDecoder
    from napari_ptsam.backbones.encoder import Encoder
    from napari_ptsam.images.guided_filter import Refinement
    from napari_ptsam.images.settings import PreparedPlane
    from napari_ptsam.inference.detail import DetailCorrection

BATCH = 4
"""Views that are decoded together. This bounds the memory, and larger batches are no faster."""


@dataclass(frozen=True, eq=False)
class EmbeddedPlane:
    """A plane whose tiles are embedded, ready to be decoded with any tokens.

    Attributes
    ----------
    shape
        Shape of the plane: (y, x).
    tiles
        Tiles that cover the plane.
    embeddings
        For each tile, embeddings of shape (1 + flips, 4096, 256), or None if
        the tile shows nothing. They are taken a few at a time: an iterator that
        computes them bounds the memory, but can be decoded only once.
    flips
        Flips that are embedded besides the upright tiles.
    blank
        Mask of the pixels that show nothing: bool, shape (y, x), or None.
    guide
        Function that returns the image that guides the filter of the logits:
        float32, shape (y, x). Most planes are never filtered, and a guide is as
        large as its plane, so that it is made when it is needed.
    early
        Function that returns the early features of the views of a tile, given the
        index of the tile. They take six times the memory of an embedding, so that
        they are computed when a detail head needs them. None if there is no head.
    """

    shape: tuple[int, int]
    tiles: Sequence[Tile]
    embeddings: Iterable[torch.Tensor | None]
    flips: Sequence[Flip] = ()
    blank: np.ndarray | None = None
    guide: Callable[[], np.ndarray] | None = None
    early: Callable[[int], EarlyFeatures] | None = None

    @classmethod
    def from_prepared(
        cls,
        prepared: PreparedPlane,
        encoder: Encoder,
        flips: Sequence[Flip] = (),
        detail: bool = False,
    ) -> EmbeddedPlane:
        """Return a plane that embeds its tiles while they are decoded, which is possible only once.

        Parameters
        ----------
        prepared
            The plane.
        encoder
            Encoder of its tiles.
        flips
            Flips to embed besides the upright tiles.
        detail
            Whether to compute early features in the same pass.
        """
        early: dict[int, EarlyFeatures] = {}
        embeddings = embed_tiles(prepared, encoder, flips, early if detail else None)
        return cls(
            prepared.shape, prepared.tiles, embeddings, flips, prepared.blank,
            lambda: prepared.guide, early.pop if detail else None,
        )  # fmt: skip

    @torch.no_grad()
    def logits(
        self,
        decoder: PromptDecoder,
        tokens: torch.Tensor,
        corrections: Sequence[DetailCorrection | None] = (),
    ) -> np.ndarray:
        """Decode the plane to unfiltered logits, blended where its tiles overlap.

        Parameters
        ----------
        decoder
            Decoder of the backbone that embedded the plane.
        tokens
            float32, shape (classes, 8, 256).
        corrections
            The detail head of each class, or None for a class without one.

        Returns
        -------
        numpy.ndarray
            float32, shape (classes, y, x). A positive logit means foreground.
        """
        corrects = any(correct is not None for correct in corrections)
        blend = Blend(len(tokens), self.shape)
        waiting, views = iter(self.embeddings), 1 + len(self.flips)
        size = max(1, BATCH // views)
        for start in range(0, len(self.tiles), size):
            tiles = self.tiles[start : start + size]
            batch = list(zip(tiles, islice(waiting, size), strict=True))
            shown = [(tile, embedding) for tile, embedding in batch if embedding is not None]
            early = None
            if corrects and shown:
                assert self.early is not None
                numbers = [n for n, (_, e) in enumerate(batch, start) if e is not None]
                early = EarlyFeatures.concatenated([self.early(number) for number in numbers])
            for tile, embedding in batch:
                if embedding is None:
                    nothing = np.full((len(tokens), tile.side, tile.side), NOTHING, np.float32)
                    blend.add(nothing, tile)
            if not shown:
                continue
            embeddings = torch.stack([embedding for _, embedding in shown])
            embeddings = embeddings.reshape(-1, *embeddings.shape[-2:])
            masks = decode(decoder, embeddings, tokens, corrections if corrects else (), early)
            for (tile, _), masks_of_tile in zip(shown, masks.split(views), strict=True):
                merged = merge_views(masks_of_tile[None], self.flips, tile.side)
                blend.add(merged[0].cpu().numpy(), tile)
        whole = blend.result()
        if self.blank is not None:
            whole[:, self.blank] = NOTHING
        return whole

    def predict(
        self,
        decoder: PromptDecoder,
        tokens: torch.Tensor,
        refinement: Refinement | None = None,
        classes: int | None = None,
        corrections: Sequence[DetailCorrection | None] = (),
    ) -> Prediction:
        """Decode the plane, and filter the logits of its classes.

        Parameters
        ----------
        decoder
            Decoder of the backbone that embedded the plane.
        tokens
            Tokens of the classes, followed by those of their markers if there
            are any: float32, shape (n, 8, 256).
        refinement
            Filter of the logits; None leaves them as they are.
        classes
            Number of classes; None if no tokens of markers follow.
        corrections
            The detail head of each class, or None for a class without one.
        """
        return self.prediction(self.logits(decoder, tokens, corrections), refinement, classes)

    def prediction(
        self, logits: np.ndarray, refinement: Refinement | None, classes: int | None = None
    ) -> Prediction:
        """Return the prediction that logits amount to: those of the classes are filtered.

        Parameters
        ----------
        logits
            Unfiltered logits of the plane: float32, shape (n, y, x).
        refinement, classes
            See `predict`.
        """
        found, markers = logits[:classes], None
        if classes is not None and len(logits) > classes:
            markers = logits[classes:]
        if refinement is not None:
            assert self.guide is not None
            found = refinement.apply(found, self.guide(), self.blank)
        return Prediction(found, markers)


def embed_tiles(
    prepared: PreparedPlane,
    encoder: Encoder,
    flips: Sequence[Flip] = (),
    early: dict[int, EarlyFeatures] | None = None,
) -> Iterator[torch.Tensor | None]:
    """Embed the tiles of a plane one after the other.

    Parameters
    ----------
    prepared
        The plane.
    encoder
        Encoder of its tiles.
    flips
        Flips to embed besides the upright tiles.
    early
        If given, the early features of each tile are added under its index.

    Yields
    ------
    torch.Tensor or None
        Embeddings of a tile as it is and flipped, of shape (1 + flips, 4096,
        256), or None if the tile shows nothing.
    """
    for number, tile in enumerate(prepared.tiles):
        pixels = prepared.cut(tile)
        if pixels is None:
            yield None
        elif early is None:
            yield encoder(views_of(pixels, flips))
        else:
            embeddings, early[number] = encoder.with_early(views_of(pixels, flips))
            yield embeddings


def views_of(pixels: np.ndarray, flips: Sequence[Flip]) -> list[np.ndarray]:
    """Return the pixels of a tile as they are, and flipped: (side, side, 3) each."""
    return [pixels, *(flipped_pixels(pixels, flip) for flip in flips)]


def embed_in_steps(
    prepared: PreparedPlane,
    encoder: Encoder,
    flips: Sequence[Flip] = (),
    guide: Callable[[], np.ndarray] | None = None,
    early: Callable[[int], EarlyFeatures] | None = None,
    computed: dict[int, EarlyFeatures] | None = None,
) -> Iterator[EmbeddedPlane | None]:
    """Embed a plane tile by tile, so that the caller can do something else between tiles.

    Parameters
    ----------
    prepared
        The plane. Its pixels are not kept.
    guide, early
        See `EmbeddedPlane`.
    computed
        If given, the early features of each tile are added under its index.

    Yields
    ------
    EmbeddedPlane or None
        None after each tile but the last one, then the embedded plane.
    """
    embeddings: list[torch.Tensor | None] = []
    plane = EmbeddedPlane(
        prepared.shape, prepared.tiles, embeddings, flips, prepared.blank, guide, early
    )
    for embedding in embed_tiles(prepared, encoder, flips, computed):
        embeddings.append(embedding)
        yield plane if len(embeddings) == len(prepared.tiles) else None
