"""Batch segment: open, drop, list and remove prompt files."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from npe2 import PluginManifest

import napari_ptsam
import napari_ptsam as ptsam
from conftest_batch import choose, notifications, run
from conftest_widgets import LONG, settled
from napari_ptsam.images.planes import PixelSize
from napari_ptsam.inference.rescaling import rescaled
from napari_ptsam.widgets.batch.batch_segment import BatchSegment
from napari_ptsam.widgets.batch.reader import get_reader


@pytest.fixture
def opener(make_napari_viewer, npe2pm) -> Iterator[Any]:
    """Return a viewer with this plugin only, by its installed manifest."""
    notification_manager.records.clear()
    manifest = PluginManifest.from_file(Path(napari_ptsam.__file__).parent / "napari.yaml")
    with npe2pm.tmp_plugin(manifest=manifest):
        viewer = make_napari_viewer()
        yield viewer
        for widget in docks(viewer):
            widget.close_down(10)


def docks(viewer: Any) -> list[BatchSegment]:
    return [w for w in viewer.window.dock_widgets.values() if isinstance(w, BatchSegment)]


def test_a_prompt_file_opens_the_widget(qtbot, opener, prompt, tmp_path: Path) -> None:
    path = prompt.save(tmp_path / "cells.pt")
    for _ in range(2):
        assert opener.open(path, plugin="napari-ptsam") == []
        qtbot.waitUntil(lambda: any(dock.prompts.opened for dock in docks(opener)), timeout=LONG)
        settled(qtbot, *docks(opener))
    (dock,) = docks(opener)
    (opened,) = dock.prompts.opened
    assert opened.path == path and dock.prompts.card.title.text() == "cells.pt"
    assert prompt.classes[0] in dock.prompts.card.classes.text()
    assert "Made from: 6 annotated planes" in dock.prompts.card.facts.text()
    assert not opener.layers and notifications() == []


class Hostile:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_other_files_are_reported_once(qtbot, opener, tmp_path: Path) -> None:
    import torch

    ran = tmp_path / "ran"
    torch.save({"a": 1}, tmp_path / "foreign.pt")
    torch.save(Hostile(ran), tmp_path / "hostile.pt")
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps(Hostile(ran)))
    (tmp_path / "empty.pt").write_bytes(b"")
    for name, words in (
        ("foreign", "is a PyTorch file of another kind"), ("hostile", "it was not run"),
        ("pickle", "is no prompt file"), ("empty", "is empty"),
    ):  # fmt: skip
        notification_manager.records.clear()
        assert opener.open(tmp_path / f"{name}.pt", plugin=None) == []
        qtbot.waitUntil(lambda: bool(notifications()), timeout=LONG)
        (message,) = notifications()
        assert words in message
    assert not ran.exists() and not docks(opener) and not opener.layers


def test_which_files_the_reader_accepts() -> None:
    assert get_reader("a.pt") is not None and get_reader("B.PT") is not None
    assert get_reader("a.tif") is None and get_reader(["a.pt", "b.pt"]) is None


def test_a_dropped_prompt_file(qtbot, batch, prompt, tmp_path: Path) -> None:
    from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
    from qtpy.QtGui import QDropEvent

    _, widget = batch(prompt=None)
    for path, accepted in ((prompt.save(tmp_path / "a.pt"), True), (tmp_path / "a.tif", False)):
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(path))])
        event = QDropEvent(
            QPointF(5, 5), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
        )  # fmt: skip
        event.ignore()
        widget.dropEvent(event)
        assert event.isAccepted() == accepted
    qtbot.waitUntil(lambda: bool(widget.prompts.opened), timeout=LONG)
    assert widget.prompts.card.title.text() == "a.pt" and notifications() == []


def test_texts_of_a_prompt_are_not_html(batch, prompt) -> None:

    _, widget = batch(prompt=None)
    widget.use_prompt(replace(prompt, classes=("<b>x</b>",), notes="<img src=x>"), None)
    assert (
        "&lt;b&gt;" in widget.prompts.card.classes.text()
        and "<img src=x>" in widget.prompts.card.facts.text()
    )


# Several prompts


def test_all_listed_prompts_are_applied_and_share_embeddings(
    qtbot, batch, stack, prompt, device, monkeypatch
) -> None:
    from napari_ptsam.backbones.encoder import ImageEncoder

    seen: list[int] = []
    encode = ImageEncoder.__call__
    monkeypatch.setattr(
        ImageEncoder, "__call__",
        lambda self, tiles, *options: (seen.append(len(tiles)), encode(self, tiles, *options))[1],
    )  # fmt: skip
    monkeypatch.setenv("NAPARI_PTSAM_CACHE_GB", "0")  # other tests have embedded these planes
    viewer, widget = batch(nuclei=stack.images[:2])
    other = replace(prompt, tokens=prompt.tokens[:, ::-1].copy(), classes=("other",))
    widget.use_prompt(other, Path("other.pt"))
    run(qtbot, widget)
    assert notifications() == [] and sum(seen) == 2
    assert [layer.name for layer in viewer.layers[1:]] == ["nuclei – nuclei", "nuclei – other"]
    for layer, applied in zip(viewer.layers[1:], (prompt, other), strict=True):
        expected = ptsam.segment(stack.images[:2], applied, device=device)
        assert np.array_equal(layer.data, expected)


def test_a_file_is_listed_once(batch, prompt) -> None:
    _, widget = batch(prompt=None)
    prompts = widget.prompts
    widget.use_prompt(prompt, Path("a/nuclei.pt"))
    widget.use_prompt(prompt, Path("b/nuclei.pt"))
    assert [opened.name for opened in prompts.opened] == ["nuclei", "nuclei (2)"]
    again = replace(prompt, classes=("again",))
    widget.use_prompt(again, Path("a/nuclei.pt"))
    assert [opened.name for opened in prompts.opened] == ["nuclei", "nuclei (2)"]
    assert prompts.opened[0].prompt is again and "again" in prompts.card.classes.text()
    prompts.list.setCurrentRow(1)
    assert prompt.classes[0] in prompts.card.classes.text()
    prompts.remove()
    assert [opened.name for opened in prompts.opened] == ["nuclei"]
    assert "again" in prompts.card.classes.text()
    prompts.remove()
    assert prompts.opened == [] and "No prompt yet" in prompts.card.title.text()
    assert not prompts.remove_button.isEnabled() and prompts.card.classes.text() == ""


def test_a_prompt_for_another_backbone_is_left_out(qtbot, batch, stack, prompt) -> None:
    viewer, widget = batch(nuclei=stack.images[0])
    widget.use_prompt(replace(prompt, backbone="vit_b", weights="vit_b"), Path("large.pt"))
    run(qtbot, widget)
    (message,) = notifications()
    assert "large was left out: it needs the base model vit_b, but nuclei needs vit_t." in message
    assert [layer.name for layer in viewer.layers] == ["nuclei", "nuclei – nuclei"]


def test_markers_are_offered_where_all_prompts_know_them(batch, prompt) -> None:
    _, widget = batch(prompt=None)
    known = replace(prompt, markers=prompt.tokens)
    widget.use_prompt(known, Path("a.pt"))
    objects = widget.results.objects
    # Such a prompt finds single objects, unless the user chooses otherwise.
    assert not objects.isHidden() and widget.results.output.currentData() == "instances"
    choose(widget.results.output, "instances")
    assert not objects.isHidden() and objects.split.model().item(1).isEnabled()
    choose(objects.split, "markers")
    widget.use_prompt(replace(prompt, markers=None), Path("b.pt"))
    assert not objects.split.model().item(1).isEnabled()
    assert objects.split.currentData() == "auto"
    assert "b knows no markers" in objects.split.model().item(1).toolTip()


def test_another_pixel_size_is_reported_and_can_be_rescaled(
    qtbot, batch, stack, prompt, device
) -> None:
    viewer, widget = batch(prompt=None, nuclei=stack.images[0])
    layer = viewer.layers[0]
    layer.scale, layer.units = (0.5, 0.5), ("um", "um")
    sized = replace(prompt, pixel_size=PixelSize(0.55, 0.55))
    widget.use_prompt(sized, Path("a.pt"))
    assert widget.warnings.text() == "" and widget.rescale.isHidden()
    layer.scale = (2.0, 2.0)  # while it is listed
    qtbot.waitUntil(lambda: "its pixels are 2 micrometer" in widget.warnings.text())
    layer.scale = (0.5, 0.5)
    qtbot.waitUntil(lambda: widget.warnings.text() == "" and widget.rescale.isHidden())
    sized = replace(prompt, pixel_size=PixelSize(1.0, 1.0))
    widget.use_prompt(sized, Path("a.pt"))
    assert "its pixels are 0.5 micrometer, but the prompt was trained at 1 micrometer" in (
        widget.warnings.text()
    )
    assert not widget.rescale.isHidden()
    widget.rescale.setChecked(True)
    run(qtbot, widget)
    scaled = rescaled(sized, PixelSize(0.5, 0.5))
    assert scaled.images != sized.images
    expected = ptsam.segment(stack.images[0], scaled, device=device)
    assert np.array_equal(viewer.layers[-1].data, expected) and notifications() == []


def test_missing_channels_are_reported_before_the_run(batch, stack, prompt) -> None:
    _, widget = batch(prompt=None, nuclei=stack.images[0])
    wanting = replace(prompt, images=replace(prompt.images, channels=(1,)))
    widget.use_prompt(wanting, Path("a.pt"))
    assert "a: nuclei is a grey image; the prompt takes channel 1" in widget.warnings.text()
    assert widget.rescale.isHidden()
