"""Results into files, plane by plane, however often that is broken off."""

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

import napari_ptsam as ptsam
from fakes import FakeSegmenter, fake_prompt, share_fakes, stack
from napari_ptsam.batch.job import Job
from napari_ptsam.batch.result_files import FileResult, segment_to_files, target_for, written_path
from napari_ptsam.batch.work_folder import WorkFolder
from napari_ptsam.images.planes import Planes
from napari_ptsam.inference.linking import LinkSettings
from napari_ptsam.inference.segment import Segmenter

FORMATS = ("tiff", "ome-tiff", "ome-zarr")


@pytest.fixture(autouse=True)
def fakes(request, monkeypatch) -> None:
    if "backbone" not in request.fixturenames:
        share_fakes(monkeypatch)


def target(folder: Path, planes: Planes, segmenter, format="auto", name="a") -> Path:
    return target_for(folder, planes, name, segmenter, format)


def run(planes: Planes, segmenter, path: Path, **options) -> list:
    return list(segment_to_files(planes, [FileResult(segmenter, path)], **options))


def contents(path: Path) -> dict[str, bytes]:
    """All bytes of a file or folder."""
    if path.is_file():
        return {"": path.read_bytes()}
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def read(path: Path) -> np.ndarray:
    if path.is_dir():
        return zarr.open_group(path, mode="r")["0"][:]
    return tifffile.imread(path)


@pytest.mark.parametrize("format", FORMATS)
def test_broken_off_and_gone_on_with_gives_the_same_bytes(format, tmp_path) -> None:
    planes, whole, parts = stack(5), tmp_path / "whole", tmp_path / "parts"
    whole.mkdir(), parts.mkdir()
    expected = target(whole, planes, FakeSegmenter(), format)
    told = run(planes, FakeSegmenter(), expected)
    assert [(one.number, one.done, one.total) for one in told] == [(i, i + 1, 5) for i in range(5)]
    path, segmenter = target(parts, planes, segmenter := FakeSegmenter(), format), segmenter
    first = segment_to_files(planes, [FileResult(segmenter, path)])
    next(first), next(first)
    first.close()
    assert names(parts) == [f"{path.name}.partial"]
    told = run(planes, segmenter, path, resume=True)
    assert [one.results is None for one in told] == [True] * 2 + [False] * 3
    assert segmenter.planes_done == 5 and names(parts) == [path.name]
    assert contents(path) == contents(expected)
    assert np.array_equal(read(path), np.stack([plane > 50 for plane in planes]))
    # A finished result is left alone.
    told = run(planes, segmenter, path, resume=True)
    assert len(told) == 5 and segmenter.planes_done == 5 and told[-1].results is None


def test_a_torn_journal_counts_only_whole_lines(tmp_path) -> None:
    planes, segmenter = stack(4), FakeSegmenter()
    path = target(tmp_path, planes, segmenter)
    begun = segment_to_files(planes, [FileResult(segmenter, path)])
    next(begun), next(begun), next(begun)
    begun.close()
    journal = WorkFolder(path).path / "done"
    assert journal.read_text(encoding="utf-8") == "0 1\n1 1\n2 1\n"
    journal.write_text("0 1\n1 1\n2", encoding="utf-8")
    told = run(planes, segmenter, path, resume=True)
    assert [one.number for one in told if one.results is not None] == [2, 3]


KILLED = """
import sys, time
sys.path[:0] = [{here!r}]
from pathlib import Path
import numpy as np, pytest
from fakes import FakeSegmenter, share_fakes, stack
from napari_ptsam.batch.result_files import FileResult, segment_to_files
from napari_ptsam.inference.linking import LinkSettings
share_fakes(pytest.MonkeyPatch())
print("ready", flush=True)
for _ in segment_to_files(stack(40), [FileResult(FakeSegmenter("instances"), Path(sys.argv[1]))],
                          link=LinkSettings(), resume=True):
    time.sleep(0.005)
"""


