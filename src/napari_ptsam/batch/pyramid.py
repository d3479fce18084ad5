"""Write the resolution levels of an OME-Zarr image, page by page."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_ptsam.batch.work_folder import chunks_of, compressors

SMALLEST_LEVEL = 256
"""Planes are halved until their longer side has at most that many pixels."""


def level_count(shape: tuple[int, ...]) -> int:
    """Return the number of resolution levels of an array whose last axes are y and x."""
    count, side = 1, max(shape[-2:])
    while side > SMALLEST_LEVEL:
        count, side = count + 1, (side + 1) // 2
    return count


def write_levels(
    path: Path,
    axes: str,
    shape: tuple[int, ...],
    dtype: np.dtype,
    pages: Iterable[tuple[tuple[int, ...], np.ndarray]],
    zarr_format: Literal[2, 3] = 3,
) -> None:
    """Write arrays ``0``, ``1``, ... into a folder, each of half the size in y and x.

    A pixel of a smaller level is one of the pixels that it stands for, so that
    labels stay labels; probabilities are averaged.

    Parameters
    ----------
    path
        The folder.
    axes
        Axes of the arrays, one letter each; y and x are last.
    shape, dtype
        Shape and dtype of the first level.
    pages
        Each index in front of y and x, with its page of shape (y, x). Only one
        page is in memory.
    zarr_format
        2 or 3.
    """
    levels = []
    for number in range(level_count(shape)):
        levels.append(_new_level(path / str(number), axes, shape, dtype, zarr_format))
        shape = (*shape[:-2], (shape[-2] + 1) // 2, (shape[-1] + 1) // 2)
    for index, page in pages:
        for level in levels:
            level[index] = page
            page = _halved(page)


def level_transformations(
    level: int, scale: list[float], translation: list[float] | None, averaged: bool
) -> list[dict[str, Any]]:
    """Return the coordinate transformations of a level, as NGFF has them.

    Parameters
    ----------
    level
        Number of the level.
    scale, translation
        Those of the first level, with y and x last.
    averaged
        Whether pixels are averaged: their centres then move with each level.
    """
    factor = 2**level
    steps = [*scale[:-2], scale[-2] * factor, scale[-1] * factor]
    transformations: list[dict[str, Any]] = [{"type": "scale", "scale": steps}]
    shift = list(translation or [0.0] * len(scale))
    if averaged:
        for axis in (-2, -1):
            shift[axis] += scale[axis] * (factor - 1) / 2
    if translation is not None or any(shift):
        transformations.append({"type": "translation", "translation": shift})
    return transformations


def _new_level(
    path: Path, axes: str, shape: tuple[int, ...], dtype: np.dtype, zarr_format: Literal[2, 3]
) -> Any:
    import zarr

    chunks = (1,) * (len(shape) - 2) + chunks_of((shape[-2], shape[-1]))
    options: dict[str, Any] = {"compressors": compressors(), "dimension_names": list(axes.lower())}
    if zarr_format == 2:
        from numcodecs import Blosc

        options = {
            "compressors": [Blosc()],  # which all readers of the older format know
            "chunk_key_encoding": {"name": "v2", "separator": "/"},
        }
    return zarr.create_array(
        path, shape=shape, chunks=chunks, dtype=dtype, fill_value=0,
        zarr_format=zarr_format, **options,
    )  # fmt: skip


def _halved(page: np.ndarray) -> np.ndarray:
    if page.dtype.kind != "f":
        return page[::2, ::2]
    even = np.pad(page, [(0, size % 2) for size in page.shape], mode="edge")
    blocks = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2)
    return blocks.mean((1, 3), dtype=np.float64).astype(page.dtype)
