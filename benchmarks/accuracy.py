"""How well default prompts, and what else there is, segment real images that were not trained on.

    python benchmarks/accuracy.py [SET ...] [--seeds 0 1 2] [--methods NAME ...] [--images N]
                                  [--markers] [--curve] [--json FILE] [--picture FILE.png]

Each SET is a folder with ``train/`` and ``test/``, in each ``images/`` and
``masks/`` with files of matching names, or the name of such a folder in the one
that PTSAM_DATA names (default: ../shared/data beside the repository); left out,
all sets in there. Prints a Markdown table: mean and spread over the seeds of the
mean foreground IoU and Dice over the test planes, and of the average precision of
objects at IoU 0.5 where masks number the objects; numbers that were trained, and
seconds for training.

Objects are connected components. ``--markers`` lets prompts learn the markers of objects,
if these help, and splits their objects by them; this takes longer, and other methods
stay as they are.
``--images`` trains on that many of the images, drawn once for all methods and seeds.
``--curve`` trains the default on 1, 2, 4, 8 and 16 of the images instead.
``--json`` adds each run to a file as a line, ``--picture`` draws what was found.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from napari_ptsam.backbones.loading import Backbone, load_backbone
from napari_ptsam.datasets.annotated_planes import AnnotationSet, MaskReading, annotate
from napari_ptsam.datasets.pairing import pair
from napari_ptsam.evaluation.evaluate import PlaneScore, evaluate
from napari_ptsam.inference.segment import Segmenter
from napari_ptsam.training.presets import PRESETS
from napari_ptsam.training.settings import TrainingSettings
from napari_ptsam.training.trainer import Training

DATA = Path(__file__).parents[2] / "shared" / "data"
COUNTS = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Result:
    """The result of one run.

    Attributes
    ----------
    set, method, seed, images
        Data set, method, seed and number of training images.
    iou, dice
        Means over the test planes.
    parameters
        Number of trained parameters.
    seconds
        Time of the training, embedding included.
    note
        A note of the training.
    ap50
        Average precision of the objects at IoU 0.5, as the method tells them apart; None if
        the masks do not number the objects.
    ap50_components
        The same for connected components.
    """

    set: str
    method: str
    seed: int
    images: int
    iou: float
    dice: float
    parameters: int
    seconds: float
    note: str = ""
    ap50: float | None = None
    ap50_components: float | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description="Accuracy of default prompts on real images.")
    parser.add_argument("sets", nargs="*", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--images", type=int, help="number of training images; all by default")
    parser.add_argument("--markers", action="store_true", help="prompts split objects by markers")
    parser.add_argument("--curve", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    if options.images is not None and options.images < 1:
        parser.error("--images takes a number from 1")
    sets = named_sets(parser, options.sets)
    backbone = load_backbone()
    print(f"{backbone.name} on {backbone.device}, {os.cpu_count()} cores, seeds {options.seeds}\n")
    print(
        "| set | method | images | IoU | Dice | AP50 | parameters | seconds |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    found: list[Result] = []
    for path in sets:
        train, test = (read(path / part) for part in ("train", "test"))
        if options.images is not None:
            train = some_images(train, options.images)
        jobs = curve(train) if options.curve else ((name, train) for name in options.methods)
        for name, images in jobs:
            rows = []
            for seed in options.seeds:
                rows.append(measure(path.name, name, images, test, seed, backbone, options.markers))
                if options.json:
                    with options.json.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(asdict(rows[-1])) + "\n")
            print(line(rows), flush=True)
            found += rows
    if options.picture:
        draw(found, options.picture, options.curve)


def named_sets(
    parser: argparse.ArgumentParser, given: list[Path], default: str = "*"
) -> list[Path]:
    """Folders of sets that are given by path or name; if none, those of the data's folder."""
    folder = Path(os.environ.get("PTSAM_DATA", DATA))
    sets = [one if one.is_dir() else folder / one for one in given]
    sets = sets or sorted(path.parent for path in folder.glob(f"{default}/train"))
    if not sets:
        parser.error(f"no sets in {folder}; set PTSAM_DATA or name them")
    for path in sets:
        if not (path / "train").is_dir():
            parser.error(
                f"{path} is no set: it has no folder train; name one of {folder}, or a path"
            )
    return sets


def read(folder: Path) -> AnnotationSet:
    return annotate(*pair(folder / "images", folder / "masks"), MaskReading(empty="background"))


def curve(train: AnnotationSet) -> Iterator[tuple[str, AnnotationSet]]:
    """The default on ever more of the images; those with most foreground first are no choice."""
    for count in COUNTS:
        chosen = some_images(train, count)
        if any(example.labels.any() for example in chosen.examples):
            yield "default", chosen


def some_images(train: AnnotationSet, count: int) -> AnnotationSet:
    """Draw images at random; a larger number includes the images of a smaller one."""
    order = np.random.default_rng(0).permutation(len(train.examples))
    return replace(train, examples=tuple(train.examples[number] for number in order[:count]))


