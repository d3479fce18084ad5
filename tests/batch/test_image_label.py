"""Resolution levels of OME-Zarr results, and labels inside of the user's images."""

import json
from pathlib import Path

import numpy as np
import pytest
import zarr

import napari_ptsam as ptsam
from fakes import FakeSegmenter, fake_prompt, share_fakes
from napari_ptsam.batch import image_label
from napari_ptsam.batch.measured_planes import table_path
from napari_ptsam.batch.result_files import FileResult, segment_to_files, target_for
from napari_ptsam.batch.work_folder import WorkFolder
from napari_ptsam.images.planes import PixelSize, Planes
from napari_ptsam.images.reading import open_image

VALUES = np.random.default_rng(1).integers(0, 100, (2, 3, 32, 40)).astype(np.uint8)  # CZYX
AXES = [
    {"name": "c", "type": "channel"},
    *({"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"),
]


@pytest.fixture(autouse=True)
def fakes(monkeypatch) -> None:
    share_fakes(monkeypatch)


class FirstChannel(FakeSegmenter):
    """A segmenter of the first channel of several."""

    def prepare(self, plane):
        return super().prepare(plane[..., 0] if plane.ndim == 3 else plane)


def image(path: Path, version: int) -> Path:
    group = zarr.open_group(path, mode="w", zarr_format=version)
    group.create_array("0", data=VALUES, chunks=(1, 1, 32, 40))
    steps = [
        {"type": "scale", "scale": [1.0, 2.0, 0.5, 0.25]},
        {"type": "translation", "translation": [0.0, 10.0, 20.0, 30.0]},
    ]
    scales = {"axes": AXES, "datasets": [{"path": "0", "coordinateTransformations": steps}]}
    found = {"omero": {"channels": [{"label": "a"}, {"label": "b"}]}, "mine": [1, 2]}
    if version == 2:
        group.attrs.update({"multiscales": [{"version": "0.4", **scales}], **found})
    else:
        group.attrs.update({"ome": {"version": "0.5", "multiscales": [scales], **found}})
    return path


def contents(folder: Path, without: str = "labels") -> dict[str, bytes]:
    """All files of a folder but those of labels, which are to stay as they are."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    named = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    return {name: data for name, data in named.items() if not name.startswith(without)}


def run(path: Path, name: str, segmenter=None, **options) -> list:
    segmenter = segmenter or FirstChannel(prompt=fake_prompt(classes=("a", "b")))
    parts = [FileResult(segmenter, path / "labels" / name)]
    return list(segment_to_files(open_image(path), parts, **options))


@pytest.mark.parametrize("version", [2, 3])
def test_a_label_in_the_image_and_nothing_else_changed(version, tmp_path) -> None:
    path = image(tmp_path / "i.zarr", version)
    before = contents(tmp_path)
    run(path, "cells")
    after = contents(tmp_path).items()
    assert {name: data for name, data in after if "/labels/" not in name} == before
    planes, found = open_image(path), open_image(path / "labels" / "cells")
    assert found.axes == "ZYX" and found.pixel_size == planes.pixel_size
    assert np.array_equal(np.stack(list(found)), VALUES[0] > 50)
    group = zarr.open_group(path / "labels", mode="r")
    assert group.metadata.zarr_format == group["cells"].metadata.zarr_format == version
    attributes, label = dict(group.attrs), dict(group["cells"].attrs)
    if version == 3:
        attributes, label = attributes["ome"], label["ome"]
        assert attributes["version"] == label["version"] == "0.5"
    assert attributes["labels"] == ["cells"]
    assert label["image-label"]["source"] == {"image": "../../"}
    assert [one["class"] for one in label["image-label"]["properties"]] == ["a", "b"]
    (scales,) = label["multiscales"]
    assert scales["axes"] == AXES[1:] and scales["datasets"][0]["coordinateTransformations"] == [
        {"type": "scale", "scale": [2.0, 0.5, 0.25]},
        {"type": "translation", "translation": [10.0, 20.0, 30.0]},
    ]


@pytest.mark.parametrize("version", [2, 3])
def test_labels_that_exist_are_kept(version, tmp_path) -> None:
    path = image(tmp_path / "i.zarr", version)
    run(path, "cells")
    mine = zarr.open_group(path / "labels" / "mine", mode="w", zarr_format=version)
    mine.create_array("0", data=VALUES[0])
    before = contents(path, "-")
    with pytest.raises(ptsam.OutputError, match="exists and is kept"):
        run(path, "mine")
    with pytest.raises(ptsam.OutputError, match="exists and is kept"):
        run(path, "cells", FirstChannel(prompt=fake_prompt(1)))
    with pytest.raises(ptsam.OutputError, match="of another run"):
        run(path, "mine", resume=True)
    run(path, "cells")  # of the same run
    assert contents(path, "-") == before and len(list(tmp_path.iterdir())) == 1
    run(path, "mine", overwrite=True)
    run(path, "more")
    assert np.array_equal(np.stack(list(open_image(path / "labels" / "mine"))), VALUES[0] > 50)
    attributes = dict(zarr.open_group(path / "labels", mode="r").attrs)
    listed = attributes["ome"]["labels"] if version == 3 else attributes["labels"]
    assert listed == ["cells", "mine", "more"]
    kept = {name: data for name, data in before.items() if name.startswith("labels/cells")}
    assert kept.items() <= contents(path, "-").items()


def test_interrupted_runs_leave_the_image_alone_and_are_resumed(tmp_path, monkeypatch) -> None:
    path = image(tmp_path / "i.zarr", 3)
    before = contents(path, "-")
    begun = segment_to_files(open_image(path), [FileResult(FirstChannel(), path / "labels" / "a")])
    next(begun)
    begun.close()
    assert contents(path, "-") == before
    work = WorkFolder(path / "labels" / "a").path
    assert work == tmp_path / "i-a.partial" and work.is_dir()
    with pytest.raises(ptsam.OutputError, match="unfinished run"):
        run(path, "a", FirstChannel())
    # Killed when the label is in its place, and not in the list yet.
    with monkeypatch.context() as patch:
        patch.setattr(image_label.ImageLabel, "register", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(path, "a", FirstChannel(), resume=True)
    assert not (path / "labels" / "zarr.json").read_text(encoding="utf-8").count('"a"')
    run(path, "a", FirstChannel(), resume=True)
    group = zarr.open_group(path / "labels", mode="r")
    assert group.attrs["ome"]["labels"] == ["a"] and not work.exists()


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_consolidated_metadata_know_the_label(version, tmp_path) -> None:
    root = zarr.open_group(tmp_path / "p.zarr", mode="w", zarr_format=version)
    root.create_group("A")
    path = image(tmp_path / "p.zarr" / "A" / "0", version)
    zarr.consolidate_metadata(path)
    zarr.consolidate_metadata(tmp_path / "p.zarr")
    run(path, "cells")
    for group, prefix in ((path, ""), (tmp_path / "p.zarr", "A/0/")):
        opened = zarr.open_group(group, mode="r", use_consolidated=True)
        assert opened[f"{prefix}labels/cells/0"].shape == (3, 32, 40)
        labels = dict(opened[f"{prefix}labels"].attrs)
        assert (labels["ome"] if version == 3 else labels)["labels"] == ["cells"]
        assert opened[f"{prefix}0"].shape == VALUES.shape
    assert table_path(path / "labels" / "cells") == tmp_path / "p-A-0-cells.csv"


def test_what_no_label_can_be(tmp_path) -> None:
    path = image(tmp_path / "i.zarr", 3)
    target = path / "labels" / "a"
    for planes, segmenter, message in (
        (open_image(path).part("Z", 0, 2), FirstChannel(), "the whole image"),
        (open_image(path), FirstChannel("probabilities"), "probabilities are no labels"),
    ):
        with pytest.raises(ptsam.OutputError, match=message):
            list(segment_to_files(planes, [FileResult(segmenter, target)]))
    old = zarr.open_group(tmp_path / "old.zarr", mode="w", zarr_format=2)
    old.create_array("0", data=VALUES[:1, :1][None])
    old.attrs["multiscales"] = [{"version": "0.1", "datasets": [{"path": "0"}]}]
    with pytest.raises(ptsam.OutputError, match=r"no OME-Zarr image of version 0\.4"):
        run(tmp_path / "old.zarr", "a")


@pytest.mark.parametrize("output", ["labels", "probabilities"])
def test_levels_are_halves(output, tmp_path) -> None:
    plane = np.random.default_rng(0).integers(0, 100, (301, 1030)).astype(np.uint8)
    planes = Planes(np.stack([plane, plane[::-1]]), "ZYX", "a", PixelSize(0.5, 0.25, 2.0))
    segmenter = FakeSegmenter(output)
    path = target_for(tmp_path, planes, "a", segmenter, "ome-zarr")
    list(segment_to_files(planes, [FileResult(segmenter, path)]))
    levels = [zarr.open_array(path / str(level), mode="r")[:] for level in range(4)]
    assert [level.shape[-2:] for level in levels] == [(301, 1030), (151, 515), (76, 258), (38, 129)]
    assert not (path / "4").exists() and open_image(path).shape == (301, 1030)
    group = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
    (scales,) = group["attributes"]["ome"]["multiscales"]
    steps = [dataset["coordinateTransformations"] for dataset in scales["datasets"]]
    if output == "labels":
        assert np.array_equal(levels[2], levels[0][:, ::4, ::4])
        assert steps[2] == [{"type": "scale", "scale": [2.0, 2.0, 1.0]}]
    else:
        block = levels[0][0, 1, 4:8, 8:12].mean()
        assert levels[2][0, 1, 1, 2] == pytest.approx(block, abs=1e-6)
        assert steps[2][1]["translation"][-2:] == [0.75, 0.375]
