"""Units by any name, pixel sizes whose axes have units of their own, and sizes that agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from napari_ptsam.images.pixel_sizes import common_pixel_size, pixel_size_of, time_step_of
from napari_ptsam.images.planes import PixelSize, TimeStep
from napari_ptsam.images.reading import open_image
from napari_ptsam.images.units import LENGTHS, TIMES, converted, length_name, time_name

STACK = np.zeros((3, 2, 20, 24), np.uint8)
OME_LENGTHS = "Ym Zm Em Pm Tm Gm Mm km hm dam m dm cm mm µm nm pm fm am zm ym Å thou li in ft yd mi ua ly pc pt"
OME_TIMES = "Ys Zs Es Ps Ts Gs Ms ks hs das s ds cs ms µs ns ps fs as zs ys min h d"


def test_all_units_of_ome() -> None:
    assert {length_name(symbol) for symbol in OME_LENGTHS.split()} == set(LENGTHS)
    assert {time_name(symbol) for symbol in OME_TIMES.split()} == set(TIMES)
    assert converted(1, "meter", "micrometer") == 1e6 and converted(3, "inch", "foot") == 0.25
    assert converted(90, "second", "minute") == 1.5 and converted(1, "second", "meter") is None


def test_sizes_in_all_units_are_plausible() -> None:
    for name in LENGTHS:
        found = pixel_size_of({"Y": 0.5, "X": 2.0}, {"Y": name, "X": name})
        assert found == PixelSize(0.5, 2.0, None, name)
    assert pixel_size_of({"Y": 65e-9, "X": 65e-9}, dict.fromkeys("YX", "m")) is not None
    for senseless in (0.0, -1.0, 1e30, float("inf"), float("nan")):
        assert pixel_size_of({"Y": senseless, "X": 1.0}, dict.fromkeys("YX", "µm")) is None


@pytest.mark.parametrize(
    ("text", "name"),
    [("um", "micrometer"), ("microns", "micrometer"), ("\\u00B5m", "micrometer"),
     ("\N{GREEK SMALL LETTER MU}m", "micrometer"), ("Micrometre", "micrometer"),
     ("NM", "nanometer"), ("Mm", "megameter"), ("MM", "millimeter"), ("inches", "inch"),
     ("\N{ANGSTROM SIGN}", "angstrom"), ("", "pixel"), ("pixels", "pixel"), ("reference frame", "pixel"), ("furlong", "furlong")],
)  # fmt: skip
def test_names_of_units(text: str, name: str) -> None:
    assert length_name(text) == name


def test_each_axis_has_a_unit_of_its_own() -> None:
    sizes = {"Z": 500.0, "Y": 0.2, "X": 1e-7}
    found = pixel_size_of(sizes, {"Z": "nm", "Y": "µm", "X": "m"})
    assert found == PixelSize(2e-7, 1e-7, 5e-7, "meter")
    sizes["X"] = 0.1
    assert pixel_size_of(sizes, {"Z": "s", "Y": "µm", "X": "µm"}) == PixelSize(0.2, 0.1, None)
    assert pixel_size_of(sizes, {"Z": "nm", "Y": "s", "X": "µm"}) is None
    assert pixel_size_of({"X": 1.0}, {"X": "µm"}) is None
    assert pixel_size_of({"Y": 0.0, "X": 1.0}, dict.fromkeys("YX", "µm")) is None
    assert time_step_of(0.5, "furlong") is None and time_step_of(0.0, "s") is None


def test_units_of_files(tmp_path: Path) -> None:
    metadata = {
        "axes": "TZYX", "PhysicalSizeX": 65.0, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.065,
        "PhysicalSizeZ": 3.0, "PhysicalSizeZUnit": "Å", "TimeIncrement": 2.0,
        "TimeIncrementUnit": "min",
    }  # fmt: skip
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, ome=True, metadata=metadata)
    planes = open_image(tmp_path / "a.ome.tif")
    assert planes.pixel_size == PixelSize(65.0, 65.0, 0.3, "nanometer")
    assert planes.time_step == TimeStep(2.0, "minute")
    metadata = {
        "axes": "TZYX", "unit": "micron", "zunit": "nm", "spacing": 250.0, "finterval": 0.25,
    }  # fmt: skip
    tifffile.imwrite(tmp_path / "b.tif", STACK, imagej=True, resolution=(5, 4), metadata=metadata)
    planes = open_image(tmp_path / "b.tif")
    assert planes.pixel_size == PixelSize(0.25, 0.2, 0.25) and planes.time_step == TimeStep(0.25)
    group = zarr.open_group(tmp_path / "c.zarr", mode="w")
    group.create_array("0", data=STACK)
    units = {"t": "millisecond", "z": "nanometer", "y": "micrometer", "x": "micrometer"}
    scale = {"type": "scale", "scale": [20, 300, 0.1, 0.1]}
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [
            {
                "axes": [{"name": name, "unit": unit} for name, unit in units.items()],
                "datasets": [{"path": "0", "coordinateTransformations": [scale]}],
            }
        ],
    }
    planes = open_image(tmp_path / "c.zarr")
    assert planes.pixel_size == PixelSize(0.1, 0.1, 0.3)
    assert planes.time_step == TimeStep(20.0, "millisecond")


def test_sizes_that_agree() -> None:
    one, other = PixelSize(0.325, 0.325, 1.0), PixelSize(326.0, 325.0, 1005.0, "nanometer")
    assert common_pixel_size([one, one]) is one
    assert common_pixel_size([one, other]) == PixelSize(0.3255, 0.325, 1.0025)
    assert common_pixel_size([one, PixelSize(0.325, 0.325, 2.0)]) == PixelSize(0.325, 0.325)
    assert common_pixel_size([one, PixelSize(0.33, 0.325, 1.0)]) is None
    assert common_pixel_size([one, None]) is None and common_pixel_size([]) is None
    assert common_pixel_size([one, PixelSize(0.325, 0.325, unit="furlong")]) is None
