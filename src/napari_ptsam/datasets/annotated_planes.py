"""Annotated planes, and the annotation set that a training learns from.

Masks are checked here, before anything expensive is computed.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_ptsam.datasets.mask_channels import channel_axis_of, one_hot_plane
from napari_ptsam.datasets.mask_files import is_lossy
from napari_ptsam.datasets.mask_reading import MaskPlane, MaskReading, interpret, leaving_out
from napari_ptsam.errors import Advice, InputError, Message, PtsamWarning, Remedy
from napari_ptsam.images.pixel_sizes import common_pixel_size
from napari_ptsam.images.planes import PixelSize, Planes

BAND = 512
"""Number of rows whose pixels are counted at a time, which limits the memory."""


@dataclass(frozen=True, eq=False)
class AnnotatedPlane:
    """One plane with its pixels and its annotation, read into memory.

    Training, validation and evaluation all take planes of this class, whether
    they come from mask files (`annotate`) or from painting
    (`napari_ptsam.annotation.painted_planes.annotation_set`).

    Attributes
    ----------
    name
        Name of the plane in messages.
    pixels
        Pixels as read, of shape (y, x) or (y, x, channels).
    rgb
        Whether the channels are red, green and blue.
    labels
        Class of each pixel: uint8, shape (y, x); 0 is background, i + 1 class number i.
    valid
        Pixels that were annotated: bool, shape (y, x); None if all were.
    areas
        Areas of the annotated objects, in pixels.
    instances
        Number of the object that each pixel belongs to: int32 or int64, shape (y, x), 0
        is background; None if the annotation does not tell objects apart.
    stack
        Index of the image that the plane comes from, in `AnnotationSet.stacks`.
    number
        Number of the plane in that image, the last leading axis varying fastest.
    held_out
        Whether the plane is used for validation instead of training; None if
        that is not decided yet.
    """

    name: str
    pixels: np.ndarray
    rgb: bool
    labels: np.ndarray
    valid: np.ndarray | None
    areas: np.ndarray
    instances: np.ndarray | None = None
    stack: int = 0
    number: int = 0
    held_out: bool | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Size of the plane: (y, x)."""
        return self.labels.shape[0], self.labels.shape[1]

    @property
    def classes_present(self) -> set[int]:
        """Values of the classes that have at least one pixel on the plane."""
        return set(np.unique(self.labels).tolist()) - {0}


@dataclass(frozen=True, eq=False)
class AnnotationSet:
    """All annotated planes that a training or an evaluation uses.

    Attributes
    ----------
    examples
        The annotated planes, in the order in which they were given.
    classes
        Name of each class.
    pixel_size
        Pixel size of the images; None if it is unknown, or differs by more than 1 %.
    stacks
        The images that the planes come from, from which value limits are computed.
    colours
        Colour of each class, as ``#RRGGBB``; None lets the training choose.
    """

    examples: tuple[AnnotatedPlane, ...]
    classes: tuple[str, ...]
    pixel_size: PixelSize | None
    stacks: tuple[Planes, ...]
    colours: tuple[str, ...] | None = None

    @property
    def held_out(self) -> frozenset[int] | None:
        """Indices of the planes held out for validation; None if the split is not decided."""
        if any(plane.held_out is None for plane in self.examples):
            return None
        return frozenset(i for i, plane in enumerate(self.examples) if plane.held_out)

    def with_held_out(self, held_out: Collection[int]) -> AnnotationSet:
        """Return the set with exactly the planes at these indices held out."""
        examples = tuple(
            replace(plane, held_out=i in held_out) for i, plane in enumerate(self.examples)
        )
        return replace(self, examples=examples)


def annotate(
    images: Sequence[Planes],
    masks: Sequence[Planes],
    reading: MaskReading | None = None,
    complete: bool = True,
    left_out: list[str] | None = None,
) -> AnnotationSet:
    """Make an annotation set from images and their masks.

    Parameters
    ----------
    images, masks
        Images and, in the same order, their masks. A mask has the planes of its
        image, but no channels, unless these are one-hot or colours of classes.
    reading
        How the values of the masks are interpreted.
    complete
        Whether every class must occur on some plane, as training requires.
    left_out
        List to which reasons are added why planes are left out: they or their masks cannot
        be read or do not fit, while others do. None raises the first such error.

    Raises
    ------
    InputError
        If nothing is annotated, if an image and its mask differ in size, or if
        a mask cannot be interpreted.

    Warns
    -----
    PtsamWarning
        If the values of the masks are unusual; it says what is assumed about them.
    """
    reading = reading or MaskReading()
    if not images:
        raise InputError("There are no images to learn from; give at least one image and its mask.")
    if len(images) != len(masks):
        raise InputError(
            f"There are {len(images)} images but {len(masks)} masks; give one for each."
        )
    read: list[_PlaneWithMask] = []
    for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
        for index in range(len(image)):
            with leaving_out(left_out):
                read.append(_read_plane(image, mask, number, index))
    if not read and left_out:
        raise InputError(left_out[0])
    labelled, meaning = interpret(
        [plane.mask for plane in read], reading, [plane.pixels for plane in read], left_out
    )
    if not labelled and left_out:
        raise InputError(left_out[0])
    if meaning.assumed:
        advice = Advice(Remedy.MASK_VALUES, {})
        warnings.warn(PtsamWarning(Message(meaning.assumed, " ", advice)), stacklevel=2)
    objects = meaning.kind == "instances"
    examples = []
    for plane in labelled:
        source = read[plane.number]
        example = _annotated_plane(source, plane.values, plane.valid, reading, objects)
        if example is not None:
            examples.append(example)
    examples = _without_false_instances(examples)
    _check_classes(examples, reading.names if complete else ())
    size = common_pixel_size([image.pixel_size for image in images])
    return AnnotationSet(tuple(examples), reading.names, size, tuple(images))


