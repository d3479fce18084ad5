"""What is in the files: axes, pixel sizes, names, and nothing that differs from time to time."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

import napari_ptsam as ptsam
from fakes import FakeSegmenter, fake_prompt, share_fakes, stack
from napari_ptsam.batch import tiff_result
from napari_ptsam.batch.result_files import FileResult, segment_to_files, target_for
from napari_ptsam.images.pixel_sizes import in_unit_of
from napari_ptsam.images.planes import PixelSize, Planes, TimeStep
from napari_ptsam.images.reading import open_image
from napari_ptsam.images.units import converted

SIZE = PixelSize(0.5, 0.25, 2.0)


@pytest.fixture(autouse=True)
def fakes(monkeypatch) -> None:
    share_fakes(monkeypatch)


def write(folder: Path, planes: Planes, segmenter, format: str) -> Path:
    path = target_for(folder, planes, "a", segmenter, format)
    list(segment_to_files(planes, [FileResult(segmenter, path)]))
    return path


@pytest.mark.parametrize(
    ("format", "output", "axes"),
    [("tiff", "labels", "TZYX"), ("tiff", "probabilities", "TZCYX"),
     ("ome-tiff", "instances", "TZYX"), ("ome-tiff", "probabilities", "TCZYX"),
     ("ome-zarr", "labels", "TZYX"), ("ome-zarr", "probabilities", "TCZYX")],
)  # fmt: skip
def test_axes_sizes_and_values(format, output, axes, tmp_path) -> None:
    planes = stack(2, 3, pixel_size=SIZE)
    segmenter = FakeSegmenter(output, fake_prompt(classes=("a", "bé")))
    opened = open_image(write(tmp_path, planes, segmenter, format))
    assert opened.axes == axes and opened.pixel_size == SIZE
    found = np.stack(list(opened))
    expected = np.stack([segmenter.plane(plane) for plane in planes])
    if output == "probabilities":
        expected = expected.transpose(0, 2, 3, 1)
    assert np.array_equal(found, expected)


def test_axes_in_another_order_are_put_in_omes(tmp_path) -> None:
    planes = stack(2, 3, axes="ZTYX")
    segmenter = FakeSegmenter()
    expected = np.stack([segmenter.plane(plane) for plane in planes]).reshape(2, 3, 32, 32)
    for format in ("ome-tiff", "ome-zarr"):
        opened = open_image(write(tmp_path, planes, segmenter, format))
        assert opened.axes == "TZYX" and opened.leading == (3, 2)
        assert np.array_equal(np.stack(list(opened)).reshape(3, 2, 32, 32), expected.swapaxes(0, 1))


def test_the_metadata_of_ome_zarr(tmp_path) -> None:
    planes = stack(2, 3, pixel_size=SIZE)
    path = write(
        tmp_path, planes, FakeSegmenter(prompt=fake_prompt(classes=("a", "b"))), "ome-zarr"
    )
    group = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
    ome, about = group["attributes"]["ome"], group["attributes"]["napari-ptsam"]
    assert group["zarr_format"] == 3 and ome["version"] == "0.5"
    (scales,) = ome["multiscales"]
    assert scales["axes"] == [
        {"name": "t", "type": "time"},
        *({"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"),
    ]
    (step,) = scales["datasets"][0]["coordinateTransformations"]
    assert step == {"type": "scale", "scale": [1.0, 2.0, 0.5, 0.25]}
    assert ome["image-label"]["colors"][1] == {"label-value": 2, "rgba": [86, 180, 233, 255]}
    assert about["classes"] == ["a", "b"] and len(about["run"]) == 32
    assert zarr.open_group(path, mode="r")["0"].metadata.dimension_names == ("t", "z", "y", "x")
    assert not list(path.rglob("*.partial"))


def test_classes_are_in_tiffs_too(tmp_path) -> None:
    segmenter = FakeSegmenter(prompt=fake_prompt(classes=("a", "bé")))
    with tifffile.TiffFile(write(tmp_path, stack(2), segmenter, "tiff")) as file:
        assert "Classes: 1 a, 2 bé" in file.imagej_metadata["Info"]
    with tifffile.TiffFile(write(tmp_path, stack(2), segmenter, "ome-tiff")) as file:
        assert "Classes: 1 a, 2 bé" in file.ome_metadata and file.pages[0].compression == 8


def test_what_fits_no_tiff_becomes_ome_zarr(tmp_path, monkeypatch) -> None:
    segmenter = FakeSegmenter()
    assert target_for(tmp_path, stack(2), "a", segmenter).name == "a.tif"
    assert target_for(tmp_path, stack(2), "a", segmenter, "auto", "p").name == "a-p.tif"
    many = stack(2, 2, 2, axes="PTZYX")
    assert target_for(tmp_path, many, "a", segmenter).name == "a.ome.zarr"
    assert open_image(write(tmp_path, many, segmenter, "auto")).channels == 2
    for format, output in (("tiff", "labels"), ("ome-zarr", "probabilities")):
        with pytest.raises(ptsam.OutputError, match="too many axes"):
            target_for(tmp_path, many, "a", FakeSegmenter(output), format)
    with pytest.raises(ptsam.InputError, match="Unknown format 'png'"):
        target_for(tmp_path, many, "a", segmenter, "png")
    monkeypatch.setattr(tiff_result, "IMAGEJ_LIMIT", 2000)
    assert target_for(tmp_path, stack(2), "a", segmenter).name == "a.ome.zarr"
    with tifffile.TiffFile(write(tmp_path, stack(2), segmenter, "tiff")) as file:
        assert file.is_ome and not file.is_imagej


def test_large_planes_are_cut_into_chunks(tmp_path) -> None:
    planes = Planes(np.full((1, 16, 2100), 90, np.uint8), "ZYX", "wide")
    path = write(tmp_path, planes, FakeSegmenter(), "ome-zarr")
    array = zarr.open_group(path, mode="r")["0"]
    assert array.chunks == (1, 16, 2048) and (array[:] == 1).all()


@pytest.mark.parametrize("format", ["tiff", "ome-tiff", "ome-zarr"])
def test_axes_of_length_1_take_no_letter_from_others(format, tmp_path) -> None:
    planes = Planes(np.zeros((1, 3, 1, 2, 32, 32), np.uint8), "APBZYX", "a.tif")
    planes._array[:, 2] = 90
    opened = open_image(write(tmp_path, planes, FakeSegmenter(), format))
    assert opened.extent == (3, 2, 32, 32)
    assert [bool(plane.any()) for plane in opened] == [False] * 4 + [True] * 2
    series = Planes(planes._array[0, :, 0, :1], "TZYX", "b.tif")
    (tmp_path / "b").mkdir()
    opened = open_image(write(tmp_path / "b", series, FakeSegmenter(), format))
    assert opened.stack_axis == "T" and opened.stack_length == 3


@pytest.mark.parametrize("format", ["tiff", "ome-tiff", "ome-zarr"])
@pytest.mark.parametrize(
    "size", [PixelSize(65, 65, 200, "nanometer"), PixelSize(2, 3, None, "thou"),
             PixelSize(1, 1, 2, "angstrom"), PixelSize(0.5, 0.5, None, "kilometer"), None]
)  # fmt: skip
def test_units_and_the_time_between_frames_are_kept(format, size, tmp_path) -> None:
    planes = stack(3, 2, axes="TZYX", pixel_size=size)
    planes.time_step = TimeStep(1.5, "minute")
    opened = open_image(write(tmp_path, planes, FakeSegmenter(), format))
    found = opened.pixel_size if size is None else in_unit_of(opened.pixel_size, size.unit)
    assert found == size
    step = opened.time_step
    assert opened.axes == "TZYX" and converted(step.value, step.unit, "second") == 90