@pytest.mark.skipif(os.name == "nt", reason="killed in another way there")
@pytest.mark.parametrize("format", FORMATS[1:])
def test_killed_in_the_middle(format, tmp_path) -> None:
    """benchmarks/stacks.py does so at random moments."""
    planes, link = stack(40), LinkSettings()
    expected = target(tmp_path, planes, FakeSegmenter("instances"), format, "expected")
    run(planes, FakeSegmenter("instances"), expected, link=link)
    path = expected.with_name(expected.name.replace("expected", "killed"))
    code = KILLED.format(here=str(Path(__file__).parents[1]))
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    time.sleep(0.25)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    run(planes, FakeSegmenter("instances"), path, link=link, resume=True)
    assert contents(path) == contents(expected)
    assert names(tmp_path) == sorted([expected.name, path.name])


@pytest.mark.parametrize("format", FORMATS)
def test_killed_while_finishing(format, tmp_path, monkeypatch) -> None:
    """Before each step of the file system after the last plane."""
    from napari_ptsam.batch import finishing

    class Killed(BaseException):
        pass

    planes, segmenter = stack(2, 2), FakeSegmenter("instances")
    expected = target(tmp_path, planes, segmenter, format, "expected")
    run(planes, segmenter, expected, link=LinkSettings())
    path = target(tmp_path, planes, segmenter, format, "killed")
    part = [FileResult(segmenter, path)]

    def killed(*_, **__):
        raise Killed

    for where_, name in ((finishing, "_linked"), (finishing, "_about"), (finishing, "_place"),
                         (WorkFolder, "remove")):  # fmt: skip
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(where_, name, killed)
            list(segment_to_files(planes, part, link=LinkSettings(), resume=True))
        assert WorkFolder(path).exists
    assert path.exists()  # killed after it was in place
    list(segment_to_files(planes, part, link=LinkSettings(), resume=True))
    assert contents(path) == contents(expected) and not WorkFolder(path).exists


@pytest.mark.parametrize("format", FORMATS)
def test_overwriting_replaces_only_with_what_is_whole(format, tmp_path) -> None:
    planes, segmenter = stack(3), FakeSegmenter()
    path = target(tmp_path, planes, segmenter, format)
    run(planes, segmenter, path)
    before = contents(path)
    other = FakeSegmenter(prompt=fake_prompt(1))
    for options, message in (({}, "exists and is kept"), ({"resume": True}, "of another run")):
        with pytest.raises(ptsam.OutputError, match=message):
            segment_to_files(planes, [FileResult(other, path)], **options)
    begun = segment_to_files(planes, [FileResult(other, path)], overwrite=True)
    next(begun)
    begun.close()
    assert contents(path) == before
    run(planes, other, path, overwrite=True)
    assert contents(path) != before and names(tmp_path) == [path.name]


def test_an_unfinished_run_is_not_touched_by_another(tmp_path) -> None:
    planes, segmenter = stack(3), FakeSegmenter()
    path = target(tmp_path, planes, segmenter)
    begun = segment_to_files(planes, [FileResult(segmenter, path)])
    next(begun)
    begun.close()
    with pytest.raises(ptsam.OutputError, match=r"resume=True.*overwrite=True"):
        run(planes, segmenter, path)
    for wrong, other, message in (
        (planes, FakeSegmenter(prompt=fake_prompt(1)), r"in: prompt\."),
        (planes, FakeSegmenter(min_size=3), r"in: result settings\."),
        (stack(4), segmenter, r"in: shape, pixels\."),
        (stack(5).part("Z", 1, 4), segmenter, r"in: part, pixels\."),
    ):
        with pytest.raises(ptsam.OutputError, match=message):
            run(wrong, other, path, resume=True)
    assert contents(WorkFolder(path).path)
    run(planes, segmenter, path, overwrite=True)
    assert names(tmp_path) == ["a.tif"]


def test_two_runs_do_not_write_one_target_at_a_time(tmp_path) -> None:
    planes, path, segmenter = stack(4), tmp_path / "a.tif", FakeSegmenter()
    first = segment_to_files(planes, [FileResult(segmenter, path)])
    next(first)
    for options in ({"resume": True}, {"overwrite": True}):
        with pytest.raises(ptsam.OutputError, match=r"Another run is writing .*a\.tif at this"):
            run(planes, segmenter, path, **options)
    assert len(list(first)) == 3 and names(tmp_path) == ["a.tif"]
    assert len(run(planes, segmenter, path, overwrite=True)) == 4


