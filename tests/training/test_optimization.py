"""Batches, and which flips and rotations are used."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_ptsam.images.tiling import Tile
from napari_ptsam.training import optimization
from napari_ptsam.training.optimization import Batches, ScaledAdamW, optimise, suitable_tiles
from napari_ptsam.training.tiles import TileJob, TrainingTile


def tiles_of(symmetries: list[int]) -> list[TrainingTile]:
    return [
        TrainingTile(
            torch.full((4, 2), float(symmetry)), torch.zeros(1, 2, 2), torch.ones(2, 2),
            TileJob(number, Tile(0, 0, 16), symmetry),
        )
        for symmetry in symmetries
        for number in range(3)
    ]  # fmt: skip


FLOAT32 = SimpleNamespace(device=torch.device("cpu"), dtype=torch.float32)


def tuned_in(dtype, gradient: float, device: str, monkeypatch, steps: int = 20) -> torch.Tensor:
    """Tokens after some steps along a gradient that is the same everywhere, computed in a format."""

    def losses(decoder, tokens, tiles, phase, loss):
        seen = tokens.to(decoder.dtype)
        return (seen.float() * gradient).sum((1, 2))

    monkeypatch.setattr(optimization, "class_losses", losses)
    decoder = SimpleNamespace(device=torch.device(device), dtype=dtype)
    batches = Batches(tiles_of([0]), 1, torch.Generator().manual_seed(0))
    start = torch.ones(2, 8, 256, device=device)
    *_, last = optimise(decoder, start, batches, steps, 0.01)
    return last.tokens.cpu()


def test_in_float16_gradients_that_would_be_nothing_count(device, monkeypatch) -> None:
    gradient = 2e-8  # a third of the smallest number that float16 knows
    assert float(torch.tensor(gradient).half()) == 0
    found = tuned_in(torch.float16, gradient, device, monkeypatch)
    expected = tuned_in(torch.float32, gradient, device, monkeypatch)
    assert float(expected.mean()) < 0.95
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)


def test_in_float16_gradients_that_are_too_large_leave_steps_out(device, monkeypatch) -> None:
    found = tuned_in(torch.float16, 10.0, device, monkeypatch)  # 655,360, where 65,504 is the end
    assert torch.isfinite(found).all() and float(found.mean()) < 0.95


def test_in_other_formats_nothing_is_scaled(device, monkeypatch) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        decoder = SimpleNamespace(device=torch.device(device), dtype=dtype)
        optimiser = ScaledAdamW([torch.ones(3, requires_grad=True)], 0.1, 5, decoder)
        assert optimiser._scaler.get_scale() == 1


def test_batches_are_half_upright_and_fair() -> None:
    batches = Batches(tiles_of([0, 1, 2]), 4, torch.Generator().manual_seed(0))
    drawn = [tile for _ in range(150) for tile in batches.draw()]
    assert sum(tile.upright for tile in drawn) / len(drawn) == pytest.approx(0.5, abs=0.06)
    counts = np.unique([tile.job.example for tile in drawn if tile.upright], return_counts=True)[1]
    assert np.ptp(counts) <= 1


@pytest.mark.parametrize("steps", [1, 2, 8, 9, 10, 30])
def test_any_number_of_steps_can_be_scheduled(steps: int, monkeypatch) -> None:
    loss = lambda decoder, tokens, tiles, phase, loss: (tokens**2).mean((1, 2))  # noqa: E731
    monkeypatch.setattr(optimization, "class_losses", loss)
    batches = Batches(tiles_of([0]), 1, torch.Generator().manual_seed(0))
    taken = list(optimise(FLOAT32, torch.ones(1, 8, 256), batches, steps, 0.1))
    assert [step.number for step in taken] == list(range(1, steps + 1))
    assert float(taken[-1].tokens.mean()) < 1


def test_batches_of_upright_tiles_alone() -> None:
    batches = Batches(tiles_of([0]), 5, torch.Generator().manual_seed(0))
    assert all(tile.upright for tile in batches.draw())


def test_turns_that_make_images_look_different_are_left_out(monkeypatch) -> None:
    loss = {0: 0.3, 1: 1.0, 4: 0.5}
    monkeypatch.setattr(
        optimization,
        "class_losses",
        lambda d, t, tiles, phase, _: torch.tensor([loss[tiles[0].job.symmetry]]),
    )
    kept = suitable_tiles(None, None, tiles_of([0, 1, 4]))
    assert sorted({tile.job.symmetry for tile in kept}) == [0, 4]
    assert len(kept) == 6


def test_optimising_does_not_change_what_it_started_from(backbone) -> None:
    start = optimization.start_tokens(
        "label", backbone.decoder, 2, torch.Generator().manual_seed(0)
    )
    before = start.clone()
    tile = TrainingTile(
        torch.randn(4096, 256, device=backbone.device), torch.zeros(2, 256, 256, device=backbone.device),
        torch.ones(256, 256, device=backbone.device), TileJob(0, Tile(0, 0, 16), 0),
    )  # fmt: skip
    batches = Batches([tile], 1, torch.Generator().manual_seed(0))
    steps = list(optimise(backbone.decoder, start, batches, 3, 0.1))
    assert [step.number for step in steps] == [1, 2, 3]
    assert torch.equal(start, before) and not torch.equal(steps[-1].tokens, before)
    assert all(step.losses.shape == (2,) for step in steps)
