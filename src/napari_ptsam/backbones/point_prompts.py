"""Clicks and boxes to mask logits: SAM as its makers meant it, on the same frozen backbone."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, isfinite
from typing import TYPE_CHECKING

import torch

from napari_ptsam.backbones.encoder import SIDE
from napari_ptsam.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from napari_ptsam.backbones.decoder import PromptDecoder


@dataclass(frozen=True)
class Clicks:
    """What a person says about one object: points on it, points off it, a box around it.

    Attributes
    ----------
    points
        (y, x) in pixels; whole numbers are the centres of pixels, as in napari.
    positive
        For each point, whether it lies on the object.
    box
        (y0, x0, y1, x1) in pixels, or None.

    Raises
    ------
    InputError
        If neither a box nor a positive point says where the object is, or
        positions are not finite, or the box has no area.
    """

    points: tuple[tuple[float, float], ...] = ()
    positive: tuple[bool, ...] = ()
    box: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        if len(self.points) != len(self.positive):
            raise InputError(
                f"Each click is on the object or off it, but there are {len(self.points)} clicks "
                f"and {len(self.positive)} such marks; give one for each click."
            )
        if self.box is None and not any(self.positive):
            raise InputError(
                "No click is on the object; click on it first, or drag a box around it."
            )
        if not all(isfinite(value) for place in (*self.points, self.box or ()) for value in place):
            raise InputError("A click has no finite position; click again.")
        if self.box is not None:
            y0, x0, y1, x1 = self.box
            if not (y0 < y1 and x0 < x1):
                raise InputError(
                    "The box has no area; drag from one corner of the object to the other."
                )

    @property
    def single(self) -> bool:
        """Whether one click on the object is all that is known."""
        return self.box is None and len(self.points) == 1

    def seen_from(self, y: float, x: float) -> Clicks:
        """The same clicks, with positions counted from (y, x)."""
        box = self.box and (self.box[0] - y, self.box[1] - x, self.box[2] - y, self.box[3] - x)
        return Clicks(tuple((py - y, px - x) for py, px in self.points), self.positive, box)

    def pixels(
        self, positive: bool, shape: tuple[int, ...], scale: float = 1.0
    ) -> list[tuple[int, int]]:
        """Pixels that hold the positive or the negative points, of those in an array.

        Parameters
        ----------
        positive
            Which points.
        shape
            Of the array: (y, x).
        scale
            Side of its pixels, in pixels that the points are given in.
        """
        at = [
            (floor((y + 0.5) / scale), floor((x + 0.5) / scale))
            for (y, x), on in zip(self.points, self.positive, strict=True)
            if on == positive
        ]
        return [(y, x) for y, x in at if 0 <= y < shape[0] and 0 <= x < shape[1]]


@torch.no_grad()
def click_masks(
    decoder: PromptDecoder,
    embedding: Tensor,
    clicks: Clicks,
    side: int,
    former: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """All that SAM answers to clicks: four masks, and how good it takes each to be.

    Parameters
    ----------
    decoder
        Of the backbone that the embedding comes from.
    embedding
        Of one tile, shape (4096, 256).
    clicks
        Positions in pixels of the tile.
    side
        Of the tile, in pixels.
    former
        Logits that were the answer to fewer clicks in this tile, float32,
        shape (256, 256): SAM refines them.

    Returns
    -------
    logits : torch.Tensor
        float32, shape (4, 256, 256), on the decoder's device; positive is the
        object. The first is SAM's answer to prompts that are clear, the others
        are made for ambiguous ones: about a part, an object, a group.
    ious : torch.Tensor
        IoU of each as SAM predicts it, float32, shape (4,).
    """
    tokens, dense = _encode(decoder, clicks, side, former)
    logits, ious = decoder.masks(embedding[None], tokens, dense)
    return logits[0], ious[0]


def _encode(
    decoder: PromptDecoder, clicks: Clicks, side: int, former: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Sparse tokens (any number, 256) and, of former logits, the dense prompt (4096, 256)."""

    def scaled(positions: tuple[tuple[float, float], ...]) -> Tensor:
        """(y, x) in pixels of the tile to (x, y) in pixels of the encoder's square."""
        place = torch.tensor(positions, dtype=torch.float32, device=decoder.device).flip(-1)
        # SAM adds half a pixel of its own square; ours is half a pixel of the tile.
        return (place + 0.5) * (SIDE / side) - 0.5

    points = box = mask = None
    if clicks.points:
        labels = torch.tensor(clicks.positive, dtype=torch.int, device=decoder.device)
        points = (scaled(clicks.points)[None], labels[None])
    if clicks.box is not None:
        box = scaled((clicks.box[:2], clicks.box[2:])).view(1, 4)
    if former is not None:
        mask = former.to(decoder.device, torch.float32)[None, None]
    sparse, dense = decoder.prompt_encoder(points, box, mask)
    return sparse[0], None if former is None else dense[0].flatten(1).T
