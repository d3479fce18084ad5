"""Evaluate a prompt on annotated images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_ptsam.datasets.missing import without_missing
from napari_ptsam.evaluation.metrics import average_precision, overlap
from napari_ptsam.inference.objects import connected_components
from napari_ptsam.inference.segment import Segmenter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_ptsam.datasets.annotated_planes import AnnotatedPlane, AnnotationSet

Way = Literal["markers", "components"]
WAYS: dict[Way, str] = {"markers": "split by markers", "components": "connected components"}
"""How objects were told apart, as shown to the user."""


@dataclass(frozen=True)
class PlaneScore:
    """Scores of one plane.

    Attributes
    ----------
    name
        Name of the image, and of the plane in it.
    iou, dice
        Overlap of each class with its annotation.
    average_precision
        Average precision of the objects at IoU 0.5, 0.55, ... 0.95. None if the
        annotation does not tell objects apart.
    components_precision
        Average precision of the connected components.
    way
        How the objects were told apart.
    """

    name: str
    iou: tuple[float, ...]
    dice: tuple[float, ...]
    average_precision: tuple[float, ...] | None
    components_precision: tuple[float, ...] | None = None
    way: Way = "components"


def evaluate(annotations: AnnotationSet, segmenter: Segmenter) -> Iterator[PlaneScore]:
    """Segment each annotated plane, and compare the result with the annotation.

    Objects are told apart as the segmenter tells instances apart, whatever its
    output is: they are split by their markers if the prompt knows them, unless the
    settings of the segmenter say otherwise.

    Yields
    ------
    PlaneScore
        The scores of the next plane.

    Raises
    ------
    InputError
        If a plane does not fit the prompt.
    """
    prompt, classes = segmenter.prompt, len(annotations.classes)
    settings = replace(segmenter.settings, output="instances")
    segmenter = Segmenter(prompt, segmenter.backbone, settings)
    limits = [prompt.images.limits(stack) for stack in annotations.stacks]
    for example in without_missing(annotations, prompt.images.channels).examples:
        prediction = segmenter.predict(example.pixels, example.rgb, limits[example.stack])
        if example.instances is None:
            yield score(example, prediction.labels, classes)
        else:
            way: Way = "markers" if segmenter.splits else "components"
            instances = segmenter.result(prediction)
            yield replace(score(example, prediction.labels, classes, instances), way=way)


def score(
    example: AnnotatedPlane, labels: np.ndarray, classes: int, instances: np.ndarray | None = None
) -> PlaneScore:
    """Compare a result with an annotated plane.

    Parameters
    ----------
    example
        The annotated plane.
    labels
        Class numbers from 1 to ``classes``, shape (y, x); 0 is background.
    classes
        Number of classes.
    instances
        Object numbers, shape (y, x). None takes the connected components.
    """
    overlaps = [
        overlap(example.labels == value, labels == value, example.valid)
        for value in range(1, classes + 1)
    ]
    components = _precision(example, connected_components(labels))
    return PlaneScore(
        example.name,
        tuple(o.iou for o in overlaps),
        tuple(o.dice for o in overlaps),
        components if instances is None else _precision(example, instances),
        components,
    )


def _precision(example: AnnotatedPlane, instances: np.ndarray) -> tuple[float, ...] | None:
    if example.instances is None:
        return None
    if example.valid is not None:
        instances = np.where(example.valid, instances, 0)
    return tuple(map(float, average_precision(example.instances, instances)))


def summary(scores: Sequence[PlaneScore], classes: Sequence[str]) -> dict[str, object]:
    """Return the means of scores over planes and classes as plain values.

    Returns
    -------
    dict
        ``iou`` and ``dice`` are means. ``split`` says how objects were told
        apart, ``ap50`` is the average precision at IoU 0.5, ``ap`` its mean over
        the thresholds, and ``ap50_components`` the average precision of
        connected components at IoU 0.5; these are None without instances.
        ``classes`` and ``images`` hold the scores of each class and plane.
    """
    apart = [s for s in scores if s.average_precision is not None]
    precisions = [s.average_precision for s in apart if s.average_precision is not None]
    components = [s.components_precision for s in apart if s.components_precision is not None]
    return {
        "iou": float(np.mean([s.iou for s in scores])),
        "dice": float(np.mean([s.dice for s in scores])),
        "split": apart[0].way if apart else None,
        "ap50": float(np.mean([p[0] for p in precisions])) if precisions else None,
        "ap50_components": float(np.mean([p[0] for p in components])) if components else None,
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
