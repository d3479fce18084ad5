"""Optimise a detail head on crops of tiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ptsam.inference.detail import DetailNetwork
from napari_ptsam.prompts.detail import DetailHead, parameter_shapes
from napari_ptsam.training.detail_tiles import Standardization, draw_crops
from napari_ptsam.training.optimization import warmed_up_cosine

if TYPE_CHECKING:
    from napari_ptsam.training.detail_tiles import DetailTile
    from napari_ptsam.training.loss import Loss

WIDTH = 14
"""Number of channels inside the head."""
RATE = 3e-3
"""Highest learning rate."""
CONTINUED_RATE = 0.3
"""Factor of the learning rate when the training continues from a head."""
WEIGHT_DECAY = 1e-2
BATCH = 8
"""Number of crops in each step."""
WITHOUT_LOGITS = 0.25
"""Fraction of the crops whose logits are replaced by 0, so that the head does not rely on logits
that are too sure on the planes that the tokens were tuned on."""


def optimise_head(
    tiles: Sequence[DetailTile],
    steps: int,
    seed: int,
    loss: Loss,
    dtype: torch.dtype,
    batch: int = BATCH,
    start: DetailHead | None = None,
) -> Iterator[DetailHead | None]:
    """Train a detail head with AdamW.

    Parameters
    ----------
    tiles
        Tiles to learn from.
    steps
        Number of steps.
    seed
        Seed of the random numbers.
    loss
        The loss to minimize.
    dtype
        The dtype of the products: float32, or bfloat16 for speed.
    batch
        Number of crops in each step.
    start
        Head to continue from; None starts from random values.

    Yields
    ------
    DetailHead or None
        None after each step but the last one, then the head, with a share of 1.
    """
    generator = torch.Generator().manual_seed(seed)
    device, scale = tiles[0].logits.device, Standardization.of(tiles)
    network = _network(start, scale, seed).to(device)
    rate = RATE if start is None else CONTINUED_RATE * RATE
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=WEIGHT_DECAY)
    schedule = warmed_up_cosine(optimiser, rate, steps)
    for number in range(1, steps + 1):
        crops = draw_crops(tiles, batch, scale, generator, dtype)
        kept = torch.rand((batch, 1, 1), generator=generator) >= WITHOUT_LOGITS
        logits = crops.logits * kept.to(device)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            correction = network(crops.fine, crops.coarse, logits, crops.scale)
        corrected = logits + correction
        optimiser.zero_grad()
        loss(corrected, crops.target, crops.weight, crops.blank).backward()
        optimiser.step()
        schedule.step()
        yield None if number < steps else _head_of(network, scale)


def _network(head: DetailHead | None, scale: Standardization, seed: int) -> DetailNetwork:
    """Return the network of a head for inputs that are standardized, or one with random values."""
    if head is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return DetailNetwork(WIDTH)
    state = {
        name: torch.from_numpy(value.astype(np.float32))
        for name, value in head.named_parameters().items()
    }
    mean, std = _with_logits(scale)
    coarse = state["coarse.weight"]
    state["fine.bias"] += state["fine.weight"] @ mean + coarse @ scale.coarse_mean.cpu()
    state["fine.weight"], state["coarse.weight"] = (
        state["fine.weight"] * std,
        coarse * scale.coarse_std.cpu(),
    )
    network = DetailNetwork(head.width)
    network.load_state_dict(state)
    return network


def _with_logits(scale: Standardization) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation of the fine features and the logits, which stay as they are."""
    mean, std = scale.fine_mean.cpu(), scale.fine_std.cpu()
    return torch.cat([mean, torch.zeros(1)]), torch.cat([std, torch.ones(1)])


def _head_of(network: DetailNetwork, scale: Standardization) -> DetailHead:
    """Return the head for inputs that are not standardized."""
    state = {name: value.detach().cpu().float() for name, value in network.state_dict().items()}
    mean, std = _with_logits(scale)
    # The biases are computed from the rounded weights, so that rounding does not shift the inputs.
    fine = (state["fine.weight"] / std).half()
    coarse = (state["coarse.weight"] / scale.coarse_std.cpu()).half()
    state["fine.bias"] -= fine.float() @ mean + coarse.float() @ scale.coarse_mean.cpu()
    state["fine.weight"], state["coarse.weight"] = fine, coarse
    width = network.last.in_features
    parts = [state[name].half().flatten().numpy() for name in parameter_shapes(width)]
    return DetailHead(np.concatenate(parts), width, 1.0)
