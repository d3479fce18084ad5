"""The docks of the plugin: one of each, as tabs, however they are opened; prompts pass between them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from npe2 import PluginManifest
from qtpy.QtWidgets import QMainWindow

import napari_ptsam
from conftest_widgets import LONG
from napari_ptsam.widgets.batch.batch_segment import BatchSegment
from napari_ptsam.widgets.shared.open_docks import BATCH, find_dock, open_dock


@pytest.fixture
def pair(dock, stack, npe2pm, qtbot) -> Any:
    """Return a viewer, and the docked "Annotate and train" with an image."""
    manifest = PluginManifest.from_file(Path(napari_ptsam.__file__).parent / "napari.yaml")
    with npe2pm.tmp_plugin(manifest=manifest):
        viewer, annotate = dock(nuclei=stack.images, other=stack.images[0])
        yield viewer, annotate
        batch = find_dock(viewer, BATCH)
        if batch is not None:
            batch.close_down(10)


def test_the_trained_prompt_is_handed_over(pair, qtbot, prompt) -> None:
    viewer, annotate = pair
    tab, model = annotate.train, annotate.session_model
    assert tab.segment_all.isHidden()
    batch = open_dock(viewer, BATCH)
    batch.refresh()
    assert batch.use_trained.isHidden() and not batch.annotate.isHidden()
    batch.annotate.click()
    model.prompt = prompt
    tab.refresh()
    batch.refresh()
    assert not tab.segment_all.isHidden() and not batch.use_trained.isHidden()
    tab.segment_all.click()
    assert open_dock(viewer, BATCH) is batch and batch.annotate.isHidden()
    assert [layer.name for layer in batch.layers.ticked()] == ["nuclei", "other"]
    (opened,) = batch.prompts.opened
    assert opened.prompt is prompt and opened.path is None
    assert model.scheme.instances and batch.results.output.currentData() == "instances"
    model.prompt = replace(prompt)  # trained again: it takes the place of the first one
    tab.segment_all.click()
    assert [opened.prompt for opened in batch.prompts.opened] == [model.prompt]
    docked = [w for w in viewer.window.dock_widgets.values() if isinstance(w, BatchSegment)]
    assert docked == [batch] and "Batch segment (PTSAM" in next(
        name for name, w in viewer.window.dock_widgets.items() if w is batch
    )
    window = next(w for w in _parents(batch) if isinstance(w, QMainWindow))
    qtbot.waitUntil(
        lambda: annotate.parentWidget() in window.tabifiedDockWidgets(batch.parentWidget()),
        timeout=LONG,
    )


def _parents(widget: Any) -> list[Any]:
    parents = []
    while (widget := widget.parentWidget()) is not None:
        parents.append(widget)
    return parents
