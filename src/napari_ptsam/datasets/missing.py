"""Leave missing pixels out of annotated planes, as if they had not been annotated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from napari_ptsam.datasets.annotated_planes import AnnotatedPlane, AnnotationSet
from napari_ptsam.images.missing import missing_pixels


def without_missing_pixels(
    example: AnnotatedPlane, channels: Sequence[int] | None = None
) -> AnnotatedPlane:
    """Return an annotated plane in which missing pixels are not valid and have no label.

    Parameters
    ----------
    example
        The plane.
    channels
        Channels that the model is shown; see `napari_ptsam.images.missing.missing_pixels`.
    """
    missing = missing_pixels(example.pixels, channels, example.rgb)
    if missing is None:
        return example
    instances = example.instances
    return replace(
        example,
        labels=np.where(missing, example.labels.dtype.type(0), example.labels),
        valid=~missing if example.valid is None else example.valid & ~missing,
        instances=None if instances is None else np.where(missing, 0, instances),
    )


def without_missing(
    annotations: AnnotationSet, channels: Sequence[int] | None = None
) -> AnnotationSet:
    """Return an annotation set whose planes are without their missing pixels; see `without_missing_pixels`."""
    examples = tuple(without_missing_pixels(each, channels) for each in annotations.examples)
    return replace(annotations, examples=examples)
