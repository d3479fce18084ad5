"""Every kind of prompt in both widgets: what they show and write is what `segment` gives."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from conftest_batch import choose, run
from conftest_batch import notifications as notified
from conftest_every import CHOSEN
from conftest_widgets import LONG, refreshed
from napari_ptsam.widgets.annotate.prediction_preview import NAME as PREVIEW

pytestmark = pytest.mark.usefixtures("loaded")


FEW = ("one class", "several classes", "markers", CHOSEN)
"""Kinds that differ in where results go and what they are called; `segment` tells the others apart."""


def shown(viewer: Any, kind: str, count: int) -> np.ndarray:
    """The layers of a result, in the shape that `segment` gives."""
    name = f"{'composite' if kind == CHOSEN else 'nuclei'} – {kind}"
    layers = [x for x in viewer.layers if x.name == name or x.name.startswith(f"{name} – ")]
    assert len(layers) == count, (kind, [layer.name for layer in viewer.layers])
    arrays = [layer.data[:, 0] if layer.data.ndim == 4 else layer.data for layer in layers]
    return np.stack(arrays) if count > 1 else arrays[0]


def read(folder: Path, kind: str) -> np.ndarray:
    ending = {"files": "-objects", "both": "-probabilities"}[folder.name]
    path = folder / f"{'composite' if kind == CHOSEN else 'nuclei'}-{kind}{ending}"
    if (whole := path.with_name(path.name + ".tif")).exists():
        return tifffile.imread(whole)
    return np.asarray(zarr.open_group(path.with_name(path.name + ".ome.zarr"), mode="r")["0"])


def test_batch_segment(qtbot, batch, prompts, grey, found, tmp_path: Path) -> None:
    viewer, widget = batch(prompt=None, nuclei=grey)
    composite = np.stack([grey[::-1, ::-1], grey], axis=1)
    viewer.add_image(composite, name="composite", axis_labels=("z", "channel", "y", "x"))
    refreshed(qtbot, widget)
    widget.layers.tick_all(True)
    few = {kind: prompts[kind] for kind in FEW}
    listed: set[str] = set()
    for where, output, kinds in (
        ("layers", "labels", few), ("files", "instances", few), ("both", "probabilities", prompts),
    ):  # fmt: skip
        for kind in kinds.keys() - listed:
            widget.use_prompt(prompts[kind], Path(f"{kind}.pt"))
        listed |= kinds.keys()
        folder = tmp_path / where
        folder.mkdir()
        choose(widget.results.where, where)
        choose(widget.results.output, output)
        widget.files.folder.setText(str(folder))
        widget.start_button.click()
        qtbot.waitUntil(lambda: not widget.run.running, timeout=4 * LONG)  # many at once
        for kind, prompt in kinds.items():
            count = len(prompt.classes) if output == "probabilities" else 1
            results = [] if where == "files" else [shown(viewer, kind, count)]
            if where != "layers":
                result = read(folder, kind)
                results.append(np.moveaxis(result, 1, 0) if result.ndim == 4 else result)
            for result in results:
                expected = found(kind, output)
                expected = expected if result.ndim == expected.ndim else expected[0]
                close = np.abs(expected.astype(float) - result).max() <= 0.02
                assert result.shape == expected.shape and close, (kind, where)
        for layer in list(viewer.layers)[2:]:
            viewer.layers.remove(layer)
    words = set(notified())
    # The others do not know which channel is theirs, and the chosen one is not in the grey image.
    # One of version 0.1.0 does not know what it was trained on, and takes both.
    assert len(words) == len(prompts) - 1 and all("(“Channels”: 0)" in word for word in words)


def test_channels_are_chosen_in_the_form(qtbot, batch, prompts, grey, found) -> None:
    viewer, widget = batch(prompt=None)
    assert widget.channels.isHidden()
    widget.use_prompt(prompts["one class"], Path("cells.pt"))
    composite = np.stack([grey[::-1, ::-1], grey, grey, grey], axis=1)
    viewer.add_image(composite, name="composite", axis_labels=("z", "c", "y", "x"))
    refreshed(qtbot, widget)
    widget.layers.tick_all(True)
    assert not widget.channels.isHidden()
    assert (
        "composite has 4 channels; the prompt was trained on grey images" in widget.warnings.text()
    )
    for words, problem in (
        ("a", "is not a list of channels"),
        ("0,1", "channels 0, 1 shown"),
        ("1", ""),
    ):
        widget.channels.numbers.setText(words)
        widget.channels.changed.emit()
        assert problem in widget.warnings.text() and bool(problem) == bool(widget.warnings.text())
    run(qtbot, widget)
    result = viewer.layers[-1].data
    assert np.array_equal(result[:, 0], found("one class", "labels")) and notified() == []
    viewer.layers.remove(viewer.layers[0])
    refreshed(qtbot, widget)


def test_preview_and_clicks(qtbot, dock, prompts, grey, found, told) -> None:
    """A prompt from the library is previewed, and clicks are answered as without it."""
    viewer, widget = dock(nuclei=grey)
    composite = np.stack([grey[::-1, ::-1], grey], axis=1)
    viewer.add_image(composite, name="composite", axis_labels=("z", "channel", "y", "x"))
    session_model, click_tool = widget.session_model, widget.annotate.click_tool
    y, x = np.argwhere(found("one class", "labels")[1])[100].tolist()
    outlines = {}
    for kind, prompt in prompts.items():
        session_model.use_images([viewer.layers["composite" if kind == CHOSEN else "nuclei"]])
        (source,) = session_model.images
        session_model.show_plane(source, 1)
        widget.train.take(prompt, Path(f"{kind}.pt"))
        qtbot.waitUntil(partial(shows, viewer, found(kind, "labels")[1]), timeout=LONG)
        session_model.add_annotation_layers()
        with qtbot.waitSignal(click_tool.answered, timeout=LONG):
            click_tool.click(source, 1, (y, x))
        outlines[kind] = np.squeeze(source.labels.data)[1] > 0
        viewer.layers.remove(source.labels)
    assert told == [] and outlines["one class"].any()
    alike = [kind for kind, own in outlines.items() if np.array_equal(own, outlines["one class"])]
    assert set(prompts) - set(alike) <= {CHOSEN}  # two channels: clicks see both


def shows(viewer: Any, expected: np.ndarray) -> bool:
    layers = [layer for layer in viewer.layers if layer.name == PREVIEW]
    return bool(layers) and np.array_equal(np.squeeze(layers[0].data), expected)


def test_a_preview_of_other_channels(qtbot, dock, prompts, grey, found, told) -> None:
    viewer, widget = dock()
    composite = np.stack([grey[::-1, ::-1], grey], axis=1)
    viewer.add_image(composite, name="composite", axis_labels=("z", "channel", "y", "x"))
    qtbot.waitUntil(lambda: len(widget.session_model.images) == 1, timeout=LONG)
    viewer.dims.set_point(0, 1)
    widget.train.take(prompts["one class"], Path("cells.pt"))
    qtbot.waitUntil(lambda: bool(told), timeout=LONG)
    assert told[-1].endswith("choose one of them (tab “Images”, “use”: 0).") and len(told) == 1
    assert PREVIEW not in viewer.layers
    widget.images.channels.numbers.setText("1")
    widget.images.channels.numbers.editingFinished.emit()
    qtbot.waitUntil(partial(shows, viewer, found("one class", "labels")[1]), timeout=LONG)
    assert len(told) == 1
