"""Loss of the training: cross entropy and Dice with equal weights."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def bce_dice(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor,
    blank: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute binary cross entropy plus soft Dice loss over the valid positions.

    Both have the same weight, as in CAT-SAM (Xiao et al., ECCV 2024).

    Parameters
    ----------
    logits
        Logits of one class, of shape (B, y, x).
    target
        Foreground fraction of each position, from 0 to 1; same shape.
    weight
        Valid fraction of each position; same shape. 0 leaves a position out.
    blank
        Blank tiles: bool, shape (B,). They have no Dice loss if they have no
        foreground, since it would push down every position, and with them those
        on other tiles that look alike.

    Returns
    -------
    torch.Tensor
        Mean over the batch, a scalar.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum")
    entropy = entropy / weight.sum().clamp(min=1)
    predicted = logits.sigmoid() * weight
    shared, truth = (predicted * target).sum((1, 2)), (target * weight).sum((1, 2))
    dice = (2 * shared + 1) / (predicted.sum((1, 2)) + truth + 1)
    if blank is not None:
        dice = torch.where(blank & (truth == 0), 1.0, dice)
    return entropy + (1 - dice).mean()
