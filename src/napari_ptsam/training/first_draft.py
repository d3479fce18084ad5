"""A first draft of the tokens, to be looked at while tiles are still being embedded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_ptsam.training.optimization import TileSource, optimise, start_tokens

if TYPE_CHECKING:
    from napari_ptsam.backbones.decoder import PromptDecoder
    from napari_ptsam.training.tiles import TrainingTile

STEPS = 80
"""Of the whole draft; by then it shows what the prompt is going to find."""
STEPS_A_TILE = 2
BATCH = 2
RATE = 0.1


class FirstDraft(TileSource):
    """Tunes tokens on the tiles that are there, a little for each tile that comes.

    It has a source of randomness of its own, so that the training after it is
    the same as without it.

    Parameters
    ----------
    decoder
        Frozen.
    classes
        Count of classes.
    tiles
        Those that are embedded; the caller appends to it.
    """

    def __init__(self, decoder: PromptDecoder, classes: int, tiles: list[TrainingTile]) -> None:
        super().__init__(BATCH)
        self._tiles = tiles
        self._generator = torch.Generator().manual_seed(0)
        self.tokens = start_tokens("label", decoder, classes, self._generator)
        """float32, shape (classes, 8, 256)."""
        self._steps = optimise(decoder, self.tokens, self, STEPS, RATE)

    def draw(self) -> list[TrainingTile]:
        """A batch of the tiles so far."""
        chosen = torch.randint(len(self._tiles), (self.size,), generator=self._generator)
        return [self._tiles[index] for index in chosen.tolist()]

    def go_on(self) -> None:
        """Tune for a few steps, if the draft is not finished."""
        for _ in range(STEPS_A_TILE):
            step = next(self._steps, None)
            if step is None:
                return
            self.tokens = step.tokens
