"""Choose which of SAM's masks the user means by clicks, or find that none is an object."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, log
from typing import TYPE_CHECKING

import numpy as np

from napari_ptsam.errors import NoObjectError
from napari_ptsam.inference.objects import CONNECTED

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from napari_ptsam.backbones.point_prompts import Clicks

# The numbers were chosen on training images of four sets (docs/method.md, "Clicks").
LARGE = 0.6
"""Largest fraction of the tile that an object may cover; larger masks are background."""
LONG = 0.2
"""Largest fraction of the tile's border that an object may lie along; longer ones are background."""
STABLE = 0.3
"""Weight of a mask's stability under other thresholds in its score."""
FINEST = 0.06
"""Bonus of the finest mask, whose IoU SAM underestimates in micrographs."""
TOLERANCE = 0.5
"""Natural logarithm of the ratio of areas up to which objects count as equal in size."""
SIZE_PENALTY = 0.05
"""Penalty for each factor of e beyond this tolerance."""
GUESSED = 0.1
"""Penalty of the mask for a guessed box, see `usual_box`."""
BOX = 1.3
"""Side of the guessed box, as a multiple of the square root of the area of earlier objects."""
DOUBTFUL = 0.85
"""Score below which even the best mask is not an object."""
SAME = 0.9
"""IoU from which two masks count as the same, so that only the better one is offered."""

NO_OBJECT = (
    "Nothing that looks like an object was found here. Click nearer to the middle of an object, or "
    "drag a box around it."
)
SPREADS = (
    "With this click the outline would spread over the background, so it stays as it was. Take the "
    "object back with Ctrl+Z and drag a box around it, or paint the rest with the brush."
)
NOT_REACHED = (
    "The outline cannot be extended to this place, so it stays as it was. Paint the place with the "
    "brush, or click on it as an object of its own."
)
NOT_REMOVED = (
    "This place cannot be told apart from the object, so the outline stays as it was. Take it away "
    "with the eraser."
)


@dataclass(frozen=True, eq=False)
class Candidate:
    """The properties of one of SAM's masks by which it is chosen.

    Attributes
    ----------
    mask
        Components that were clicked on or, if there is a box, the whole mask:
        bool, shape (y, x).
    iou
        IoU that SAM predicts for the mask.
    stability
        IoU of the masks at thresholds raised and lowered by 1.
    area
        Area of the mask in pixels of the plane; 0 if it is empty.
    share
        Fraction of the tile that the mask covers, within the plane.
    border
        Fraction of the border of this region that the mask covers.
    """

    mask: np.ndarray
    iou: float
    stability: float
    area: float
    share: float
    border: float

    @property
    def background(self) -> bool:
        """Whether the mask is too large for an object, or lies along too much of the border."""
        return self.share > LARGE or self.border > LONG

    def score(self, usual: float | None) -> float:
        """Return a score, given the usual area of earlier objects in pixels of the plane, if any."""
        excess = 0.0 if usual is None else max(abs(log(self.area / usual)) - TOLERANCE, 0.0)
        return self.iou + STABLE * self.stability - SIZE_PENALTY * excess


def usual_box(clicks: Clicks, areas: Sequence[float]) -> Clicks | None:
    """Add a box of the usual object size around a single click, as another prompt for SAM.

    Returns
    -------
    Clicks or None
        None if there are several clicks or a box, or no objects were annotated before.
    """
    if not clicks.single or not len(areas):
        return None
    (y, x), half = clicks.points[0], BOX * float(np.median(areas)) ** 0.5 / 2
    return replace(clicks, box=(y - half, x - half, y + half, x + half))


