import numpy as np
import pytest

import napari_ptsam as ptsam
from napari_ptsam.images.planes import Planes, guess_axes


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((50, 60), "YX"), ((50, 60, 3), "YXS"), ((50, 60, 4), "YXS"), ((50, 60, 2), "YXC"),
     ((5, 50, 60), "ZYX"), ((5, 50, 60, 3), "ZYXS"), ((2, 5, 50, 60), "TZYX"),
     ((2, 5, 50, 60, 7), "TZYXC")],
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
