import numpy as np
import pytest
import tifffile
from PIL import Image

import napari_ptsam as ptsam
from conftest_data import real_pair, whole_plane
from napari_ptsam.images.planes import PixelSize
from napari_ptsam.images.reading import list_images, open_image

STACK = np.random.default_rng(0).integers(0, 60000, (2, 3, 40, 50)).astype(np.uint16)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_imagej_hyperstack(compression, tmp_path) -> None:
    path = tmp_path / "stack.tif"
    metadata = {"axes": "TZYX", "unit": "um", "spacing": 2.5}
    tifffile.imwrite(
        path, STACK, imagej=compression is None, compression=compression, photometric="minisblack",
        resolution=(1 / 0.25, 1 / 0.5), metadata=metadata,
    )  # fmt: skip
    planes = open_image(path, "TZYX")
    assert planes.leading == (2, 3) and np.array_equal(planes[4], STACK[1, 1])
    if compression is None:
        assert planes.axes == "TZYX"
        assert planes.pixel_size == PixelSize(0.5, 0.25, 2.5, "micrometer")


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("axes", ["TCYX", "CZYX", "ZCYX"])
def test_ome(axes: str, compression, tmp_path) -> None:
    path = tmp_path / "stack.ome.tif"
    metadata = {
        "axes": axes, "PhysicalSizeX": 0.1, "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": 0.2, "PhysicalSizeYUnit": "µm",
    }  # fmt: skip
    tifffile.imwrite(path, STACK, ome=True, metadata=metadata, compression=compression)
    planes = open_image(path)
    assert planes.axes == axes and planes.pixel_size == PixelSize(0.2, 0.1, None, "micrometer")
    assert planes.channels == STACK.shape[axes.index("C")]
    first = STACK.transpose([axes.index(a) for a in axes if a not in "CYX"] +
                            [axes.index(a) for a in "YXC"])[0]  # fmt: skip
    assert np.array_equal(planes[0], first)


def test_rgb_tiff_of_the_real_set() -> None:
    path, mask = real_pair("emps_particles")
    planes = open_image(path)
    assert planes.rgb and planes[0].shape == tifffile.imread(path).shape
    assert open_image(mask, labels=True).shape == planes.shape


def test_plain_multipage_tiff_is_a_z_stack(tmp_path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK[0], photometric="minisblack")
    assert open_image(tmp_path / "a.tif").axes == "ZYX"


@pytest.mark.parametrize(
    ("mode", "shape"),
    [("L", (40, 50)), ("I;16", (40, 50)), ("RGB", (40, 50, 3)), ("RGBA", (40, 50, 4))],
)
def test_png(mode: str, shape, tmp_path) -> None:
    pixels = (
        np.random.default_rng(0).integers(0, 255, shape).astype("u2" if mode == "I;16" else "u1")
    )
    Image.fromarray(pixels).save(tmp_path / "a.png")
    planes = open_image(tmp_path / "a.png")
    assert np.array_equal(planes[0], pixels) and planes.rgb == (len(shape) == 3)


def test_bool_png_jpeg_and_npy(tmp_path) -> None:
    Image.fromarray(STACK[0, 0] > 30000).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(tmp_path / "b.jpg")
    np.save(tmp_path / "c.npy", STACK.astype(np.float64))
    assert open_image(tmp_path / "a.png").dtype == bool
    assert open_image(tmp_path / "b.jpg").rgb
    assert open_image(tmp_path / "c.npy").leading == (2, 3)


