"""``segment`` on plates, on files that belong together, and into the images themselves."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from conftest_cli import complains, run
from napari_ptsam.images.reading import open_image
from napari_ptsam.images.settings import ImageSettings
from napari_ptsam.images.tiling import Tiling
from napari_ptsam.prompts.prompt import Prompt

pytestmark = pytest.mark.usefixtures("loaded")


@pytest.fixture(scope="module")
def prompt_path(backbone, tmp_path_factory) -> Path:
    """With tokens that were not trained: what it finds does not matter here."""
    tokens = np.random.default_rng(0).normal(size=(1, 8, 256)).astype(np.float32)
    images = ImageSettings(Tiling(128))
    prompt = Prompt(tokens, ("a",), ("#E69F00",), "vit_t", backbone.signature, images)
    return prompt.save(tmp_path_factory.mktemp("prompt") / "nuclei.v2.pt")


@pytest.fixture
def plane(nuclei) -> np.ndarray:
    return nuclei[0][0][:64, :64]


def image(path: Path, plane: np.ndarray) -> Path:
    group = zarr.open_group(path, mode="w")
    group.create_array("0", data=plane)
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    step = {"type": "scale", "scale": [0.5, 0.5]}
    levels = [{"path": "0", "coordinateTransformations": [step]}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": levels}]}
    return path


@pytest.fixture
def plate(plane, tmp_path) -> Path:
    path = tmp_path / "plate.zarr"
    wells = [{"path": "A/1"}, {"path": "A/2"}]
    zarr.open_group(path, mode="w").attrs["ome"] = {"version": "0.5", "plate": {"wells": wells}}
    for well in ("A/1", "A/2"):
        group = zarr.open_group(path / well, mode="w")
        group.attrs["ome"] = {"version": "0.5", "well": {"images": [{"path": "0"}]}}
        image(path / well / "0", plane)
    return path


def test_a_plate_to_files_and_into_its_images(prompt_path, plate, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    assert run("segment", prompt_path, plate, "-o", out, "--json") == 0
    files = json.loads(capsys.readouterr().out)["files"]
    names = ["plate-A-1-0.tif", "plate-A-2-0.tif"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert [Path(one["output"]).name for one in files] == names
    # What the same command has written counts as done.
    assert run("segment", prompt_path, str(plate / "A" / "*" / "0"), "-o", out) == 0
    assert capsys.readouterr().err.count("the same image, prompt and settings already") == 2
    measured = ("--into-image", "--instances", "--measure", "--label-name", "cells")
    assert run("segment", prompt_path, plate, "--into-image") == 0
    assert run("segment", prompt_path, plate, *measured) == 0
    for well in ("1", "2"):
        labels = plate / "A" / well / "0" / "labels"
        assert zarr.open_group(labels, mode="r").attrs["ome"]["labels"] == ["nuclei_v2", "cells"]
        expected = tifffile.imread(out / f"plate-A-{well}-0.tif")
        assert np.array_equal(open_image(labels / "nuclei_v2")[0], expected)
        assert (tmp_path / f"plate-A-{well}-0-cells.csv").exists()
    rest = {path.name for path in tmp_path.iterdir()} - {"plate.zarr", "out"}
    assert rest == {"plate-A-1-0-cells.csv", "plate-A-2-0-cells.csv"}


def test_what_into_image_declines(prompt_path, plane, tmp_path, capsys) -> None:
    path = image(tmp_path / "i.zarr", plane)
    np.save(tmp_path / "a.npy", plane)
    before = sorted(tmp_path.rglob("*"))
    into = ("segment", prompt_path, path, "--into-image")
    for message, *arguments in (
        ("is no OME-Zarr image", "segment", prompt_path, tmp_path / "a.npy", "--into-image"),
        ("not allowed with", *into, "-o", tmp_path / "x.tif"),
        ("--format is for files", *into, "--format", "tiff"),
        ("Probabilities are no labels", *into, "--probabilities"),
        ("leave out --slices", *into, "--slices", "0:1"),
        ("add --into-image", "segment", prompt_path, path, "-o", "x.tif", "--label-name", "a"),
    ):
        complains(capsys, message, *arguments)
    assert sorted(tmp_path.rglob("*")) == before


def test_files_of_one_image_give_one_result(prompt_path, plane, tmp_path, capsys) -> None:
    names = [f"t{number}.ome.tif" for number in range(2)]
    parts = "".join(
        f'<TiffData FirstT="{t}" IFD="0" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{name}'
        "</UUID></TiffData>"
        for t, name in enumerate(names)
    )
    (tmp_path / "in").mkdir()
    for name in names:
        text = (
            f'<?xml version="1.0"?><OME UUID="urn:uuid:{name}"><Image ID="Image:0"><Pixels '
            'ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="64" SizeY="64" SizeZ="1" '
            f'SizeC="1" SizeT="2">{parts}</Pixels></Image></OME>'
        )
        tifffile.imwrite(tmp_path / "in" / name, plane, description=text, metadata=None)
    assert run("segment", prompt_path, tmp_path / "in", "-o", tmp_path / "out") == 0
    told = capsys.readouterr().err
    assert "t0.ome.tif is one of 2 files of an image; all of them are read." in told
    assert "OME series" not in told and [p.name for p in (tmp_path / "out").iterdir()] == ["t0.tif"]
    assert tifffile.imread(tmp_path / "out" / "t0.tif").shape == (2, 64, 64)


def test_addresses_in_messages(prompt_path, tmp_path, capsys) -> None:
    address = "http://127.0.0.1:9/a.ome.zarr"
    complains(capsys, f"{address} ", "segment", prompt_path, address, "-o", tmp_path / "o.tif")
    np.save(tmp_path / "m.npy", np.eye(32, dtype=np.uint8))
    complains(capsys, f"{address} ", "train", address, tmp_path / "m.npy", "-o", tmp_path / "p.pt")
    for arguments in (
        ("segment", prompt_path, "a.tif", "-o", address),
        ("segment", address, "a.tif", "-o", tmp_path),
        ("train", "a", address, "-o", "b.pt"),
        ("info", address),
    ):
        complains(capsys, f"{address} is an address; name a file or folder on this", *arguments)
