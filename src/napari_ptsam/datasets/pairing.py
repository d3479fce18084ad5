"""Open images and masks in whatever form the user names them, and pair them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_ptsam.datasets.mask_files import open_mask_file
from napari_ptsam.datasets.mask_names import (
    Pair,
    files_of,
    pairs_in_folder,
    pairs_of_folders,
)
from napari_ptsam.datasets.mask_reading import leaving_out
from napari_ptsam.datasets.object_files import (
    coco_images,
    composed,
    is_object_file,
    open_coco,
    open_objects,
)
from napari_ptsam.errors import InputError, PtsamWarning
from napari_ptsam.images.addresses import as_location
from napari_ptsam.images.axes import axes_for_mask
from napari_ptsam.images.planes import Planes
from napari_ptsam.images.reading import list_images, open_image, planes_of_mask
from napari_ptsam.images.zarrs import is_zarr

ImageSource = Any
"""Path of a folder or file, `Planes`, an array, or a sequence of these."""


def is_path(source: ImageSource) -> bool:
    """Return whether the source is a path."""
    return isinstance(source, (str, Path))


def as_planes(source: ImageSource, axes: str | None = None, labels: bool = False) -> list[Planes]:
    """Open images or masks.

    Parameters
    ----------
    source
        Path of a folder or file, `Planes`, an array-like, or a list or tuple
        of paths, `Planes` or arrays.
    axes
        Axes of arrays and files, such as ``ZYX``; None for those named in the
        file, or guessed from the shape.
    labels
        Whether these are masks.

    Raises
    ------
    InputError
        If a file is missing or cannot be read.
    """
    if isinstance(source, Planes):
        return [source]
    if is_path(source):
        path = Path(source)
        files = list(files_of(path)) if path.is_dir() and not is_zarr(path) else [path]
        open_one = open_mask_file if labels else open_image
        return [open_one(file, axes, alone=len(files) > 1) for file in files]
    if isinstance(source, (list, tuple)):
        kind = "mask" if labels else "image"
        return [
            planes
            for number, item in enumerate(source)
            for planes in ([_of_array(item, axes, f"{kind} {number}", labels)] if _is_array(item)
                           else as_planes(item, axes, labels))
        ]  # fmt: skip
    return [_of_array(source, axes, "the masks" if labels else "the image", labels)]


def _of_array(array: Any, axes: str | None, name: str, labels: bool) -> Planes:
    return Planes(array, axes_for_mask(axes, np.shape(array)) if labels else axes, name)


def _is_array(item: Any) -> bool:
    return not is_path(item) and not isinstance(item, (Planes, list, tuple))


def pair(
    images: ImageSource,
    masks: ImageSource = None,
    axes: str | None = None,
    classes: Sequence[str] | None = None,
    left_out: list[str] | None = None,
) -> tuple[list[Planes], list[Planes]]:
    """Pair images with masks: those in folders by name, all others by order.

    In two folders, images and masks have the same name. In one folder, masks have a word more,
    see `napari_ptsam.datasets.mask_names`. Folders in these folders are searched if they hold
    no images themselves.

    Instead of a mask, the outlines of objects can be given: a file of
    `napari_ptsam.datasets.object_files`. A COCO file may hold those of a folder of images.

    Parameters
    ----------
    images, masks
        Sources of the images and of their masks, see `as_planes`. Without masks, both are in the
        folder of the images.
    axes
        Axes of the images; masks have the same axes without channels.
    classes
        Names of the classes, by which outlined objects are chosen or told apart.
    left_out
        List to which reasons are added why files of folders are left out, while others can be
        used. None raises the first such error.

    Returns
    -------
    images, masks : list of Planes
        In the same order.

    Raises
    ------
    InputError
        If the files in folders do not match by name, or a file cannot be read.

    Warns
    -----
    PtsamWarning
        If a file says of itself how it was read, for instance without a thumbnail.
    """
    mask_axes = None if axes is None else "".join(a for a in axes.upper() if a not in "CS")
    one_folder = masks is None and is_path(images)
    if not (is_path(images) and (one_folder or is_path(masks))):
        return as_planes(images, axes), as_planes(masks, mask_axes, labels=True)
    image_path, mask_path = Path(images), Path(images if one_folder else masks)
    for path in (image_path, mask_path):
        if isinstance(as_location(path), Path) and not path.exists():
            raise InputError(f"There is no file or folder {path}; check the path.")
    folders = [path.is_dir() and not is_zarr(path) for path in (image_path, mask_path)]
    if folders == [True, False] and mask_path.suffix.lower() == ".json":
        opened = [open_image(image, axes) for image in _listed_images(image_path, mask_path)]
        return opened, open_coco(mask_path, opened, classes)
    if any(folders) and not all(folders):
        raise InputError(f"{images} and {masks} must both be folders, or both be files.")
    same = mask_path.exists() and image_path.exists() and image_path.samefile(mask_path)
    if same and not (one_folder and all(folders)):
        what = "folder once, if it holds both" if all(folders) else "mask after the image"
        raise InputError(f"{image_path} is given for images and for masks; name the {what}.")
    if not any(folders):
        files = [(image_path, mask_path)]
    else:
        files = _pairs_by_name(image_path, mask_path, left_out)
    pairs: list[tuple[Planes, Planes]] = []
    for image_file, mask_file in files:
        with leaving_out(left_out if len(files) > 1 else None):
            image = open_image(image_file, axes)
            mask = open_mask(mask_file, image, mask_axes, classes)
            pairs.append((planes_of_mask(image, mask), mask))
    if not pairs and left_out:
        raise InputError(left_out[0])
    for note in dict.fromkeys(note for image, _ in pairs for note in image.notes):
        warnings.warn(PtsamWarning(note), stacklevel=2)
    return [image for image, _ in pairs], [mask for _, mask in pairs]


def open_mask(
    path: Path, image: Planes, axes: str | None = None, classes: Sequence[str] | None = None
) -> Planes:
    """Open a mask file, or draw the outlined objects of a file as the mask of an image.

    Parameters
    ----------
    path
        The file.
    image
        The image that the mask belongs to.
    axes
        Axes of a mask file; None for those named in the file, or guessed from the shape.
    classes
        Names of the classes, by which outlined objects are chosen or told apart.

    Raises
    ------
    InputError
        If the file cannot be read, or outlined objects do not fit the image.
    """
    if is_object_file(path):
        return open_objects(path, image, classes)
    return open_mask_file(path, axes)


def _pairs_by_name(images: Path, masks: Path, left_out: list[str] | None) -> list[Pair]:
    """Pair the files of two folders, or of one if both are the same."""
    same = images.samefile(masks)
    pairs, *alone = pairs_in_folder(images) if same else pairs_of_folders(images, masks)
    hint = (
        "give the mask the name of its image and _mask or the like"
        if same
        else "image and mask must have the same name (their endings may differ), or the mask's has "
        "_mask or the like after it"
    )
    for files, other in zip(alone, (masks, images), strict=True):
        if files:
            more = f" and {len(files) - 3} more" if len(files) > 3 else ""
            names = ", ".join(file.name for file in files[:3])
            with leaving_out(left_out if pairs else None):
                raise InputError(f"Nothing in {other} has the name of {names}{more}; {hint}.")
    if not pairs:
        raise InputError(f"{images} holds no images with masks; {hint}.")
    return pairs


def _listed_images(folder: Path, path: Path) -> list[Path]:
    """Return the images of a folder that a COCO file lists."""
    names = coco_images(path)
    if names is None:
        raise InputError(
            f"{path} is no COCO file, which could hold the objects of all images in {folder}; name the "
            "folder of the files with outlined objects instead."
        )
    files = {composed(file.name): file for file in list_images(folder)}
    listed = [composed(Path(name).name) for name in names]
    missing = [name for name in listed if name not in files]
    if missing:
        raise InputError(f"{path} lists {missing[0]}, which is not in {folder}; put it there.")
    return [files[name] for name in listed]
