"""Open images and masks in whatever form the user names them, and pair them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_ptsam.datasets.object_files import (
    coco_images,
    is_object_file,
    open_coco,
    open_objects,
    plain_stem,
)
from napari_ptsam.errors import InputError, PtsamWarning
from napari_ptsam.images.addresses import as_location
from napari_ptsam.images.locations import one_of_each_image
from napari_ptsam.images.planes import Planes
from napari_ptsam.images.reading import is_image, list_images, open_image, planes_of_mask
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
        files = list_images(path) if path.is_dir() and not is_zarr(path) else [path]
        return [open_image(file, axes, labels, alone=len(files) > 1) for file in files]
    if isinstance(source, (list, tuple)):
        kind = "mask" if labels else "image"
        return [
            planes
            for number, item in enumerate(source)
            for planes in ([Planes(item, axes, f"{kind} {number}")] if _is_array(item)
                           else as_planes(item, axes, labels))
        ]  # fmt: skip
    return [Planes(source, axes, "the masks" if labels else "the image")]


def _is_array(item: Any) -> bool:
    return not is_path(item) and not isinstance(item, (Planes, list, tuple))


def pair(
    images: ImageSource,
    masks: ImageSource,
    axes: str | None = None,
    classes: Sequence[str] | None = None,
) -> tuple[list[Planes], list[Planes]]:
    """Pair images with masks: those in two folders by name, all others by order.

    Instead of a mask, the outlines of objects can be given: a file of
    `napari_ptsam.datasets.object_files`. A COCO file may hold those of a folder of images.

    Parameters
    ----------
    images, masks
        Sources of the images and of their masks, see `as_planes`.
    axes
        Axes of the images; masks have the same axes without channels.
    classes
        Names of the classes, by which outlined objects are chosen or told apart.

    Returns
    -------
    images, masks : list of Planes
        In the same order.

    Raises
    ------
    InputError
        If the files in two folders do not match by name, or a file cannot be read.

    Warns
    -----
    PtsamWarning
        If a file says of itself how it was read, for instance without a thumbnail.
    """
    mask_axes = None if axes is None else "".join(a for a in axes.upper() if a not in "CS")
    if not (is_path(images) and is_path(masks)):
        return as_planes(images, axes), as_planes(masks, mask_axes, labels=True)
    image_path, mask_path = Path(images), Path(masks)
    for path in (image_path, mask_path):
        if isinstance(as_location(path), Path) and not path.exists():
            raise InputError(f"There is no file or folder {path}; check the path.")
    folders = [path.is_dir() and not is_zarr(path) for path in (image_path, mask_path)]
    if folders == [True, False] and mask_path.suffix.lower() == ".json":
        opened = [open_image(image, axes) for image in _listed_images(image_path, mask_path)]
        return opened, open_coco(mask_path, opened, classes)
    if all(folders):
        listed, masks_listed = list_images(image_path), _list_masks(mask_path)
        if len(masks_listed) < len(listed):  # a mask may be that of an image in several files
            listed = one_of_each_image(listed)
        files = _match(listed, masks_listed, image_path, mask_path)
    elif any(folders):
        raise InputError(f"{images} and {masks} must both be folders, or both be files.")
    else:
        files = [(image_path, mask_path)]
    opened = [open_image(image, axes) for image, _ in files]
    found = [
        open_mask(mask, image, mask_axes, classes)
        for image, (_, mask) in zip(opened, files, strict=True)
    ]
    opened = [planes_of_mask(*both) for both in zip(opened, found, strict=True)]
    for note in dict.fromkeys(note for image in opened for note in image.notes):
        warnings.warn(PtsamWarning(note), stacklevel=2)
    return opened, found


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
    return open_image(path, axes, labels=True)


def _list_masks(folder: Path) -> list[Path]:
    """Return the mask files and the files with outlined objects of a folder."""
    return list_images(folder, lambda path: is_image(path) or is_object_file(path))


def _listed_images(folder: Path, path: Path) -> list[Path]:
    """Return the images of a folder that a COCO file lists."""
    names = coco_images(path)
    if names is None:
        raise InputError(
            f"{path} is no COCO file, which could hold the objects of all images in {folder}; name the "
            "folder of the files with outlined objects instead."
        )
    files = {file.name: file for file in list_images(folder)}
    missing = [name for name in names if Path(name).name not in files]
    if missing:
        raise InputError(f"{path} lists {missing[0]}, which is not in {folder}; put it there.")
    return [files[Path(name).name] for name in names]


def _match(
    images: Sequence[Path], masks: Sequence[Path], image_folder: Path, mask_folder: Path
) -> list[tuple[Path, Path]]:
    image_names, mask_names = (_by_name(files) for files in (images, masks))
    for names, others, other_folder in (
        (image_names, mask_names, mask_folder),
        (mask_names, image_names, image_folder),
    ):
        alone = [names[name].name for name in names if name not in others]
        if alone:
            more = f" and {len(alone) - 3} more" if len(alone) > 3 else ""
            raise InputError(
                f"Nothing in {other_folder} has the name of {', '.join(alone[:3])}{more}; "
                "image and mask must have the same name (their endings may differ)."
            )
    return [(image, mask_names[name]) for name, image in image_names.items()]


def _by_name(files: Sequence[Path]) -> dict[str, Path]:
    names: dict[str, Path] = {}
    for file in files:
        stem = file.name.removesuffix(file.suffix).removesuffix(".ome")
        name = plain_stem(file) if is_object_file(file) else stem
        if name in names:
            raise InputError(
                f"{names[name].name} and {file.name} in {file.parent} have the same name; keep one of them."
            )
        names[name] = file
    return names
