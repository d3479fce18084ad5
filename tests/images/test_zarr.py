"""Zarr arrays and OME-Zarr images, as other programs write them."""

import json
from pathlib import Path

import numpy as np
import pytest
import zarr

import napari_ptsam as ptsam
from napari_ptsam.datasets.pairing import as_planes
from napari_ptsam.images.planes import PixelSize
from napari_ptsam.images.reading import list_images, open_image

VALUES = np.random.default_rng(0).integers(0, 99, (2, 3, 20, 24)).astype(np.uint16)
AXES = [
    {"name": "c", "type": "channel"},
    *({"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"),
]


def ome_zarr(path: Path, version: int, scale=(1.0, 2.0, 0.5, 0.25), **multiscale) -> Path:
    group = zarr.open_group(path, mode="w", zarr_format=version)
    group.create_array("full", data=VALUES, chunks=(1, 1, 10, 12))
    group.create_array("half", data=VALUES[..., ::2, ::2])
    scales = {
        "axes": AXES,
        "datasets": [
            {
                "path": "full",
                "coordinateTransformations": [{"type": "scale", "scale": list(scale)}],
            },
            {"path": "half"},
        ],
        **multiscale,
    }
    found = {"multiscales": [scales]}
    group.attrs.update(found if version == 2 else {"ome": {"version": "0.5", **found}})
    return path


@pytest.mark.parametrize("version", [2, 3])
def test_ome_zarr(version, tmp_path) -> None:
    planes = open_image(ome_zarr(tmp_path / "a.ome.zarr", version))
    assert planes.axes == "CZYX" and len(planes) == 3 and planes.shape == (20, 24)
    assert planes.pixel_size == PixelSize(0.5, 0.25, 2.0, "micrometer")
    assert np.array_equal(planes[1], VALUES[:, 1].transpose(1, 2, 0))


def test_scales_of_level_and_image_multiply_and_units_may_be_missing(tmp_path) -> None:
    whole = [{"type": "scale", "scale": [1, 1, 2, 2]}]
    path = ome_zarr(tmp_path / "a.zarr", 3, coordinateTransformations=whole)
    assert open_image(path).pixel_size == PixelSize(1.0, 0.5, 2.0, "micrometer")
    bare = [{"name": name} for name in "czyx"]
    assert open_image(ome_zarr(tmp_path / "b.zarr", 2, axes=bare)).pixel_size is None
    assert open_image(ome_zarr(tmp_path / "c.zarr", 2, axes=list("tzyx"))).axes == "TZYX"


@pytest.mark.parametrize("version", [2, 3])
def test_arrays(version, tmp_path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=VALUES[0], zarr_format=version)
    planes = open_image(tmp_path / "a.zarr")
    assert planes.axes == "ZYX" and np.array_equal(planes[2], VALUES[0, 2])
    assert np.array_equal(open_image(tmp_path / "a.zarr", "TYX")[0], VALUES[0, 0])


def test_named_axes_of_an_array(tmp_path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=VALUES[0], dimension_names=["channel", "y", "x"])
    assert open_image(tmp_path / "a.zarr").axes == "CYX"
    old = zarr.create_array(tmp_path / "old.zarr", data=VALUES[0], zarr_format=2)
    old.attrs["_ARRAY_DIMENSIONS"] = ["time", "lat", "lon"]
    assert open_image(tmp_path / "old.zarr").axes == "ZYX"
    old.attrs["_ARRAY_DIMENSIONS"] = ["time", "row", "column"]
    assert open_image(tmp_path / "old.zarr").axes == "TYX"
    # The array inside an image can be named, too.
    inside = ome_zarr(tmp_path / "b.zarr", 3) / "full"
    assert open_image(inside, "TZYX").leading == (2, 3)


def test_folders_list_them_and_are_not_taken_for_them(tmp_path) -> None:
    ome_zarr(tmp_path / "b10.zarr", 3)
    zarr.create_array(tmp_path / "b9.zarr", data=VALUES[0])
    assert [path.name for path in list_images(tmp_path)] == ["b9.zarr", "b10.zarr"]
    assert len(as_planes(tmp_path)) == 2 and len(as_planes(tmp_path / "b9.zarr")) == 1


def test_only_what_is_asked_for_is_read(tmp_path) -> None:
    zarr.create_array(
        tmp_path / "a.zarr", shape=(1000, 8192, 8192), chunks=(1, 512, 512), dtype="u2"
    )
    planes = open_image(tmp_path / "a.zarr")
    assert len(planes) == 1000 and planes.part("Z", 3, 5)[1].max() == 0


def test_bad_ones_are_told_of_in_a_sentence(tmp_path) -> None:
    (tmp_path / "empty.zarr").mkdir()
    zarr.open_group(tmp_path / "group.zarr", mode="w").create_array("cells", data=VALUES)
    damaged = ome_zarr(tmp_path / "damaged.zarr", 3)
    (damaged / "zarr.json").write_text("{", encoding="utf-8")
    gone = ome_zarr(tmp_path / "gone.zarr", 3)
    text = json.loads((gone / "zarr.json").read_text(encoding="utf-8"))
    text["attributes"]["ome"]["multiscales"][0]["datasets"][0]["path"] = "none"
    (gone / "zarr.json").write_text(json.dumps(text), encoding="utf-8")
    odd = ome_zarr(tmp_path / "odd.zarr", 3, datasets=7)
    for path, message in (
        (tmp_path / "none.zarr", "There is no file"),
        (tmp_path / "empty.zarr", "is no zarr"),
        (tmp_path / "group.zarr", "without an image.*cells"),
        (damaged, "damaged"), (gone, "damaged"), (odd, "damaged"),
    ):  # fmt: skip
        with pytest.raises(ptsam.InputError, match=message):
            open_image(path)
    torn = tmp_path / "torn.zarr"
    zarr.create_array(torn, data=VALUES[0])
    for chunk in (torn / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"no zstd")
    with pytest.raises(ptsam.InputError, match=r"torn\.zarr"):
        open_image(torn)[0]
