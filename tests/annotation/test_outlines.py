"""Outlines of real objects, and of drawn logits where the answer must be known."""

from dataclasses import dataclass

import numpy as np
import pytest
import tifffile
import torch
from scipy import ndimage

import napari_ptsam as ptsam
from conftest_data import real_pair
from napari_ptsam.annotation import outlines
from napari_ptsam.annotation.outlines import choose_tile, click_tiling, find_outline
from napari_ptsam.backbones.point_prompts import Clicks
from napari_ptsam.errors import NoObjectError
from napari_ptsam.images.normalize import Normalization, normalize
from napari_ptsam.images.tiling import Tile, Tiling, cut


@dataclass
class Scene:
    """A crop of a real image, embedded, with its objects."""

    backbone: object
    embedding: torch.Tensor
    tile: Tile
    objects: list[np.ndarray]

    def ask(self, clicks: Clicks, former=None) -> outlines.Outline:
        shape = self.objects[0].shape
        return find_outline(self.backbone, self.embedding, self.tile, shape, clicks, former)


def scene(backbone, name: str, number: int, corner: int, side: int) -> Scene:
    window = (slice(corner, corner + side),) * 2
    image, mask = (tifffile.imread(path)[window] for path in real_pair(name, number))
    (tile,) = click_tiling(mask.shape).tiles(mask.shape)
    embedding = backbone.encoder([cut(normalize(image, Normalization()), tile)])[0]
    values, sizes = np.unique(mask[mask > 0], return_counts=True)
    return Scene(backbone, embedding, tile, [mask == v for v in values[sizes >= 100]])


@pytest.fixture(scope="module")
def nuclei_scenes(backbone) -> list[Scene]:
    return [scene(backbone, "bbbc039_nuclei", number, 100, 256) for number in (0, 2)]


@pytest.fixture(scope="module")
def cell_scene(backbone) -> Scene:
    """Phase-contrast cells: one click is seldom enough."""
    return scene(backbone, "usiigaci_phase", 1, 200, 400)


def centre(region: np.ndarray) -> tuple[float, float]:
    """The pixel farthest from the region's edge."""
    depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return float(y), float(x)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


def clicked(s: Scene) -> list[float]:
    """IoU of the answer to one click at each object's centre; 0 where the click is declined."""
    return [0.0 if m is None else iou(m, o) for m, o in ((answer(s, o), o) for o in s.objects)]


def answer(s: Scene, region: np.ndarray) -> np.ndarray | None:
    """What one click in the middle of a region gives; None if it is declined."""
    try:
        return s.ask(Clicks((centre(region),), (True,))).mask
    except NoObjectError:
        return None


def test_a_click_finds_nuclei(nuclei_scenes) -> None:
    """0.87 was measured; with the best of SAM's three masks 0.85, with its single one 0.79."""
    ious = [value for s in nuclei_scenes for value in clicked(s)]
    assert len(ious) > 20
    assert np.mean(ious) > 0.855


def test_a_click_finds_cells(cell_scene) -> None:
    """0.53 was measured; with the best of SAM's three masks 0.34, with its single one 0.48."""
    assert np.mean(clicked(cell_scene)) > 0.49


