"""Batch segment: results in files, resuming, and files that cannot be written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from napari.utils.notifications import notification_manager

import napari_ptsam as ptsam
from conftest_batch import Slow, choose, notifications, run
from conftest_data import unreadable
from conftest_widgets import LONG, refreshed

pytestmark = pytest.mark.usefixtures("loaded")


def to_files(widget, folder: Path, where: str = "files", format: str = "auto") -> None:
    choose(widget.results.where, where)
    widget.files.folder.setText(str(folder))
    choose(widget.files.format, format)


def read(folder: Path, name: str = "nuclei-nuclei.tif") -> np.ndarray:
    return tifffile.imread(folder / name)


def test_a_file_for_each_image_and_prompt(
    qtbot, batch, stack, prompt, device, tmp_path: Path
) -> None:
    viewer, widget = batch(nuclei=stack.images[:3], **{"a/b: c": stack.images[3]})
    assert widget.files.isHidden()
    widget.use_prompt(replace(prompt, tokens=prompt.tokens[:, ::-1].copy()), Path("other.pt"))
    to_files(widget, tmp_path)
    assert not widget.files.isHidden()
    run(qtbot, widget)
    expected = ptsam.segment(stack.images[:3], prompt, device=device)
    assert np.array_equal(read(tmp_path), expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{image}-{name}.{ending}"
        for image in ("a_b_ c", "nuclei")
        for name in ("nuclei", "other")
        for ending in ("csv", "tif")
    ]
    assert len(viewer.layers) == 2 and notifications() == []
    assert f"The files are in {tmp_path.name}." in widget.status.text()
    assert f"The files are in {tmp_path}." in widget.status.toolTip().replace("<br>", " ")


@pytest.mark.parametrize("output", ["labels", "probabilities"])
def test_files_and_layers_of_a_part(
    qtbot, batch, stack, prompt, device, tmp_path: Path, output: str
) -> None:
    viewer, widget = batch(nuclei=stack.images)
    to_files(widget, tmp_path, "both", "ome-zarr")
    choose(widget.results.output, output)
    choose(widget.planes.which, "range")
    widget.planes.first.setValue(2)
    widget.planes.last.setValue(3)
    run(qtbot, widget)
    expected = ptsam.segment(stack.images[2:4], prompt, output=output, device=device)
    kind = "-probabilities" * (output == "probabilities")
    path = tmp_path / f"nuclei_z2-3-nuclei{kind}.ome.zarr"
    written = np.asarray(zarr.open_group(path, mode="r")["0"])
    shown = viewer.layers[-1]
    assert np.array_equal(np.squeeze(written), np.squeeze(expected))
    assert np.array_equal(shown.data, np.squeeze(expected)) and notifications() == []
    assert np.allclose(shown.data_to_world((0, 0, 0)), (2, 0, 0))


def test_an_unfinished_run_is_resumed(qtbot, batch, stack, prompt, device, tmp_path: Path) -> None:
    slow = Slow(stack.images, 0.05)
    viewer, widget = batch()
    viewer.add_image(slow.lazy()[:12], name="lazy", contrast_limits=(0, 3000))
    refreshed(qtbot, widget)
    to_files(widget, tmp_path, "both")
    choose(widget.results.output, "instances")
    widget.results.objects.linked.setChecked(True)
    done: list[int] = []
    widget.run.plane_segmented.connect(lambda plane: done.append(plane.number))
    widget.start_button.click()
    qtbot.waitUntil(lambda: len(done) >= 3, timeout=LONG)
    widget.stop_button.click()
    qtbot.waitUntil(lambda: not widget.run.running, timeout=LONG)
    assert (tmp_path / "lazy-nuclei-objects.tif.partial").is_dir()
    status = widget.status.text()
    assert status.startswith("Stopped: no images segmented") and "files are in" not in status
    assert "of 12 planes of lazy are kept in lazy-nuclei-objects.tif.partial" in status
    viewer.layers.remove("lazy – nuclei")
    run(qtbot, widget)
    result = read(tmp_path, "lazy-nuclei-objects.tif")
    # What is shown is the whole result, with the numbers that the file has.
    assert np.array_equal(viewer.layers["lazy – nuclei"].data, result) and result[-1].any()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["lazy-nuclei-objects.csv", "lazy-nuclei-objects.tif"]
    assert notifications() == []
    viewer.layers.remove("lazy – nuclei")
    run(qtbot, widget)  # the result is complete, so it is only shown
    assert np.array_equal(viewer.layers["lazy – nuclei"].data, result) and notifications() == []


def test_other_pixels_under_the_same_name_are_another_run(
    qtbot, batch, stack, prompt, device, tmp_path: Path
) -> None:
    viewer, widget = batch(nuclei=stack.images[:2])
    to_files(widget, tmp_path)
    run(qtbot, widget)
    viewer.layers[0].data = stack.images[2:4]
    run(qtbot, widget)
    (message,) = notifications()
    assert "is the result of another run" in message and "--" not in message
    assert "tick “Replace existing results”" in message
    assert widget.status.text().startswith("Nothing done: no images segmented")
    assert "nuclei-nuclei.tif is the result of another run" in widget.status.text()
    assert str(tmp_path) not in widget.status.text()
    first = ptsam.segment(stack.images[:2], prompt, device=device)
    assert np.array_equal(read(tmp_path), first)
    widget.files.overwrite.setChecked(True)
    run(qtbot, widget)
    second = ptsam.segment(stack.images[2:4], prompt, device=device)
    assert np.array_equal(read(tmp_path), second) and len(notifications()) == 1


def test_folders_that_cannot_be_used(qtbot, batch, stack, tmp_path: Path, monkeypatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    _, widget = batch(one=stack.images[0], two=stack.images[1])
    to_files(widget, tmp_path / "missing")
    widget.files.folder.setText("")
    widget.start_button.click()
    assert notifications() == ["Choose a folder for the files first."] and not widget.run.running
    widget.files.folder.setText(str(tmp_path / "missing"))
    run(qtbot, widget)
    assert notifications()[1:] == [
        f"There is no folder {tmp_path / 'missing'}; choose another one for the files."
    ]
    monkeypatch.setattr(Path, "touch", denied)  # root may write anywhere
    widget.files.folder.setText(str(tmp_path))
    run(qtbot, widget)
    assert notifications()[2:] == [
        f"The folder {tmp_path} cannot be written to; choose another one."
    ]
    assert "no images segmented" in widget.status.text() and list(tmp_path.iterdir()) == []


def test_a_full_disk_is_reported_once(qtbot, batch, stack, tmp_path: Path, monkeypatch) -> None:
    from napari_ptsam.batch.work_folder import WorkFolder

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    _, widget = batch(one=stack.images[:2], two=stack.images[2:4])
    monkeypatch.setattr(WorkFolder, "write", full)
    to_files(widget, tmp_path)
    run(qtbot, widget)
    (message,) = notifications()
    assert "no space left" in message and "1 more image" in message and "--resume" not in message


def test_planes_that_cannot_be_segmented(qtbot, batch, stack, tmp_path: Path) -> None:
    viewer, widget = batch()
    spoilt = unreadable(stack.images[:3], 1)
    viewer.add_image(spoilt, name="spoilt", contrast_limits=(0, 3000), visible=False)
    refreshed(qtbot, widget)
    to_files(widget, tmp_path)
    run(qtbot, widget)
    (message,) = notifications()
    assert message.startswith("spoilt, plane 1: Plane 1 of spoilt cannot be read")
    result = read(tmp_path, "spoilt-nuclei.tif")
    assert result[0].any() and result[2].any() and not result[1].any()
    notification_manager.records.clear()
    viewer.layers.clear()
    blank = viewer.add_image(stack.images[:2], name="nothing")
    blank.visible = False
    blank.data = unreadable(stack.images[:2], 0, 1)
    refreshed(qtbot, widget)
    widget.layers.tick_all(True)
    run(qtbot, widget)
    (message,) = notifications()
    assert message.startswith("nothing, plane 0: ") and "1 more were left out too: 1" in message
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["spoilt-nuclei.csv", "spoilt-nuclei.tif"]


def test_an_image_that_is_closed_during_the_run(qtbot, batch, stack, tmp_path: Path) -> None:
    viewer, widget = batch()
    viewer.add_image(Slow(stack.images, 0.05).lazy(), name="lazy", contrast_limits=(0, 3000))
    refreshed(qtbot, widget)
    to_files(widget, tmp_path)
    done: list[int] = []
    widget.run.plane_segmented.connect(lambda plane: done.append(plane.number))
    widget.start_button.click()
    qtbot.waitUntil(lambda: len(done) >= 2, timeout=LONG)
    viewer.layers.remove("lazy")
    qtbot.waitUntil(lambda: not widget.run.running, timeout=LONG)
    partial = tmp_path / "lazy-nuclei.tif.partial"
    assert (
        len((partial / "done").read_text(encoding="utf-8").splitlines()) >= 2
        and notifications() == []
    )
