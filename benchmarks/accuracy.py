"""How well default prompts segment real images that they were not trained on.

    python benchmarks/accuracy.py [SET ...] [--seeds 0 1 2] [--forest]

Each SET is a folder with ``train/`` and ``test/``, in each ``images/`` and
``masks/`` with files of matching names; left out, all sets of the folder that
PTSAM_DATA names (default: ../shared/data beside the repository). Prints a
Markdown table: mean foreground IoU and Dice over the test planes, seconds, and
with ``--forest`` the IoU of a random forest on scikit-image's multiscale
features, trained on the same planes.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import numpy as np

from napari_ptsam.evaluation import evaluate, summary
from napari_ptsam.metrics import overlap
from napari_ptsam.pairing import pair
from napari_ptsam.sam.backbones import Backbone, load_backbone
from napari_ptsam.segmenting.segment import Segmenter
from napari_ptsam.training.examples import AnnotationSet, MaskReading, annotate
from napari_ptsam.training.settings import TrainingSettings
from napari_ptsam.training.trainer import Training

DATA = Path(__file__).parents[2] / "shared" / "data"
FOREST_PIXELS = 4000
"""Pixels of each plane that the forest is trained on."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Accuracy of default prompts on real images.")
    parser.add_argument("sets", nargs="*", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--forest", action="store_true", help="measure a random forest too")
    options = parser.parse_args()
    folder = Path(os.environ.get("PTSAM_DATA", DATA))
    sets = options.sets or sorted(path.parent for path in folder.glob("*/train"))
    if not sets:
        parser.error(f"no sets in {folder}; set PTSAM_DATA or name them")
    backbone = load_backbone()
    print(f"{backbone.name} on {backbone.device}, {os.cpu_count()} cores, seeds {options.seeds}\n")
    print(
        "| set | seed | IoU | Dice | held-out Dice | scale | seconds: embedding | training | forest IoU |"
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for path in sets:
        train, test = (read(path / part) for part in ("train", "test"))
        forest = f"{forest_iou(train, test):.3f}" if options.forest else "-"
        for seed in options.seeds:
            print(
                f"| {path.name} | {seed} | {row(train, test, backbone, seed)} | {forest} |",
                flush=True,
            )


def read(folder: Path) -> AnnotationSet:
    return annotate(*pair(folder / "images", folder / "masks"), MaskReading(empty="background"))


def row(train: AnnotationSet, test: AnnotationSet, backbone: Backbone, seed: int) -> str:
    training = Training(train, backbone, TrainingSettings(seed=seed))
    begin = perf_counter()
    for _ in training:
        pass
    spent = perf_counter() - begin
    found = summary(list(evaluate(test, Segmenter(training.prompt, backbone))), test.classes)
    seconds = training.seconds
    assert seconds["embedding"] + seconds["training"] <= spent
    return (
        f"{found['iou']:.3f} | {found['dice']:.3f} | {training.prompt.origin.held_out_dice:.3f} | "
        f"{training.images.tiling} | {seconds['embedding']:.0f} | {seconds['training']:.0f}"
    )


def forest_iou(train: AnnotationSet, test: AnnotationSet) -> float:
    """Mean test IoU of what ilastik, APOC and Labkit users have."""
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(0)
    samples, labels = [], []
    for features, truth in _features(train):
        chosen = rng.choice(truth.size, min(FOREST_PIXELS, truth.size), replace=False)
        samples.append(features[chosen])
        labels.append(truth[chosen])
    forest = RandomForestClassifier(n_estimators=100, random_state=0, n_jobs=-1)
    forest.fit(np.concatenate(samples), np.concatenate(labels))
    return float(
        np.mean(
            [overlap(truth, forest.predict(features)).iou for features, truth in _features(test)]
        )
    )


def _features(annotations: AnnotationSet) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    from skimage.feature import multiscale_basic_features

    for example in annotations.examples:
        features = multiscale_basic_features(
            example.pixels, channel_axis=-1 if example.rgb else None, sigma_max=16
        )
        yield features.reshape(-1, features.shape[-1]), example.labels.ravel() > 0


if __name__ == "__main__":
    main()