def test_an_image_of_the_same_name_with_other_pixels_is_another_run(tmp_path) -> None:
    planes, segmenter = stack(3), FakeSegmenter()
    path = target(tmp_path, planes, segmenter)
    run(planes, segmenter, path)
    other = Planes(np.stack(list(planes))[::-1], planes.axes, planes.name)
    with pytest.raises(ptsam.OutputError, match="is the result of another run"):
        run(other, segmenter, path, resume=True)


def test_folders_that_are_no_work_folders_are_kept(tmp_path) -> None:
    mine = tmp_path / "a.tif.partial"
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine", encoding="utf-8")
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(ptsam.OutputError, match="no folder of an unfinished run"):
            run(stack(2), FakeSegmenter(), tmp_path / "a.tif", **options)
    photos = tmp_path / "b.ome.zarr"
    photos.mkdir()
    with pytest.raises(ptsam.OutputError, match="is a folder"):
        run(stack(2), FakeSegmenter(), photos, overwrite=True)
    assert names(tmp_path) == ["a.tif.partial", "b.ome.zarr"] and names(mine) == ["thesis.txt"]


def test_places_that_cannot_be_written(tmp_path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    for path, message in (
        (tmp_path / "none" / "a.tif", "no folder"),
        (tmp_path / "file" / "a.tif", "no folder"),
        (Path("/proc/1/a.tif"), "cannot be written to /proc/1"),
    ):
        with pytest.raises(ptsam.OutputError, match=message):
            run(stack(2), FakeSegmenter(), path)


def test_a_plane_that_cannot_be_segmented_stays_empty(tmp_path) -> None:
    values = np.full((3, 32, 32), 80, np.float32)
    values[1, 3, 3] = np.nan
    planes, path = Planes(values, "ZYX", "s.tif"), tmp_path / "a.tif"
    told = run(planes, FakeSegmenter(), path)
    assert [bool(one.problem) for one in told] == [False, True, False]
    assert told[1].results is None and "s.tif, plane 1: the plane holds NaN" in told[1].problem
    assert tifffile.imread(path).reshape(3, -1).max(axis=1).tolist() == [1, 0, 1]
    planes = Planes(np.full_like(values, np.nan), "ZYX", "s.tif")
    with pytest.raises(ptsam.InputError, match=r"plane 0.*NaN"):
        run(planes, FakeSegmenter(), tmp_path / "b.tif")
    assert names(tmp_path) == ["a.tif"]


@pytest.mark.parametrize("when", ["write", "record"])
def test_a_disk_that_fills_up_midway_keeps_what_is_done(when, tmp_path, monkeypatch) -> None:
    planes, segmenter, path = stack(4), FakeSegmenter(), tmp_path / "a.tif"
    kept, count = getattr(WorkFolder, when), iter(range(100))

    def fills_up(self, *arguments):
        if next(count) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return kept(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, when, fills_up)
        with pytest.raises(ptsam.OutputError, match=r"no space left.*is kept in.*resume=True"):
            run(planes, segmenter, path)
    told = run(planes, segmenter, path, resume=True)
    assert [one.results is None for one in told] == [True, True, False, False]
    assert names(tmp_path) == ["a.tif"]


def test_several_prompts_have_a_file_each(tmp_path) -> None:
    planes = stack(3)
    segmenters = [FakeSegmenter(), FakeSegmenter("instances", fake_prompt(1))]
    parts = [
        FileResult(one, target_for(tmp_path, planes, "a", one, "auto", name))
        for one, name in zip(segmenters, "pq", strict=True)
    ]
    begun = segment_to_files(planes, parts)
    assert [array.dtype for array in next(begun).results] == [np.uint8, np.uint32]
    begun.close()
    list(segment_to_files(planes, parts, resume=True))
    assert names(tmp_path) == ["a-p.tif", "a-q.tif"]
    assert tifffile.imread(tmp_path / "a-q.tif").dtype == np.uint16


def test_linked_objects_keep_their_numbers_within_a_stack(tmp_path) -> None:
    values = np.zeros((2, 3, 32, 32), np.uint8)
    values[:, :, 4:20, 4:12] = 90
    planes, segmenter = Planes(values, "TZYX", "s.tif"), FakeSegmenter("instances")
    run(planes, segmenter, tmp_path / "a.tif", link=LinkSettings())
    found = tifffile.imread(tmp_path / "a.tif")
    assert found[:, :, 8, 8].tolist() == [[1, 1, 1], [2, 2, 2]]
    with pytest.raises(ptsam.InputError, match="Only instances"):
        run(planes, FakeSegmenter(), tmp_path / "b.tif", link=LinkSettings())


def test_too_many_objects_for_imagej_become_ome_zarr(tmp_path) -> None:
    class Many(FakeSegmenter):
        def plane(self, plane, rgb=False, limits=None):
            return np.full(plane.shape, 70_000, np.uint32)

    path, planes, segmenter = tmp_path / "a.tif", stack(2), Many("instances")
    run(planes, segmenter, path)
    assert written_path(path) == tmp_path / "a.ome.zarr" and names(tmp_path) == ["a.ome.zarr"]
    assert read(written_path(path)).dtype == np.uint32 and read(written_path(path)).max() == 70_000
    assert len(run(planes, segmenter, path, resume=True)) == 2
    run(planes, segmenter, tmp_path / "b.ome.tif")
    assert tifffile.imread(tmp_path / "b.ome.tif").dtype == np.uint32


def test_what_a_run_is_of(tmp_path) -> None:
    planes, segmenter, path = stack(2), FakeSegmenter(), tmp_path / "a.ome.zarr"
    job = Job(planes, [FileResult(segmenter, path)])
    assert not list(tmp_path.iterdir())  # nothing before it begins
    job.begin()
    kept = json.loads((tmp_path / "a.ome.zarr.partial" / "run.json").read_text(encoding="utf-8"))
    assert kept["shape"] == [2, 32, 32] and kept["axes"] == "ZYX" and kept["image"] == "stack.tif"
    notes = replace(segmenter.prompt, notes="other words")
    assert (
        job.runs == Job(planes, [FileResult(FakeSegmenter(prompt=notes), path)], resume=True).runs
    )


@pytest.mark.parametrize("output", ["labels", "instances", "probabilities"])
def test_real_results_are_those_of_segment(output, nuclei, prompt, backbone, tmp_path) -> None:
    values = np.stack(nuclei[0][:2])
    segmenter = Segmenter(prompt, backbone, output)
    planes = Planes(values, "ZYX", "nuclei")
    for format in FORMATS:
        path = target(tmp_path, planes, segmenter, format)
        run(planes, segmenter, path)
        found = read(path)
        expected = np.stack([segmenter.plane(plane) for plane in values])
        assert np.array_equal(found.reshape(expected.shape), expected)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_measurements_lie_beside_the_result_however_the_run_is_broken_off(tmp_path) -> None:
    planes, link, written = stack(5), LinkSettings(), []
    options = {
        "link": link, "measure": True, "resume": True,
        "on_written": lambda number, result: written.append(result),
    }  # fmt: skip
    path, segmenter = tmp_path / "a.tif", FakeSegmenter("instances")
    first = segment_to_files(planes, [FileResult(segmenter, path)], **options)
    next(first), next(first)
    first.close()
    assert names(tmp_path) == ["a.tif.partial"]
    run(planes, segmenter, path, **options)
    assert names(tmp_path) == ["a.csv", "a.tif"]
    rows, objects = rows_of(tmp_path / "a.csv"), read(path)
    assert [int(row["label"]) for row in rows] == np.unique(objects[objects > 0]).tolist()
    assert int(rows[0]["pixels"]) == (objects == 1).sum() and rows[0]["class"] == "a"
    assert written[0].path == path and written[0].objects == len(rows) == objects.max()
    # It is made up for where the result was written without it.
    (tmp_path / "a.csv").unlink()
    run(planes, segmenter, path, **options)
    assert rows_of(tmp_path / "a.csv") == rows and written[1].objects == len(rows)
    other = tmp_path / "b.tif"
    (tmp_path / "b.csv").write_text("mine", encoding="utf-8")
    with pytest.raises(ptsam.OutputError, match=r"b\.csv exists and is kept"):
        run(planes, segmenter, other, measure=True)
    run(planes, FakeSegmenter("probabilities"), other, measure=True)
    assert (tmp_path / "b.csv").read_text(encoding="utf-8") == "mine"
