"""Open a folder of images as one stack, or each image as a layer."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.errors import InputError, PtsamError
from napari_ptsam.images.locations import one_of_each_image
from napari_ptsam.images.pixel_sizes import common_pixel_size
from napari_ptsam.images.reading import list_images, open_image

if TYPE_CHECKING:
    from napari_ptsam.images.planes import Planes
    from napari_ptsam.widgets.shared.worker import Steps

CONTRAST = 0.1, 99.9
"""Percentiles of the values of some planes that are shown in black and in white."""
LOOKED_AT, FEW_VALUES = 3, 10**6
"""Number of planes whose values are looked at for this, and of the values of each."""
FOLDER = "napari-ptsam folder"
"""Key in a layer's metadata for the folder or file that its images were read from."""
NOTES = "napari-ptsam notes"
"""Key in a layer's metadata for sentences about how its files were read."""


def read_folder(folder: Path) -> Steps:
    """Open the images of a folder; run this in a worker.

    Images of one size and dtype become a stack, others a layer each.

    Yields
    ------
    list of dict or None
        None after each image; at the end, keywords of ``viewer.add_image`` for each layer.

    Raises
    ------
    InputError
        If the folder holds no images, or one of them cannot be read.
    """
    images = []
    for path in one_of_each_image(list_images(folder)):
        images.append(open_image(path))
        yield None
    kinds = {(image.axes, image.array_shape, image.dtype) for image in images}
    if len(images) > 1 and len(kinds) == 1 and not images[0].leading:
        yield [_stack_keywords(folder, images)]
    else:
        yield [_image_keywords(image, folder / image.name) for image in images]


def read_file(path: Path) -> dict[str, Any]:
    """Return keywords of ``viewer.add_image`` for an image or stack.

    The planes are read lazily, each when it is shown.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    return _image_keywords(open_image(path), path)


def _stack_keywords(folder: Path, images: list[Planes]) -> dict[str, Any]:
    """Return the keywords for images of one size as a lazy stack."""
    first = images[0]
    first.pixel_size = common_pixel_size([image.pixel_size for image in images])
    planes = [(image, 0) for image in images]
    return {
        "data": _lazy_planes(planes), "name": folder.name,
        "rgb": first.rgb, "metadata": _metadata(folder, images), **_contrast(planes),
        **_axes_keywords(first, ("image",), (1.0,), ("pixel",)),
    }  # fmt: skip


def _image_keywords(image: Planes, path: Path) -> dict[str, Any]:
    """Return the keywords for one image or a lazy stack."""
    numbered = [(image, number) for number in range(len(image))]
    planes = _lazy_planes(numbered)
    planes = planes.reshape(*image.leading, *planes.shape[1:])
    labels = tuple(image.leading_axes.lower())
    size = image.pixel_size
    known = {"z": (size.z, size.unit)} if size is not None and size.z else {}
    if image.time_step is not None:
        known["t"] = (image.time_step.value, image.time_step.unit)
    spacings = [known.get(label, (1.0, "pixel")) for label in labels]
    scale, units = tuple(step for step, _ in spacings), tuple(unit for _, unit in spacings)
    return {
        "data": planes, "name": path.stem, "rgb": image.rgb, "metadata": _metadata(path, [image]),
        **_contrast(numbered),
        **_axes_keywords(image, labels, scale, units),
    }  # fmt: skip


def _metadata(path: Path, images: list[Planes]) -> dict[str, Any]:
    """Return the metadata of a layer."""
    notes = [note for image in images for note in image.notes]
    return {FOLDER: str(path)} | ({NOTES: notes} if notes else {})


def _lazy_planes(planes: list[tuple[Planes, int]]) -> Any:
    """Return a dask array of planes of one shape; each is read when it is needed.

    Parameters
    ----------
    planes
        Image and number of each plane.
    """
    import dask
    import dask.array as da

    first_image, first_number = planes[0]
    shape = first_image[first_number].shape
    return da.stack(
        [
            da.from_delayed(
                dask.delayed(partial(_read_plane, image, number, shape))(), shape, first_image.dtype
            )
            for image, number in planes
        ]
    )


def _contrast(planes: list[tuple[Planes, int]]) -> dict[str, Any]:
    """Return contrast limits in which a few bright or dark pixels do not hide the rest.

    napari takes those of a single plane of a lazy stack, from its darkest to its brightest pixel.
    """
    if planes[0][0].rgb:
        return {}
    some = {round(at) for at in np.linspace(0, len(planes) - 1, LOOKED_AT)}
    every = max(1, math.isqrt(math.prod(planes[0][0].shape) // FEW_VALUES))
    try:
        values = np.concatenate(
            [
                image[number][::every, ::every].ravel()
                for image, number in (planes[at] for at in sorted(some))
            ]
        )
    except (PtsamError, OSError, ValueError):
        return {}  # said where the plane is shown or used
    values = values[np.isfinite(values)]
    if not values.size or values.dtype.kind not in "uif":
        return {}
    low, high = np.percentile(values, CONTRAST)
    return {"contrast_limits": (float(low), float(high))} if high > low else {}


def _read_plane(image: Planes, number: int, shape: tuple[int, ...]) -> np.ndarray:
    plane: np.ndarray = image[number]
    if plane.shape != shape:
        raise InputError(f"{image.name} has changed since the folder was opened; open it again.")
    return plane


def _axes_keywords(
    image: Planes, labels: tuple[str, ...], scale: tuple[float, ...], units: tuple[str, ...]
) -> dict[str, Any]:
    """Return axis labels, scale and units of a layer.

    Parameters
    ----------
    image
        The image, for the axes y, x and channels.
    labels, scale, units
        Those of the axes before y and x.
    """
    channels = ("c",) * (image.channels > 1 and not image.rgb)
    keywords: dict[str, Any] = {"axis_labels": (*labels, "y", "x", *channels)}
    size = image.pixel_size
    if size is not None or any(unit != "pixel" for unit in units):
        y, x, unit = (1.0, 1.0, "pixel") if size is None else (size.y, size.x, size.unit)
        keywords["scale"] = (*scale, y, x, *(1.0,) * len(channels))
        keywords["units"] = (*units, unit, unit, *("pixel",) * len(channels))
    return keywords