def rank(
    masks: torch.Tensor,
    ious: torch.Tensor,
    clicks: Clicks,
    side: int,
    shape: tuple[int, int],
    areas: Sequence[float] = (),
) -> list[int]:
    """Rank the masks by how likely the user means them.

    One click is ambiguous. For photographs, it is usual to take the best of
    SAM's three multimask outputs by predicted IoU. In micrographs the third
    output is nearly always the whole tile, and its predicted IoU is high.
    Therefore it is left out, as are masks as large as a background. Among the
    others, the best is chosen by predicted IoU, stability and, if objects were
    annotated before, similarity to their size. In phase contrast, the mask for
    a box of their size around the click is often better than all of these. It
    takes part in the choice, but not in the decision whether there is an object.

    Several clicks or a box are unambiguous. SAM's single mask is taken, unless
    another one agrees with more of the clicks.

    Parameters
    ----------
    masks
        Logits from `napari_ptsam.backbones.point_prompts.click_masks`, of shape
        (4, 256, 256). A fifth mask may be that for `usual_box`.
    ious
        Predicted IoU of each mask, of shape (4,) or (5,).
    clicks
        Clicks in pixels of the tile.
    side
        Side of the tile, in pixels.
    shape
        Size of the part of the tile that lies in the plane, in pixels: (y, x).
    areas
        Areas of objects that were annotated before, in pixels.

    Returns
    -------
    list of int
        Indices of the masks, the most likely one first. Masks that are empty,
        background or nearly the same as a better one are left out.

    Raises
    ------
    NoObjectError
        If a single click is most likely on background, or if the last of
        several clicks would change nothing or make the mask spread over the
        background.
    """
    scale = side / masks.shape[-1]
    rows, columns = (ceil(length / scale) for length in shape)
    logits = masks[:, :rows, :columns].cpu().numpy()
    pairs = zip(logits, ious.tolist(), strict=True)
    candidates = [describe_mask(mask, iou, clicks, scale) for mask, iou in pairs]
    if not clicks.single:
        return _different(candidates, _by_agreement(candidates, clicks, scale))
    usual = float(np.median(areas)) if len(areas) else None
    scores = {
        number: candidates[number].score(usual) + gain
        for number, gain in ((0, 0.0), (1, FINEST), (2, 0.0), (4, -GUESSED))
        if number < len(candidates)
        and candidates[number].area
        and not candidates[number].background
    }
    if max((score for number, score in scores.items() if number < 4), default=0) < DOUBTFUL:
        raise NoObjectError(NO_OBJECT)
    third = [3] if candidates[3].area and not candidates[3].background else []
    return _different(candidates, [*sorted(scores, key=scores.__getitem__, reverse=True), *third])


def _different(candidates: list[Candidate], ranked: list[int]) -> list[int]:
    """Leave out masks that are nearly the same as one before them."""
    different: list[int] = []
    for number in ranked:
        mask = candidates[number].mask
        if not any(_iou(mask, candidates[other].mask) > SAME for other in different):
            different.append(number)
    return different


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


def describe_mask(logits: np.ndarray, iou: float, clicks: Clicks, scale: float) -> Candidate:
    """Compute the properties of a mask.

    Parameters
    ----------
    logits
        Logits of the mask in the part of the tile that lies in the plane: shape (y, x).
    iou
        IoU that SAM predicts for the mask.
    clicks
        Clicks in pixels of the tile.
    scale
        Side of a pixel of the logits, in pixels of the tile.
    """
    from scipy import ndimage

    mask = logits > 0
    if clicks.box is None:
        components, _ = ndimage.label(mask, CONNECTED)
        clicked = [components[pixel] for pixel in clicks.pixels(True, logits.shape, scale)]
        mask = np.isin(components, [number for number in clicked if number])
    area = int(mask.sum())
    rim = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    stability = float((logits > 1).sum() / max((logits > -1).sum(), 1))
    return Candidate(mask, iou, stability, area * scale**2, area / mask.size, float(rim.mean()))


def _by_agreement(candidates: list[Candidate], clicks: Clicks, scale: float) -> list[int]:
    """Return the indices of the masks, those first that agree with the largest number of clicks."""
    shape = candidates[0].mask.shape
    on, off = (clicks.pixels(positive, shape, scale) for positive in (True, False))

    def agreed(number: int) -> int:
        mask = candidates[number].mask
        return sum(bool(mask[at]) for at in on) + sum(not mask[at] for at in off)

    bounded = [
        number
        for number, candidate in enumerate(candidates)
        if clicks.box is not None or not candidate.background
    ]
    if not bounded:
        raise NoObjectError(SPREADS)
    ranked = sorted(bounded, key=agreed, reverse=True)
    best = ranked[0]
    if clicks.points:
        positive = clicks.positive[-1]
        last = (on if positive else off)[-1:]
        if any(bool(candidates[best].mask[at]) != positive for at in last):
            raise NoObjectError(NOT_REACHED if positive else NOT_REMOVED)
    return [number for number in ranked if number == best or candidates[number].area]


def object_areas(labels: np.ndarray) -> list[int]:
    """Return the areas of the objects on a plane in pixels, if each has its own label.

    Parameters
    ----------
    labels
        Labels as painted: integer, shape (y, x); 0 is not annotated.
    """
    return [int(area) for area in np.unique(labels[labels > 0], return_counts=True)[1]]
