"""Which mask belongs to which image."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tifffile

import napari_ptsam as ptsam
from napari_ptsam.datasets.annotated_planes import annotate
from napari_ptsam.datasets.mask_names import masks_among
from napari_ptsam.datasets.pairing import pair

IMAGE = np.random.default_rng(0).integers(0, 255, (32, 32), np.uint8)
MASK = np.zeros((32, 32), np.uint8)
MASK[4:12, 4:12], MASK[20:28, 20:28] = 1, 2


def write(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("_seg.npy"):
            np.save(path, {"masks": MASK}, allow_pickle=True)
        else:
            tifffile.imwrite(path, MASK if "mask" in str(path) or "lab" in str(path) else IMAGE)
    return folder


def names(images, masks) -> list[tuple[str, str]]:
    return [(image.path.name, mask.path.name) for image, mask in zip(images, masks, strict=True)]


@pytest.mark.parametrize(
    ("image", "mask"),
    [("{}.tif", "{}_masks.tif"), ("{}.tif", "{}_cp_masks.tif"), ("{}.tif", "{}_seg.npy"),
     ("{}.tif", "{}_mask.tif"), ("{}.tif", "{}_label.tif"), ("{}.tif", "{}-labels.ome.tif"),
     ("{}_img.tif", "{}_masks.tif"), ("img_{}.tif", "mask_{}.tif"), ("{}.tif", "{}_MASK.tif")],
)  # fmt: skip
def test_masks_beside_their_images_and_in_another_folder(image: str, mask: str, tmp_path) -> None:
    stems = "c1", "c2", "c10"
    expected = [(image.format(stem), mask.format(stem)) for stem in stems]
    both = write(tmp_path / "one", *(name for pair in expected for name in pair))
    assert names(*pair(both)) == expected
    assert len(annotate(*pair(both)).examples) == 3
    images = write(tmp_path / "images", *(name for name, _ in expected))
    masks = write(tmp_path / "masks", *(name for _, name in expected))
    assert names(*pair(images, masks)) == expected
    with pytest.raises(ptsam.InputError, match=r"images first|has the name of|no images"):
        pair(masks, images)


def test_the_files_of_cellpose(tmp_path) -> None:
    folder = write(
        tmp_path, "a.tif", "a_seg.npy", "a_cp_masks.tif", "a_flows.tif", "a_cp_output.tif", "b.tif"
    )
    left_out: list[str] = []
    assert names(*pair(folder, left_out=left_out)) == [("a.tif", "a_seg.npy")]
    assert len(left_out) == 1 and "has the name of b.tif" in left_out[0]
    with pytest.raises(ptsam.InputError, match=r"b\.tif"):
        pair(folder)


def test_masks_are_told_by_the_images_beside_them(tmp_path) -> None:
    folder = write(tmp_path, "label.tif", "a_mask.tif", "b.tif", "b_mask.tif", "b_mask_masks.tif")
    assert [path.name for path in masks_among(sorted(folder.iterdir()))] == [
        "b_mask.tif", "b_mask_masks.tif",
    ]  # fmt: skip


def test_one_folder_is_named_once(tmp_path) -> None:
    folder = write(tmp_path / "both", "a.tif", "a_mask.tif")
    with pytest.raises(ptsam.InputError, match="name the folder once"):
        pair(folder, folder)
    with pytest.raises(ptsam.InputError, match="name the mask after the image"):
        pair(folder / "a.tif", folder / "a.tif")
    data = write(tmp_path / "data", "images/a.tif", "masks/a.tif")
    assert names(*pair(data)) == [("a.tif", "a.tif")]


def test_equal_names_in_nested_folders(tmp_path) -> None:
    parts = "day 1/a.tif", "day 2/a.tif"
    images, masks = write(tmp_path / "images", *parts), write(tmp_path / "masks", *parts)
    found = pair(images, masks)
    for image, mask in zip(*found, strict=True):
        assert image.path.parent.name == mask.path.parent.name
    assert len(found[0]) == 2


def test_composed_and_decomposed_letters(tmp_path) -> None:
    name = "Zählung é.tif"
    images = write(tmp_path / "images", unicodedata.normalize("NFC", name))
    masks = write(tmp_path / "masks", unicodedata.normalize("NFD", name))
    assert len(pair(images, masks)[0]) == 1


def test_what_cannot_be_read_is_left_out(tmp_path) -> None:
    stems = "a.tif", "b.tif", "c.tif"
    images, masks = write(tmp_path / "images", *stems), write(tmp_path / "masks", *stems)
    (images / "a.tif").write_bytes((images / "a.tif").read_bytes()[:200])
    tifffile.imwrite(masks / "b.tif", MASK[:20])
    with pytest.raises(ptsam.InputError, match=r"a\.tif cannot be read"):
        pair(images, masks)
    left_out: list[str] = []
    found = annotate(*pair(images, masks, left_out=left_out), left_out=left_out)
    assert [plane.name for plane in found.examples] == ["c.tif"]
    assert len(left_out) == 2 and "a.tif" in left_out[0] and "20 x 32" in left_out[1]
    for path in images.iterdir():
        path.write_bytes(b"")
    with pytest.raises(ptsam.InputError, match=r"a\.tif cannot be read"):
        pair(images, masks, left_out=[])
