"""Training and segmentation of the bundled sample, with a report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from napari_ptsam.datasets.annotated_planes import annotate
from napari_ptsam.datasets.sample import ANNOTATED, PIXEL_SIZE, SPACING, make_sample
from napari_ptsam.evaluation.evaluate import score, summary
from napari_ptsam.images.overlay import overlay, save_grid
from napari_ptsam.images.planes import PixelSize, Planes
from napari_ptsam.io.writing import check_output, make_folder, replacing
from napari_ptsam.training.settings import Progress, TrainingSettings

if TYPE_CHECKING:
    from napari_ptsam.prompts.prompt import Prompt

SHOWN = (18, 26, 34)
"""Planes in the picture; none of them is used for training."""
FILES = ("prompt.pt", "labels.tif", "objects.tif", "overlay.png", "report.txt")
SPECKS = 1.0
"""Percentile of the sizes of the annotated objects; smaller objects in the result are removed."""


@dataclass(frozen=True)
class Report:
    """The results of the demo, as a text and as values for JSON."""

    text: str
    figures: dict[str, object]


def run_demo(
    folder: Path,
    settings: TrainingSettings,
    overwrite: bool = False,
    device: str = "auto",
    on_training: Callable[[Progress], object] = lambda progress: None,
    on_plane: Callable[[int, int], object] = lambda done, total: None,
) -> Report:
    """Train on 16 planes of the sample, segment all 40, and evaluate the other 24.

    Writes ``prompt.pt``, ``labels.tif``, ``objects.tif``, ``overlay.png`` and
    ``report.txt``.

    Parameters
    ----------
    folder
        The folder to write to; it is made if it does not exist.
    settings
        The settings of the training.
    overwrite
        Whether files that exist may be replaced.
    device
        The device to compute on.
    on_training
        Called with the progress of the training.
    on_plane
        Called with the number of planes that are segmented, and of all planes.

    Returns
    -------
    Report
        The report that is written to ``report.txt``.

    Raises
    ------
    OutputError
        If a file exists and must not be replaced, or cannot be written.
    """
    make_folder(folder)
    prompt_path, labels_path, objects_path, overlay_path, report_path = (
        check_output(folder / name, overwrite) for name in FILES
    )
    begin = perf_counter()
    sample = make_sample()
    stack = Planes(sample.images, "ZYX", "sample", PixelSize(PIXEL_SIZE, PIXEL_SIZE, SPACING))
    annotated = [
        Planes(part, "ZYX", name, stack.pixel_size)
        for part, name in zip(sample.annotated, ("sample", "annotation"), strict=True)
    ]
    seconds = {"making the sample": perf_counter() - begin}

    from napari_ptsam.backbones.embedding_cache import EmbeddingCache, with_cache
    from napari_ptsam.backbones.loading import load_backbone
    from napari_ptsam.batch.result_files import FileResult, segment_to_files
    from napari_ptsam.inference.result import ResultSettings
    from napari_ptsam.inference.segment import Segmenter
    from napari_ptsam.training.trainer import Training

    begin = perf_counter()
    # Without the cache on disk, so that the times are those of a first run.
    backbone = with_cache(load_backbone(device=device), EmbeddingCache())
    seconds["loading the backbone"] = perf_counter() - begin
    training = Training(annotate([annotated[0]], [annotated[1]]), backbone, settings)
    for progress in training:
        on_training(progress)
    seconds |= training.seconds
    prompt = training.prompt
    prompt.save(prompt_path, overwrite)

    begin = perf_counter()
    objects = ResultSettings("instances", min_size=_smallest_size(sample.annotated[1]))
    results = [
        FileResult(Segmenter(prompt, backbone), labels_path),
        FileResult(Segmenter(prompt, backbone, objects), objects_path),
    ]
    for plane in segment_to_files(stack, results, overwrite=overwrite):
        on_plane(plane.done, plane.total)
    seconds[f"segmenting {len(stack)} planes"] = perf_counter() - begin
    import tifffile

    labels, instances = tifffile.imread(labels_path), tifffile.imread(objects_path)
    _save_overlay(stack, labels, prompt, overlay_path, overwrite)
    report = _report(labels, instances, prompt, prompt_path.stat().st_size, seconds)
    with replacing(report_path, overwrite) as beside:
        beside.write_text(report.text, encoding="utf-8")
    return report


def _save_overlay(
    stack: Planes, labels: np.ndarray, prompt: Prompt, path: Path, overwrite: bool
) -> None:
    planes = [prompt.images.prepare(stack[z]).pixels for z in SHOWN]
    bright = [np.sqrt(plane) for plane in planes]  # for the picture only
    save_grid(
        [
            [overlay(plane, np.zeros_like(labels[0]), prompt.colours) for plane in bright],
            [
                overlay(plane, labels[z], prompt.colours)
                for plane, z in zip(bright, SHOWN, strict=True)
            ],
        ],
        path,
        overwrite,
    )


def _smallest_size(masks: np.ndarray) -> int:
    """Return the size in pixels that nearly all objects of instance masks, (z, y, x), exceed."""
    areas = np.concatenate([np.bincount(mask.ravel())[1:] for mask in masks])
    return int(np.percentile(areas[areas > 0], SPECKS))


def _report(
    labels: np.ndarray,
    objects: np.ndarray,
    prompt: Prompt,
    size: int,
    seconds: dict[str, float],
) -> Report:
    images, truth = make_sample().unseen
    unseen = annotate([Planes(images, "ZYX", "sample")], [Planes(truth, "ZYX", "truth")]).examples
    scores = summary(
        [
            score(plane, predicted, 1, numbered)
            for plane, predicted, numbered in zip(
                unseen, labels[ANNOTATED:], objects[ANNOTATED:], strict=True
            )
        ],
        prompt.classes,
    )
    dice = prompt.origin.held_out_dice
    lines = [
        f"napari-ptsam demo: the bundled sample, {len(labels)} planes of 512 x 512 pixels",
        "",
        f"{len(unseen)} planes that were not trained on:",
        f"  IoU of the foreground            {scores['iou']:.3f}",
        f"  Dice of the foreground           {scores['dice']:.3f}",
        f"  AP of objects at IoU 0.5         {scores['ap50']:.3f}",
        f"Dice on the validation planes      {dice:.3f}",
        f"Trained on                         {prompt.origin.images} planes, "
        f"{prompt.origin.held_out_images} of them for validation",
        f"Trained parameters                 {prompt.trained_parameters:,}",
        f"Prompt file                        {size:,} bytes",
        "",
        "Seconds:",
        *(f"  {phase:<33}{spent:.1f}" for phase, spent in seconds.items()),
        f"  {'in all':<33}{sum(seconds.values()):.1f}",
    ]
    figures: dict[str, object] = {
        **{name: scores[name] for name in ("iou", "dice", "ap50")},
        "held_out_dice": dice,
        "trained_parameters": prompt.trained_parameters,
        "bytes": size,
        "seconds": seconds,
    }
    return Report("\n".join(lines) + "\n", figures)
