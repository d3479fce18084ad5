"""Open images and masks in whatever form the user names them, and pair them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_ptsam.errors import InputError
from napari_ptsam.images.planes import Planes
from napari_ptsam.images.reading import list_images, open_image
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
        return [open_image(file, axes, labels) for file in files]
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
    images: ImageSource, masks: ImageSource, axes: str | None = None
) -> tuple[list[Planes], list[Planes]]:
    """Pair images with masks: those in two folders by name, all others by order.

    Parameters
    ----------
    images, masks
        Sources of the images and of their masks, see `as_planes`.
    axes
        Axes of the images; masks have the same axes without channels.

    Returns
    -------
    images, masks : list of Planes
        In the same order.

    Raises
    ------
    InputError
        If the files in two folders do not match by name, or a file cannot be read.
    """
    mask_axes = None if axes is None else "".join(a for a in axes.upper() if a not in "CS")
    if is_path(images) and is_path(masks):
        for path in (Path(images), Path(masks)):
            if not path.exists():
                raise InputError(f"There is no file or folder {path}; check the path.")
        folders = tuple(path.is_dir() and not is_zarr(path) for path in (Path(images), Path(masks)))
        if all(folders):
            files = _match(list_images(images), list_images(masks), Path(images), Path(masks))
            return (
                [open_image(image, axes) for image, _ in files],
                [open_image(mask, mask_axes, labels=True) for _, mask in files],
            )
        if any(folders):
            raise InputError(f"{images} and {masks} must both be folders, or both be files.")
    return as_planes(images, axes), as_planes(masks, mask_axes, labels=True)


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
        name = file.name.removesuffix(file.suffix).removesuffix(".ome")
        if name in names:
            raise InputError(
                f"{names[name].name} and {file.name} in {file.parent} have the same name; keep one of them."
            )
        names[name] = file
    return names
