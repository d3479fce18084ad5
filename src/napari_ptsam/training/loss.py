"""The losses that training can minimize."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    Loss = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


def bce_dice(logits: Tensor, target: Tensor, weight: Tensor, blank: Tensor | None = None) -> Tensor:
    """Compute the sum of binary cross entropy and soft Dice loss.

    Both have the same weight, as in CAT-SAM (Xiao et al., ECCV 2024).

    Parameters
    ----------
    logits
        Mask logits, shape (B, y, x).
    target
        Fraction of foreground at each position, range 0 to 1, shape (B, y, x).
    weight
        Weight of each position, shape (B, y, x); 0 excludes it.
    blank
        bool, shape (B,): tiles that get no Dice loss if they have no foreground.
        There, the Dice loss would lower the logits of every position, and with
        them those of similar objects on other tiles.

    Returns
    -------
    torch.Tensor
        Mean over the batch, a scalar.
    """
    entropy, dice = _parts(logits, target, weight, blank)
    return entropy + dice


def weighted_bce_dice(
    logits: Tensor, target: Tensor, weight: Tensor, blank: Tensor | None = None
) -> Tensor:
    """Compute .2 of the binary cross entropy plus .8 of the soft Dice loss.

    These are the weights of Piater, Barz and Freytag, "Prompt-Tuning SAM", arXiv 2504.16739.
    Parameters and result are those of `bce_dice`.
    """
    entropy, dice = _parts(logits, target, weight, blank)
    return 0.2 * entropy + 0.8 * dice


def _parts(
    logits: Tensor, target: Tensor, weight: Tensor, blank: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the mean cross entropy and the mean Dice loss."""
    import torch
    from torch.nn import functional as F

    entropy = F.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum")
    entropy = entropy / weight.sum().clamp(min=1)
    predicted = logits.sigmoid() * weight
    shared, truth = (predicted * target).sum((1, 2)), (target * weight).sum((1, 2))
    dice = (2 * shared + 1) / (predicted.sum((1, 2)) + truth + 1)
    if blank is not None:
        dice = torch.where(blank & (truth == 0), 1.0, dice)
    return entropy, (1 - dice).mean()


LOSSES: dict[str, Loss] = {
    "bce-dice": bce_dice,
    "weighted-bce-dice": weighted_bce_dice,
}
"""Every loss by its name in `TrainingSettings.loss`."""
DEFAULT_LOSS = "bce-dice"
