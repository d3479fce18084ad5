"""How often one click finds the object that is meant, and how often one on the background is declined.

    python benchmarks/clicks.py [SET ...] [--count 20] [--known 5] [--images odd | even | all]

Each SET is a folder with ``train/`` and in it ``images/`` and ``masks/`` that
number the objects, or the name of such a folder in the one that PTSAM_DATA names
(default: ../shared/data beside the repository); left out, all sets in there.
An object is clicked on at the pixel farthest from its edge, and the background
5 to 12 pixels off an object and anywhere at least 5 pixels off. Prints a Markdown
table: the share of objects with an IoU of at least 0.7 and the share of clicks
on the background that are declined, with no earlier object known and with the
sizes of five others, for each rule of which of SAM's masks is taken.

The rule was chosen on the even images; the odd ones are what it is measured on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import tifffile
import torch
from scipy import ndimage

from accuracy import named_sets
from napari_ptsam.annotation.outlines import (
    Outline,
    choose_tile,
    click_tiling,
    find_outline,
    outline_of,
)
from napari_ptsam.backbones.loading import Backbone, load_backbone
from napari_ptsam.backbones.point_prompts import Clicks, click_masks
from napari_ptsam.errors import NoObjectError
from napari_ptsam.evaluation.metrics import overlap
from napari_ptsam.images.normalize import normalize_plane
from napari_ptsam.images.tiling import Tile, cut

FOUND = 0.7
"""IoU from which an object counts as found."""
SMALLEST = 30
"""In pixels: what is smaller is taken for a stray mark of the mask."""
NEAR, FAR = (5, 12), (5, np.inf)
"""Pixels from the nearest object; a half of the clicks on the background each."""


@dataclass(frozen=True)
class Place:
    """Where to click; value is the object's number, 0 of the background."""

    image: int
    value: int
    at: tuple[float, float]
    others: list[int]


def highest(masks: torch.Tensor, ious: torch.Tensor) -> int:
    """The usual advice: the best of SAM's three masks for ambiguous prompts."""
    return int(ious[1:].argmax()) + 1


def before(masks: torch.Tensor, ious: torch.Tensor) -> int:
    """The rule without sizes: the finest mask where SAM is sure of it, else its single one."""
    return 1 if ious[1] >= 0.9 or (masks[0] > 0).float().mean() >= 0.25 else 0


