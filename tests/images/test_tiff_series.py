"""The main image of a TIFF file, beside thumbnails, labels, overviews and smaller copies."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

import napari_ptsam as ptsam
from napari_ptsam.images.locations import images_at
from napari_ptsam.images.reading import list_images, open_image

GREY = np.random.default_rng(0).integers(0, 4000, (128, 160)).astype(np.uint16)
RGB = np.random.default_rng(1).integers(0, 255, (128, 160, 3)).astype(np.uint8)


def svs(path: Path) -> np.ndarray:
    about = "Aperio Image Library v12.0.15\n"
    plain = {"photometric": "rgb", "metadata": None, "software": False}
    with tifffile.TiffWriter(path) as file:
        text = f"{about}160x128 [0,0 160x128] (64x64) JPEG/RGB Q=30|AppMag = 20|MPP = 0.5"
        file.write(RGB, tile=(64, 64), description=text, **plain)
        file.write(RGB[::4, ::4], description=f"{about}thumbnail", **plain)
        file.write(RGB[::2, ::2], tile=(64, 64), description=f"{about}level", **plain)
        file.write(RGB[:20, :30], subfiletype=1, description=f"{about}label 20x30", **plain)
        file.write(RGB[:30, :90], subfiletype=9, description=f"{about}macro 30x90", **plain)
    return RGB


def sem(path: Path) -> np.ndarray:
    """A scan with a page for previews, not marked as one."""
    with tifffile.TiffWriter(path) as file:
        file.write(GREY, metadata=None)
        file.write((GREY[::4, ::4] // 16).astype(np.uint8), metadata=None)
    return GREY


def marked_preview_in_front(path: Path) -> np.ndarray:
    with tifffile.TiffWriter(path) as file:
        file.write(GREY[::2, ::2], subfiletype=1, metadata=None)
        file.write(GREY, metadata=None)
    return GREY


def old_pyramid(path: Path) -> np.ndarray:
    """Levels as pages of their own, one after the other."""
    with tifffile.TiffWriter(path) as file:
        for step in (1, 2, 4):
            file.write(GREY[::step, ::step], tile=(16, 16), metadata=None)
    return GREY


def converted_slide(path: Path) -> np.ndarray:
    """As Bio-Formats converts slides."""
    with tifffile.TiffWriter(path, ome=True) as file:
        for pixels, name in (
            (RGB, "slide"),
            (RGB[:99], "label image"),
            (RGB[:, :99], "macro image"),
        ):
            file.write(pixels, photometric="rgb", metadata={"axes": "YXS", "Name": name})
    return RGB


def stack_with_preview(path: Path) -> np.ndarray:
    stack = np.stack([GREY, GREY[::-1], GREY[:, ::-1]])
    with tifffile.TiffWriter(path) as file:
        for plane in stack:
            file.write(plane, compression="zlib", metadata=None, contiguous=False)
        file.write(GREY[::8, ::8], metadata=None)
    return stack


@pytest.mark.parametrize(
    "write",
    [svs, sem, marked_preview_in_front, converted_slide, stack_with_preview],
)
def test_the_main_image_is_read_and_the_others_are_named(write, tmp_path, caplog) -> None:
    path = tmp_path / f"{write.__name__}.tif"
    expected = write(path)
    planes = open_image(path)
    found = np.stack(list(planes)) if len(planes) > 1 else planes[0]
    assert np.array_equal(found, expected) and planes.rgb == (expected.shape[-1] == 3)
    (note,) = planes.notes
    assert "the main image (128 x 160 pixels) is read" in note and "are not: " in note
    assert images_at(path) == [path] and not caplog.messages


def test_smaller_copies_need_no_note(tmp_path) -> None:
    expected = old_pyramid(tmp_path / "a.tif")
    planes = open_image(tmp_path / "a.tif")
    assert np.array_equal(planes[0], expected) and not planes.notes


def test_the_note_names_label_and_macro(tmp_path) -> None:
    svs(tmp_path / "a.svs")
    assert list_images(tmp_path) == [tmp_path / "a.svs"]
    note = open_image(tmp_path / "a.svs").notes[0]
    assert note.endswith("are not: thumbnail (32 x 40), label (20 x 30), macro (30 x 90).")


def test_images_of_equal_rank_are_to_be_chosen(tmp_path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(GREY, metadata=None)
        file.write(RGB, photometric="rgb", metadata=None)
    with pytest.raises(ptsam.InputError, match=r"holds 2 images \(0, 1\); name one of them"):
        open_image(tmp_path / "a.tif")
    assert images_at(tmp_path / "a.tif") == [tmp_path / "a.tif" / "0", tmp_path / "a.tif" / "1"]
    assert np.array_equal(open_image(tmp_path / "a.tif" / "1")[0], RGB)


def test_small_images_of_ome_tiffs_are_images(tmp_path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        for name, pixels in (("Scene 1", GREY), ("Scene 2", GREY[:40, :40])):
            file.write(pixels, metadata={"axes": "YX", "Name": name})
    assert [one.name for one in images_at(tmp_path / "a.ome.tif")] == ["Scene 1", "Scene 2"]
    assert np.array_equal(open_image(tmp_path / "a.ome.tif" / "Scene 2")[0], GREY[:40, :40])
