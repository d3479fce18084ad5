"""Measurements of objects: those of scikit-image, on planes, along time and in volumes."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from skimage.measure import label, regionprops_table

from napari_ptsam.images.planes import PixelSize, Planes
from napari_ptsam.inference.linking import StackLinker
from napari_ptsam.inference.measurements import Measurements, kind_of, layer_features, write_table
from napari_ptsam.inference.objects import NumberedObjects

SIZE = PixelSize(0.5, 0.25, 2.0)


@pytest.fixture(scope="module")
def volume() -> tuple[np.ndarray, np.ndarray]:
    """Return an image and a volume of numbered boxes, some of which span several planes."""
    rng = np.random.default_rng(0)
    boxes = np.zeros((4, 40, 50), bool)
    for z, y, x in ((0, 2, 3), (1, 20, 8), (2, 10, 30)):
        boxes[z : z + 2, y : y + 9, x : x + 7] = True
    return rng.integers(0, 999, boxes.shape).astype(np.uint16), label(boxes)


def measured(planes: Planes, labels: np.ndarray, kind: str, classes=("cell",)) -> Measurements:
    measurements = Measurements(planes, classes, kind)
    for number, plane in enumerate(planes):
        measurements.measure(number, labels[number], plane)
    return measurements


def test_volumes_are_measured_as_scikit_image_does(volume) -> None:
    image, labels = volume
    planes = Planes(image, "ZYX", pixel_size=SIZE)
    measurements = measured(planes, labels, "volumes")
    table = measurements.table()
    names = ("label", "area", "centroid", "bbox", "intensity_mean")
    expected = regionprops_table(labels, image, names, spacing=(2.0, 0.5, 0.25))
    assert measurements.object_count == 3 and table["class"].tolist() == ["cell"] * 3
    assert np.allclose(table["volume_um3"], expected["area"])
    assert np.allclose(table["pixels"] * 0.25, expected["area"])
    assert np.allclose(table["intensity_mean"], expected["intensity_mean"])
    for axis, name in enumerate("zyx"):
        assert np.allclose(table[f"centroid_{name}_um"], expected[f"centroid-{axis}"])
        assert np.array_equal(table[f"{name}_min"], expected[f"bbox-{axis}"])
        assert np.array_equal(table[f"{name}_max"], expected[f"bbox-{axis + 3}"])


def test_objects_of_a_part_have_the_positions_of_the_whole_image(volume) -> None:
    image, labels = volume
    series = np.stack([image, image])
    part = Planes(series, "TZYX").part("T", 1, 2).part("Z", 1, 4).part("Z", 1, 3)
    measurements = measured(part, labels[2:4], "objects")
    table = measurements.table()
    assert measurements.object_count == len(table["label"]) == 3
    assert set(table["t"]) == {1} and table["z"].tolist() == [2, 2, 3]
    assert table["area_px2"].tolist() == table["pixels"].tolist() == [63] * 3
    volumes = measured(part, labels[2:4], "volumes").table()
    assert volumes["z_min"].tolist() == [2, 2] and volumes["z_max"].tolist() == [3, 4]
    assert volumes["t"].tolist() == [1, 1]


def test_tracks_have_a_row_on_each_plane_and_count_once(volume) -> None:
    image, labels = volume
    measurements = measured(Planes(image, "TYX"), labels, "tracks")
    assert measurements.object_count == 3 and len(measurements.table()["t"]) == 6
    over_planes = measurements.table(over_planes=True)
    assert over_planes["pixels"].tolist() == [126] * 3 and "t" not in over_planes


def test_classes_and_channels_have_columns(volume) -> None:
    image, labels = volume
    planes = Planes(np.stack([image, 2 * image, 3 * image], axis=-1), "ZYXS")
    two = np.array([0, 2, 1, 2], np.uint8)
    table = measured(planes, two[labels], "classes", ("cell", "debris")).table(over_planes=True)
    assert table["class"].tolist() == ["cell", "debris"]
    assert np.allclose(table["intensity_mean_green"], 2 * table["intensity_mean_red"])
    assert not measured(planes, 0 * labels, "objects").table()["intensity_mean_blue"].size


def test_linked_objects_keep_their_class(volume) -> None:
    image, labels = volume
    planes, linker = Planes(image, "ZYX"), None
    measurements = Measurements(planes, ("cell", "debris"), "volumes")
    linker = StackLinker(planes)
    for number in range(4):
        present, numbers = np.unique(labels[number], return_inverse=True)
        classes = np.array([0, 2, 1, 2], np.uint8)[present]
        objects = numbers.reshape(labels[number].shape).astype(np.uint32)
        before = NumberedObjects.of(objects, classes)
        rows = measurements.measure(number, before, image[number])
        linked = linker.link(number, before)
        measurements.add(number, rows.relabelled(before, linked))
        assert (
            measurements.measure(number, linked, image[number]).classes.tolist()
            == rows.classes.tolist()
        )
    table = measurements.table()
    assert table["class"].tolist() == ["debris", "cell", "debris"]
    assert table["pixels"].tolist() == [126] * 3


def test_a_table_is_written_as_csv(volume, tmp_path: Path) -> None:
    image, labels = volume
    path = tmp_path / "cells.csv"
    write_table(measured(Planes(image, "ZYX"), labels, "objects").table(), path)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 and rows[0]["label"] == "1" and rows[0]["class"] == "cell"
    assert list(rows[0])[:4] == ["label", "class", "z", "pixels"]
    assert float(rows[0]["intensity_mean"]) == pytest.approx(image[0][labels[0] == 1].mean(), 1e-5)


def test_which_measurements_a_result_has() -> None:
    stack, series = (Planes(np.zeros((3, 20, 20)), axes) for axes in ("ZYX", "TYX"))
    plane = Planes(np.zeros((20, 20)))
    assert kind_of("probabilities", False, stack) is None
    assert kind_of("labels", False, stack) == "classes"
    assert kind_of("instances", False, stack) == kind_of("instances", True, plane) == "objects"
    assert kind_of("instances", True, stack) == "volumes"
    assert kind_of("instances", True, series) == "tracks"


def test_features_of_a_layer_have_a_row_for_each_label(volume) -> None:
    image, labels = volume
    planes = Planes(image, "ZYX", pixel_size=SIZE)
    features = layer_features(measured(planes, labels, "volumes"))
    assert features["index"].tolist() == [0, 1, 2, 3] and features["pixels"].tolist() == [
        0,
        *[126] * 3,
    ]
    assert features["class"].tolist() == ["background", *["cell"] * 3]
    assert np.isnan(features["volume_um3"][0]) and "label" not in features
    features = layer_features(measured(planes, labels, "objects"))
    assert features["index"].tolist()[:2] == ["z0 label 1", "z1 label 1"]
    classes = layer_features(measured(planes, 1 * (labels > 0), "classes", ("cell", "debris")))
    assert classes["name"].tolist() == ["background", "cell", "debris"]
    assert classes["pixels"].tolist() == [0, 378, 0]
