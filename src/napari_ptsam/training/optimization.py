"""Optimise tokens: starting values, batches of tiles, and steps of AdamW."""

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
"""Starting values of tokens: near SAM's embedding of the label "foreground", or drawn from N(0, 1)."""
UPRIGHT = 0.5
"""Fraction of a batch that is neither turned nor flipped, since images often have an orientation."""
MOST_LOSS_WHEN_TURNED = 2.0
"""Turned tiles are used if their loss is at most this multiple of that of the upright tiles."""
COMPARED = 6
"""Number of tiles of each symmetry that are compared with the same tiles upright."""
OFFSETS = ((0, 0), (1, 1), (0, 1), (1, 0))
"""Offsets of the subgrid that each step uses, in turn: a quarter of the mask positions, which
resemble their neighbours."""
BLANK_PART = 1 / 16
"""Fraction of the tiles drawn that are blank."""
WARM_UP = 0.1
"""Fraction of the steps in which the learning rate rises."""


class TileSource(ABC):
    """A source of batches of tiles.

    Parameters
    ----------
    size
        Number of tiles in a batch.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    @abstractmethod
    def draw(self) -> list[TrainingTile]:
        """Return the next batch."""

    def halve(self) -> bool:
        """Halve the batch size; return False if a batch has only one tile already."""
        if self.size == 1:
            return False
        self.size //= 2
        return True


class Batches(TileSource):
    """Random batches of tiles, in which all upright tiles, and all turned ones, are equally frequent.

    Parameters
    ----------
    tiles
        Tiles to draw from; half of those drawn are upright.
    size
        Number of tiles in a batch.
    generator
        Random generator.
    blanks
        Blank tiles, which replace one tile in sixteen.
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
        self._blank_part = BLANK_PART if blanks else 0.0
        upright = [tile for tile in tiles if tile.upright]
        turned = [tile for tile in tiles if not tile.upright]
        self._upright = self._endless(upright)
        self._turned = self._endless(turned) if turned else self._upright

    def _endless(self, tiles: Sequence[TrainingTile]) -> Iterator[TrainingTile]:
        while True:
            for index in torch.randperm(len(tiles), generator=self._generator).tolist():
                yield tiles[index]

    def draw(self) -> list[TrainingTile]:
        """Return the next batch."""
        upright = (torch.rand(self.size, generator=self._generator) < UPRIGHT).tolist()
        drawn = [next(self._upright if straight else self._turned) for straight in upright]
        self._due += len(drawn) * self._blank_part
        if self._due >= 1:
            self._due -= 1
            drawn[-1] = next(self._blanks)
        return drawn


class SideBySide(TileSource):
    """Batches of several trainings that run at the same time, one after the other in a list.

    Parameters
    ----------
    sources
        Source of batches of each training; all have the same size.
    """

    def __init__(self, sources: Sequence[TileSource]) -> None:
        super().__init__(sources[0].size)
        self._sources = sources

    def draw(self) -> list[TrainingTile]:
        """Return the next batch of every training."""
        return [tile for source in self._sources for tile in source.draw()]

    def halve(self) -> bool:
        """Halve the batch size of every training."""
        halved = [source.halve() for source in self._sources]
        return all(halved)


