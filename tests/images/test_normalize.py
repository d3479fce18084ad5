import numpy as np
import pytest

import napari_ptsam as ptsam
from conftest_data import whole_plane
from napari_ptsam.images.normalize import (
    Normalization,
    normalize,
    normalize_plane,
    select_channels,
    stack_limits,
)
from napari_ptsam.images.planes import Planes
from napari_ptsam.images.tiling import Tile, cut

DTYPES = [bool, np.uint8, np.uint16, np.int16, np.float32, np.float64]


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_dtypes_fill_the_range(dtype) -> None:
    plane = np.arange(64 * 64).reshape(64, 64) % 200 - (100 if dtype == np.int16 else 0)
    plane = (plane > 100) if dtype is bool else plane.astype(dtype)
    found = normalize(plane, Normalization())
    assert found.shape == (64, 64, 3) and found.dtype == np.float32
    assert found.min() == 0 and found.max() == 1
    assert np.array_equal(found[..., 0], found[..., 2])


def test_real_uint16_and_its_float_copies_look_the_same() -> None:
    image = whole_plane()[0]
    reference = normalize(image, Normalization())
    for copy in (image.astype(np.float32) * 3.5 - 70, image / 65535.0):
        np.testing.assert_allclose(normalize(copy, Normalization()), reference, atol=1e-5)


def test_percentiles_are_those_of_numpy() -> None:
    plane = np.random.default_rng(0).integers(0, 4096, (50, 60)).astype(np.uint16)
    plane[:20] += 4096  # noise alone is not stretched as far
    low, high = np.percentile(plane, [5, 95])
    expected = ((plane - low) / (high - low)).clip(0, 1)
    found = normalize(plane, Normalization("plane", 5, 95))
    np.testing.assert_allclose(found[..., 0], expected, atol=1e-6)


@pytest.mark.parametrize("value", [0, 7, 65535])
def test_constant_planes_become_zero(value: int) -> None:
    assert not normalize(np.full((20, 30), value, np.uint16), Normalization()).any()


def test_few_bright_pixels_are_not_lost() -> None:
    plane = np.zeros((100, 100), dtype=bool)
    plane[0, :5] = True  # fewer than the upper percentile leaves out
    assert normalize(plane, Normalization()).max() == 1


def test_fixed_range() -> None:
    found = normalize(np.array([[0, 50, 100, 200]] * 4, np.uint8), Normalization("range", 50, 100))
    assert found[0, :, 0].tolist() == [0, 0, 1, 1]


def test_rgb_keeps_its_colours_and_loses_alpha() -> None:
    image = np.zeros((20, 20, 4), np.uint8)
    image[..., 0], image[..., 1], image[..., 3] = 200, 100, 255
    image[:10, :, :3] = 0
    found = normalize(image, Normalization(), rgb=True)
    assert found[-1, -1].tolist() == [1.0, 0.5, 0.0]


def test_channels_have_their_own_limits() -> None:
    image = np.zeros((20, 20, 2), np.uint16)
    image[::2, :, 0], image[::2, :, 1] = 1000, 10
    found = normalize(image, Normalization())
    assert found[0, 0].tolist() == [1, 1, 1] and found[1, 0].tolist() == [0, 0, 0]


def test_choice_of_channels() -> None:
    image = np.random.default_rng(0).random((20, 20, 5))
    assert np.array_equal(select_channels(image, (4, 0), rgb=False), image[..., [4, 0]])
    third = normalize(image, Normalization(), (4, 0))[..., 2]
    np.testing.assert_allclose(third, normalize(image, Normalization(), (4, 0))[..., :2].mean(-1))


@pytest.mark.parametrize(
    ("channels", "message"),
    [(None, "5 channels; choose up to three"), ((0, 5), "has 5 .numbered 0 to 4"),
     ((-1,), "numbered 0 to 4"), ((0, 1, 2, 3), "one to three")],
)  # fmt: skip
def test_channels_that_are_not_there(channels, message: str) -> None:
    with pytest.raises(ptsam.InputError, match=message):
        normalize(np.zeros((20, 20, 5)), Normalization(), channels)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_do_not_influence_the_limits(bad: float) -> None:
    plane = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    expected = normalize(plane, Normalization("plane", 0, 100))
    plane[3, 4] = bad
    found = normalize(plane, Normalization("plane", 0, 100))
    assert np.isfinite(found).all()
    there = np.isfinite(plane)
    np.testing.assert_allclose(found[there], expected[there], atol=1e-6)


def test_stack_limits_are_those_of_all_planes() -> None:
    stack = np.stack([np.full((20, 20), value, np.uint16) for value in (0, 500, 1000)])
    limits = stack_limits(Planes(stack), Normalization("stack", 0, 100), None, rgb=False)
    assert limits.tolist() == [[0, 1000]]
    assert normalize(stack[1], Normalization("stack", 0, 100), limits=limits).max() == 0.5


def test_nan_on_a_plane_leaves_the_limits_of_the_others() -> None:
    stack = np.stack([np.full((20, 20), value, np.float32) for value in (0, 500, 1000)])
    stack[1, 3, 4] = np.nan
    whole = Normalization("stack", 0, 100)
    assert stack_limits(Planes(stack), whole, None, rgb=False).tolist() == [[0, 1000]]
    with pytest.raises(ptsam.InputError, match="no pixel that is a finite number"):
        stack_limits(Planes(np.full_like(stack, np.nan)), whole, None, rgb=False)


@pytest.mark.parametrize(
    "arguments", [("plane", 5, 5), ("plane", -1, 99), ("stack", 0, 101), ("range", 3, 2),
                  ("range", np.nan, 2), ("median", 1, 2)]
)  # fmt: skip
def test_senseless_normalisations(arguments) -> None:
    with pytest.raises(ptsam.InputError):
        Normalization(*arguments)


def test_padding_changes_nothing_for_clicks_and_suggestions(nuclei) -> None:
    image = nuclei[0][0]
    padded = normalize_plane(np.pad(image, ((0, 60), (0, 0))))
    alone = normalize_plane(image)
    assert np.array_equal(padded[: len(image)], alone)
    assert np.array_equal(
        padded[len(image) :], np.broadcast_to(np.median(alone, (0, 1)), (60, 128, 3))
    )
    assert not normalize_plane(np.zeros((40, 50))).any()


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_tiles_of_padded_planes_can_be_written_to(channels: int) -> None:
    """Torch warns of arrays that are read-only."""
    plane = np.random.default_rng(0).integers(50, 200, (96, 96, channels)).astype(np.uint8)
    plane[:, 60:] = 0
    pixels = normalize_plane(plane, rgb=channels == 3)
    assert cut(pixels, Tile(0, 0, 96)).flags.writeable
    assert np.ptp(pixels[:, 60:], axis=(0, 1)).max() == 0
