"""The main job in both widgets and on the command line, for any version of napari, Qt and torch.

`nox` runs this file with the oldest and the newest versions that are admitted. It uses what users
use: the menus' widgets, their buttons, and public functions.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import napari_ptsam as ptsam
from conftest_cli import run
from napari_ptsam.widgets.annotate.prediction_preview import NAME as PREVIEW

PLUGIN = "napari-ptsam"
LONG = 180_000
"""Milliseconds after which something that should happen has not; a slow machine is no failure."""
QUICK = {
    "steps": 35, "embeddings": 4, "batch_size": 1, "tile": "whole", "seed": 0, "minutes": 0,
    "markers": "no",
}  # fmt: skip


@pytest.fixture
def stack(nuclei) -> tuple[np.ndarray, np.ndarray]:
    """Six planes of nuclei and their instances, both (6, 128, 128)."""
    images, masks = nuclei
    return np.stack(images), np.stack(masks)


@pytest.fixture
def viewer(make_napari_viewer, qtbot, tmp_path: Path, monkeypatch) -> Any:
    monkeypatch.setenv("NAPARI_PTSAM_SESSIONS", str(tmp_path / "sessions"))
    return make_napari_viewer()


def test_annotate_train_and_preview(qtbot, viewer, stack) -> None:
    images, masks = stack
    viewer.add_image(images, name="nuclei")
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Annotate and train")
    widget.session_model.settings |= QUICK
    qtbot.waitUntil(lambda: widget.images.table.rowCount() == 1, timeout=LONG)
    widget.images._tick_all(True)
    widget.annotate.add.click()
    source = widget.session_model.images[0]
    for plane, mask in enumerate(masks[:4]):
        rows, columns = np.nonzero(mask)
        source.labels.data_setitem((np.full(len(rows), plane), rows, columns), 1)
    records = widget.session_model.records
    qtbot.waitUntil(lambda: all(records.get(source.id, n).painted for n in range(4)), timeout=LONG)
    for plane in range(4):
        records.mark(source.id, plane, True)
    widget.session_model.touch()
    qtbot.waitUntil(widget.train.train.isEnabled, timeout=LONG)
    widget.train.train.click()
    qtbot.waitUntil(lambda: not widget.train.run.running, timeout=LONG)
    assert widget.session_model.prompt is not None
    viewer.dims.set_point(0, 5)
    qtbot.waitUntil(lambda: PREVIEW in viewer.layers, timeout=LONG)
    qtbot.waitUntil(lambda: np.asarray(viewer.layers[PREVIEW].data).any(), timeout=LONG)
    widget.close_down(10)


def test_batch_segment(qtbot, viewer, stack, prompt, tmp_path: Path, all_threads) -> None:
    images, _ = stack
    layer = viewer.add_image(images[:2], name="nuclei")
    path = prompt.save(tmp_path / "nuclei.pt")
    viewer.open(path, plugin=PLUGIN)
    docked = viewer.window.dock_widgets
    qtbot.waitUntil(lambda: len(docked) == 1, timeout=LONG)
    (widget,) = docked.values()
    qtbot.waitUntil(lambda: len(widget.prompts.opened) == 1, timeout=LONG)
    layer.name = "renamed"
    qtbot.waitUntil(lambda: widget.layers.item(0).text().startswith("renamed"), timeout=LONG)
    widget.layers.tick_all(True)
    widget.start_button.click()
    qtbot.waitUntil(lambda: len(viewer.layers) == 2 and not widget.run.running, timeout=LONG)
    labels = ptsam.segment(images[:2], prompt)
    assert labels.any()
    np.testing.assert_array_equal(viewer.layers[-1].data, labels)
    widget.close_down(10)


def test_command_line(folders, tmp_path: Path, capsys) -> None:
    def command(*arguments: object) -> str:
        line = [sys.executable, "-m", "napari_ptsam", *map(str, arguments)]
        done = subprocess.run(line, capture_output=True, text=True, encoding="utf-8")
        assert done.returncode == 0, done.stderr
        return done.stdout

    images, masks = folders
    for spare in ("004.tif", "005.tif"):
        for folder in folders:
            (folder / spare).unlink()
    path, out = tmp_path / "cells.pt", tmp_path / "labels"
    quick = ["--steps", 35, "--embeddings", 4, "--batch-size", 1, "--tile", "whole", "--seed", 0]
    quick += ["--markers", "no", "--minutes", 0, "--detail", "off"]
    command("train", images, masks, "-o", path, *quick)
    assert run("info", path) == 0 and "annotated planes" in capsys.readouterr().out
    command("segment", path, images, "-o", out)
    assert any(tifffile.imread(file).any() for file in out.iterdir())
