"""A prompt's results against annotated images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_ptsam.metrics import average_precision, overlap
from napari_ptsam.prompts.predict import labels_of
from napari_ptsam.segmenting.instances import connected_components

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_ptsam.segmenting.segment import Segmenter
    from napari_ptsam.training.examples import AnnotationSet, Example


@dataclass(frozen=True)
class PlaneScore:
    """How well one plane was segmented.

    Attributes
    ----------
    name
        Of the image, and the plane in it.
    iou, dice
        Of each class's foreground.
    average_precision
        Of connected components at IoU 0.5, 0.55, ... 0.95; None where the
        annotation tells no instances apart.
    """

    name: str
    iou: tuple[float, ...]
    dice: tuple[float, ...]
    average_precision: tuple[float, ...] | None


def evaluate(annotations: AnnotationSet, segmenter: Segmenter) -> Iterator[PlaneScore]:
    """Segment each annotated plane and compare.

    Raises
    ------
    InputError
        If a plane does not fit the prompt.
    """
    limits = [segmenter.prompt.images.limits(stack) for stack in annotations.stacks]
    for example in annotations.examples:
        logits = segmenter.logits(example.pixels, example.rgb, limits[example.stack])
        yield score(example, labels_of(logits), len(annotations.classes))


def score(example: Example, labels: np.ndarray, classes: int) -> PlaneScore:
    """Compare labels with an example; both hold the class numbers 1 to ``classes``."""
    overlaps = [
        overlap(example.labels == value, labels == value, example.counts)
        for value in range(1, classes + 1)
    ]
    precision = None
    if example.instances is not None:
        found = connected_components(labels)
        if example.counts is not None:
            found = np.where(example.counts, found, 0)
        precision = tuple(map(float, average_precision(example.instances, found)))
    return PlaneScore(
        example.name, tuple(o.iou for o in overlaps), tuple(o.dice for o in overlaps), precision
    )


def summary(scores: Sequence[PlaneScore], classes: Sequence[str]) -> dict[str, object]:
    """Means over planes and classes, as plain values.

    Returns
    -------
    dict
        ``iou`` and ``dice`` (means), ``ap50`` and ``ap`` (mean over the
        thresholds; None without instances), ``classes`` and ``images``.
    """
    precisions = [s.average_precision for s in scores if s.average_precision is not None]
    return {
        "iou": float(np.mean([s.iou for s in scores])),
        "dice": float(np.mean([s.dice for s in scores])),
        "ap50": float(np.mean([p[0] for p in precisions])) if precisions else None,
        "ap": float(np.mean(precisions)) if precisions else None,
        "classes": {
            name: {
                "iou": float(np.mean([s.iou[i] for s in scores])),
                "dice": float(np.mean([s.dice[i] for s in scores])),
            }
            for i, name in enumerate(classes)
        },
        "images": [
            {
                "name": s.name,
                "iou": float(np.mean(s.iou)),
                "dice": float(np.mean(s.dice)),
                "ap50": None if s.average_precision is None else s.average_precision[0],
            }
            for s in scores
        ],
    }
