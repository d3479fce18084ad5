"""What of a plane shows nothing, and how the rest is prepared."""

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from conftest_data import real_pair, whole_plane
from napari_ptsam.images.blank import is_constant, is_noise, noise_deviation, padding_of
from napari_ptsam.images.normalize import Normalization
from napari_ptsam.images.settings import ImageSettings
from napari_ptsam.images.tiling import Tile, Tiling

SETS = ["bbbc039_nuclei", "emps_particles", "nasa_meltpool", "usiigaci_phase"]
WHOLE = ImageSettings(Tiling(512, whole=True))


def real(name: str = "bbbc039_nuclei", number: int = 0) -> np.ndarray:
    if name == "bbbc039_nuclei":
        image = whole_plane(number)[0]
    else:
        image = tifffile.imread(real_pair(name, number)[0])
    return image if image.ndim == 3 else image[..., None]


def noise(shape: tuple[int, int] = (256, 256), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 5, shape)[..., None]


@pytest.mark.parametrize("name", SETS)
def test_real_planes_look_as_they_always_did(name: str) -> None:
    for number in range(4):
        plane = real(name, number)
        found = WHOLE.prepare(plane, rgb=plane.shape[-1] == 3)
        flat = plane.reshape(-1)
        low, high = np.percentile(flat, [1, 99.8])
        expected = ((plane - low) / (high - low)).clip(0, 1).astype(np.float32)
        assert np.array_equal(found.pixels, np.broadcast_to(expected, found.pixels.shape))
        assert found.blank is None
        assert found.cut(WHOLE.tiling.tiles(plane.shape[:2])[0]) is not None


def test_float16_is_prepared_as_float32_is() -> None:
    for plane in (noise(), noise() + real()[:256, :256]):
        half = plane.astype(np.float16)
        found, expected = WHOLE.prepare(half), WHOLE.prepare(half.astype(np.float32))
        assert np.array_equal(found.pixels, expected.pixels)
        assert (found.blank is None) == (expected.blank is None)


@pytest.mark.parametrize("value", [0, 7, 65535])
@pytest.mark.parametrize("hot", [0, 1, 9])
def test_constant_planes_are_blank(value: int, hot: int) -> None:
    plane = np.full((120, 100, 1), value, np.uint16)
    for number in range(hot):  # the first of them in the corner
        plane[12 * number, 11 * number] = 3000
    assert is_constant(plane)
    assert WHOLE.prepare(plane, False).blank.all()
    assert WHOLE.prepare(plane, False).cut(Tile(0, 0, 120)) is None


def test_the_smallest_object_is_something() -> None:
    plane = np.zeros((100, 100, 1), np.uint8)
    plane[50:52, 50:52] = 1
    assert not is_constant(plane)
    plane = np.zeros((100, 100, 1), np.uint8)
    plane[50, 20:80] = 1  # a line is as thin as a pixel, but no pixel of it is alone
    assert not is_constant(plane)


PADDINGS = {
    "one corner": lambda a: np.pad(a, ((0, 300), (0, 200), (0, 0))),
    "all around": lambda a: np.pad(a, ((90, 90), (90, 90), (0, 0))),
    "white": lambda a: np.pad(a, ((0, 0), (0, 90), (0, 0)), constant_values=65535),
    "shifted by 6": lambda a: np.pad(a, ((6, 0), (0, 0), (0, 0)))[:-6],
    "stairs": lambda a: np.concatenate(
        [np.pad(a, ((0, 0), (0, 50), (0, 0))), np.pad(a, ((0, 0), (50, 0), (0, 0)))]
    ),
    "a gap": lambda a: np.concatenate([a, np.zeros_like(a[:20]), a]),
    "two values": lambda a: np.pad(
        np.pad(a, ((0, 50), (0, 0), (0, 0))), ((0, 0), (0, 50), (0, 0)), constant_values=9
    ),
}


@pytest.mark.parametrize("name", PADDINGS)
def test_padding_is_found_to_the_pixel(name: str) -> None:
    image, pad = real(), PADDINGS[name]
    outside = (
        pad(np.full(image.shape, 40000, np.uint16))[..., 0] != 40000
    )  # what is padded is the rest
    assert np.array_equal(padding_of(pad(image)), outside)


def test_padding_beside_content_that_is_clipped_to_the_same_value() -> None:
    clipped = np.where(real() < 300, 0, real())[:300, :300]
    assert (clipped == 0).mean() > 0.3 and padding_of(clipped) is None
    found = padding_of(np.pad(clipped, ((0, 200), (100, 90), (0, 0))))
    assert found.sum() == pytest.approx(500 * 490 - 300 * 300, rel=0.01)


@pytest.mark.parametrize("angle", [2, 7, 45])
def test_a_turned_image_has_padding_at_its_corners(angle: float) -> None:
    turned = ndimage.rotate(real(), angle, order=1)
    outside = ndimage.rotate(np.ones(real().shape[:2], np.float32), angle, order=1) == 0
    found = padding_of(turned)
    assert np.mean(found != outside) < 0.005


def test_a_round_field_of_view_has_padding_around_it() -> None:
    y, x = np.mgrid[-300:300, -300:300]
    image = np.where(np.hypot(y, x) < 290, noise((600, 600))[..., 0], 0)[..., None]
    assert np.array_equal(padding_of(image), np.hypot(y, x)[...] >= 290)


