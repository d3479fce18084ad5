"""Which of SAM's masks is meant by clicks, and whether it is an object at all."""

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
"""Part of the tile above which the answer to clicks is the background rather than an object."""
LONG = 0.2
"""Part of the tile's border above which what lies along it is the background."""
STABLE = 0.3
"""What a mask gains that stays as it is when its threshold is moved."""
FINEST = 0.06
"""What the finest mask gains: SAM thinks too little of it in micrographs."""
TOLERANCE = 0.5
"""Natural logarithm of the factor by which objects may be larger or smaller than earlier ones."""
UNLIKE = 0.05
"""What a mask loses with each factor of e beyond."""
GUESSED = 0.1
"""What the mask of a guessed box loses (see `usual_box`)."""
BOX = 1.3
"""Side of the guessed box, in square roots of the area of earlier objects."""
DOUBTFUL = 0.85
"""Score under which the best mask is no object."""

NOTHING_HERE = (
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
    """What a choice among SAM's masks needs to know about one of them.

    Attributes
    ----------
    mask
        bool, shape (y, x): the parts that were clicked on; all, if a box is given.
    iou
        As SAM predicts it.
    stability
        IoU of the mask with itself when its threshold is raised and lowered by 1.
    area
        Of these parts, in pixels of the plane; 0 if there are none.
    share
        Of the tile's part of the plane that they cover.
    border
        Part of the border of that area that lies in them.
    """

    mask: np.ndarray
    iou: float
    stability: float
    area: float
    share: float
    border: float

    @property
    def background(self) -> bool:
        """Whether it is too large for an object, or runs along too much of the tile's border."""
        return self.share > LARGE or self.border > LONG

    def score(self, usual: float | None) -> float:
        """How well it fits; `usual` is the area of earlier objects, in pixels of the plane."""
        beyond = 0.0 if usual is None else max(abs(log(self.area / usual)) - TOLERANCE, 0.0)
        return self.iou + STABLE * self.stability - UNLIKE * beyond


def usual_box(clicks: Clicks, areas: Sequence[float]) -> Clicks | None:
    """Return a click with a box of the usual size around it, as another way to ask SAM.

    Returns
    -------
    Clicks or None
        None unless there is a single click, and objects were annotated before.
    """
    if not clicks.single or not len(areas):
        return None
    (y, x), half = clicks.points[0], BOX * float(np.median(areas)) ** 0.5 / 2
    return replace(clicks, box=(y - half, x - half, y + half, x + half))


def choose(
    masks: torch.Tensor,
    ious: torch.Tensor,
    clicks: Clicks,
    side: int,
    shape: tuple[int, int],
    areas: Sequence[float] = (),
) -> int:
    """Number of the mask that is meant.

    One click is ambiguous. The usual advice, the best of the three masks for
    such prompts by predicted IoU, suits photographs; in micrographs the third
    of them is nearly always the whole tile, and its predicted IoU is high. So
    it is left out, as is what is as large as a background, and of the rest the
    one is taken that is best by predicted IoU, stability and, where objects were
    annotated before, likeness to their size. On phase contrast the answer to a
    box of their size around the click is often better than all of these; it has
    a say in which mask is taken, but not in whether there is an object.

    Several clicks or a box are clear: SAM's single mask is taken, unless
    another one agrees with more of the clicks.

    Parameters
    ----------
    masks, ious
        Of `sam.clicks.click_masks`: logits of shape (4, 256, 256), and
        predicted IoUs of shape (4,); a fifth is the answer to `usual_box`.
    clicks
        In pixels of the tile.
    side
        Of the tile, in pixels.
    shape
        Of the tile's part that lies in the plane, in pixels: (y, x).
    areas
        Of objects that were annotated before, in pixels.

    Raises
    ------
    NoObjectError
        If there is most likely background at a single click, or the last one
        of several clicks would change nothing, or take in the background.
    """
    scale = side / masks.shape[-1]
    rows, columns = (ceil(length / scale) for length in shape)
    logits = masks[:, :rows, :columns].cpu().numpy()
    found = [measure(*answer, clicks, scale) for answer in zip(logits, ious.tolist(), strict=True)]
    if not clicks.single:
        return _agreeing(found, clicks, scale)
    usual = float(np.median(areas)) if len(areas) else None
    scores = {
        number: found[number].score(usual) + gain
        for number, gain in ((0, 0.0), (1, FINEST), (2, 0.0), (4, -GUESSED))
        if number < len(found) and found[number].area and not found[number].background
    }
    if max((score for number, score in scores.items() if number < 4), default=0) < DOUBTFUL:
        raise NoObjectError(NOTHING_HERE)
    return max(scores, key=scores.__getitem__)


def measure(logits: np.ndarray, iou: float, clicks: Clicks, scale: float) -> Candidate:
    """What a mask is like.

    Parameters
    ----------
    logits
        Shape (y, x): the part of the tile that lies in the plane.
    iou
        As SAM predicts it.
    clicks
        In pixels of the tile.
    scale
        Side of the logits' pixels, in pixels of the tile.
    """
    from scipy import ndimage

    found = logits > 0
    if clicks.box is None:
        parts, _ = ndimage.label(found, CONNECTED)
        numbers = [parts[pixel] for pixel in clicks.pixels(True, logits.shape, scale)]
        found = np.isin(parts, [number for number in numbers if number])
    area = int(found.sum())
    rim = np.concatenate([found[0], found[-1], found[:, 0], found[:, -1]])
    stability = float((logits > 1).sum() / max((logits > -1).sum(), 1))
    return Candidate(found, iou, stability, area * scale**2, area / found.size, float(rim.mean()))


def _agreeing(found: list[Candidate], clicks: Clicks, scale: float) -> int:
    """The first of the masks that agree with most clicks."""
    shape = found[0].mask.shape
    on, off = (clicks.pixels(positive, shape, scale) for positive in (True, False))

    def agreed(number: int) -> int:
        mask = found[number].mask
        return sum(bool(mask[at]) for at in on) + sum(not mask[at] for at in off)

    bounded = [n for n, one in enumerate(found) if clicks.box is not None or not one.background]
    if not bounded:
        raise NoObjectError(SPREADS)
    best = max(bounded, key=agreed)
    if clicks.points:
        positive = clicks.positive[-1]
        last = (on if positive else off)[-1:]
        if any(bool(found[best].mask[at]) != positive for at in last):
            raise NoObjectError(NOT_REACHED if positive else NOT_REMOVED)
    return best


def object_areas(labels: np.ndarray) -> list[int]:
    """Areas of a plane's objects, each of which has a label of its own, in pixels.

    Parameters
    ----------
    labels
        Integers, shape (y, x); 0 is what is not annotated.
    """
    return [int(area) for area in np.unique(labels[labels > 0], return_counts=True)[1]]
