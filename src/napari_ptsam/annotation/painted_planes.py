"""Make an annotation set from planes that were painted by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_ptsam.annotation.regions import Region, mask_of, surroundings
from napari_ptsam.annotation.scheme import UNLABELLED, Scheme
from napari_ptsam.datasets.annotated_planes import AnnotationSet, annotate
from napari_ptsam.datasets.mask_reading import MaskReading
from napari_ptsam.datasets.split import choose_held_out
from napari_ptsam.errors import InputError, framed
from napari_ptsam.images.planes import Planes


@dataclass(frozen=True, eq=False)
class PaintedPlane:
    """A plane and the labels painted on it, not read yet.

    It says where pixels and labels are. `annotation_set` reads and checks them
    and makes an `~napari_ptsam.datasets.annotated_planes.AnnotatedPlane`, which
    holds the pixels and the classes that the labels stand for.

    Attributes
    ----------
    image
        The whole image or stack that the plane lies in.
    number
        Number of the plane in it, the last leading axis varying fastest.
    labels
        Labels as painted: an integer array of shape (y, x), or planes like
        those of ``image``; only this plane is read.
    held_out
        Whether the plane is used for validation instead of training; None if
        that is not decided yet.
    name
        Name of the plane in messages; if empty, the image's name and the number.
    regions
        Boxes in which everything is annotated, while nothing outside of them is; empty if the
        whole plane is meant.
    """

    image: Planes
    number: int
    labels: np.ndarray | Planes
    held_out: bool | None = None
    name: str = ""
    regions: tuple[Region, ...] = ()

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns that are read: the regions with some context, or the whole plane."""
        if not self.regions:
            return slice(None), slice(None)
        return surroundings(self.regions, self.image.shape)

    @property
    def title(self) -> str:
        """Name of the plane in messages."""
        part = f", plane {self.number}" if len(self.image) > 1 else ""
        return self.name or self.image.name + part

    def read_labels(self) -> np.ndarray:
        """Read the labels into a separate array, so that painting can continue."""
        labels = self.labels[self.number] if isinstance(self.labels, Planes) else self.labels
        return np.array(labels)


def annotation_set(
    planes: Sequence[PaintedPlane], scheme: Scheme, part: float = 0.15, seed: int = 0
) -> AnnotationSet:
    """Make an annotation set from painted planes; no other planes of their stacks are read.

    Parameters
    ----------
    planes
        With dense annotation the planes that are done, with sparse annotation
        those with labels.
    scheme
        Meaning of the labels.
    part, seed
        Fraction of the planes to hold out and seed of the choice, see
        `choose_held_out`; planes for which it is decided stay as they are.

    Returns
    -------
    AnnotationSet
        One annotated plane for each painted one, in the same order. Each of them is
        used either for training or for validation.

    Raises
    ------
    InputError
        If nothing is annotated, if labels do not fit their image or stand for
        no class, or if a class or the background is missing.
    """
    if not planes:
        raise InputError("Nothing is annotated yet; paint on at least one plane.")
    masks = [_mask(plane, scheme) for plane in planes]
    _check_classes(masks, scheme)
    annotations = annotate(
        [_single_plane(plane) for plane in planes],
        [
            Planes(mask, "YX", plane.title, plane.image.pixel_size)
            for mask, plane in zip(masks, planes, strict=True)
        ],
        _reading(planes, scheme),
    )
    stacks = {id(plane.image): plane.image for plane in planes}
    positions = {image: position for position, image in enumerate(stacks)}
    examples = tuple(
        replace(
            example,
            rgb=plane.image.rgb,
            stack=positions[id(plane.image)],
            number=plane.number,
        )
        for example, plane in zip(annotations.examples, planes, strict=True)
    )
    held_out = choose_held_out(
        [example.classes_present for example in examples],
        len(scheme.classes),
        part,
        seed,
        [plane.held_out for plane in planes],
    )
    return replace(
        annotations,
        examples=examples,
        stacks=tuple(stacks.values()),
        colours=scheme.colours,
    ).with_held_out(held_out)


def _reading(planes: Sequence[PaintedPlane], scheme: Scheme) -> MaskReading:
    """Return the meaning of the masks, in which pixels outside of regions are not annotated."""
    reading = scheme.reading
    if any(plane.regions for plane in planes):
        return replace(reading, unlabelled=UNLABELLED)
    return reading


def _single_plane(plane: PaintedPlane) -> Planes:
    """Return the plane as an image of its own, so that the rest of its stack is not read."""
    pixels = plane.image[plane.number][plane.window]
    axes = "YX" if pixels.ndim == 2 else "YXS" if plane.image.rgb else "YXC"
    return Planes(pixels, axes, plane.title, plane.image.pixel_size)


def _mask(plane: PaintedPlane, scheme: Scheme) -> np.ndarray:
    """Return the mask that the labels stand for; `Scheme.reading` interprets its values."""
    labels, shape = plane.read_labels(), plane.image.shape
    if labels.shape != shape:
        raise InputError(
            f"The labels of {plane.title} have the shape {labels.shape}, but the image has {shape}; "
            "annotate it in a Labels layer of its own."
        )
    labels = labels[plane.window]
    try:
        mask = scheme.mask(labels)
    except InputError as error:
        raise InputError(framed(error, before=f"{plane.title}: ")) from error
    if plane.regions:
        mask[~mask_of(plane.regions, shape)[plane.window]] = UNLABELLED
    if not scheme.sparse:
        if not (mask == 0).any():
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
        # If there is one class only, all values above 0 are objects.
        if not any(((mask > 0) if count == 1 else (mask == value)).any() for mask in masks):
            instead = ", or remove the class" if count > 1 else ""
            raise InputError(
                f"No annotated plane has any pixel of {name}; paint some with label {label}{instead}."
            )