def test_clipped_background_and_flat_objects_are_no_padding() -> None:
    image, mask = real(number=3), whole_plane(3)[1]
    level = np.median(image)
    clipped = np.clip(image, level + 20, level + 400)
    drawn = (mask > 0).astype(np.uint8)[..., None] * 200
    for plane in (clipped, drawn, 200 - drawn, np.where(drawn > 0, image, 0)):
        assert padding_of(plane) is None


def test_padding_beside_clipped_background_of_the_same_value_is_found() -> None:
    """Dark images touch the zeros around them in ragged lines."""
    rng = np.random.default_rng(0)
    image = (rng.poisson(5, (128, 128, 1)) * (rng.random((128, 128, 1)) < 0.4)).astype(np.uint8)
    padded = np.pad(image, ((0, 64), (32, 32), (0, 0)))
    found = padding_of(padded)
    assert found is not None and found[128:].all() and found[:, :31].all() and found[:, -31:].all()
    assert not found[2:126, 34:-34].any()
    assert padding_of(image) is None


def test_padding_has_no_say_in_how_bright_the_rest_is() -> None:
    image = real()
    plain = WHOLE.prepare(image, False).pixels
    found = WHOLE.prepare(PADDINGS["all around"](image), False)
    assert np.array_equal(found.pixels[90:-90, 90:-90], plain)
    assert found.pixels[0, 0, 0] == pytest.approx(np.median(plain), abs=1e-6)
    assert found.cut(Tile(0, 0, 90)) is None
    assert found.cut(Tile(0, 0, 120)) is not None


def test_padding_has_no_say_in_the_limits_of_a_stack() -> None:
    from napari_ptsam.images.planes import Planes

    stack = np.stack([real(number=number)[..., 0] for number in range(3)])
    settings = ImageSettings(Tiling(512), Normalization("stack"))
    plain = settings.limits(Planes(stack))
    padded = settings.limits(Planes(np.pad(stack, ((0, 0), (0, 700), (0, 0)))))
    np.testing.assert_allclose(padded, plain, rtol=0.05)


NOISES = {
    "normal": noise(),
    "small": noise((64, 64)),
    "three channels": np.concatenate([noise(seed=seed) for seed in range(3)], axis=-1),
    "photons": np.random.default_rng(0).poisson(3, (256, 256, 1)),
    "few photons": np.random.default_rng(0).poisson(0.1, (256, 256, 1)),
}


@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize("hot", [False, True])
def test_noise_is_noise_and_stays_faint(name: str, hot: bool) -> None:
    plane = NOISES[name].round().astype(np.uint16)
    if hot:
        plane[np.random.default_rng(1).random(plane.shape[:2]) < 3e-4] = 4000
    assert is_noise(plane)
    found = WHOLE.prepare(plane, rgb=False)
    assert found.blank.all()
    if "photons" not in name:
        assert found.pixels.std() < 0.1


@pytest.mark.parametrize("name", SETS)
def test_real_planes_are_more_than_noise(name: str) -> None:
    for number in range(4):
        assert not is_noise(real(name, number))


@pytest.mark.parametrize(("radius", "contrast"), [(6, 1.0), (20, 0.5), (3, 3.0)])
def test_a_faint_object_is_more_than_noise(radius: float, contrast: float) -> None:
    y, x = np.mgrid[:256, :256]
    for centre in (128, 101):
        disk = np.hypot(y - centre, x - centre) < radius
        assert not is_noise(noise() + 5 * contrast * disk[..., None])


def test_noise_is_measured_beside_objects() -> None:
    y, x = np.mgrid[:256, :256]
    objects = 900 * (np.hypot(y % 64 - 32, x % 64 - 32) < 15)[..., None]
    assert noise_deviation((noise() + objects)[..., 0]) == pytest.approx(5, rel=0.1)


@pytest.mark.parametrize("faint", [1, 4, 40])
def test_a_sparse_field_is_as_bright_as_a_crowded_one(faint: int) -> None:
    """Five objects on a million pixels: too few for the percentiles."""
    y, x = np.mgrid[:1024, :1024]
    sparse = noise((1024, 1024))
    for centre in range(100, 1000, 180):
        sparse[np.hypot(y - centre, x - centre) < 8] += 20 * faint
    found = WHOLE.prepare(sparse, rgb=False)
    assert found.blank[500:600, 0:50].all() and not found.blank[80:120, 80:120].any()
    assert 0.97 < found.blank.mean() < 0.995
    dark, bright = found.pixels[500:600, 0:50, 0], found.pixels[98:103, 98:103, 0]
    assert dark.std() < 0.07
    assert bright.mean() - dark.mean() > (0.2 if faint == 1 else 0.6)


def test_many_faint_objects_are_stretched_as_before() -> None:
    y, x = np.mgrid[:256, :256]
    many = noise() + 10 * (np.hypot(y % 32 - 16, x % 32 - 16) < 10)[..., None]
    low, high = np.percentile(many, [1, 99.8])
    found = WHOLE.prepare(many, rgb=False).pixels[..., :1]
    np.testing.assert_allclose(found, ((many - low) / (high - low)).clip(0, 1), atol=1e-6)
