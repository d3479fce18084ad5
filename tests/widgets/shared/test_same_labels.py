"""The array, the file and the layer of an image are read alike, whatever its axes and its dtype."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from napari.layers import Image

import napari_ptsam as ptsam
from napari_ptsam.images.planes import Planes
from napari_ptsam.images.reading import open_image
from napari_ptsam.widgets.batch.layer_list import planes_of

NAMES = {"T": "time", "Z": "z", "Y": "y", "X": "x", "C": "channel"}
DTYPES = ["u1", "u2", ">u2", "u4", "u8", "i2", "i4", "i8", "f2", "f4", ">f4", "f8"]


@st.composite
def images(draw: Any) -> tuple[str, tuple[int, ...], np.dtype, tuple[int, ...]]:
    """Draw axes, their sizes, a dtype and chunks."""
    axes = draw(st.permutations("YX" + draw(st.sampled_from(["", "T", "Z", "TZ", "CZ", "TCZ"]))))
    sizes = {"T": draw(st.integers(1, 2)), "Z": draw(st.integers(1, 2)), "C": 1, "Y": 64, "X": 72}
    shape = tuple(sizes[axis] for axis in axes)
    chunks = tuple(draw(st.integers(1, size)) if size < 9 else 48 for size in shape)
    return "".join(axes), shape, np.dtype(draw(st.sampled_from(DTYPES))), chunks


def arranged(planes: np.ndarray, axes: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an image whose planes are taken in turn."""
    leading = [size for axis, size in zip(axes, shape, strict=True) if axis not in "YXC"]
    count = int(np.prod(leading, dtype=int))
    whole = planes[np.arange(count) % len(planes)].reshape(*leading, *planes.shape[1:])
    ordered = "".join(axis for axis in axes if axis not in "YXC") + "YX"
    if "C" in axes:
        whole, ordered = whole[None], "C" + ordered
    return whole.transpose([ordered.index(axis) for axis in axes]).astype(dtype)


def files_of(folder: Path, array: np.ndarray, axes: str, chunks: tuple[int, ...]) -> list[Planes]:
    """Return the image from files of every kind that can hold it."""
    np.save(folder / "a.npy", array)
    native = array.astype(array.dtype.newbyteorder("="))
    names = [NAMES[axis] for axis in axes]
    zarr.create_array(folder / "a.zarr", data=native, chunks=chunks, dimension_names=names)
    found = [open_image(folder / "a.npy", axes), open_image(folder / "a.zarr")]
    options = {"photometric": "minisblack", "metadata": {"axes": axes}}
    tifffile.imwrite(folder / "a.tif", array, compression="zlib", **options)
    found.append(open_image(folder / "a.tif", axes if array.ndim == len(axes) else None))
    if axes in ("YX", "TYX", "ZYX", "TZYX", "TZCYX"):
        tifffile.imwrite(folder / "a.ome.tif", native, ome=True, **options)
        found.append(open_image(folder / "a.ome.tif"))
    return found


def layers_of(array: np.ndarray, axes: str, chunks: tuple[int, ...]) -> list[Planes]:
    """Return the image from layers of napari, also with an array of xarray."""
    import xarray

    names = [NAMES[axis] for axis in axes]
    lazy, options = da.from_array(array, chunks), {"contrast_limits": (0, 255), "rgb": False}
    return [
        planes_of(Image(array, axis_labels=names, **options)),
        planes_of(Image(lazy, axis_labels=names, **options)),
        planes_of(Image(xarray.DataArray(array, dims=names), **options)),
    ]


@given(images())
@settings(max_examples=25, deadline=None, derandomize=True)
def test_planes(image: tuple[str, tuple[int, ...], np.dtype, tuple[int, ...]]) -> None:
    axes, shape, dtype, chunks = image
    numbers = np.arange(6 * 64 * 72).reshape(6, 64, 72) % 251
    array = arranged(numbers, axes, shape, dtype)
    expected = Planes(array, axes)
    with TemporaryDirectory() as folder:
        others = [
            Planes(da.from_array(array, chunks), axes),
            *files_of(Path(folder), array, axes, chunks),
            *layers_of(array, axes, chunks),
        ]
        for other in others:
            assert other.extent == expected.extent and len(other) == len(expected)
            assert other.stack_axis == expected.stack_axis
            for one, two in zip(expected, other, strict=True):
                assert np.array_equal(one, two) and one.dtype.kind == two.dtype.kind
        del others, other


@pytest.fixture(scope="module")
def two_planes(nuclei) -> np.ndarray:
    """Two planes of nuclei with values that every dtype can hold, so that all share an embedding."""
    crops = [image[:64, :72].astype(float) for image in nuclei[0][:2]]
    return np.stack([(crop * (250 / crop.max())).round() for crop in crops])


@given(image=images())
@settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_labels(image, two_planes, prompt, loaded) -> None:
    axes, shape, dtype, chunks = image
    array = arranged(two_planes, axes, shape, dtype)
    expected = ptsam.segment(array, prompt, axes=axes)
    assert expected.any()
    with TemporaryDirectory() as folder:
        files_of(Path(folder), array, axes, chunks)
        for source in (
            da.from_array(array, chunks), Path(folder) / "a.npy", Path(folder) / "a.zarr",
        ):  # fmt: skip
            found = ptsam.segment(source, prompt, axes=axes)
            assert found.shape == expected.shape and np.array_equal(found, expected)
        (planes, *_) = layers_of(array, axes, chunks)
        assert np.array_equal(ptsam.segment(planes, prompt).ravel(), expected.ravel())