def measure(
    name: str,
    method: str,
    train: AnnotationSet,
    test: AnnotationSet,
    seed: int,
    backbone: Backbone,
    markers: bool = False,
) -> Result:
    """Train a method, and score it on the test planes."""
    options = {"markers": "auto"} if markers and method in PROMPTS else {}
    begin = perf_counter()
    scores, parameters, note = METHODS[method](train, test, seed, backbone, **options)
    spent = perf_counter() - begin
    found = list(scores)
    return Result(
        name, method, seed, len(train.examples), float(np.mean([s.iou for s in found])),
        float(np.mean([s.dice for s in found])), parameters, spent, note,
        _ap50([s.average_precision for s in found]),
        _ap50([s.components_precision for s in found]),
    )  # fmt: skip


def _ap50(precisions: Sequence[tuple[float, ...] | None]) -> float | None:
    """Average over the planes whose objects are numbered; the first threshold is 0.5."""
    known = [of_plane[0] for of_plane in precisions if of_plane is not None]
    return float(np.mean(known)) if known else None


Found = tuple[Iterable[PlaneScore], int, str]
"""Scores of each test plane, number of trained parameters, and a note of the training."""


def prompt(
    train: AnnotationSet,
    test: AnnotationSet,
    seed: int,
    backbone: Backbone,
    plain: bool = False,
    **settings: Any,
) -> Found:
    """A prompt; a plain one sees whole planes as they are, and nothing follows the edges."""
    if plain:
        settings |= {"tile": "whole", "embeddings": len(train.examples), "detail": "off"}
    settings = {"markers": "no", **settings}
    training = Training(train, backbone, TrainingSettings(seed=seed, **settings))
    *_, last = training
    found = replace(training.prompt, refinement=None) if plain else training.prompt
    segmenter = Segmenter(found, backbone)
    return evaluate(test, segmenter), found.trained_parameters, last.note


def rival(
    train: AnnotationSet, test: AnnotationSet, seed: int, backbone: Backbone, name: str
) -> Found:
    from finders import scores
    from rivals import RIVALS

    find, parameters = RIVALS[name](train, seed, backbone)
    return scores(find, test), parameters, ""


Method = Callable[..., Found]
"""Function of training set, test set, seed and backbone."""
PROMPTS: dict[str, Method] = {
    "default": partial(prompt, encoder_tokens=0),
    "without detail": partial(prompt, encoder_tokens=0, detail="off"),
    "encoder tokens": partial(prompt, encoder_tokens=8, detail="off"),
    "thorough": partial(prompt, **{**PRESETS["thorough"], "encoder_tokens": 8}),
    "plain prompt": partial(prompt, plain=True, encoder_tokens=0),
}
RIVAL_NAMES = ("Otsu", "random forest", "feature forest", "autocontext", "U-Net", "SAM's decoder")
METHODS: dict[str, Method] = {
    **PROMPTS,
    **{name: partial(rival, name=name) for name in RIVAL_NAMES},
}


def line(rows: list[Result]) -> str:
    """A row of the table; the spread is that from the lowest to the highest seed."""
    cells = []
    for part in ("iou", "dice", "ap50"):
        values = [getattr(row, part) for row in rows]
        if None in values:
            cells.append("-")
            continue
        spread = f" ({min(values):.3f}-{max(values):.3f})" if len(values) > 1 else ""
        cells.append(f"{np.mean(values):.3f}{spread}")
    seconds, first = np.mean([row.seconds for row in rows]), rows[0]
    return (
        f"| {first.set} | {first.method} | {first.images} | {' | '.join(cells)} | "
        f"{first.parameters:,} | {seconds:.0f} |"
    )


def draw(found: list[Result], path: Path, curve: bool) -> None:
    """IoU over images, or of each method, set by set."""
    from matplotlib import pyplot

    sets = list(dict.fromkeys(row.set for row in found))
    figure, axes = pyplot.subplots(1, len(sets), figsize=(3.2 * len(sets), 3.4), squeeze=False)
    for axis, name in zip(axes[0], sets, strict=True):
        own = [row for row in found if row.set == name]
        if curve:
            _curve_of(axis, own)
        else:
            _bars_of(axis, own)
        axis.set_title(name)
        axis.set_ylim(0, 1)
    axes[0, 0].set_ylabel("IoU on test planes")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def _curve_of(axis: object, rows: list[Result]) -> None:
    counts = sorted({row.images for row in rows})
    groups = [[row.iou for row in rows if row.images == count] for count in counts]
    axis.plot(counts, [np.mean(group) for group in groups], "o-")
    axis.fill_between(
        counts, [min(group) for group in groups], [max(group) for group in groups], alpha=0.2
    )
    axis.set_xscale("log", base=2)
    axis.set_xticks(counts, counts)
    axis.set_xlabel("training images")


def _bars_of(axis: object, rows: list[Result]) -> None:
    methods = list(dict.fromkeys(row.method for row in rows))
    groups = [[row.iou for row in rows if row.method == method] for method in methods]
    means = [float(np.mean(group)) for group in groups]
    spans = np.array([[m - min(g), max(g) - m] for m, g in zip(means, groups, strict=True)]).T
    axis.bar(range(len(methods)), means, yerr=spans, color=[f"C{i}" for i in range(len(methods))])
    axis.set_xticks(range(len(methods)), methods, rotation=60, ha="right")


if __name__ == "__main__":
    main()
