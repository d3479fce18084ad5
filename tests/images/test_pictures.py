"""PNG, JPEG and TIFF as they are to be seen: 16 bits, palettes, orientation and transparency."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

import napari_ptsam as ptsam
from napari_ptsam.images.channels import channels_of
from napari_ptsam.images.reading import open_image

RNG = np.random.default_rng(0)
LONG = RNG.integers(0, 4000, (40, 50, 4)).astype(np.uint16)
INDICES = RNG.integers(0, 256, (40, 50)).astype(np.uint8)
COLOURS = RNG.integers(0, 256, (256, 3)).astype(np.uint8)
RAMP = np.arange(256, dtype=np.uint8)


@pytest.mark.parametrize("samples", [2, 3, 4])
def test_png_of_16_bits_a_sample(samples: int, tmp_path: Path) -> None:
    path, pixels = tmp_path / "a.png", np.ascontiguousarray(LONG[..., :samples])
    path.write_bytes(imagecodecs.png_encode(pixels))
    planes = open_image(path)
    assert planes.rgb and planes.dtype == np.uint16 and np.array_equal(planes[0], pixels)
    assert channels_of(planes).kind == ("grey" if samples == 2 else "rgb")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ptsam.InputError, match=r"a\.png cannot be read"):
        open_image(path)


def with_palette(palette: np.ndarray) -> Image.Image:
    picture = Image.fromarray(INDICES, "L").convert("P")
    picture.putpalette(palette.tobytes())
    picture.frombytes(INDICES.tobytes())
    return picture


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_palettes_are_colours(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    with_palette(COLOURS).save(path)
    planes = open_image(path)
    assert planes.rgb and np.array_equal(planes[0], COLOURS[INDICES])
    assert np.array_equal(open_image(path, labels=True)[0], INDICES)
    assert np.array_equal(open_image(path, "YX")[0], COLOURS[INDICES])


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_palettes_without_hues_are_grey(suffix: str, tmp_path: Path) -> None:
    path, greys = tmp_path / f"a{suffix}", RNG.permutation(RAMP)
    with_palette(np.stack([greys] * 3, 1)).save(path)
    planes = open_image(path)
    assert planes.axes == "YX" and np.array_equal(planes[0], greys[INDICES])


def test_colours_in_which_intensities_are_shown_leave_the_intensities(tmp_path: Path) -> None:
    zero = np.zeros_like(RAMP)
    for number, palette in enumerate(
        (
            np.stack([zero, RAMP, zero]),  # green
            np.stack([np.minimum(RAMP, 85) * 3, RAMP, np.maximum(RAMP, 171) - 171]),  # fire
        )
    ):
        path = tmp_path / f"{number}.tif"
        stack = np.stack([INDICES, INDICES.T.reshape(40, 50)])
        colormap = palette.astype(np.uint16) * 257
        tifffile.imwrite(path, stack, photometric="palette", colormap=colormap)
        planes = open_image(path)
        assert planes.axes == "ZYX" and np.array_equal(planes[1], stack[1])


def test_a_stack_with_a_palette_of_16_bits(tmp_path: Path) -> None:
    colormap = RNG.integers(0, 65536, (3, 256)).astype(np.uint16)
    stack = np.stack([INDICES, 255 - INDICES])
    tifffile.imwrite(
        tmp_path / "a.tif", stack, photometric="palette", colormap=colormap, compression="zlib"
    )
    planes = open_image(tmp_path / "a.tif")
    assert planes.axes == "ZYXS" and planes.dtype == np.uint16
    assert np.array_equal(planes[1], colormap.T[stack[1]])


def test_pages_with_different_palettes_are_refused(tmp_path: Path) -> None:
    first, second = with_palette(COLOURS), with_palette(COLOURS[::-1])
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    with pytest.raises(ptsam.InputError, match=r"a\.tif have different palettes"):
        open_image(tmp_path / "a.tif")
    assert len(open_image(tmp_path / "a.tif", labels=True)) == 2
    first.save(tmp_path / "b.tif", save_all=True, append_images=[first])
    assert open_image(tmp_path / "b.tif").axes == "ZYXS"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation: int, tmp_path: Path) -> None:
    picture = Image.fromarray(np.ascontiguousarray(LONG[..., :3].astype(np.uint8)))
    exif = picture.getexif()
    exif[0x0112] = orientation
    for suffix in (".png", ".jpg"):
        picture.save(tmp_path / f"a{suffix}", exif=exif)
        with Image.open(tmp_path / f"a{suffix}") as stored:
            expected = np.asarray(ImageOps.exif_transpose(stored))
        assert np.array_equal(open_image(tmp_path / f"a{suffix}")[0], expected)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
    tag = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "a.tif", np.asarray(picture), extratags=tag, photometric="rgb")
    for name, planar in (("a", None), ("b", "separate")):
        path, pixels = tmp_path / f"{name}.tif", np.asarray(picture)
        pixels = np.moveaxis(pixels, -1, 0) if planar else pixels
        tifffile.imwrite(
            path, pixels, extratags=tag, photometric="rgb", planarconfig=planar, compression="zlib"
        )
        assert np.array_equal(open_image(path)[0], expected)
    stack = np.stack([LONG[..., 0], LONG[..., 1]]).astype(np.uint8)
    tifffile.imwrite(tmp_path / "c.tif", stack, extratags=tag, photometric="minisblack")
    turned = Image.fromarray(stack[1])
    turned.getexif()[0x0112] = orientation
    planes = open_image(tmp_path / "c.tif")
    assert planes.axes == "ZYX"
    assert np.array_equal(planes[1], np.asarray(ImageOps.exif_transpose(turned)))


def test_transparency_stays_to_be_seen(tmp_path: Path) -> None:
    with_palette(COLOURS).save(tmp_path / "a.png", transparency=bytes([0] * 9 + [255] * 247))
    plane = open_image(tmp_path / "a.png")[0]
    assert np.array_equal(plane[..., :3], COLOURS[INDICES])
    assert np.array_equal(plane[..., 3] == 0, INDICES < 9)
    Image.fromarray(INDICES).save(tmp_path / "b.png", transparency=7)
    assert np.array_equal(open_image(tmp_path / "b.png")[0][..., 1] == 0, INDICES == 7)
    assert open_image(tmp_path / "b.png", labels=True).axes == "YX"