def test_palette_means_labels_in_a_mask_and_colours_in_an_image(tmp_path) -> None:
    picture = Image.fromarray((STACK[0, 0] % 3).astype(np.uint8), "L").convert("P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.save(tmp_path / "a.png")
    assert open_image(tmp_path / "a.png").rgb
    assert np.array_equal(open_image(tmp_path / "a.png", labels=True)[0], STACK[0, 0] % 3)


def test_files_in_the_order_of_their_numbers(tmp_path) -> None:
    for name in ("t10.tif", "t9.tif", ".hidden.tif", "notes.txt"):
        tifffile.imwrite(tmp_path / name, STACK[0, 0]) if "tif" in name else (
            tmp_path / name
        ).touch()
    assert [path.name for path in list_images(tmp_path)] == ["t9.tif", "t10.tif"]


@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg", ".npy"])
@pytest.mark.parametrize(
    "content", [b"", b"II*\0\x08\0\0\0", b"\x89PNG\r\n\x1a\n", b"garbage" * 99]
)
def test_damaged_files_name_themselves(suffix: str, content: bytes, tmp_path) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(ptsam.InputError, match=f"broken{suffix} cannot be read"):
        open_image(path)[0]


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("kept", [0.05, 0.5, 0.95])
def test_truncated_real_tiff(compression, kept: float, tmp_path) -> None:
    image = whole_plane()[0]
    tifffile.imwrite(tmp_path / "whole.tif", image, compression=compression, rowsperstrip=64)
    data = (tmp_path / "whole.tif").read_bytes()
    (tmp_path / "part.tif").write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ptsam.InputError, match="truncated"):
        open_image(tmp_path / "part.tif")[0]


def test_what_is_not_there(tmp_path) -> None:
    with pytest.raises(ptsam.InputError, match="no file"):
        open_image(tmp_path / "a.tif")
    with pytest.raises(ptsam.InputError, match="no images"):
        list_images(tmp_path)
    with pytest.raises(ptsam.InputError, match="no folder"):
        list_images(tmp_path / "b")
    (tmp_path / "c.docx").touch()
    with pytest.raises(ptsam.InputError, match="no image that can be read"):
        open_image(tmp_path / "c.docx")


@pytest.mark.parametrize("kept", [0.3, 0.55, 0.8])
def test_truncated_stack_is_not_taken_for_a_shorter_one(kept: float, tmp_path) -> None:
    with tifffile.TiffWriter(tmp_path / "whole.tif") as file:
        for plane in np.repeat(STACK[0], 4, axis=0):
            file.write(plane, compression="zlib", contiguous=False, metadata=None)
    assert len(open_image(tmp_path / "whole.tif")) == 12
    data = (tmp_path / "whole.tif").read_bytes()
    (tmp_path / "part.tif").write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ptsam.InputError, match="truncated"):
        open_image(tmp_path / "part.tif")


def test_planar_rgb_stack(tmp_path) -> None:
    stack = np.random.default_rng(0).integers(0, 255, (5, 3, 40, 50)).astype(np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack, photometric="rgb", planarconfig="separate")
    planes = open_image(path)
    assert planes.rgb and planes.leading == (5,)
    assert np.array_equal(planes[2], stack[2].transpose(1, 2, 0))


def test_bands_are_channels_and_no_colours(tmp_path) -> None:
    bands = np.random.default_rng(0).integers(0, 255, (40, 50, 5)).astype(np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, bands, photometric="minisblack", planarconfig="contig")
    planes = open_image(path)
    assert not planes.rgb and planes.channels == 5


def test_several_images_in_a_file_are_not_silently_dropped(tmp_path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        file.write(STACK[0, 0], metadata={"axes": "YX"})
        file.write(STACK[0, 1], metadata={"axes": "YX"})
    with pytest.raises(ptsam.InputError, match="holds 2 images"):
        open_image(tmp_path / "a.ome.tif")


def test_senseless_pixel_size_keeps_nobody_from_the_pixels(tmp_path) -> None:
    metadata = {"axes": "YX", "PhysicalSizeX": 0.0, "PhysicalSizeY": 1.0}
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK[0, 0], ome=True, metadata=metadata)
    assert open_image(tmp_path / "a.ome.tif").pixel_size is None


def test_jpeg_masks_are_refused(tmp_path) -> None:
    Image.fromarray(np.zeros((40, 50), np.uint8)).save(tmp_path / "a.jpg")
    with pytest.raises(ptsam.InputError, match="JPEG, which changes its values"):
        open_image(tmp_path / "a.jpg", labels=True)


def test_an_archive_called_npy_and_odd_names(tmp_path) -> None:
    np.savez(tmp_path / "a.npz", STACK)
    (tmp_path / "a.npz").rename(tmp_path / "5²3.npy")
    assert [path.name for path in list_images(tmp_path)] == ["5²3.npy"]
    with pytest.raises(ptsam.InputError, match="cannot be read"):
        open_image(tmp_path / "5²3.npy")
    with pytest.raises(ptsam.InputError, match="cannot be read"):
        open_image(tmp_path / ("x" * 300 + ".tif"))
