"""The optimiser's part of a training: tokens, batches, steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

import torch

from napari_ptsam.backbones.decoder import TOKENS, WIDTH
from napari_ptsam.backbones.gpu_memory import is_out_of_memory, release_memory
from napari_ptsam.backbones.kernels.image_positions import mask_subgrid
from napari_ptsam.training.loss import bce_dice
from napari_ptsam.training.tiles import SYMMETRIES, TrainingTile

if TYPE_CHECKING:
    from napari_ptsam.backbones.decoder import PromptDecoder
    from napari_ptsam.backbones.kernels.image_positions import Offset
    from napari_ptsam.training.loss import Loss

STARTS = ("label", "normal", "normal", "normal")
"""Where tokens start: near SAM's embedding of the label "foreground", or at N(0, 1)."""
UPRIGHT = 0.5
"""Part of a batch that is not turned or flipped: images often have an up and a down."""
MOST_LOSS_WHEN_TURNED = 2.0
"""Turned tiles are used if their loss is at most this many times that of the upright ones."""
COMPARED = 6
"""Tiles of each flip and rotation that are compared with the same tiles upright."""
OFFSETS = ((0, 0), (1, 1), (0, 1), (1, 0))
"""Each step looks at a quarter of the mask's positions, which are much like their neighbours; in
four steps all have had their turn."""
BLANK_PART = 1 / 16
"""Part of the tiles drawn that show nothing, or next to nothing."""
WARM_UP = 0.1
"""Part of the steps in which the learning rate rises."""


