"""What training minimises: cross entropy and Dice, equally weighted."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def bce_dice(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor,
    blank: torch.Tensor | None = None,
) -> torch.Tensor:
    """Binary cross entropy plus soft Dice loss, over the positions that count.

    Equal weights, as CAT-SAM trains (Xiao et al., ECCV 2024).

    Parameters
    ----------
    logits
        Shape (B, 256, 256).
    target
        Same shape, range 0 to 1.
    weight
        Same shape; 0 leaves a position out.
    blank
        bool, shape (B,): tiles that have no Dice loss if they have no
        foreground. It would push every last position down, and with it what
        looks alike on other tiles.

    Returns
    -------
    torch.Tensor
        Mean over the batch; a scalar.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum")
    entropy = entropy / weight.sum().clamp(min=1)
    found = logits.sigmoid() * weight
    shared, truth = (found * target).sum((1, 2)), (target * weight).sum((1, 2))
    dice = (2 * shared + 1) / (found.sum((1, 2)) + truth + 1)
    if blank is not None:
        dice = torch.where(blank & (truth == 0), 1.0, dice)
    return entropy + (1 - dice).mean()
