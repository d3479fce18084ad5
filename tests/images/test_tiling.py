import numpy as np
import pytest

import napari_ptsam as ptsam
from napari_ptsam.images.tiling import PADDING, Blend, Tile, Tiling, cut

SHAPES = [(16, 16), (16, 700), (520, 696), (1022, 1024), (2000, 17)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tiling", [Tiling(128), Tiling(371), Tiling(512, whole=True)])
def test_tiles_cover_every_pixel(shape, tiling: Tiling) -> None:
    covered = np.zeros(shape, dtype=int)
    for tile in tiling.tiles(shape):
        assert covered[tile.window].size > 0
        covered[tile.window] += 1
    assert covered.min() >= 1


@pytest.mark.parametrize("shape", SHAPES)
def test_neighbours_overlap(shape) -> None:
    tiles = Tiling(128).tiles(shape)
    for starts, length in (({t.y for t in tiles}, shape[0]), ({t.x for t in tiles}, shape[1])):
        gaps = np.diff(sorted(starts))
        assert (gaps <= 128 * 7 / 8).all()
        assert len(gaps) > 0 or length <= 128


def test_whole_planes_of_about_the_size() -> None:
    tiling = Tiling(512, whole=True)
    assert tiling.tiles((512, 700)) == [Tile(0, 0, 700)]
    assert tiling.tiles((400, 350)) == [Tile(0, 0, 400)]
    assert tiling.tiles((100, 100)) == [Tile(0, 0, 512)]  # small objects stay small
    assert len(tiling.tiles((2048, 2048))) == 25


@pytest.mark.parametrize("shape", SHAPES)
def test_blending_puts_a_plane_together_again(shape) -> None:
    plane = np.random.default_rng(0).random((*shape, 3), dtype=np.float32)
    blend = Blend(3, shape)
    for tile in Tiling(128).tiles(shape):
        blend.add(cut(plane, tile).transpose(2, 0, 1), tile)
    np.testing.assert_allclose(blend.result(), plane.transpose(2, 0, 1), atol=1e-5)


def test_blending_leaves_no_seam() -> None:
    """Tiles that disagree fade into each other: no step is larger than the fading makes it."""
    shape, tiling = (256, 256), Tiling(128)
    blend = Blend(1, shape)
    for number, tile in enumerate(tiling.tiles(shape)):
        blend.add(np.full((1, 128, 128), number % 2, np.float32), tile)
    result = blend.result()[0]
    steps = max(np.abs(np.diff(result, axis=0)).max(), np.abs(np.diff(result, axis=1)).max())
    assert 0 < steps < 0.15


def test_cut_pads_with_the_mean_colour() -> None:
    tile = cut(np.zeros((20, 30, 3), np.float32), Tile(0, 0, 40))
    assert tile.shape == (40, 40, 3)
    assert not tile[:20, :30].any()
    assert np.array_equal(tile[39, 39], PADDING) and np.array_equal(tile[0, 35], PADDING)


def test_tiny_tiles_are_refused() -> None:
    with pytest.raises(ptsam.InputError, match="at least 16 pixels"):
        Tiling(15)
    with pytest.raises(ptsam.InputError, match="at most 16384"):
        Tiling(20000)
    with pytest.raises(ptsam.InputError, match=r"overlap by 0 to 0\.5"):
        Tiling(128, overlap=1.0)
