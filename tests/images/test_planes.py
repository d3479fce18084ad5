import dask.array as da
import numpy as np
import pytest

import napari_ptsam as ptsam
from napari_ptsam.datasets.annotated_planes import annotate
from napari_ptsam.datasets.pairing import pair
from napari_ptsam.images.axes import axes_of_names, guess_axes
from napari_ptsam.images.planes import Planes


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((50, 60), "YX"), ((50, 60, 3), "YXS"), ((50, 60, 4), "YXS"), ((50, 60, 2), "YXC"),
     ((5, 50, 60), "ZYX"), ((5, 50, 60, 3), "ZYXS"), ((2, 5, 50, 60), "TZYX"),
     ((2, 5, 50, 60, 7), "TZYXC"), ((1, 50, 60), "ZYX"), ((4, 1, 50, 60), "TZYX"),
     ((4, 1, 5, 50, 60), "TCZYX"), ((50, 1, 60), "YCX"), ((50, 60, 3, 1), "YXSC"),
     ((1, 1, 1, 1, 50, 60), "CABDYX")],
)  # fmt: skip
def test_guessed_axes(shape, axes: str) -> None:
    assert guess_axes(shape) == axes


@pytest.mark.parametrize("axes", ["TCZYX", "CTZYX", "YXTCZ", "TZYXC"])
def test_every_order_of_axes_gives_the_same_planes(axes: str) -> None:
    reference = np.random.default_rng(0).random((2, 3, 17, 18, 4))  # TZYXC
    array = reference.transpose(["TZYXC".index(axis) for axis in axes])
    planes = Planes(array, axes)
    assert planes.shape == (17, 18) and planes.channels == 4 and len(planes) == 6
    assert planes.leading == tuple({"T": 2, "Z": 3}[axis] for axis in planes.leading_axes)
    if planes.leading_axes == "TZ":
        assert all(
            np.array_equal(planes[t * 3 + z], reference[t, z]) for t in (0, 1) for z in (0, 2)
        )
    else:
        assert np.array_equal(planes[4], reference[0, 2])


class Lazy:
    """Counts what is read of an array, as dask or zarr would be."""

    def __init__(self, shape) -> None:
        self.shape, self.dtype, self.read = shape, np.dtype(np.uint8), 0

    def __getitem__(self, index) -> np.ndarray:
        part = np.zeros(self.shape, np.uint8)[index]
        self.read += part.size
        return part


def test_only_the_plane_asked_for_is_read() -> None:
    lazy = Lazy((10, 20, 30))
    planes = Planes(lazy)
    assert lazy.read == 0
    _ = planes[7]
    assert lazy.read == 20 * 30


@pytest.mark.parametrize(
    ("array", "axes", "message"),
    [(np.zeros(50), None, "no plane"), (np.zeros((2, 2, 5, 50, 60)), None, "name its axes"),
     (np.zeros((5, 50, 60)), "YX", "do not fit"), (np.zeros((50, 60)), "ZT", "do not fit"),
     (np.zeros((50, 60)), "YY", "do not fit"), (np.zeros((0, 50, 60)), None, "length 0"),
     (np.zeros((15, 60)), None, "smaller than 16 x 16"),
     (np.zeros((50, 60), complex), None, "dtype complex128"),
     (np.zeros((3, 50, 60, 3)), "CYXS", "two channel axes")],
)  # fmt: skip
def test_arrays_that_are_no_images(array, axes, message: str) -> None:
    with pytest.raises(ptsam.InputError, match=message):
        Planes(array, axes)


@pytest.mark.parametrize(
    ("names", "axes"),
    [(("time", "Z", "row", "col"), "TZYX"), (("frames", "channel", "y", "x"), "TCYX"),
     (("position", "t", "y", "x"), "PTYX"), (("dim_0", "dim_1", "y", "x"), "TZYX"),
     (("t", "dim_1", "dim_2", "dim_3"), "TZYX"), (("dim_0", "dim_1", "dim_2", "dim_3"), None),
     (("z", "z", "y", "x"), None), (("a", "b", "c", "d"), None), (("z", "y", "x"), None)],
)  # fmt: skip
def test_axes_by_their_names(names, axes: str | None) -> None:
    assert axes_of_names(names, (2, 3, 50, 60)) == axes


