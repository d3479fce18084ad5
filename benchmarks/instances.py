"""How well objects are told apart on real images that were not trained on.

    python benchmarks/instances.py [SET ...] [--seeds 0 1 2]

Each SET is a folder with ``train/`` and ``test/``, in each ``images/`` and
``masks/`` with files of matching names, whose masks number the objects; left
out, bbbc039_nuclei of the folder that PTSAM_DATA names (default: ../shared/data
beside the repository). Prints a Markdown table: for each set and seed average
precision at IoU 0.5 and its mean over 0.5-0.95, split by markers and as connected
components of the same probabilities; IoU and Dice; and seconds.

Rows "no specks" leave out objects smaller than half of the smallest training
object (of the 1st percentile, so that a stray pixel does not decide).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np

from accuracy import named_sets, read
from napari_ptsam.backbones.loading import Backbone, load_backbone
from napari_ptsam.datasets.annotated_planes import AnnotationSet
from napari_ptsam.evaluation.metrics import average_precision, overlap
from napari_ptsam.inference.result import ResultSettings
from napari_ptsam.inference.segment import Segmenter
from napari_ptsam.training.settings import TrainingSettings
from napari_ptsam.training.trainer import Training

HEAD = (
    "| set | seed | objects | AP50: markers | components | AP50-95: markers | components | IoU | Dice "
    "| seconds: embedding | class tokens | markers |"
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Objects told apart on real images.")
    parser.add_argument("sets", nargs="*", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    options = parser.parse_args()
    sets = named_sets(parser, options.sets, "bbbc039_nuclei")
    backbone = load_backbone()
    print(f"{backbone.name} on {backbone.device}, {os.cpu_count()} cores, seeds {options.seeds}\n")
    print(f"{HEAD}\n{'|---' * HEAD.count(' | ')}|---|", flush=True)
    for path in sets:
        train, test = (read(path / part) for part in ("train", "test"))
        for seed in options.seeds:
            for row in rows(train, test, backbone, seed):
                print(f"| {path.name} | {seed} | {row} |", flush=True)


def rows(train: AnnotationSet, test: AnnotationSet, backbone: Backbone, seed: int) -> list[str]:
    """All objects, and those that are no specks."""
    training = Training(train, backbone, TrainingSettings(seed=seed))
    begin, marker_seconds = perf_counter(), 0.0
    for progress in training:
        now = perf_counter()
        if progress.phase == "training" and progress.step > training.settings.steps:
            marker_seconds += now - begin
        begin = now
    prompt, seconds = training.prompt, training.seconds
    if prompt.markers is None:
        print("(no markers: they did not help on the held-out planes)", flush=True)
    training.close()
    smallest = int(np.percentile(np.concatenate([e.areas for e in train.examples]), 1) / 2)
    ways = {
        (min_size, split): Segmenter(prompt, backbone, ResultSettings("instances", split, min_size))
        for min_size in (0, smallest)
        for split in (("markers", "components") if prompt.markers is not None else ("components",))
    }
    precisions: dict[tuple[int, str], list[np.ndarray]] = {way: [] for way in ways}
    areas = []
    limits = [prompt.images.limits(stack) for stack in test.stacks]
    for example in test.examples:
        first = next(iter(ways.values()))
        prediction = first.predict(example.pixels, example.rgb, limits[example.stack])
        areas.append(overlap(example.labels == 1, prediction.labels == 1, example.valid))
        for way, segmenter in ways.items():
            markers = prediction.markers if segmenter.splits else None
            found = segmenter.result(replace(prediction, markers=markers))
            precisions[way].append(average_precision(example.instances, found))
    means = {way: np.mean(values, 0) for way, values in precisions.items()}
    rest = (
        f"{np.mean([a.iou for a in areas]):.3f} | {np.mean([a.dice for a in areas]):.3f} | "
        f"{seconds['embedding']:.0f} | {seconds['training'] - marker_seconds:.0f} | {marker_seconds:.0f}"
    )
    return [
        f"{what} | {_both(means, size, slice(1))} | {_both(means, size, slice(None))} | {rest}"
        for what, size in (("all", 0), (f"no specks (< {smallest} px)", smallest))
    ]


def _both(means: dict[tuple[int, str], np.ndarray], min_size: int, part: slice) -> str:
    found: Sequence[str] = [
        f"{means[min_size, way][part].mean():.3f}" if (min_size, way) in means else "-"
        for way in ("markers", "components")
    ]
    return " | ".join(found)


if __name__ == "__main__":
    main()