def test_clicks_on_the_background_are_declined(nuclei_scenes, cell_scene) -> None:
    """Of the nuclei's all were, of the cells' 9 in 10; before, each filled the whole tile."""
    declined = []
    for s in [*nuclei_scenes, cell_scene]:
        away = ndimage.distance_transform_edt(~np.any(s.objects, axis=0))
        places = np.argwhere((away > 5) & (away < 12))
        for place in places[:: len(places) // 12][:12]:
            try:
                s.ask(Clicks((tuple(place.tolist()),), (True,)))
            except NoObjectError:
                declined.append(True)
            else:
                declined.append(False)
    assert np.mean(declined) > 0.8


def test_a_box_finds_nuclei(nuclei_scenes) -> None:
    """0.86 was measured."""
    ious = []
    for s in nuclei_scenes:
        for nucleus in s.objects:
            ys, xs = np.nonzero(nucleus)
            box = Clicks(box=(ys.min() - 1.0, xs.min() - 1.0, ys.max() + 1.0, xs.max() + 1.0))
            ious.append(iou(s.ask(box).mask, nucleus))
    assert np.mean(ious) > 0.82


def test_further_clicks_refine(cell_scene) -> None:
    """Two more, each where the answer is most wrong: IoU 0.53 grew to 0.72.

    Of 19 places clicked away, 3 were still there afterwards; now this is said.
    """
    ious, unwanted, left = [], 0, 0
    for cell in cell_scene.objects:
        clicks = Clicks((centre(cell),), (True,))
        if answer(cell_scene, cell) is None:
            continue
        outline = cell_scene.ask(clicks)
        for _ in range(2):
            y, x = centre(outline.mask ^ cell)
            on = bool(cell[int(y), int(x)])
            clicks = Clicks((*clicks.points, (y, x)), (*clicks.positive, on))
            unwanted += not on
            try:
                outline = cell_scene.ask(clicks, outline.logits)
            except NoObjectError:
                continue
            left += not on and bool(outline.mask[int(y), int(x)])
        ious.append(iou(outline.mask, cell))
    assert np.mean(ious) > 0.68
    assert unwanted > 5 and left < unwanted / 3


def test_the_former_answer_is_used(cell_scene) -> None:
    best = cell_scene.objects[int(np.argmax(clicked(cell_scene)))]
    clicks = Clicks((centre(best),), (True,))
    first = cell_scene.ask(clicks)
    assert not torch.equal(cell_scene.ask(clicks, first.logits).logits, first.logits)


def test_a_click_in_one_of_several_tiles(nuclei_scenes) -> None:
    """The same pixels somewhere else in a larger plane: the outline moves along."""
    s = nuclei_scenes[0]
    nucleus = max(s.objects, key=np.count_nonzero)
    y, x = centre(nucleus)
    here = s.ask(Clicks(((y, x),), (True,)))
    tile = Tile(300, 1000, s.tile.side)
    there = find_outline(
        s.backbone, s.embedding, tile, (556, 1300), Clicks(((y + 300, x + 1000),), (True,))
    )
    assert there.window == (slice(300, 556), slice(1000, 1300))  # cut at the plane's edge
    assert np.array_equal(there.mask[:, :256], here.mask)
    assert there.logits.shape == (256, 256) and there.logits.dtype == torch.float32


@pytest.fixture
def drawn(monkeypatch):
    """Asks for an outline where SAM's answer is what is drawn: a function of mask and clicks."""

    def ask(mask: np.ndarray, clicks: Clicks, shape=(512, 512)):
        logits = torch.from_numpy(np.where(mask, 4.0, -4.0).astype(np.float32))
        answer = logits.expand(4, -1, -1), torch.full((4,), 0.9)
        monkeypatch.setattr(outlines, "click_masks", lambda *_: answer)
        backbone = type("Fake", (), {"decoder": None})
        return find_outline(backbone, torch.empty(0), Tile(0, 0, 512), shape, clicks).mask

    return ask


def square(*windows: tuple[int, int, int, int]) -> np.ndarray:
    """Rectangles (y0, x0, y1, x1) drawn in 256 x 256 pixels."""
    mask = np.zeros((256, 256), dtype=bool)
    for y0, x0, y1, x1 in windows:
        mask[y0:y1, x0:x1] = True
    return mask


def test_parts_without_a_click_are_dropped(drawn) -> None:
    mask = square((10, 10, 50, 50), (100, 100, 150, 150), (200, 10, 220, 30))
    found = drawn(mask, Clicks(((60.0, 60.0), (250.0, 250.0)), (True, True)))
    assert found[60, 60] and found[250, 250] and not found[420, 40]
    # A negative click keeps no part.
    found = drawn(mask, Clicks(((60.0, 60.0), (250.0, 250.0)), (True, False)))
    assert found[60, 60] and not found[250, 250]
    assert abs(found.sum() - 80 * 80) < 400


def test_a_box_keeps_the_largest_part_inside_it(drawn) -> None:
    mask = square((10, 10, 20, 20), (10, 30, 30, 60), (100, 0, 250, 250))
    found = drawn(mask, Clicks(box=(-5.0, 0.0, 150.0, 150.0)))
    assert found[40, 90] and not found[30, 30] and not found[300, 300]
    # With a click, the part that is clicked on as well.
    found = drawn(mask, Clicks(((30.0, 30.0),), (True,), (0.0, 0.0, 150.0, 150.0)))
    assert found[40, 90] and found[30, 30] and not found[300, 300]


def test_small_holes_are_filled(drawn) -> None:
    mask = square((0, 0, 100, 100)) & ~square((20, 20, 30, 30), (40, 40, 80, 80))
    found = drawn(mask, Clicks(((10.0, 10.0),), (True,)))
    assert found[50, 50] and not found[120, 120]
    found = drawn(mask, Clicks(((10.0, 10.0), (50.0, 50.0)), (True, False)))
    assert not found[50, 50]  # asked for


def test_what_lies_beyond_the_plane_is_cut(drawn) -> None:
    found = drawn(square((0, 0, 256, 256)), Clicks(box=(5.0, 5.0, 90.0, 75.0)), shape=(100, 80))
    assert found.shape == (100, 80) and found.all()


@pytest.mark.parametrize(
    ("clicks", "message"),
    [
        (Clicks(((200.0, 200.0),), (True,)), "Nothing that looks like an object was found here"),
        (Clicks(box=(100.0, 100.0, 200.0, 200.0)), "No object was found in the box"),
    ],
)
@pytest.mark.parametrize("mask", [square(), square((0, 0, 20, 20))])
def test_nothing_found(drawn, mask, clicks, message: str) -> None:
    with pytest.raises(NoObjectError, match=message):
        drawn(mask, clicks)


@pytest.mark.parametrize(
    ("shape", "tiles"),
    [
        ((128, 100), [Tile(0, 0, 512)]),
        ((520, 696), [Tile(0, 0, 696)]),
        ((768, 400), [Tile(0, 0, 768)]),
        (
            (1024, 1022),
            [Tile(y, x, 768) for y in (0, 256) for x in (0, 254)],
        ),
    ],
)
def test_tiles_to_click_in(shape, tiles) -> None:
    assert click_tiling(shape).tiles(shape) == tiles


def at(*points: tuple[float, float]) -> Clicks:
    return Clicks(points, (True,) * len(points))


def test_the_tile_of_clicks() -> None:
    tiling, shape = Tiling(100, overlap=0.25), (250, 250)  # tiles start at 0, 75, 150
    assert choose_tile(tiling, shape, at((10, 10))) == Tile(0, 0, 100)
    assert choose_tile(tiling, shape, at((90, 10))) == Tile(75, 0, 100)
    assert choose_tile(tiling, shape, at((84, 170))) == Tile(0, 150, 100)
    assert choose_tile(tiling, shape, at((249.4, 249.4))) == Tile(150, 150, 100)
    # A second click stays in the first one's tile as long as that holds it.
    assert choose_tile(tiling, shape, at((80, 50), (98, 50))) == Tile(0, 0, 100)
    assert choose_tile(tiling, shape, at((80, 50), (120, 50))) == Tile(75, 0, 100)
    assert choose_tile(tiling, shape, at((10, 50), (240, 50))) == Tile(0, 0, 250)


def test_the_tile_of_a_box() -> None:
    tiling, shape = Tiling(100, overlap=0.25), (250, 240)
    assert choose_tile(tiling, shape, Clicks(box=(60, 60, 80, 80))) == Tile(0, 0, 100)
    assert choose_tile(tiling, shape, Clicks(box=(60, 60, 110, 80))) != Tile(0, 0, 100)
    assert choose_tile(tiling, shape, Clicks(box=(-30, -30, 50, 50))) == Tile(0, 0, 100)
    assert choose_tile(tiling, shape, Clicks(box=(10, 10, 140, 50))) == Tile(0, 0, 250)


@pytest.mark.parametrize(
    ("clicks", "message"),
    [
        (at((10, 10), (10, 300)), "outside the image"),
        (at((-1, 10)), "outside the image"),
        (Clicks(box=(260, 10, 300, 50)), "outside the image"),
    ],
)
def test_clicks_outside_the_plane(clicks, message: str) -> None:
    with pytest.raises(ptsam.InputError, match=message):
        choose_tile(Tiling(100), (250, 250), clicks)


def test_a_box_too_large_for_a_tile_of_a_huge_plane() -> None:
    with pytest.raises(ptsam.InputError, match="mark the object in parts"):
        choose_tile(click_tiling((20, 20000)), (20, 20000), Clicks(box=(0, 0, 19, 2000)))