def test_arrays_of_xarray_name_their_axes() -> None:
    xarray = pytest.importorskip("xarray")
    values = np.random.default_rng(0).random((40, 3, 50))
    planes = Planes(xarray.DataArray(values, dims=("y", "time", "x")))
    assert planes.axes == "YTX" and np.array_equal(planes[2], values[:, 2])
    assert Planes(xarray.DataArray(values.transpose(1, 0, 2))).axes == "ZYX"
    assert Planes(xarray.DataArray(values, dims=("y", "time", "x")), "YCX").channels == 3


def test_the_axis_that_counts_is_the_last_one_longer_than_1() -> None:
    for shape, axes, stack_axis, length in (
        ((4, 1, 32, 32), "TZYX", "T", 4), ((1, 3, 32, 32), "TZYX", "Z", 3),
        ((32, 32), "YX", "", 1), ((1, 1, 32, 32), "TZYX", "", 1), ((2, 32, 3, 32), "ZYTX", "T", 3),
    ):  # fmt: skip
        planes = Planes(np.zeros(shape), axes)
        assert (planes.stack_axis, planes.stack_length) == (stack_axis, length)
    assert Planes(np.zeros((1, 5, 1, 32, 32)), "ZYX").stack_axis == "Z"


@pytest.mark.filterwarnings("ignore:1 covers")  # what the values mean does not matter here
def test_masks_lack_axes_of_length_1_or_have_others_in_another_order() -> None:
    image = np.arange(1, 7).reshape(2, 3, 1, 1) + np.zeros((2, 3, 32, 32))
    mask = (np.arange(32) < image.swapaxes(0, 1)).astype(int)  # as wide as the image is bright
    annotated = annotate([Planes(image, "TZYX")], [Planes(mask, "ZTYX")])
    assert [example.labels[0].sum() for example in annotated.examples] == [1, 2, 3, 4, 5, 6]
    assert [example.pixels[0, 0] for example in annotated.examples] == [1, 2, 3, 4, 5, 6]
    # A mask that does not state its axes has the order of its image.
    by_order = annotate([Planes(image, "ZTYX")], [Planes(mask.swapaxes(0, 1))])
    assert [example.labels[0].sum() for example in by_order.examples] == [1, 2, 3, 4, 5, 6]
    for shape in ((4, 32, 32), (4, 1, 1, 32, 32), (1, 4, 32, 32)):
        mask = np.ones(shape, int)
        mask[..., :5] = 0
        planes = pair(np.zeros((4, 1, 32, 32)), mask, axes="TZYX")
        assert len(annotate(*planes).examples) == 4


def test_dask_arrays_of_unknown_length() -> None:
    stack = np.random.default_rng(0).random((4, 32, 40))
    lazy = da.from_array(stack, chunks=(1, 32, 40))
    chosen = lazy[lazy.max(axis=(1, 2)) > 0]
    planes = Planes(chosen)
    assert len(planes) == 4 and np.array_equal(planes[3], stack[3])
    assert np.isnan(chosen.shape[0])  # the array of the caller is as before
    with pytest.raises(ptsam.InputError, match="length 0"):
        Planes(lazy[lazy.max(axis=(1, 2)) > 9])

    def fails(block: np.ndarray) -> np.ndarray:
        raise OSError("bad sector")

    broken = lazy.map_blocks(fails, dtype=bool, meta=np.zeros((0, 0, 0), bool))
    with pytest.raises(ptsam.InputError, match=r"length of the array is not known.*bad sector"):
        Planes(lazy[broken.any(axis=(1, 2))])
