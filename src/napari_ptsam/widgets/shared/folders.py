"""A folder of images as one stack, or as a layer each."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.errors import InputError
from napari_ptsam.images.reading import list_images, open_image

if TYPE_CHECKING:
    from napari_ptsam.images.planes import Planes
    from napari_ptsam.widgets.shared.worker import Steps

FOLDER = "napari-ptsam folder"
"""Key of a layer's metadata: where its images came from."""


def read_folder(folder: Path) -> Steps:
    """Open a folder's images; in a thread. Yields the keywords for ``add_image``, last.

    Raises
    ------
    InputError
        If the folder holds no images, or one of them cannot be read.
    """
    images = []
    for path in list_images(folder):
        images.append(open_image(path))
        yield None
    alike = {(i.axes, i.array_shape, i.dtype) for i in images}
    if len(images) > 1 and len(alike) == 1 and not images[0].leading:
        yield [_stack(folder, images)]
    else:
        yield [_layer(image, folder / image.name) for image in images]


def read_file(path: Path) -> dict[str, Any]:
    """Keywords for ``add_image`` of one image or stack, read plane by plane when it is shown.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    return _layer(open_image(path), path)


def _stack(folder: Path, images: list[Planes]) -> dict[str, Any]:
    """Images of one size as a stack that is read plane by plane."""
    first = images[0]
    return {
        "data": _lazy([(image, 0) for image in images]), "name": folder.name, "rgb": first.rgb,
        "metadata": {FOLDER: str(folder)}, **_placed(first, ("image",), (1.0,), ("pixel",)),
    }  # fmt: skip


def _layer(image: Planes, path: Path) -> dict[str, Any]:
    """One image or stack of its own, a stack read plane by plane."""
    planes = _lazy([(image, number) for number in range(len(image))])
    planes = planes.reshape(*image.leading, *planes.shape[1:])
    names = tuple(image.leading_axes.lower())
    z = image.pixel_size.z if image.pixel_size else None
    known = [(z, image.pixel_size.unit) if n == "z" and z and image.pixel_size else (1.0, "pixel")
             for n in names]  # fmt: skip
    return {
        "data": planes, "name": path.stem, "rgb": image.rgb, "metadata": {FOLDER: str(path)},
        **_placed(image, names, tuple(s for s, _ in known), tuple(u for _, u in known)),
    }  # fmt: skip


def _lazy(planes: list[tuple[Planes, int]]) -> Any:
    """A dask array of planes of one shape, each read when it is needed."""
    import dask
    import dask.array as da

    image, number = planes[0]
    shape = image[number].shape
    return da.stack(
        [
            da.from_delayed(dask.delayed(partial(_plane, *one, shape))(), shape, image.dtype)
            for one in planes
        ]
    )


def _plane(image: Planes, number: int, shape: tuple[int, ...]) -> np.ndarray:
    plane: np.ndarray = image[number]
    if plane.shape != shape:
        raise InputError(f"{image.name} has changed since the folder was opened; open it again.")
    return plane


def _placed(
    image: Planes, names: tuple[str, ...], scale: tuple[float, ...], units: tuple[str, ...]
) -> dict[str, Any]:
    """Axis labels, scale and units of a layer with such leading axes."""
    channels = ("c",) * (image.channels > 1 and not image.rgb)
    placed: dict[str, Any] = {"axis_labels": (*names, "y", "x", *channels)}
    size = image.pixel_size
    if size is not None:
        ones = (1.0,) * len(channels)
        placed["scale"] = (*scale, size.y, size.x, *ones)
        placed["units"] = (*units, size.unit, size.unit, *("pixel",) * len(channels))
    return placed
