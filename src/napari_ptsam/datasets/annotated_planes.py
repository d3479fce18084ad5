"""Annotated planes, and the annotation set that a training learns from.

Masks are checked here, before anything expensive is computed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from napari_ptsam.errors import InputError, Remedy
from napari_ptsam.images.pixel_sizes import common_pixel_size
from napari_ptsam.images.planes import PixelSize, Planes
from napari_ptsam.prompts.prompt import MAX_CLASSES, check_names

Empty = Literal["refuse", "background", "skip"]
"""How to treat a mask without foreground."""

DEFAULT_CLASS = "foreground"
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


@dataclass(frozen=True)
class MaskReading:
    """How the values of masks are interpreted.

    Attributes
    ----------
    classes
        Names of the classes 1, 2, ... of the masks. With one name, or None,
        every value above 0 is foreground, so that instance masks and binary
        masks are read alike.
    unlabelled
        Value of pixels that were not annotated and are ignored; None if all
        pixels were annotated.
    empty
        How to treat a mask without foreground: ``refuse`` it (most likely the
        annotation was forgotten), take it as ``background``, or ``skip`` the plane.

    Raises
    ------
    InputError
        If there are too many classes, or a value is not one of those above.
    """

    classes: tuple[str, ...] | None = None
    unlabelled: int | None = None
    empty: Empty = "refuse"

    def __post_init__(self) -> None:
        if self.empty not in get_args(Empty):
            raise InputError(f"Empty masks are treated by one of {', '.join(get_args(Empty))}.")
        if self.classes is not None and not 1 <= len(self.classes) <= MAX_CLASSES:
            raise InputError(f"Name 1 to {MAX_CLASSES} classes, not {len(self.classes)}.")
        check_names(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each class."""
        return self.classes or (DEFAULT_CLASS,)

    @property
    def tells_classes(self) -> bool:
        """Whether the values of a mask are classes; otherwise they may be instances."""
        return len(self.names) > 1


def annotate(
    images: Sequence[Planes],
    masks: Sequence[Planes],
    reading: MaskReading | None = None,
    complete: bool = True,
) -> AnnotationSet:
    """Make an annotation set from images and their masks.

    Parameters
    ----------
    images, masks
        Images and, in the same order, their masks. A mask has the planes of its
        image, but no channels.
    reading
        How the values of the masks are interpreted.
    complete
        Whether every class must occur on some plane, as training requires.

    Raises
    ------
    InputError
        If nothing is annotated, if an image and its mask differ in size, or if
        a mask cannot be interpreted.
    """
    reading = reading or MaskReading()
    if not images:
        raise InputError("There are no images to learn from; give at least one image and its mask.")
    if len(images) != len(masks):
        raise InputError(
            f"There are {len(images)} images but {len(masks)} masks; give one for each."
        )
    examples: list[AnnotatedPlane] = []
    for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
        examples += _annotated_planes(image, mask, reading, number)
    examples = _without_false_instances(examples)
    _check_classes(examples, reading.names if complete else ())
    size = common_pixel_size([image.pixel_size for image in images])
    return AnnotationSet(tuple(examples), reading.names, size, tuple(images))


def _annotated_planes(
    image: Planes, mask: Planes, reading: MaskReading, stack: int
) -> Iterable[AnnotatedPlane]:
    mask = mask.in_order_of(image)
    if image.extent != mask.extent:
        raise InputError(
            f"The image {image.name} has {_size(image)} but its mask {mask.name} has {_size(mask)}; "
            "they must be of the same size.",
            Remedy.NAME_AXES,
        )
    for index in range(len(image)):
        part = f", plane {index}" if len(image) > 1 else ""
        annotation = _read_mask(mask[index], mask.rgb, mask.name + part, reading)
        if annotation is None:
            continue
        labels, valid, values = annotation
        pixels = image[index]
        yield AnnotatedPlane(
            name=image.name + part,
            pixels=pixels,
            rgb=image.rgb,
            labels=labels,
            valid=valid,
            areas=_object_areas(values),
            instances=None if reading.tells_classes else values,
            stack=stack,
            number=index,
        )


def _without_false_instances(examples: list[AnnotatedPlane]) -> list[AnnotatedPlane]:
    """Drop the instances if no mask has two of them, as in masks of 0 and 255."""
    several = any(e.instances is not None and len(np.unique(e.instances)) > 2 for e in examples)
    return examples if several else [replace(e, instances=None) for e in examples]


def _size(planes: Planes) -> str:
    y, x = planes.shape
    return f"{y} x {x} pixels" + (f" in {len(planes)} planes" if len(planes) > 1 else "")


def _read_mask(
    values: np.ndarray, rgb: bool, name: str, reading: MaskReading
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray] | None:
    """Return labels, valid pixels and values of a mask; None if the plane is left out."""
    values = label_values(values, rgb, name)
    valid = None if reading.unlabelled is None else values != reading.unlabelled
    if valid is not None:
        values = np.where(valid, values, 0)
    if values.min() < 0:
        raise InputError(
            f"The mask {name} has negative values.", Remedy.NAME_UNLABELLED, value=values.min()
        )
    if not reading.tells_classes:
        labels = (values > 0).astype(np.uint8)
    elif values.max() > len(reading.names):
        raise InputError(
            f"The mask {name} has the value {values.max()}, but only {len(reading.names)} classes "
            "were named; name all of them, in the order of their values."
        )
    else:
        labels = values.astype(np.uint8)
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
    return labels, valid, values


def label_values(values: np.ndarray, rgb: bool, name: str) -> np.ndarray:
    """Return the values of a mask that was read from a file.

    Parameters
    ----------
    values
        Pixels as read, of shape (y, x) or (y, x, channels).
    rgb
        Whether the channels are red, green and blue.
    name
        Name of the mask in messages.

    Returns
    -------
    numpy.ndarray
        int32 or int64, shape (y, x).

    Raises
    ------
    InputError
        If the mask is a colour picture, or holds fractions.
    """
    return _whole_numbers(_one_channel(values, rgb, name), name)


def _one_channel(values: np.ndarray, rgb: bool, name: str) -> np.ndarray:
    if values.ndim == 2:
        return values
    colours = values[..., : values.shape[-1] - (values.shape[-1] in (2, 4))] if rgb else values
    if (colours != colours[..., :1]).any():
        raise InputError(
            f"The mask {name} is a colour picture; save it as a grey one whose values are the labels."
        )
    return colours[..., 0]


def _whole_numbers(values: np.ndarray, name: str) -> np.ndarray:
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise InputError(f"The mask {name} holds NaN or infinity; a mask holds whole numbers.")
        if (values != np.round(values)).any():
            raise InputError(
                f"The mask {name} holds fractions; a mask holds whole numbers (0 is background). "
                "Is it a probability map, or the image itself?"
            )
    if values.dtype.kind in "uf" and values.max() >= 2**63:
        raise InputError(
            f"The mask {name} has values that are too large for numbers of objects; is it a mask?"
        )
    # int64 takes twice the memory, which matters for large planes.
    small = values.size == 0 or (values.max() < 2**31 and values.min() >= -(2**31))
    return values.astype(np.int32 if small else np.int64)


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
