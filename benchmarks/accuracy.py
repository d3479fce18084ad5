"""How well default prompts, and what else there is, segment real images that were not trained on.

    python benchmarks/accuracy.py [SET ...] [--seeds 0 1 2] [--methods NAME ...] [--curve]
                                  [--json FILE] [--picture FILE.png]

Each SET is a folder with ``train/`` and ``test/``, in each ``images/`` and
``masks/`` with files of matching names, or the name of such a folder in the one
that PTSAM_DATA names (default: ../shared/data beside the repository); left out,
all sets in there. Prints a Markdown table: mean and spread over the seeds of the
mean foreground IoU and Dice over the test planes, numbers that were trained, and
seconds for training.
``--curve`` trains the default on 1, 2, 4, 8 and 16 of the images instead.
``--json`` adds each run to a file as a line, ``--picture`` draws what was found.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np

from napari_ptsam.backbones.loading import Backbone, load_backbone
from napari_ptsam.datasets.annotated_planes import AnnotationSet, MaskReading, annotate
from napari_ptsam.datasets.pairing import pair
from napari_ptsam.evaluation.evaluate import evaluate
from napari_ptsam.inference.segment import Segmenter
from napari_ptsam.training.presets import PRESETS
from napari_ptsam.training.settings import TrainingSettings
from napari_ptsam.training.trainer import Training

DATA = Path(__file__).parents[2] / "shared" / "data"
COUNTS = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Result:
    """Of one run; seconds are those of training, embedding included."""

    set: str
    method: str
    seed: int
    images: int
    iou: float
    dice: float
    parameters: int
    seconds: float
    note: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description="Accuracy of default prompts on real images.")
    parser.add_argument("sets", nargs="*", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--curve", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    sets = named_sets(parser, options.sets)
    backbone = load_backbone()
    print(f"{backbone.name} on {backbone.device}, {os.cpu_count()} cores, seeds {options.seeds}\n")
    print(
        "| set | method | images | IoU | Dice | parameters | seconds |\n|---|---|---|---|---|---|---|"
    )
    found: list[Result] = []
    for path in sets:
        train, test = (read(path / part) for part in ("train", "test"))
        jobs = curve(train) if options.curve else ((name, train) for name in options.methods)
        for name, images in jobs:
            rows = []
            for seed in options.seeds:
                rows.append(measure(path.name, name, images, test, seed, backbone))
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
    order = np.random.default_rng(0).permutation(len(train.examples))
    for count in COUNTS:
        chosen = [train.examples[number] for number in order[:count]]
        if any(example.labels.any() for example in chosen):
            yield "default", replace(train, examples=tuple(chosen))


def measure(
    name: str, method: str, train: AnnotationSet, test: AnnotationSet, seed: int, backbone: Backbone
) -> Result:
    begin = perf_counter()
    scores, parameters, note = METHODS[method](train, test, seed, backbone)
    spent = perf_counter() - begin
    ious, dices = zip(*scores, strict=True)
    return Result(
        name, method, seed, len(train.examples), float(np.mean(ious)), float(np.mean(dices)),
        parameters, spent, note,
    )  # fmt: skip


Found = tuple[Iterable[tuple[float, float]], int, str]
"""IoU and Dice of each test plane, numbers that were trained, and what there is to say."""


def prompt(
    train: AnnotationSet,
    test: AnnotationSet,
    seed: int,
    backbone: Backbone,
    plain: bool = False,
    **settings: object,
) -> Found:
    """A prompt; a plain one sees whole planes as they are, and nothing follows the edges."""
    if plain:
        settings |= {"tile": "whole", "embeddings": len(train.examples)}
    training = Training(train, backbone, TrainingSettings(seed=seed, markers="no", **settings))
    *_, last = training
    found = replace(training.prompt, refinement=None) if plain else training.prompt
    segmenter = Segmenter(found, backbone)
    scores = ((s.iou[0], s.dice[0]) for s in evaluate(test, segmenter))
    return scores, found.trained_parameters, last.note


def rival(
    train: AnnotationSet, test: AnnotationSet, seed: int, backbone: Backbone, name: str
) -> Found:
    from rivals import RIVALS, scores

    find, parameters = RIVALS[name](train, seed, backbone)
    return scores(find, test), parameters, ""


METHODS: dict[str, Callable[[AnnotationSet, AnnotationSet, int, Backbone], Found]] = {
    "default": partial(prompt, encoder_tokens=0),
    "encoder tokens": partial(prompt, encoder_tokens=8),
    "thorough": partial(prompt, **{**PRESETS["thorough"], "encoder_tokens": 8}),
    "plain prompt": partial(prompt, plain=True, encoder_tokens=0),
    **{name: partial(rival, name=name) for name in
       ("Otsu", "random forest", "U-Net", "SAM's decoder")},
}  # fmt: skip


def line(rows: list[Result]) -> str:
    """A row of the table; the spread is that from the lowest to the highest seed."""
    cells = []
    for part in ("iou", "dice"):
        values = [getattr(row, part) for row in rows]
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
