"""Annotated images as examples, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from napari_ptsam.errors import InputError, Remedy
from napari_ptsam.images.planes import PixelSize, Planes
from napari_ptsam.prompts.prompt import MAX_CLASSES, check_names

Empty = Literal["refuse", "background", "skip"]
"""What to make of a mask without foreground."""

DEFAULT_CLASS = "foreground"


@dataclass(frozen=True, eq=False)
class Example:
    """One annotated plane.

    Attributes
    ----------
    name
        What messages call it.
    pixels
        As read: shape (y, x) or (y, x, channels).
    rgb
        Whether the channels are red, green and blue.
    labels
        uint8, shape (y, x): 0 is background, i + 1 class number i.
    counts
        bool, shape (y, x): pixels that were annotated; None means all.
    areas
        Areas of the annotated objects, in pixels.
    instances
        int64, shape (y, x): a number for each object; None where the annotation
        tells no objects apart.
    stack
        Planes that it comes from, for normalisation over the stack.
    """

    name: str
    pixels: np.ndarray
    rgb: bool
    labels: np.ndarray
    counts: np.ndarray | None
    areas: np.ndarray
    instances: np.ndarray | None = None
    stack: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Size of the plane: (y, x)."""
        return self.labels.shape[0], self.labels.shape[1]


@dataclass(frozen=True, eq=False)
class AnnotationSet:
    """The user's examples.

    Attributes
    ----------
    examples
        In the order that they were given in.
    classes
        A name for each class.
    pixel_size
        Of the images, where all agree on it.
    stacks
        The images that the examples were taken from, for their value limits.
    colours
        ``#RRGGBB`` for each class; None leaves the choice to the training.
    held_out
        Numbers of the examples that are held out; None leaves the choice to
        the training.
    """

    examples: tuple[Example, ...]
    classes: tuple[str, ...]
    pixel_size: PixelSize | None
    stacks: tuple[Planes, ...]
    colours: tuple[str, ...] | None = None
    held_out: frozenset[int] | None = None


@dataclass(frozen=True)
class MaskReading:
    """How masks are to be understood.

    Attributes
    ----------
    classes
        Names of the classes 1, 2, ... of the masks. With one name, or None,
        every value above 0 is foreground (instances and binary masks alike).
    unlabelled
        Value of pixels that were not annotated and do not count; None: all count.
    empty
        What to make of a mask without foreground: ``refuse`` it (it is most
        likely an annotation that was forgotten), take it as ``background``, or
        ``skip`` the plane.
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
        """A name for each class."""
        return self.classes or (DEFAULT_CLASS,)

    @property
    def tells_classes(self) -> bool:
        """Whether a mask's values are classes; else they may be instances."""
        return len(self.names) > 1


def annotate(
    images: Sequence[Planes],
    masks: Sequence[Planes],
    reading: MaskReading | None = None,
    complete: bool = True,
) -> AnnotationSet:
    """Make an annotation set of images and their masks.

    Parameters
    ----------
    images, masks
        Pairs; a mask has the planes of its image, without channels.
    reading
        How the masks are to be understood.
    complete
        Whether each class must be there, as it must for training.

    Raises
    ------
    InputError
        If nothing is annotated, or image and mask do not fit, or a mask cannot
        be understood.
    """
    reading = reading or MaskReading()
    if not images:
        raise InputError("There are no images to learn from; give at least one image and its mask.")
    if len(images) != len(masks):
        raise InputError(
            f"There are {len(images)} images but {len(masks)} masks; give one for each."
        )
    examples: list[Example] = []
    for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
        examples += _of_pair(image, mask, reading, number)
    examples = _without_false_instances(examples)
    _check_classes(examples, reading.names if complete else ())
    sizes = {image.pixel_size for image in images}
    return AnnotationSet(
        tuple(examples), reading.names, sizes.pop() if len(sizes) == 1 else None, tuple(images)
    )


def _of_pair(image: Planes, mask: Planes, reading: MaskReading, number: int) -> Iterable[Example]:
    if (image.leading, image.shape) != (mask.leading, mask.shape):
        raise InputError(
            f"The image {image.name} has {_size(image)} but its mask {mask.name} has {_size(mask)}; "
            "they must be of the same size.",
            Remedy.NAME_AXES,
        )
    for index in range(len(image)):
        part = f", plane {index}" if len(image) > 1 else ""
        read = _read_mask(mask[index], mask.rgb, mask.name + part, reading)
        if read is None:
            continue
        labels, counts, values = read
        pixels = image[index]
        if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
            raise InputError(
                f"The image {image.name}{part} holds NaN or infinite pixels; replace them (for instance by 0)."
            )
        yield Example(
            name=image.name + part,
            pixels=pixels,
            rgb=image.rgb,
            labels=labels,
            counts=counts,
            areas=_object_areas(values),
            instances=None if reading.tells_classes else values,
            stack=number,
        )


def _without_false_instances(examples: list[Example]) -> list[Example]:
    """Drop the instances where no mask has two: 0 and 255 tell no objects apart."""
    several = any(e.instances is not None and len(np.unique(e.instances)) > 2 for e in examples)
    return examples if several else [replace(e, instances=None) for e in examples]


def _size(planes: Planes) -> str:
    y, x = planes.shape
    return f"{y} x {x} pixels" + (f" in {len(planes)} planes" if planes.leading else "")


def _read_mask(
    values: np.ndarray, rgb: bool, name: str, reading: MaskReading
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray] | None:
    """Labels, counting pixels and the mask's values; None if the plane is to be left out."""
    values = _whole_numbers(_one_channel(values, rgb, name), name)
    counts = None if reading.unlabelled is None else values != reading.unlabelled
    if counts is not None:
        values = np.where(counts, values, 0)
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
    background = labels == 0 if counts is None else (labels == 0) & counts
    if not labels.any():
        if reading.empty == "refuse":
            raise InputError(f"The mask {name} has no foreground at all.", Remedy.EMPTY_MASKS)
        if reading.empty == "skip" or not background.any():
            return None
    if not background.any():
        raise InputError(
            f"The mask {name} has no background at all, so there is nothing to tell apart; mark some."
        )
    return labels, counts, values


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
        raise InputError(f"The mask {name} has values beyond all numbers of objects; is it a mask?")
    return values.astype(np.int64)


def _object_areas(values: np.ndarray) -> np.ndarray:
    """Areas of the annotated objects: instances where there are any, else connected parts."""
    from scipy import ndimage

    areas = np.unique(values[values > 0], return_counts=True)[1]
    parts, count = ndimage.label(values > 0)
    if count > len(areas):  # one value for many objects: a class, not instances
        areas = np.bincount(parts.ravel())[1:]
    return areas


def _check_classes(examples: Sequence[Example], classes: Sequence[str]) -> None:
    if not examples:
        raise InputError("No plane has any annotation to learn from; annotate at least one.")
    present = set().union(*(np.unique(example.labels).tolist() for example in examples))
    for value, name in enumerate(classes, start=1):
        if value not in present:
            raise InputError(
                f"No mask has any pixel of {name} (value {value}); annotate some, or leave the class out."
            )
