"""Open zarr arrays and OME-Zarr images, with their axes, pixel size and channel names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_ptsam.errors import InputError
from napari_ptsam.images.addresses import Address, Location, open_remote
from napari_ptsam.images.axes import axes_of_names
from napari_ptsam.images.opened import OpenedImage
from napari_ptsam.images.pixel_sizes import pixel_size_of, time_step_of
from napari_ptsam.images.zarr_collections import LAYOUT, images_in, is_collection, ome_attributes
from napari_ptsam.io.safe_loading import read_or

ZARR = ".zarr"
MARKS = ("zarr.json", ".zarray", ".zgroup")
"""Metadata files; every zarr folder has at least one of them."""


def is_zarr(path: Path) -> bool:
    """Return whether a path is a folder that holds a zarr, or has the suffix of one."""
    if not path.is_dir():
        return False
    return path.suffix.lower() == ZARR or holds_zarr(path)


def holds_zarr(folder: Path) -> bool:
    """Return whether a folder has the metadata of a zarr."""
    return any((folder / name).is_file() for name in MARKS)


def open_zarr(where: Location) -> OpenedImage:
    """Open a zarr array, or the full resolution of an OME-Zarr image; no pixel is read.

    Raises
    ------
    InputError
        If it holds no image, or several.
    Exception
        Any exception that zarr raises on damaged files.
    """
    import zarr

    opened = _open(where)
    if isinstance(opened, zarr.Array):
        names = getattr(opened.metadata, "dimension_names", None)
        names = names or opened.attrs.get("_ARRAY_DIMENSIONS")  # of xarray, in zarr format 2
        return OpenedImage(opened, _letters(names, opened.shape))
    if is_collection(opened):
        images = images_in(opened)
        if len(images) != 1:
            raise InputError(
                f"{where} holds {len(images)} images ({_listed(images)}); name one of them"
                + (f", for instance {where / images[0]}." if images else ".")
            )
        return open_zarr(where / images[0])
    metadata = ome_attributes(opened)
    scales = metadata.get("multiscales")
    if not scales:
        raise InputError(
            f"{where} is a zarr group without an image (no multiscales); name one of its arrays "
            f"or images: {_listed(_inside(opened))}."
        )
    return replace(_image(opened, scales[0]), channel_names=_channel_names(metadata))


def zarr_images(where: Location) -> list[Location]:
    """Return the images in a plate, or in what bioformats2raw has written; else the zarr itself.

    A group of bioformats2raw that holds a single image stands for it.

    Raises
    ------
    InputError
        If an address cannot be read.
    Exception
        Any exception that zarr raises on damaged files.
    """
    import zarr

    opened = _open(where)
    if isinstance(opened, zarr.Array) or not is_collection(opened):
        return [where]
    images = images_in(opened)
    is_single = len(images) == 1 and LAYOUT in ome_attributes(opened) and "/" not in images[0]
    return [where] if is_single or not images else [where / path for path in images]


def image_group(where: Location) -> Path | None:
    """Return the folder of the OME-Zarr image at a location; None if it is none on this disk."""
    if not isinstance(where, Path) or not holds_zarr(where):
        return None
    if is_image_group(where):
        return where
    inside = read_or([where], lambda: [where / path for path in images_in(_open(where))])
    return inside[0] if len(inside) == 1 and is_image_group(inside[0]) else None


def is_image_group(path: Path) -> bool:
    """Return whether a folder is the group of an OME-Zarr image."""
    import zarr

    if not holds_zarr(path):
        return False
    opened = read_or(None, lambda: zarr.open(path, mode="r"))
    return isinstance(opened, zarr.Group) and "multiscales" in ome_attributes(opened)


def _open(where: Location) -> Any:
    """Open a zarr array or group for reading."""
    import zarr

    if isinstance(where, Address):
        return open_remote(where)
    if not holds_zarr(where):
        raise InputError(f"{where} is no zarr ({', '.join(MARKS)}: none is there); check the path.")
    return zarr.open(where, mode="r")


def _image(group: Any, scales: Mapping[str, Any]) -> OpenedImage:
    """Return the full resolution of an OME-Zarr image, without the names of its channels."""
    import zarr

    dataset = scales["datasets"][0]
    array = group[dataset["path"]]
    if not isinstance(array, zarr.Array):
        raise ValueError("the first level is no array")
    axes = scales.get("axes")
    if not axes:  # NGFF 0.1 and 0.2 have fixed axes
        return OpenedImage(array, "TCZYX" if len(array.shape) == 5 else None)
    axes = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in axes]
    letters = _letters([axis["name"] for axis in axes], array.shape)
    steps = (
        dataset.get("coordinateTransformations", []),
        scales.get("coordinateTransformations", []),
    )
    if letters is None:
        return OpenedImage(array)
    sizes = _scales(letters, steps)
    units = {
        letter: str(axis.get("unit") or "") for letter, axis in zip(letters, axes, strict=True)
    }
    return OpenedImage(
        array,
        letters,
        pixel_size_of(sizes, units),
        time_step=time_step_of(sizes.get("T"), units.get("T", "")),
    )


def _channel_names(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the channels' labels. They are meant for viewers and may have any form."""
    omero = attributes.get("omero")
    channels = omero.get("channels") if isinstance(omero, Mapping) else None
    if not isinstance(channels, list) or not all(
        isinstance(channel, Mapping) for channel in channels
    ):
        return ()
    return tuple(str(channel.get("label", "")) for channel in channels)


def _letters(names: Any, shape: Sequence[int]) -> str | None:
    """Return a letter for each named axis, or None if the names are missing or ambiguous."""
    if not names or len(names) != len(shape) or not all(isinstance(n, str) and n for n in names):
        return None
    if known := axes_of_names(names, shape):
        return known
    letters = "".join(name[0].upper() for name in names)
    apart = len(set(letters)) == len(shape) and set("YX") <= set(letters)
    return letters.replace("S", "A") if apart else None  # S would be the samples of a colour


def _scales(letters: str, steps: tuple[list[Any], list[Any]]) -> dict[str, float]:
    """Return the size of a pixel on each axis, from the scales of the level and the image."""
    sizes = dict.fromkeys(letters, 1.0)
    for step in (*steps[0], *steps[1]):
        if step.get("type") == "scale" and len(step.get("scale", ())) == len(letters):
            for letter, factor in zip(letters, step["scale"], strict=True):
                sizes[letter] *= float(factor)
    return sizes


def _inside(group: Any) -> list[str]:
    return read_or([], lambda: sorted(name for name, _ in group.members()))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "none"