RULES: dict[str, Callable[[torch.Tensor, torch.Tensor], int]] = {
    "highest predicted IoU": highest,
    "before": before,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Objects that one click finds.")
    parser.add_argument("sets", nargs="*", type=Path)
    parser.add_argument("--count", type=int, default=20, help="objects, and places off them")
    parser.add_argument("--known", type=int, default=5, help="earlier objects")
    parser.add_argument("--images", choices=["odd", "even", "all"], default="odd")
    options = parser.parse_args()
    backbone = load_backbone()
    head = ["set", "rule", "found, none known", f"found, {options.known} known",
            "declined, none known", f"declined, {options.known} known"]  # fmt: skip
    print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|", flush=True)
    for path in named_sets(parser, options.sets):
        for row in rows(path / "train", options, backbone):
            print(f"| {path.name} | {' | '.join(row)} |", flush=True)


def rows(folder: Path, options: argparse.Namespace, backbone: Backbone) -> Iterator[list[str]]:
    files = sorted((folder / "masks").glob("*.tif"))
    chosen = {"odd": files[1::2], "even": files[::2], "all": files}[options.images]
    masks = [tifffile.imread(file) for file in chosen]
    random = np.random.default_rng(0)
    where = places(masks, options.count, random)
    ways = [(rule, known) for rule in (*RULES, "now") for known in (False, True)]
    found: dict[tuple[str, bool], list[bool]] = {way: [] for way in ways}
    declined: dict[tuple[str, bool], list[bool]] = {way: [] for way in ways}
    for number, file in enumerate(chosen):
        image = tifffile.imread(folder / "images" / file.name)
        pixels = normalize_plane(image, rgb=image.ndim == 3)
        embeddings: dict[Tile, torch.Tensor] = {}
        for place in (one for one in where if one.image == number):
            some = min(options.known, len(place.others))
            areas = random.choice(place.others, some, replace=False).tolist()
            asked = Asked.of(backbone, pixels, place.at, embeddings)
            for rule, known in ways:
                mask = asked.answer(rule, areas if known else ())
                if place.value:
                    hit = mask is not None and overlap(masks[number] == place.value, mask).iou
                    found[rule, known].append(hit >= FOUND)
                else:
                    declined[rule, known].append(mask is None)
    for rule in (*RULES, "now"):
        shares = [
            np.mean(values[rule, known]) for values in (found, declined) for known in (False, True)
        ]
        yield [rule, *(f"{share:.2f}" for share in shares)]


@dataclass(frozen=True, eq=False)
class Asked:
    """What SAM answers to one click, before any rule has a say."""

    backbone: Backbone
    embedding: torch.Tensor
    masks: torch.Tensor
    ious: torch.Tensor
    tile: Tile
    shape: tuple[int, int]
    clicks: Clicks

    @classmethod
    def of(
        cls,
        backbone: Backbone,
        pixels: np.ndarray,
        at: tuple[float, float],
        embeddings: dict[Tile, torch.Tensor],
    ) -> Asked:
        shape, clicks = (pixels.shape[0], pixels.shape[1]), Clicks((at,), (True,))
        tile = choose_tile(click_tiling(shape), shape, clicks)
        if tile not in embeddings:
            embeddings[tile] = backbone.encoder([cut(pixels, tile)])[0]
        tile_clicks = clicks.relative_to(tile.y, tile.x)
        masks, ious = click_masks(backbone.decoder, embeddings[tile], tile_clicks, tile.side)
        return cls(backbone, embeddings[tile], masks, ious, tile, shape, clicks)

    def answer(self, rule: str, areas: Sequence[float]) -> np.ndarray | None:
        """The object on the plane; None if the click is declined."""
        if rule == "now":
            try:
                outline = find_outline(
                    self.backbone, self.embedding, self.tile, self.shape, self.clicks, areas=areas
                )
            except NoObjectError:
                return None
            return whole(outline, self.shape)
        return self._whole(RULES[rule](self.masks, self.ious))

    @cache  # noqa: B019  (it lives as long as a click)
    def _whole(self, number: int) -> np.ndarray | None:
        try:
            outline = outline_of(self.masks[number], self.tile, self.shape, self.clicks)
        except NoObjectError:
            return None
        return whole(outline, self.shape)


def whole(outline: Outline, shape: tuple[int, int]) -> np.ndarray:
    plane = np.zeros(shape, bool)
    plane[outline.window] = outline.mask
    return plane


def places(masks: list[np.ndarray], count: int, random: np.random.Generator) -> list[Place]:
    """Objects and places off them, from all images by turns."""
    areas = [np.bincount(mask.ravel()) for mask in masks]
    objects = [random.permutation([v for v in np.flatnonzero(a >= SMALLEST) if v]) for a in areas]
    where = []
    for turn in range(count):
        for number in range(len(masks)):
            if len(where) < count and turn < len(objects[number]):
                value = int(objects[number][turn])
                where.append(Place(number, value, middle(masks[number] == value),
                                   known_to(areas, number, value)))  # fmt: skip
    distances = [ndimage.distance_transform_edt(mask == 0) for mask in masks]
    for turn in range(count):
        number, (least, most) = turn % len(masks), (NEAR, FAR)[turn // len(masks) % 2]
        free = np.argwhere((distances[number] >= least) & (distances[number] < most))
        if len(free):
            y, x = free[random.integers(len(free))]
            others = known_to(areas, number, 0)
            where.append(Place(number, 0, (float(y), float(x)), others))
    return where


def known_to(areas: list[np.ndarray], number: int, value: int) -> list[int]:
    """Areas of the image's other objects; of other images' where there are too few."""
    own = [int(a) for v, a in enumerate(areas[number]) if v and v != value and a]
    if len(own) >= 5:
        return own
    return own + [int(a) for n, other in enumerate(areas) if n != number for a in other[1:] if a]


def middle(region: np.ndarray) -> tuple[float, float]:
    """The pixel farthest from the region's edge, (y, x)."""
    depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return float(y), float(x)


if __name__ == "__main__":
    main()