class TileSource(ABC):
    """Where batches come from.

    Parameters
    ----------
    size
        Tiles a batch.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    @abstractmethod
    def draw(self) -> list[TrainingTile]:
        """The next batch."""

    def halve(self) -> bool:
        """Draw smaller batches from now on; False if they have one tile already."""
        if self.size == 1:
            return False
        self.size //= 2
        return True


class Batches(TileSource):
    """Random batches of tiles, each tile as often as the others of its kind.

    Parameters
    ----------
    tiles
        What to draw from; half of what is drawn is upright.
    size
        Tiles a batch.
    generator
        Source of randomness.
    blanks
        Tiles that one is drawn from in place of another now and then.
    """

    def __init__(
        self,
        tiles: Sequence[TrainingTile],
        size: int,
        generator: torch.Generator,
        blanks: Sequence[TrainingTile] = (),
    ) -> None:
        super().__init__(size)
        self._generator = generator
        self._blanks, self._due = cycle(blanks), 0.0
        self._part = BLANK_PART if blanks else 0.0
        upright = [tile for tile in tiles if tile.upright]
        turned = [tile for tile in tiles if not tile.upright]
        self._upright = self._endless(upright)
        self._turned = self._endless(turned) if turned else self._upright

    def _endless(self, tiles: Sequence[TrainingTile]) -> Iterator[TrainingTile]:
        while True:
            for index in torch.randperm(len(tiles), generator=self._generator).tolist():
                yield tiles[index]

    def draw(self) -> list[TrainingTile]:
        """The next batch."""
        upright = (torch.rand(self.size, generator=self._generator) < UPRIGHT).tolist()
        drawn = [next(self._upright if straight else self._turned) for straight in upright]
        self._due += len(drawn) * self._part
        if self._due >= 1:
            self._due -= 1
            drawn[-1] = next(self._blanks)
        return drawn


def class_losses(
    decoder: PromptDecoder,
    tokens: torch.Tensor,
    tiles: Sequence[TrainingTile],
    offset: Offset | None = None,
    loss: Loss = bce_dice,
) -> torch.Tensor:
    """Loss of each class on a batch, or on the positions of a offset: shape (classes,)."""
    embeddings = torch.stack([tile.embedding for tile in tiles])
    targets = torch.stack([tile.target for tile in tiles])
    weights = torch.stack([tile.weight for tile in tiles])
    if offset is not None:
        targets, weights = mask_subgrid(targets, offset), mask_subgrid(weights, offset)
    blank = torch.tensor([tile.job.blank for tile in tiles], device=weights.device)
    return torch.stack(
        [
            loss(decoder(embeddings, own, offset), targets[:, number], weights, blank)
            for number, own in enumerate(tokens)
        ]
    )


@torch.no_grad()
def suitable_tiles(
    decoder: PromptDecoder,
    tokens: torch.Tensor,
    tiles: Sequence[TrainingTile],
    stopped: Callable[[], bool] = lambda: False,
    loss: Loss = bce_dice,
) -> list[TrainingTile]:
    """Leave out the flips and rotations under which the images no longer look alike.

    Cells on a dish have no up and down, layers and cross sections do. Tokens
    tuned on upright tiles tell: where they fail on the same tiles turned, those
    would only lead astray.

    Parameters
    ----------
    tokens
        Tuned on upright tiles for a while.
    tiles
        Upright and turned ones.
    stopped
        Asked before each comparison; once it says yes, nothing more is compared.
    loss
        The loss that is compared.
    """
    upright = {(tile.job.example, tile.job.tile): tile for tile in tiles if tile.upright}
    alike = {0}
    for symmetry in range(1, SYMMETRIES):
        turned = [tile for tile in tiles if tile.job.symmetry == symmetry][:COMPARED]
        if not turned or stopped():
            continue
        straight = [upright[tile.job.example, tile.job.tile] for tile in turned]
        before, after = (
            float(class_losses(decoder, tokens, part, OFFSETS[0], loss).mean())
            for part in (straight, turned)
        )
        if after <= MOST_LOSS_WHEN_TURNED * before:
            alike.add(symmetry)
    return [tile for tile in tiles if tile.job.symmetry in alike]


def start_tokens(
    name: str, decoder: PromptDecoder, classes: int, generator: torch.Generator
) -> torch.Tensor:
    """Tokens to start from: float32, shape (classes, 8, 256)."""
    noise = torch.randn((classes, TOKENS, WIDTH), generator=generator).to(decoder.device)
    return noise if name == "normal" else decoder.foreground_label + 0.02 * noise


@dataclass(frozen=True, eq=False)
class Step:
    """One step of the optimiser.

    Attributes
    ----------
    number
        From 1.
    losses
        Of each class, before the step: shape (classes,).
    tokens
        After the step: shape (classes, 8, 256).
    """

    number: int
    losses: torch.Tensor
    tokens: torch.Tensor


def optimise(
    decoder: PromptDecoder,
    tokens: torch.Tensor,
    batches: TileSource,
    steps: int,
    rate: float,
    loss: Loss = bce_dice,
) -> Iterator[Step]:
    """Tune tokens with AdamW: a warm-up, then half a cosine down to almost nothing.

    Parameters
    ----------
    decoder
        Frozen.
    tokens
        To start from; not changed.
    batches
        Where tiles are drawn from.
    steps
        How many.
    rate
        Highest learning rate.
    loss
        The loss to minimize.
    """
    # A copy that the optimiser may change in place, class by class independent of the others.
    tuned = tokens.clone().requires_grad_()
    optimiser = ScaledAdamW([tuned], rate, steps, decoder)
    for number in range(1, steps + 1):
        offset = OFFSETS[number % len(OFFSETS)]
        losses = _losses_and_gradients(decoder, tuned, batches, offset, optimiser, loss)
        optimiser.unscale()
        limit_each_class(tuned)
        optimiser.step()
        yield Step(number, losses.detach(), tuned.detach())


class ScaledAdamW:
    """AdamW with its schedule, and with loss scaling where gradients are computed in float16.

    In float16, the gradients of single positions are too small to be told from
    0. So the loss is multiplied by a large number, and gradients are divided by
    it; a step whose gradients were too large then is left out, and the number
    is halved.

    Parameters
    ----------
    parameters
        What is tuned.
    rate
        Highest learning rate.
    steps
        How many there will be.
    decoder
        On whose device, and in whose number format, gradients are computed.
    """

    def __init__(
        self, parameters: list[torch.Tensor], rate: float, steps: int, decoder: PromptDecoder
    ) -> None:
        self._optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0)
        self._schedule = warmed_up_cosine(self._optimiser, rate, steps)
        self._scaler = torch.amp.GradScaler(
            decoder.device.type, enabled=decoder.dtype == torch.float16
        )

    def zero_grad(self) -> None:
        """Forget all gradients."""
        self._optimiser.zero_grad()

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a loss, multiplied, to those that are there."""
        self._scaler.scale(loss).backward()

    def unscale(self) -> None:
        """Divide the gradients again; before they are looked at or changed."""
        self._scaler.unscale_(self._optimiser)

    def step(self) -> None:
        """Take a step with the gradients that are there, unless they are too large for float16."""
        before = self._scaler.get_scale()
        self._scaler.step(self._optimiser)
        self._scaler.update()
        if self._scaler.get_scale() >= before:
            self._schedule.step()


def limit_each_class(tokens: torch.Tensor) -> None:
    """Let no class's gradient be longer than 1, each as if it were alone."""
    for gradient in tokens.grad if tokens.grad is not None else ():
        gradient /= gradient.norm().clamp(min=1.0)


def warmed_up_cosine(
    optimiser: torch.optim.Optimizer, rate: float, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Learning rate of each step: up to the highest, then half a cosine down to almost nothing."""
    total = steps + 1
    # The scheduler divides by the warm-up's length less one.
    warm_up = WARM_UP if abs(WARM_UP * total - 1) > 1e-6 else 2 / total
    return torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, total_steps=total, pct_start=warm_up
    )


def _losses_and_gradients(
    decoder: PromptDecoder,
    tokens: torch.Tensor,
    batches: TileSource,
    offset: Offset,
    optimiser: ScaledAdamW,
    loss: Loss,
) -> torch.Tensor:
    """Loss of each class, and the gradients in the tokens; smaller batches if memory runs out."""
    while True:
        tokens.grad = None
        try:
            losses = class_losses(decoder, tokens, batches.draw(), offset, loss)
            optimiser.backward(losses.sum())
        except RuntimeError as error:
            if not is_out_of_memory(error) or not batches.halve():
                raise
        else:
            return losses
        release_memory(decoder.device)  # out here, where the error holds nothing any more
