"""How many clicks it takes to annotate the planes for a good prompt.

    python benchmarks/annotating.py [SET ...] [--seeds 0] [--first 2] [--step 2] [--most 16]
                                    [--images N] [--preset quick] [--further]

Each SET is a folder as for accuracy.py, with masks that number the objects; left out, all sets
of PTSAM_DATA. A simulated annotator annotates planes in rounds. After each round, training
continues from the last prompt, until the IoU on the test planes is 95 % of that of a prompt
trained on all planes at once (``--further``: until all planes are annotated). Planes are chosen
at random, or suggested as in the widget.

On each plane two annotators are compared:

- one clicks on each object, as with *Click objects*: a click in its middle; if the IoU of the
  outline is below 0.7, a box around it as well; if that is no better, one stroke more;
- the other one takes the prediction of the last prompt. Objects with an IoU of 0.7 are left as
  they are, those with 0.5 take one stroke, and the others are removed with one click each. What is
  missing is clicked on. If the prediction is so bad that this takes more clicks, it is not taken;
  the preview shows that. In the first round there is no prompt.

Clicks, boxes and strokes are counted alike. Both annotators then correct what still differs from
the masks, so that they train the same prompts; the number of these pixels is given, too. Prints a
Markdown table with a row for each round; clicks and pixels are those of all rounds so far.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from accuracy import named_sets, read, some_images
from clicks import FOUND, SMALLEST, middle, whole
from napari_ptsam.annotation.accepting import speck_size, without_specks
from napari_ptsam.annotation.outlines import choose_tile, click_tiling, find_outline
from napari_ptsam.annotation.suggestions import Judge, pool, suggest, whole_plane
from napari_ptsam.backbones.embedding_cache import with_users_cache
from napari_ptsam.backbones.loading import Backbone, load_backbone
from napari_ptsam.backbones.point_prompts import Clicks
from napari_ptsam.datasets.annotated_planes import AnnotatedPlane, AnnotationSet
from napari_ptsam.errors import NoObjectError
from napari_ptsam.evaluation.evaluate import evaluate
from napari_ptsam.evaluation.metrics import overlap
from napari_ptsam.images.normalize import normalize_plane
from napari_ptsam.images.tiling import Tile, cut
from napari_ptsam.inference.segment import Segmenter
from napari_ptsam.prompts.prompt import Prompt
from napari_ptsam.training.presets import PRESETS
from napari_ptsam.training.settings import TrainingSettings
from napari_ptsam.training.trainer import Training

REPAIRED = 0.5
"""IoU from which one stroke corrects an object; no two objects can match the same one."""
ENOUGH = 0.95
"""Share of the IoU with all planes that is to be reached."""


@dataclass(frozen=True)
class Work:
    """What a plane, or several, cost an annotator: clicks and boxes, and pixels to correct."""

    clicks: int = 0
    pixels: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.clicks + other.clicks, self.pixels + other.pixels)


Answers = Callable[[Clicks], "np.ndarray | None"]
"""Returns the mask that SAM finds on a plane for clicks; None if it finds nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Clicks to a good prompt.")
    parser.add_argument("sets", nargs="*", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--first", type=int, default=2, help="planes of the first round")
    parser.add_argument("--step", type=int, default=2, help="planes of each later round")
    parser.add_argument("--most", type=int, default=16, help="planes to annotate at most")
    parser.add_argument("--images", type=int, help="training images to choose from")
    parser.add_argument("--preset", choices=PRESETS, default="quick")
    parser.add_argument("--further", action="store_true", help="until all planes are annotated")
    options = parser.parse_args()
    sets = named_sets(parser, options.sets)
    backbone = with_users_cache(load_backbone())
    print(
        "| set | seed | planes chosen | planes | IoU / IoU with all | clicks alone: clicks, pixels "
        "| predict and correct: clicks, pixels |\n|---|---|---|---|---|---|---|"
    )
    for path in sets:
        train, test = (read(path / part) for part in ("train", "test"))
        train = some_images(train, options.images or len(train.examples))
        for seed in options.seeds:
            settings = TrainingSettings(seed=seed, **PRESETS[options.preset])
            every = iou(trained(train, settings, backbone), test, backbone)
            for way in ("random", "suggested"):
                for row in rounds(train, test, way, settings, backbone, every, options):
                    print(f"| {path.name} | {seed} | {way} | {' | '.join(row)} |", flush=True)


def rounds(
    train: AnnotationSet,
    test: AnnotationSet,
    way: str,
    settings: TrainingSettings,
    backbone: Backbone,
    every: float,
    options: argparse.Namespace,
) -> Iterator[list[str]]:
    """Annotate and train in rounds until the prompt is good enough."""
    features = np.stack([pool(backbone.encoder([square(e)])[0]) for e in train.examples])
    order = np.random.default_rng(settings.seed).permutation(len(train.examples)).tolist()
    annotated: list[int] = []
    prompt, reached, by_clicks, by_correction = None, 0.0, Work(), Work()
    most = min(options.most, len(order))
    while (options.further or reached < ENOUGH * every) and len(annotated) < most:
        count = min(options.step if annotated else options.first, most - len(annotated))
        if way == "random":
            new = order[len(annotated) :][:count]
        else:
            new = suggest(features, annotated, count, doubts(train, annotated, prompt, backbone))
        for number in new:
            before = [train.examples[other] for other in annotated]
            alone, corrected = work(train.examples[number], prompt, backbone, before)
            by_clicks, by_correction = by_clicks + alone, by_correction + corrected
        annotated += new
        own = replace(train, examples=tuple(train.examples[number] for number in annotated))
        prompt = trained(own, settings, backbone, prompt)
        reached = iou(prompt, test, backbone)
        yield [
            str(len(annotated)), f"{reached:.3f} / {every:.3f}",
            *(f"{each.clicks:,}, {each.pixels:,}" for each in (by_clicks, by_correction)),
        ]  # fmt: skip


def trained(
    train: AnnotationSet,
    settings: TrainingSettings,
    backbone: Backbone,
    start: Prompt | None = None,
) -> Prompt:
    training = Training(train, backbone, settings, start)
    list(training)
    training.close()
    return training.prompt


def iou(prompt: Prompt, test: AnnotationSet, backbone: Backbone) -> float:
    return float(np.mean([score.iou for score in evaluate(test, Segmenter(prompt, backbone))]))


def doubts(
    train: AnnotationSet, annotated: list[int], prompt: Prompt | None, backbone: Backbone
) -> np.ndarray | None:
    if prompt is None:
        return None
    judge = Judge(prompt, backbone)
    return np.array(
        [
            np.nan if number in annotated else judge.doubt(square(example), example.shape)
            for number, example in enumerate(train.examples)
        ]
    )


def square(example: AnnotatedPlane) -> np.ndarray:
    """The plane as the suggestions see it."""
    return whole_plane(normalize_plane(example.pixels, rgb=example.rgb))


def work(
    example: AnnotatedPlane,
    prompt: Prompt | None,
    backbone: Backbone,
    annotated: list[AnnotatedPlane],
) -> tuple[Work, Work]:
    """Cost of a plane by clicks alone, and by correcting the prediction without specks."""
    assert example.instances is not None
    masks = [example.instances == number for number in objects(example.instances)]
    answers = sam(example, backbone)
    clicked = [by_click(mask, answers) for mask in masks]
    alone = sum(clicked, Work())
    if prompt is None:
        return alone, alone
    segmenter = Segmenter(prompt, backbone, "instances")
    speck = speck_size(each.instances for each in annotated if each.instances is not None)
    predicted = without_specks(segmenter.plane(example.pixels, example.rgb).astype(np.int64), speck)
    corrected, good = Work(), set()
    for mask, cost in zip(masks, clicked, strict=True):
        number = best(mask, predicted)
        matched = overlap(mask, predicted == number).iou if number else 0.0
        if matched >= REPAIRED:
            good.add(number)
            wrong = int((mask != (predicted == number)).sum())
            corrected += Work(int(matched < FOUND), wrong)
        else:
            corrected += cost
    corrected += Work(len(objects(predicted) - good), 0)
    return alone, min(alone, corrected, key=lambda each: each.clicks)


def objects(numbered: np.ndarray) -> set[int]:
    """The numbers of the objects that are no stray marks."""
    areas = np.bincount(numbered.ravel())
    areas[0] = 0
    return set(np.flatnonzero(areas >= SMALLEST).tolist())


def best(mask: np.ndarray, predicted: np.ndarray) -> int:
    """Number of the predicted object that covers most of a mask; 0 if none does."""
    covering = np.bincount(predicted[mask])
    covering[0] = 0
    return int(covering.argmax())


def by_click(mask: np.ndarray, answers: Answers) -> Work:
    """Clicks until an object is outlined, and the pixels that are wrong then."""
    rows, columns = np.nonzero(mask)
    box = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
    at, wrong = ((middle(mask),), (True,)), int(mask.sum())
    for count, clicks in enumerate((Clicks(*at), Clicks(*at, tuple(map(float, box)))), start=1):
        outline = answers(clicks)
        if outline is None:
            continue
        wrong = min(wrong, int((mask != outline).sum()))
        if overlap(mask, outline).iou >= FOUND:
            return Work(count, wrong)
    return Work(3, wrong)


def sam(example: AnnotatedPlane, backbone: Backbone) -> Answers:
    """What SAM finds on a plane, as the click tool asks it."""
    pixels = normalize_plane(example.pixels, rgb=example.rgb)
    embeddings: dict[Tile, torch.Tensor] = {}
    shape = pixels.shape[0], pixels.shape[1]

    def answer(clicks: Clicks) -> np.ndarray | None:
        tile = choose_tile(click_tiling(shape), shape, clicks)
        if tile not in embeddings:
            embeddings[tile] = backbone.encoder([cut(pixels, tile)])[0]
        try:
            return whole(find_outline(backbone, embeddings[tile], tile, shape, clicks), shape)
        except NoObjectError:
            return None

    return answer


if __name__ == "__main__":
    main()