def class_losses(
    decoder: PromptDecoder,
    tokens: torch.Tensor,
    tiles: Sequence[TrainingTile],
    offset: Offset | None = None,
    loss: Loss = bce_dice,
) -> torch.Tensor:
    """Compute the loss of each class on a batch, or on a subgrid of its positions.

    Parameters
    ----------
    decoder
        Frozen decoder.
    tokens
        float32, shape (classes, 8, 256), or (trainings, classes, 8, 256) for trainings side by
        side.
    tiles
        The batch; of trainings side by side, their batches of equal size one after the other.
    offset
        First position of the subgrid; None takes all positions.
    loss
        Loss to compute.

    Returns
    -------
    torch.Tensor
        Shape (classes,) or (trainings, classes).
    """
    trainings = tokens if tokens.ndim == 4 else tokens[None]
    parts = len(trainings)
    embeddings = torch.stack([tile.embedding for tile in tiles])
    targets = torch.stack([tile.target for tile in tiles])
    weights = torch.stack([tile.weight for tile in tiles])
    if offset is not None:
        targets, weights = mask_subgrid(targets, offset), mask_subgrid(weights, offset)
    blank = torch.tensor([tile.job.blank for tile in tiles], device=weights.device)
    losses = []
    for number, of_class in enumerate(trainings.unbind(1)):
        of_tiles = of_class.repeat_interleave(len(tiles) // parts, 0) if parts > 1 else of_class[0]
        logits = decoder(embeddings, of_tiles, offset)
        batches = (x.chunk(parts) for x in (logits, targets[:, number], weights, blank))
        losses.append(torch.stack([loss(*batch) for batch in zip(*batches, strict=True)]))
    return torch.stack(losses, 1).view(tokens.shape[:-2])


@torch.no_grad()
def suitable_tiles(
    decoder: PromptDecoder,
    tokens: torch.Tensor,
    tiles: Sequence[TrainingTile],
    stopped: Callable[[], bool] = lambda: False,
    loss: Loss = bce_dice,
) -> list[TrainingTile]:
    """Leave out the flips and rotations under which the images no longer look alike.

    Cells on a dish have no orientation, but layers and cross sections do. If
    tokens that were tuned on upright tiles fail on the same tiles under some
    symmetry, training on tiles of this symmetry would be misleading.

    Parameters
    ----------
    decoder
        Frozen decoder.
    tokens
        Tokens tuned on upright tiles for a while: float32, shape (classes, 8, 256).
    tiles
        Upright, turned and flipped tiles.
    stopped
        Function that is called before each comparison. As soon as it returns True, no more
        symmetries are compared.
    loss
        Loss to compare.
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
    """Return tokens to start from: float32, shape (classes, 8, 256)."""
    noise = torch.randn((classes, TOKENS, WIDTH), generator=generator).to(decoder.device)
    return noise if name == "normal" else decoder.foreground_label + 0.02 * noise


@dataclass(frozen=True, eq=False)
class Step:
    """One step of the optimiser.

    Attributes
    ----------
    number
        Number of the step, counted from 1.
    losses
        Loss of each class before the step: shape (classes,) or (trainings, classes).
    tokens
        Tokens after the step: shape (classes, 8, 256) or (trainings, classes, 8, 256).
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
    weight_decay: float = 0.0,
) -> Iterator[Step]:
    """Tune tokens with AdamW, whose learning rate warms up and then falls along half a cosine.

    Parameters
    ----------
    decoder
        Frozen decoder.
    tokens
        Tokens to start from: float32, shape (classes, 8, 256), or (trainings, classes, 8, 256)
        for trainings side by side; they are not changed.
    batches
        Source of batches; `SideBySide` for trainings side by side.
    steps
        Number of steps.
    rate
        Highest learning rate.
    loss
        Loss to minimize.
    weight_decay
        Weight decay of the tokens.
    """
    # The optimiser changes this copy in place. Classes do not depend on each other.
    tuned = tokens.clone().requires_grad_()
    optimiser = ScaledAdamW([tuned], rate, steps, decoder, weight_decay)
    for number in range(1, steps + 1):
        offset = OFFSETS[number % len(OFFSETS)]
        losses = _losses_and_gradients(decoder, tuned, batches, offset, optimiser, loss)
        optimiser.unscale()
        limit_each_class(tuned)
        optimiser.step()
        yield Step(number, losses.detach(), tuned.detach())


class ScaledAdamW:
    """AdamW with its schedule, and with loss scaling if gradients are computed in float16.

    In float16, gradients of single positions may underflow to 0. Therefore the
    loss is multiplied by a large factor, and gradients are divided by it. If
    gradients overflow, the step is skipped and the factor is halved.

    Parameters
    ----------
    parameters
        Tensors to tune.
    rate
        Highest learning rate.
    steps
        Total number of steps.
    decoder
        Decoder whose device and dtype the gradients are computed with.
    weight_decay
        Weight decay of the parameters.
    """

    def __init__(
        self,
        parameters: list[torch.Tensor],
        rate: float,
        steps: int,
        decoder: PromptDecoder,
        weight_decay: float = 0.0,
    ) -> None:
        self._optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=weight_decay)
        self._schedule = warmed_up_cosine(self._optimiser, rate, steps)
        self._scaler = torch.amp.GradScaler(
            decoder.device.type, enabled=decoder.dtype == torch.float16
        )

    def zero_grad(self) -> None:
        """Clear all gradients."""
        self._optimiser.zero_grad()

    def backward(self, loss: torch.Tensor) -> None:
        """Accumulate the scaled gradients of a loss."""
        self._scaler.scale(loss).backward()

    def unscale(self) -> None:
        """Undo the scaling of the gradients, as is needed before they are read or clipped."""
        self._scaler.unscale_(self._optimiser)

    def step(self) -> None:
        """Take a step, unless the gradients overflowed in float16."""
        before = self._scaler.get_scale()
        self._scaler.step(self._optimiser)
        self._scaler.update()
        if self._scaler.get_scale() >= before:
            self._schedule.step()


def limit_each_class(tokens: torch.Tensor) -> None:
    """Clip the gradient of each class to a norm of 1, independently of the others."""
    if tokens.grad is not None:
        tokens.grad /= tokens.grad.norm(dim=(-2, -1), keepdim=True).clamp(min=1.0)


def warmed_up_cosine(
    optimiser: torch.optim.Optimizer, rate: float, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Return a schedule that rises to the highest rate and falls along half a cosine to near 0."""
    total = steps + 1
    # The scheduler divides by the length of the warm-up minus one, which must not be 0.
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
    """Return the loss of each class, and set the gradients; halve batches if memory runs out."""
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
        release_memory(
            decoder.device
        )  # outside of the handler, so that the error no longer keeps tensors alive
