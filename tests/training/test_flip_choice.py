"""Flipped tiles: seen as the upright ones are, and only where that is worth it."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import napari_ptsam as ptsam
from conftest_cli import fails, run
from conftest_prompts import make
from napari_ptsam.errors import InputError
from napari_ptsam.images.tiling import FLIPS, cut, flipped_maps, flipped_pixels
from napari_ptsam.inference.embedded_plane import EmbeddedPlane, views_of
from napari_ptsam.inference.result import ResultSettings
from napari_ptsam.inference.segment import Segmenter
from napari_ptsam.training import flip_choice
from napari_ptsam.training.flip_choice import choose_flips
from napari_ptsam.training.settings import Progress, TrainingSettings
from napari_ptsam.training.token_training import TrainingContext


@pytest.mark.parametrize("flip", FLIPS)
def test_pixels_and_maps_are_flipped_alike(flip) -> None:
    tile = np.arange(48, dtype=np.float32).reshape(4, 4, 3)
    maps = torch.from_numpy(tile).permute(2, 0, 1)
    assert np.array_equal(
        flipped_maps(maps, flip).permute(1, 2, 0).numpy(), flipped_pixels(tile, flip)
    )
    assert torch.equal(flipped_maps(flipped_maps(maps, flip), flip), maps)


def test_logits_are_the_mean_of_all_views(prompt, backbone, nuclei) -> None:
    pixels = prompt.images.prepare(nuclei[0][0]).pixels
    (tile,) = prompt.images.tiling.tiles(pixels.shape[:2])
    tokens = torch.from_numpy(prompt.tokens.copy()).to(backbone.device)

    def seen(image: np.ndarray) -> np.ndarray:
        embedding = backbone.encoder([cut(image, tile)])
        return EmbeddedPlane((128, 128), [tile], [embedding]).logits(backbone.decoder, tokens)

    by_hand = np.mean(
        [seen(pixels), seen(pixels[:, ::-1])[..., ::-1], seen(pixels[::-1])[..., ::-1, :]], axis=0
    )
    views = backbone.encoder(views_of(cut(pixels, tile), ("x", "y")))
    found = EmbeddedPlane((128, 128), [tile], [views], ("x", "y")).logits(backbone.decoder, tokens)
    assert np.abs(found - by_hand).max() < 0.1 * np.abs(by_hand).max()
    assert not np.allclose(found, seen(pixels), atol=0.01)


def test_segmenting_does_it_unless_told_not_to(prompt, backbone, nuclei) -> None:
    flipping_prompt, plane = replace(prompt, flips=("x",)), nuclei[0][1]
    plain = Segmenter(prompt, backbone).predict(plane).logits
    assert not np.array_equal(Segmenter(flipping_prompt, backbone).predict(plane).logits, plain)
    fast = Segmenter(flipping_prompt, backbone, ResultSettings(flips=False))
    assert np.array_equal(fast.predict(plane).logits, plain)


class FakeTiles:
    """Tiles of which those that are flipped are easier, or harder, to see."""

    def __init__(self, tiles) -> None:
        self.tiles = tiles

    def single_tiles(self, count: int):
        return self.tiles[:count]


@pytest.mark.parametrize(
    ("gains", "chosen"),
    [
        ([(0.05, 0.08)] * 4, FLIPS),
        ([(0.05, 0.02)] * 4, ("x",)),
        ([(0.004, 0.003)] * 4, ()),  # too little
        ([(0.5, 0.5), (-0.1, -0.1), (-0.1, -0.1), (-0.1, -0.1)], ()),  # by chance
        ([(0.05, 0.08)] * 3, ()),  # too few
    ],
)
def test_the_choice(gains, chosen, monkeypatch: pytest.MonkeyPatch, prompt, backbone) -> None:
    monkeypatch.setattr(flip_choice, "TILES", 8)
    left = iter(gains)
    monkeypatch.setattr(flip_choice, "_gains", lambda *_: next(left))

    class Encoder:
        def __call__(self, tiles) -> torch.Tensor:
            return torch.zeros(len(tiles), 4, 2)

    class Tile:
        embedded = SimpleNamespace(embeddings=(torch.zeros(1, 4, 2),))

    fake = replace(backbone, encoder=Encoder())
    tiles = [(np.zeros((16, 16, 3), np.float32), Tile())] * len(gains)
    given = TrainingContext(fake, TrainingSettings(), 1, FakeTiles(tiles))
    choosing = choose_flips(given, torch.zeros(1), Progress("training", 1, 1))
    while True:
        try:
            next(choosing)
        except StopIteration as end:
            assert end.value == chosen
            break


def test_a_training_finds_out(nuclei, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flip_choice, "TILES", 4)
    monkeypatch.setattr(flip_choice, "SMALLEST_GAIN", -1.0)  # whatever it gains
    settings = {"steps": 6, "embeddings": 6, "batch_size": 2, "tile": "whole", "markers": "no"}
    found = ptsam.train(*nuclei, **settings, minutes=0, detail="off", device=device, flips="auto")
    assert found.flips in (("x",), FLIPS)
    assert TrainingSettings().flips == "no"


def test_wrong_settings(tmp_path, capsys) -> None:
    with pytest.raises(InputError, match="flips is auto or no, not 'yes'"):
        TrainingSettings(flips="yes")
    with pytest.raises(InputError, match="Flips are x, y, xy"):
        make(flips=("z",))
    path = make(flips=("x",)).save(tmp_path / "a.pt")
    assert ptsam.load(path).flips == ("x",)
    assert run("info", path) == 0
    assert "segmenting takes 2 times as long" in capsys.readouterr().out
    fails(capsys, "There is no file", "segment", path, tmp_path / "none", "--no-flips", "-o", "x")
