"""Planes that a person annotated, as an annotation set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_ptsam.annotation.scheme import Scheme
from napari_ptsam.datasets.annotated_planes import AnnotationSet, annotate
from napari_ptsam.datasets.split import choose_held_out
from napari_ptsam.errors import InputError
from napari_ptsam.images.planes import Planes


@dataclass(frozen=True, eq=False)
class PaintedPlane:
    """One plane and what was painted on it.

    Attributes
    ----------
    image
        The whole image or stack that it lies in.
    number
        Of the plane in it, the last leading axis fastest.
    labels
        As painted: integer, shape (y, x).
    held_out
        Whether it measures instead of training; None: not decided yet.
    name
        What messages call it; made of the image's name and the number where
        it is empty.
    """

    image: Planes
    number: int
    labels: np.ndarray
    held_out: bool | None = None
    name: str = ""

    @property
    def title(self) -> str:
        """What messages call the plane."""
        part = f", plane {self.number}" if len(self.image) > 1 else ""
        return self.name or self.image.name + part


def annotation_set(
    planes: Sequence[PaintedPlane], scheme: Scheme, part: float = 0.15, seed: int = 0
) -> AnnotationSet:
    """Make an annotation set of annotated planes; no other planes are read.

    Parameters
    ----------
    planes
        Dense annotation: those that are done. Sparse: those with labels.
    scheme
        What the labels mean.
    part, seed
        To hold out, see `choose_held_out`; what is decided already stays.

    Returns
    -------
    AnnotationSet
        An example for each plane, in the same order; ``held_out`` is decided.

    Raises
    ------
    InputError
        If nothing is annotated, labels do not fit their image or stand for no
        class, or a class or the background is missing.
    """
    if not planes:
        raise InputError("Nothing is annotated yet; paint on at least one plane.")
    masks = [_mask(plane, scheme) for plane in planes]
    _check_classes(masks, scheme)
    single = [_alone(plane) for plane in planes]
    found = annotate(
        single,
        [
            Planes(mask, "YX", plane.title, plane.image.pixel_size)
            for mask, plane in zip(masks, planes, strict=True)
        ],
        scheme.reading,
    )
    stacks = {id(plane.image): plane.image for plane in planes}
    numbers = {image: number for number, image in enumerate(stacks)}
    examples = tuple(
        replace(example, rgb=plane.image.rgb, stack=numbers[id(plane.image)])
        for example, plane in zip(found.examples, planes, strict=True)
    )
    held_out = choose_held_out(
        [set(np.unique(example.labels).tolist()) - {0} for example in examples],
        len(scheme.classes),
        part,
        seed,
        [plane.held_out for plane in planes],
    )
    return replace(
        found,
        examples=examples,
        stacks=tuple(stacks.values()),
        colours=scheme.colours,
        held_out=held_out,
    )


def _alone(plane: PaintedPlane) -> Planes:
    """The plane as an image of its own, so that the others of its stack are not read."""
    pixels = plane.image[plane.number]
    axes = "YX" if pixels.ndim == 2 else "YXS" if plane.image.rgb else "YXC"
    return Planes(pixels, axes, plane.title, plane.image.pixel_size)


def _mask(plane: PaintedPlane, scheme: Scheme) -> np.ndarray:
    labels, shape = np.asarray(plane.labels), plane.image.shape
    if labels.shape != shape:
        raise InputError(
            f"The labels of {plane.title} have the shape {labels.shape}, but the image has {shape}; "
            "annotate it in a Labels layer of its own."
        )
    try:
        mask = scheme.mask(labels)
    except InputError as error:
        raise InputError(f"{plane.title}: {error}") from error
    if not scheme.sparse:
        if mask.all():
            raise InputError(
                f"Every pixel of {plane.title} is labelled, so there is no background to tell apart; "
                "erase some, or leave the plane out."
            )
        return mask
    if not scheme.is_annotated(labels):
        raise InputError(f"Nothing is labelled on {plane.title}; paint on it, or leave it out.")
    if not (mask == 0).any():
        raise InputError(
            f"No background is labelled on {plane.title}; paint some background with label "
            f"{scheme.background}."
        )
    return mask


def _check_classes(masks: Sequence[np.ndarray], scheme: Scheme) -> None:
    count = len(scheme.classes)
    for value, label, name in zip(range(1, count + 1), scheme.values, scheme.classes, strict=True):
        # Of one class all values above 0 are objects.
        if not any(((mask > 0) if count == 1 else (mask == value)).any() for mask in masks):
            instead = ", or remove the class" if count > 1 else ""
            raise InputError(
                f"No annotated plane has any pixel of {name}; paint some with label {label}{instead}."
            )
