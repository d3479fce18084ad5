"""Segment with clicks and boxes: SAM's own prompts, on the same frozen backbone."""

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
    """Clicks on and off one object, and a box around it.

    Attributes
    ----------
    points
        Positions (y, x) in pixels. Integers are the centres of pixels, as in napari.
    positive
        Whether each point lies on the object.
    box
        Box (y0, x0, y1, x1) in pixels; None without a box.

    Raises
    ------
    InputError
        If there is neither a box nor a positive point, a position is not finite,
        or the box has no area.
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
        """Whether there is only one click on the object, and no box."""
        return self.box is None and len(self.points) == 1

    def relative_to(self, y: float, x: float) -> Clicks:
        """Return the same clicks with positions relative to (y, x)."""
        box = self.box and (self.box[0] - y, self.box[1] - x, self.box[2] - y, self.box[3] - x)
        return Clicks(tuple((py - y, px - x) for py, px in self.points), self.positive, box)

    def pixels(
        self, positive: bool, shape: tuple[int, ...], scale: float = 1.0
    ) -> list[tuple[int, int]]:
        """Return the pixels of an array that contain the positive or the negative points.

        Parameters
        ----------
        positive
            Whether the positive points are returned, or the negative ones.
        shape
            Shape of the array: (y, x).
        scale
            Side of the array's pixels, in the pixels of the points.
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
    """Compute SAM's four masks for clicks, and the IoU that it predicts for each.

    Parameters
    ----------
    decoder
        Decoder of the backbone that computed the embedding.
    embedding
        Embedding of one tile, shape (4096, 256).
    clicks
        Clicks with positions in pixels of the tile.
    side
        Side of the tile in pixels.
    former
        Logits for fewer clicks in this tile, float32, shape (256, 256), which
        SAM refines.

    Returns
    -------
    logits : torch.Tensor
        float32, shape (4, 256, 256), on the decoder's device; positive is the
        object. The first mask is for unambiguous prompts; the others are
        alternatives for ambiguous prompts, such as a part, an object or a group.
    ious : torch.Tensor
        Predicted IoU of each mask, float32, shape (4,).
    """
    tokens, dense = _encode(decoder, clicks, side, former)
    logits, ious = decoder.masks(embedding[None], tokens, dense)
    return logits[0], ious[0]


def _encode(
    decoder: PromptDecoder, clicks: Clicks, side: int, former: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Return the sparse tokens (any number, 256), and the dense prompt (4096, 256) of former logits."""

    def scaled(positions: tuple[tuple[float, float], ...]) -> Tensor:
        """Convert (y, x) in pixels of the tile to (x, y) in pixels of the encoder's square."""
        place = torch.tensor(positions, dtype=torch.float32, device=decoder.device).flip(-1)
        # SAM adds half a pixel of its square; the clicks need half a pixel of the tile.
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
