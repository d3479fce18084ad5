"""Masks whose values mean something else than 0 for the background and a number for each object."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

import napari_ptsam as ptsam
from conftest_data import drawn_nuclei
from napari_ptsam.datasets.annotated_planes import AnnotationSet, annotate
from napari_ptsam.datasets.mask_files import open_mask_file
from napari_ptsam.datasets.mask_reading import MaskReading
from napari_ptsam.errors import PtsamWarning
from napari_ptsam.images.planes import Planes

IMAGES, MASKS = zip(*(drawn_nuclei(seed) for seed in range(3)), strict=True)
INSIDE = [mask > 0 for mask in MASKS]
CLASSES = [np.where(mask > 0, 1 + mask % 2, 0).astype(np.uint8) for mask in MASKS]
ONE_HOT = [np.stack([mask == value for value in range(3)], -1).astype(np.uint8) for mask in CLASSES]
COLOURS = np.array([(0, 0, 0), (0, 200, 0), (255, 0, 0)], np.uint8)


def jpeg(values: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(values).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file))


def soft(inside: np.ndarray, highest: float = 255) -> np.ndarray:
    return ndimage.gaussian_filter(inside * float(highest), 1)


def read(masks, images=IMAGES, **reading) -> tuple[AnnotationSet, str]:
    """Annotations, and what was assumed."""
    planes = [mask if isinstance(mask, Planes) else Planes(mask) for mask in masks]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = annotate([Planes(image) for image in images], planes, MaskReading(**reading))
    assert all(issubclass(one.category, PtsamWarning) for one in said) and len(said) < 2
    return found, "".join(str(one.message) for one in said)


def agreement(found: AnnotationSet) -> float:
    return min(
        (np.logical_and(one.labels, inside).sum() / np.logical_or(one.labels, inside).sum())
        for one, inside in zip(found.examples, INSIDE, strict=True)
    )


SOFT = {
    "blurred": [soft(inside).astype(np.uint8) for inside in INSIDE],
    "jpeg": [jpeg(inside * np.uint8(255)) for inside in INSIDE],
    "16 bit": [soft(inside, 65535).astype(np.uint16) for inside in INSIDE],
    "fractions": [soft(inside, 1).astype(np.float32) for inside in INSIDE],
    "inverted": [255 - soft(inside).astype(np.uint8) for inside in INSIDE],
}


@pytest.mark.parametrize("name", SOFT)
def test_soft_edges_make_no_objects(name: str) -> None:
    found, said = read(SOFT[name])
    assert "soft edges" in said and agreement(found) > 0.97
    assert all(one.instances is None for one in found.examples)


BACKGROUNDS = {
    "1 and 2, as ilastik": ([inside + np.uint8(1) for inside in INSIDE], "1, which is most", None),
    "2 and 1": ([2 - inside.astype(np.uint8) for inside in INSIDE], "2, which is most", None),
    "-1 and 0 to 7": ([mask.astype(int) - 1 for mask in MASKS], "-1 covers", 8),
    "-1 and 1 to 8": ([np.where(m == 0, -1, m.astype(int)) for m in MASKS], "-1, which", 8),
    "255 and 0 to 7": ([(mask - 1).astype(np.uint8) for mask in MASKS], "255 covers", 8),
    "0 and 255, inverted": ([~inside * np.uint8(255) for inside in INSIDE], "255 covers", None),
    "plus one": ([mask + 1 for mask in MASKS], "1, which is most frequent", 8),
}


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_a_background_that_is_not_0(name: str) -> None:
    masks, words, objects = BACKGROUNDS[name]
    found, said = read(masks)
    assert words in said and agreement(found) == 1
    for one in found.examples:
        assert objects == (None if one.instances is None else len(np.unique(one.instances)) - 1)
    value = int(np.bincount(np.ravel(masks[0]) + 1).argmax()) - 1 if "-1" in name else None
    value = int(np.bincount(np.ravel(masks[0])).argmax()) if value is None else value
    again, said = read(masks, background=value)
    assert said == "" and agreement(again) == 1


def test_values_are_taken_as_told() -> None:
    inverted = [~inside * np.uint8(255) for inside in INSIDE]
    found, said = read(inverted, background=0)
    assert said == "" and np.array_equal(found.examples[0].labels, ~INSIDE[0])
    found, said = read(CLASSES, instances=True)
    assert said == "" and len(np.unique(found.examples[0].instances)) == 3
    with pytest.raises(ptsam.InputError, match="not both"):
        MaskReading(("a", "b"), instances=True)
    with pytest.raises(ptsam.InputError, match="not both"):
        MaskReading(background=255, unlabelled=255)


CODINGS = {
    "values": CLASSES,
    "128 and 255": [np.array([0, 128, 255], np.uint8)[mask] for mask in CLASSES],
    "channels last": ONE_HOT,
    "channels first": [mask.transpose(2, 0, 1) for mask in ONE_HOT],
    "without a background": [mask[..., 1:] * 255 for mask in ONE_HOT],
    "colours": [COLOURS[mask] for mask in CLASSES],
    "colours on white": [np.where(m[..., None] == 0, 255, COLOURS[m]) for m in CLASSES],
}


@pytest.mark.parametrize("name", CODINGS)
def test_classes_are_no_objects(name: str) -> None:
    masks = [mask.astype(np.uint8) for mask in CODINGS[name]]
    found, said = read(masks)
    assert "taken as classes" in said and agreement(found) == 1
    assert found.classes == ("foreground",) and found.examples[0].instances is None
    found, _ = read(masks, classes=("even", "odd"))
    for one, mask in zip(found.examples, CLASSES, strict=True):
        assert np.array_equal(one.labels, mask)


def test_a_background_among_named_classes() -> None:
    masks = [mask + 1 for mask in CLASSES]
    with pytest.raises(ptsam.InputError, match=r"the value 3, but only 2 classes.*background="):
        read(masks, classes=("even", "odd"))
    found, _ = read(masks, classes=("even", "odd"), background=1)
    assert np.array_equal(found.examples[0].labels, CLASSES[0])
    with pytest.raises(ptsam.InputError, match=r"colour 255-0-0, but only 3"):
        read([COLOURS[mask] for mask in CLASSES], classes=("a", "b", "c"))


def test_objects_in_colours_of_their_own() -> None:
    colours = np.random.default_rng(0).integers(60, 255, (9, 3)).astype(np.uint8)
    colours[0] = 0
    found, said = read([colours[mask] for mask in MASKS])
    assert said == "" and [len(np.unique(one.instances)) for one in found.examples] == [9] * 3


def test_large_areas_are_classes() -> None:
    rows, columns = np.mgrid[:128, :128]
    tissue = np.where(rows < 30, 0, np.where(columns < 50, 1, 2))
    found, said = read([tissue] * 3)
    assert "cover large areas" in said and found.examples[0].instances is None


def test_images_in_place_of_masks() -> None:
    clipped = [((image.astype(int) - 260).clip(0) / 6).astype(np.uint8) for image in IMAGES]
    for images in (clipped, IMAGES):
        with pytest.raises(ptsam.InputError, match="name the images first"):
            read(images, images=MASKS)
        with pytest.raises(ptsam.InputError, match="looks like a picture"):
            read(images)
    left_out: list[str] = []
    planes = [Planes(mask, name=f"mask {n}") for n, mask in enumerate((*MASKS[:2], IMAGES[2]))]
    found = annotate([Planes(image) for image in IMAGES], planes, left_out=left_out)
    assert len(found.examples) == 2 and len(left_out) == 1 and "mask 2 looks like" in left_out[0]


def write(kind: str, path, mask: np.ndarray) -> None:
    if kind == "1 bit":
        tifffile.imwrite(path, mask.astype(bool))
    elif kind.startswith("white is zero"):
        values = ~mask.astype(bool)
        values = values if "1 bit" in kind else values * np.uint8(255)
        tifffile.imwrite(path, values, photometric="miniswhite")
    elif kind == "ImageJ, white is zero":
        tifffile.imwrite(path, mask.astype(np.uint8) * 255, imagej=True, photometric="miniswhite")
    elif path.suffix == ".png":
        Image.fromarray(mask.astype(np.uint8)).save(path)
    elif path.suffix == ".zarr":
        zarr.save_array(path, mask)
    else:
        tifffile.imwrite(path, mask)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.uint16, np.uint32, np.float32])
@pytest.mark.parametrize("name", ["m.png", "m.tif", "m.ome.tif", "m.zarr"])
def test_the_same_mask_in_any_file(name: str, dtype, tmp_path) -> None:
    write("", tmp_path / name, INSIDE[0].astype(dtype))
    found = annotate([Planes(IMAGES[0])], [open_mask_file(tmp_path / name)])
    assert np.array_equal(found.examples[0].labels, INSIDE[0])
    assert sorted(found.examples[0].areas) == sorted(np.bincount(MASKS[0].ravel())[1:])


def test_the_same_prompt_from_any_file(tmp_path, loaded) -> None:
    """The annotations are equal, whatever the dtype and the file, and so the prompts are."""
    written = [("m.png", bool), ("m.zarr", np.float32)]
    prompts = []
    for number, (name, dtype) in enumerate(written):
        path = tmp_path / str(number) / name
        path.parent.mkdir()
        write("", path, INSIDE[0].astype(dtype))
        masks = [path, INSIDE[1].astype(dtype)]
        images = list(IMAGES[:2])
        options = {"embeddings": 2, "detail": "off", "markers": "no", "tile": "whole", "minutes": 0}
        prompts.append(ptsam.train(images, masks, steps=8, **options))
    assert np.array_equal(*(prompt.tokens for prompt in prompts))


@given(data=st.data())
@settings(max_examples=30, deadline=None, derandomize=True)
def test_numbered_objects_in_any_file(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from([np.uint8, ">u2", np.int32, np.uint64, np.float32, ">f8"]))
    name = data.draw(st.sampled_from(["m.png", "m.tif", "m.ome.tif", "m.zarr", "m.npy"]))
    labels = data.draw(st.permutations(range(1, MASKS[0].max() + 1)))
    mask = np.array([0, *labels], np.uint8)[MASKS[0]]
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        if name == "m.npy":
            np.save(path, mask.astype(dtype))
        elif name == "m.png":
            write("", path, mask)
        else:
            write("", path, mask.astype(np.dtype(dtype).newbyteorder("=")))
        (one,) = annotate([Planes(IMAGES[0])], [open_mask_file(path)]).examples
    assert np.array_equal(one.instances, mask) and np.array_equal(one.labels, INSIDE[0])
    assert one.valid is None


def test_nan_in_a_mask_is_not_annotated() -> None:
    masks = [mask.astype(np.float32) for mask in MASKS]
    masks[1][:20] = np.nan
    found, said = read(masks)
    first, second, _ = found.examples
    assert not said and first.valid is None
    assert np.array_equal(second.valid, ~np.isnan(masks[1])) and not second.labels[:20].any()
    assert np.array_equal(second.instances[20:], MASKS[1][20:])
    found, _ = read([np.where(np.isnan(m), np.nan, m > 0) for m in masks], unlabelled=7)
    assert np.array_equal(found.examples[1].valid, second.valid)


@pytest.mark.parametrize("kind", ["1 bit", "white is zero, 1 bit", "white is zero, 8 bit"])
def test_white_is_foreground(kind: str, tmp_path) -> None:
    write(kind, tmp_path / "m.tif", INSIDE[0])
    found = annotate([Planes(IMAGES[0])], [open_mask_file(tmp_path / "m.tif")])
    assert np.array_equal(found.examples[0].labels, INSIDE[0])


def test_values_of_imagej_are_meant_as_they_are(tmp_path) -> None:
    values = INSIDE[0] * np.uint8(255)
    tifffile.imwrite(tmp_path / "m.tif", values, imagej=True, photometric="miniswhite")
    assert np.array_equal(open_mask_file(tmp_path / "m.tif")[0], values)


def test_a_jpeg_holds_black_and_white_alone(tmp_path) -> None:
    Image.fromarray(INSIDE[0] * np.uint8(255)).save(tmp_path / "m.jpg")
    with pytest.warns(PtsamWarning, match="soft edges"):
        found = annotate([Planes(IMAGES[0])], [open_mask_file(tmp_path / "m.jpg")])
    assert (found.examples[0].labels == INSIDE[0]).mean() > 0.999
    Image.fromarray(MASKS[0].astype(np.uint8) * 30).save(tmp_path / "n.jpg")
    with pytest.raises(ptsam.InputError):
        annotate([Planes(IMAGES[0])], [open_mask_file(tmp_path / "n.jpg")])
