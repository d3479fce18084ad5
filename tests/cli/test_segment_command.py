"""``napari-ptsam segment`` as a person and as a machine uses it."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from conftest_cli import complains
from conftest_cli import run as run_any
from conftest_data import damage_page
from napari_ptsam.images.planes import PixelSize
from napari_ptsam.images.reading import open_image
from napari_ptsam.images.settings import ImageSettings
from napari_ptsam.images.tiling import Tiling
from napari_ptsam.inference.rescaling import pixel_size_ratio, rescaled
from napari_ptsam.prompts.prompt import Prompt

pytestmark = pytest.mark.usefixtures("loaded")


@pytest.fixture(scope="module")
def prompt(backbone) -> Prompt:
    """With tokens that were not trained: what it finds does not matter here."""
    tokens = np.random.default_rng(0).normal(size=(1, 8, 256)).astype(np.float32)
    images = ImageSettings(Tiling(128))
    return Prompt(tokens, ("a",), ("#E69F00",), "vit_t", backbone.signature, images)


@pytest.fixture(scope="module")
def prompt_path(prompt, tmp_path_factory) -> Path:
    sized = replace(prompt, pixel_size=PixelSize(0.5, 0.5))
    return sized.save(tmp_path_factory.mktemp("prompt") / "nuclei.pt")


@pytest.fixture
def stack(nuclei, tmp_path) -> Path:
    """(t, z, y, x) of 2 x 2 planes of 64 x 64 pixels of 0.25 micrometers."""
    path = tmp_path / "stack.tif"
    values = np.stack(nuclei[0][:4]).reshape(2, 2, 128, 128)[..., :64, :64]
    metadata = {"axes": "TZYX", "unit": "um", "spacing": 2.0}
    tifffile.imwrite(path, values, imagej=True, metadata=metadata, resolution=(4, 4))
    return path


def run(*arguments: object) -> int:
    return run_any("segment", *arguments)


def fails(capsys, message: str, *arguments: object) -> None:
    """What could be segmented may be told of."""
    complains(capsys, message, "segment", *arguments)


def test_formats_by_option_and_by_name(prompt_path, stack, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    assert run(prompt_path, stack, "-o", out, "--rescale") == 0
    for kind, name in (("ome-tiff", "stack.ome.tif"), ("ome-zarr", "stack.ome.zarr")):
        assert run(prompt_path, stack, "-o", out, "--format", kind, "--rescale") == 0
        assert (out / name).exists()
        assert run(prompt_path, stack, "-o", tmp_path / f"b{name[5:]}", "--rescale") == 0
        assert (tmp_path / f"b{name[5:]}").exists()
    plain = tifffile.imread(out / "stack.tif")
    found = open_image(out / "stack.ome.zarr")
    assert found.axes == "TZYX" and found.pixel_size == PixelSize(0.25, 0.25, 2.0)
    assert np.array_equal(zarr.open_group(out / "stack.ome.zarr", mode="r")["0"][:], plain)
    assert np.array_equal(tifffile.imread(out / "stack.ome.tif"), plain)
    assert open_image(out / "stack.ome.tif").pixel_size == PixelSize(0.25, 0.25, 2.0)
    conflict = ("-o", tmp_path / "c.tif", "--format", "ome-zarr")
    fails(capsys, "no name for the format", prompt_path, stack, *conflict)


def test_patterns_and_several_prompts(prompt_path, folders, tmp_path, capsys) -> None:
    other = tmp_path / "other.pt"
    other.write_bytes(prompt_path.read_bytes())
    for number in range(2, 6):
        (folders[0] / f"00{number}.tif").unlink()
    (tmp_path / "sub").mkdir()
    (folders[0] / "001.tif").rename(tmp_path / "sub" / "1.tif")
    out = tmp_path / "out"
    pattern = tmp_path / "**" / "*[01].tif"
    (folders[1] / "000.tif").unlink(), (folders[1] / "001.tif").unlink()
    assert run(prompt_path, pattern, "-o", out, "--also", other, "--json") == 0
    names = ["000-nuclei.tif", "000-other.tif", "1-nuclei.tif", "1-other.tif"]
    assert sorted(path.name for path in out.iterdir()) == names
    files = json.loads(capsys.readouterr().out)["files"]
    assert sorted(Path(one["output"]).name for one in files) == names
    fails(capsys, "No image matches", prompt_path, tmp_path / "*.jpg", "-o", out)
    fails(capsys, "same name", prompt_path, pattern, "-o", out, "--also", prompt_path)
    image = folders[0] / "000.tif"
    fails(capsys, "one file, but", prompt_path, image, "-o", tmp_path / "c.tif", "--also", other)


def test_instances_cleaned_and_linked(prompt_path, stack, tmp_path, capsys) -> None:
    plain, linked = tmp_path / "plain.tif", tmp_path / "linked.tif"
    clean = ("--instances", "--min-size", 20, "--fill-holes", "--remove-border")
    assert run(prompt_path, stack, "-o", plain, *clean, "--split", "components") == 0
    capsys.readouterr()
    linking = ("--link-planes", "--link-gap", 0, "--measure", "--json")
    assert run(prompt_path, stack, "-o", linked, *clean, *linking) == 0
    (file,) = json.loads(capsys.readouterr().out)["files"]
    before, after = tifffile.imread(plain), tifffile.imread(linked)
    assert np.array_equal(before > 0, after > 0) and not before[..., 0].any()
    assert len(np.unique(after)) - 1 == after.max() == file["objects"]
    with Path(file["measurements"]).open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    assert Path(file["measurements"]) == tmp_path / "linked.csv" and len(rows) == after.max()
    voxel = 2 * 0.25**2
    assert all(
        float(row["volume_um3"]) == pytest.approx(voxel * int(row["pixels"])) for row in rows
    )
    for message, *options in (
        ("add --instances", "--link-planes"),
        ("needs --link-planes", "--instances", "--link-gap", 1),
        ("needs --instances", "--split", "markers"),
        ("--link-planes is a number above 0 up to 1, not 3", "--instances", "--link-planes", 3),
        ("knows no markers", "--instances", "--split", "markers"),
        ("--min-size is a whole number from 0 up, not -1", "--min-size", -1),
        ("have no objects", "--probabilities", "--fill-holes"),
        ("leave out --measure", "--probabilities", "--measure"),
    ):
        fails(capsys, message, prompt_path, stack, "-o", tmp_path / "x.tif", *options)
    assert not list(tmp_path.glob("x*"))


def test_a_part_of_the_planes(prompt_path, stack, nuclei, tmp_path, capsys) -> None:
    assert run(prompt_path, stack, "-o", tmp_path / "all.tif") == 0
    assert run(prompt_path, stack, "-o", tmp_path / "last.tif", "--slices", "-1:") == 0
    whole = tifffile.imread(tmp_path / "all.tif")
    assert np.array_equal(tifffile.imread(tmp_path / "last.tif"), whole[:, 1])
    out = tmp_path / "x.tif"
    fails(capsys, "there is nothing", prompt_path, stack, "-o", out, "--slices", "5:9")
    fails(capsys, "form A:B", prompt_path, stack, "-o", out, "--slices", "5")
    tifffile.imwrite(tmp_path / "plane.tif", nuclei[0][0])
    plane = tmp_path / "plane.tif"
    fails(capsys, "single plane", prompt_path, plane, "-o", out, "--slices", "0:1")


def test_broken_off_and_gone_on_with(prompt_path, stack, tmp_path, capsys, monkeypatch) -> None:
    from napari_ptsam.batch.work_folder import WorkFolder

    def stop(self, number: int, result: np.ndarray) -> int:
        if number == 2:
            raise KeyboardInterrupt
        return write(self, number, result)

    write, out = WorkFolder.write, tmp_path / "a.ome.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "write", stop)
        assert run(prompt_path, stack, "-o", out, "--rescale") == 130
    err = capsys.readouterr().err
    assert "2 of 4 planes" in err and "--resume" in err and err.count("\n") == 1
    fails(capsys, "unfinished run", prompt_path, stack, "-o", out, "--rescale")
    fails(capsys, "differs in: result settings", prompt_path, stack, "-o", out, "--rescale",
          "--resume", "--instances")  # fmt: skip
    assert run(prompt_path, stack, "-o", out, "--rescale", "--resume") == 0
    assert not list(tmp_path.glob("*.partial"))
    assert run(prompt_path, stack, "-o", out, "--rescale", "--resume") == 0
    fails(capsys, "exists and is kept", prompt_path, stack, "-o", out)


def test_planes_that_were_left_out(prompt_path, nuclei, tmp_path, capsys) -> None:
    values = np.stack(nuclei[0][:3])[:, :64, :64]
    (tmp_path / "in").mkdir()
    for name, planes, damaged in (("a", values, 1), ("b", values[1], 0), ("c", values[0], None)):
        path = tmp_path / "in" / f"{name}.tif"
        tifffile.imwrite(path, planes, photometric="minisblack", compression="zlib")
        if damaged is not None:
            damage_page(path, damaged)
    out = tmp_path / "out"
    fails(capsys, "a.tif, plane 1:", prompt_path, tmp_path / "in", "-o", out)
    assert sorted(path.name for path in out.iterdir()) == ["a.tif", "c.tif"]
    assert not tifffile.imread(out / "a.tif")[1].any()


def test_another_scale_is_told_of_or_adapted_to(prompt_path, stack, tmp_path, capsys) -> None:
    assert run(prompt_path, stack, "-o", tmp_path / "a.tif") == 0
    err = capsys.readouterr().err
    assert "0.5 times as large" in err and "--rescale" in err and err.count("\n") == 1
    assert run(prompt_path, stack, "-o", tmp_path / "b.tif", "--rescale") == 0
    assert capsys.readouterr().err == ""


def test_rescaled_prompts(prompt) -> None:
    sized = replace(prompt, pixel_size=PixelSize(0.5, 0.5))
    half = PixelSize(250, 250, unit="nanometer")
    assert pixel_size_ratio(sized, half) == pytest.approx(2)
    assert rescaled(sized, half).images.tiling.side == 2 * sized.images.tiling.side
    for unknown in (None, PixelSize(1, 1, unit="pixel")):
        assert pixel_size_ratio(sized, unknown) is None and rescaled(sized, unknown) is sized
    assert pixel_size_ratio(prompt, half) is None
    inch = PixelSize(1, 1, unit="inch")
    assert pixel_size_ratio(sized, inch) == pytest.approx(0.5e-6 / 0.0254)
    assert rescaled(sized, inch).images.tiling.side == 16
