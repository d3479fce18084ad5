"""Tune a first draft of the tokens, to be shown while tiles are still being embedded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_ptsam.training.optimization import TileSource, optimise, start_tokens

if TYPE_CHECKING:
    from napari_ptsam.backbones.decoder import PromptDecoder
    from napari_ptsam.training.tiles import TrainingTile

STEPS = 80
"""Steps of the whole draft, after which it resembles the final prompt."""
STEPS_PER_TILE = 2
BATCH = 2
RATE = 0.1


class FirstDraft(TileSource):
    """Tokens that are tuned for a few steps whenever another tile is embedded.

    The draft has its own random generator, so that it does not change the
    training that follows.

    Parameters
    ----------
    decoder
        Frozen decoder.
    classes
        Number of classes.
    tiles
        Tiles that are embedded so far; the caller appends to the list.

    Attributes
    ----------
    tokens
        Current tokens: float32, shape (classes, 8, 256).
    """

    def __init__(self, decoder: PromptDecoder, classes: int, tiles: list[TrainingTile]) -> None:
        super().__init__(BATCH)
        self._tiles = tiles
        self._generator = torch.Generator().manual_seed(0)
        self.tokens = start_tokens("label", decoder, classes, self._generator)
        self._steps = optimise(decoder, self.tokens, self, STEPS, RATE)

    def draw(self) -> list[TrainingTile]:
        """Draw a random batch from the tiles that are embedded so far."""
        chosen = torch.randint(len(self._tiles), (self.size,), generator=self._generator)
        return [self._tiles[index] for index in chosen.tolist()]

    def tune_a_little(self) -> None:
        """Tune for a few steps, unless the draft is finished."""
        for _ in range(STEPS_PER_TILE):
            step = next(self._steps, None)
            if step is None:
                return
            self.tokens = step.tokens
