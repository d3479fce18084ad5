"""How much of nothing is taken for foreground, by default prompts for real images.

    python benchmarks/blank.py [SET ...] [--seeds 0 1 2] [--prompts FOLDER] [--also FILE.pt ...]

SETs as in benchmarks/accuracy.py. Trains a default prompt for each set and seed, or takes it from
FOLDER, where those that are trained are kept, and prints a Markdown table: the part of planes and
regions without objects that is foreground, mean and worst over the seeds, and the mean foreground
IoU over the test planes. ``--also`` names further prompts, for one set.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

import napari_ptsam as ptsam
from accuracy import named_sets, read
from napari_ptsam.backbones.embedding_cache import with_users_cache
from napari_ptsam.backbones.loading import Backbone, load_backbone
from napari_ptsam.datasets.annotated_planes import AnnotatedPlane, AnnotationSet
from napari_ptsam.evaluation.evaluate import evaluate
from napari_ptsam.images.blank import noise_deviation
from napari_ptsam.inference.segment import Segmenter
from napari_ptsam.prompts.prompt import Prompt
from napari_ptsam.training.settings import TrainingSettings
from napari_ptsam.training.trainer import Training

PLANES = 2
"""Test planes that blank ones are made of: those with most objects."""
FAR = 12
"""Pixels around an object that do not count as false foreground."""


def main() -> None:
    parser = argparse.ArgumentParser(description="False foreground where there is nothing.")
    parser.add_argument("sets", nargs="*", type=Path)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--prompts", type=Path)
    parser.add_argument("--also", nargs="*", type=Path, default=[])
    options = parser.parse_args()
    sets = named_sets(parser, options.sets)
    if options.also and len(sets) != 1:
        parser.error("--also goes with one set")
    backbone = with_users_cache(load_backbone())  # seeds share many tiles
    kinds = list(dict.fromkeys(kind for kind, *_ in blank_planes(read(sets[0] / "test"))))
    print(f"| set | prompt | IoU | {' | '.join(kinds)} |\n|{'---|' * (len(kinds) + 3)}")
    for path in sets:
        test = read(path / "test")
        rows = []
        for seed in options.seeds:
            prompt = trained(path, seed, backbone, options.prompts)
            rows.append(measure(prompt, test, backbone))
        if rows:
            print(line(path.name, f"seeds {', '.join(map(str, options.seeds))}", rows), flush=True)
        for file in options.also:
            print(line(path.name, file.name, [measure(ptsam.load(file), test, backbone)]))


def trained(path: Path, seed: int, backbone: Backbone, folder: Path | None) -> Prompt:
    """A default prompt; the one of an earlier run, if there is any."""
    file = None if folder is None else folder / f"{path.name}_{seed}.pt"
    if file is not None and file.exists():
        return ptsam.load(file)
    settings = TrainingSettings(seed=seed, markers="no", encoder_tokens=0)
    training = Training(read(path / "train"), backbone, settings)
    for _ in training:
        pass
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        training.prompt.save(file)
    return training.prompt


def measure(prompt: Prompt, test: AnnotationSet, backbone: Backbone) -> dict[str, float]:
    """IoU on the test planes, and for each kind of blank plane the part that is foreground."""
    segmenter = Segmenter(prompt, backbone)
    found: dict[str, list[float]] = {"IoU": [score.iou[0] for score in evaluate(test, segmenter)]}
    for kind, pixels, empty in blank_planes(test):
        labels = segmenter.plane(pixels, test.examples[0].rgb)
        found.setdefault(kind, []).append(float((labels[empty] > 0).mean()))
    return {kind: float(np.mean(values)) for kind, values in found.items()}


def blank_planes(test: AnnotationSet) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Kind, pixels, and where there is nothing: bool, shape (y, x)."""
    rng = np.random.default_rng(0)
    crowded = sorted(test.examples, key=lambda e: -ndimage.label(e.labels)[1])[:PLANES]
    for example in crowded:
        pixels, everywhere = example.pixels, np.ones(example.shape, dtype=bool)
        level, noise = background(example)
        yield "zeros", np.zeros_like(pixels), everywhere
        yield "constant", np.broadcast_to(level, pixels.shape).astype(pixels.dtype), everywhere
        y, x = example.shape
        widths = [(0, y), (x // 2, x // 2)] + [(0, 0)] * (pixels.ndim - 2)
        yield (
            "padding",
            np.pad(pixels, widths),
            np.pad(~everywhere, widths[:2], constant_values=True),
        )
        turned = ndimage.rotate(pixels, 7, order=1, mode="constant")
        inside = ndimage.rotate(np.ones(example.shape, np.uint8), 7, order=1)
        yield "turned", turned, inside == 0
        grain = rng.normal(size=pixels.shape)
        yield "noise", cast(level + noise * grain, pixels.dtype), everywhere
        photons = rng.poisson(3, pixels.shape) * 4.0
        photons[rng.random(pixels.shape) < 1e-4] = 200
        yield "noise", cast(photons, pixels.dtype), everywhere
        fall = np.hypot(*np.meshgrid(np.linspace(-1, 1, y), np.linspace(-1, 1, x), indexing="ij"))
        light = (-3 * fall**2).reshape(y, x, *[1] * (pixels.ndim - 2))
        yield "uneven light", cast(level + noise * (light + grain), pixels.dtype), everywhere
        yield one_object(example, level, noise, grain)


def one_object(
    example: AnnotatedPlane, level: np.ndarray, noise: np.ndarray, grain: np.ndarray
) -> tuple[str, np.ndarray, np.ndarray]:
    """The plane's object of median size, on its background and noise alone."""
    regions, count = ndimage.label(example.labels > 0)
    areas = np.bincount(regions.ravel())[1:]
    chosen = regions == int(np.argsort(areas)[count // 2]) + 1
    # Fades from the object, with what is right beside it, into the background.
    away = ndimage.distance_transform_edt(~chosen)
    share = np.clip(1.5 - away / 6, 0, 1).reshape(*chosen.shape, *[1] * (grain.ndim - 2))
    pixels = share * example.pixels + (1 - share) * (level + noise * grain)
    return "one object", cast(pixels, example.pixels.dtype), away > FAR


def background(example: AnnotatedPlane) -> tuple[np.ndarray, np.ndarray]:
    """Brightness and noise of the background; of each channel, or the one."""
    pixels = example.pixels if example.pixels.ndim == 3 else example.pixels[..., None]
    level = np.median(pixels[example.labels == 0], axis=0)
    noise = np.array([max(1.0, noise_deviation(pixels[..., c])) for c in range(pixels.shape[-1])])
    return (level, noise) if example.pixels.ndim == 3 else (level[0], noise[0])


def cast(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    limits = np.iinfo(dtype)
    return values.round().clip(limits.min, limits.max).astype(dtype)


def line(name: str, prompt: str, rows: list[dict[str, float]]) -> str:
    """A row of the table; the worst seed in brackets."""
    cells = [f"{np.mean([row['IoU'] for row in rows]):.3f}"]
    for kind in rows[0]:
        if kind != "IoU":
            values = [row[kind] for row in rows]
            cells.append(f"{np.mean(values):.2%} ({max(values):.2%})")
    return f"| {name} | {prompt} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