@dataclass(frozen=True, eq=False)
class _PlaneWithMask:
    """A plane and its mask as read, with the numbers of the image and of the plane in it."""

    image: Planes
    pixels: np.ndarray
    mask: MaskPlane
    stack: int
    number: int

    @property
    def name(self) -> str:
        return self.image.name_of(self.number)


def _read_plane(image: Planes, mask: Planes, stack: int, number: int) -> _PlaneWithMask:
    axis, values, name = None, None, mask.name
    mask = mask.in_order_of(image)
    if mask.extent == image.extent:
        values, name = mask[number], mask.name_of(number)
    elif (axis := channel_axis_of(mask, image)) is not None:
        values = one_hot_plane(mask, axis, number)
    if values is None:
        raise InputError(
            f"The image {image.name} has {_size(image)} but its mask {mask.name} has {_size(mask)}; "
            "they must be of the same size.",
            Remedy.NAME_AXES,
        )
    pixels = image[number]
    return _PlaneWithMask(
        image, pixels, MaskPlane(name, values, mask.rgb, is_lossy(mask)), stack, number
    )


def _annotated_plane(
    source: _PlaneWithMask,
    values: np.ndarray,
    valid: np.ndarray | None,
    reading: MaskReading,
    objects: bool,
) -> AnnotatedPlane | None:
    """Return the annotated plane; None if it is left out."""
    name = source.mask.name
    labels = values.astype(np.uint8) if reading.tells_classes else (values > 0).astype(np.uint8)
    background = labels == 0 if valid is None else (labels == 0) & valid
    if not labels.any():
        if reading.empty == "refuse":
            raise InputError(f"The mask {name} has no foreground at all.", Remedy.EMPTY_MASKS)
        if reading.empty == "skip" or not background.any():
            return None
    if not background.any():
        raise InputError(
            f"The mask {name} has no background at all, so there is nothing to tell apart; mark some."
        )
    return AnnotatedPlane(
        name=source.name,
        pixels=source.pixels,
        rgb=source.image.rgb,
        labels=labels,
        valid=valid,
        areas=_object_areas(values if objects or reading.tells_classes else labels),
        instances=values if objects else None,
        stack=source.stack,
        number=source.number,
    )


def _without_false_instances(examples: list[AnnotatedPlane]) -> list[AnnotatedPlane]:
    """Drop the instances if no mask has two of them, as in masks of 0 and 255."""
    several = any(e.instances is not None and len(np.unique(e.instances)) > 2 for e in examples)
    return examples if several else [replace(e, instances=None) for e in examples]


def _size(planes: Planes) -> str:
    y, x = planes.shape
    return f"{y} x {x} pixels" + (f" in {len(planes)} planes" if len(planes) > 1 else "")


def _object_areas(values: np.ndarray) -> np.ndarray:
    """Return the areas of the instances, or of connected components if there are none."""
    from scipy import ndimage

    areas = np.unique(values[values > 0], return_counts=True)[1]
    components, count = ndimage.label(values > 0)
    if count > len(areas):  # several objects share a value, so the values are classes
        areas = np.zeros(count + 1, np.int64)
        for row in range(0, len(components), BAND):
            areas += np.bincount(components[row : row + BAND].ravel(), minlength=count + 1)
        areas = areas[1:]
    return areas


def _check_classes(examples: Sequence[AnnotatedPlane], classes: Sequence[str]) -> None:
    if not examples:
        raise InputError("No plane has any annotation to learn from; annotate at least one.")
    present = set().union(*(example.classes_present for example in examples))
    for value, name in enumerate(classes, start=1):
        if value not in present:
            raise InputError(
                f"No mask has any pixel of {name} (value {value}); annotate some, or leave the class out."
            )
