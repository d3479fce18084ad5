"""Fixtures for tests with a viewer: docked widgets, real nuclei, settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pytest
from napari.settings import get_settings
from napari.utils.events import EventEmitter
from napari.utils.notifications import notification_manager
from npe2 import PluginManifest

from conftest_batch import tick
from conftest_widgets import Nuclei
from napari_ptsam.prompts.prompt import Prompt
from napari_ptsam.widgets.annotate.annotate_and_train import AnnotateAndTrain
from napari_ptsam.widgets.batch.batch_segment import BatchSegment
from napari_ptsam.widgets.shared.preferences import DEFAULTS


@pytest.fixture(scope="session", autouse=True)
def plugins() -> Iterator[None]:
    """Discover plugins once for all viewers; napari searches all installed packages each time."""
    found = list(PluginManifest.discover())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PluginManifest, "discover", lambda *_, **__: iter(found))
        yield


@pytest.fixture(scope="session", autouse=True)
def settings_stay_in_memory() -> Iterator[None]:
    """Keep napari from writing its settings, which it does several times for each viewer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(get_settings(), "_save_on_change", False)
        yield


@pytest.fixture(scope="session", autouse=True)
def signatures_known() -> Iterator[None]:
    """Inspect the signature of a method once, not each time that napari connects or disconnects it."""
    known: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
    check = EventEmitter._check_signature

    def checked(callback: Any) -> bool:
        if not inspect.ismethod(callback):
            return check(callback)
        function = callback.__func__
        if function not in known:
            known[function] = check(callback)
        return known[function]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EventEmitter, "_check_signature", staticmethod(checked))
        yield


@pytest.fixture
def sessions(tmp_path: Path, monkeypatch) -> Path:
    """Return the folder of the session folders, in place of the user's data directory."""
    folder = tmp_path / "sessions"
    monkeypatch.setenv("NAPARI_PTSAM_SESSIONS", str(folder))
    return folder


@pytest.fixture
def liked(monkeypatch) -> dict[str, Any]:
    """Return preferences that are not stored."""
    from napari_ptsam.widgets.annotate import annotate_and_train

    kept: dict[str, Any] = dict(DEFAULTS)
    monkeypatch.setattr(annotate_and_train, "preferences", lambda: dict(kept))
    monkeypatch.setattr(annotate_and_train, "remember", kept.__setitem__)
    return kept


@pytest.fixture
def told(monkeypatch) -> list[str]:
    """Return the messages that the user is notified of."""
    import importlib

    messages: list[str] = []
    for name in (
        "annotate.annotate_tab", "annotate.annotate_and_train", "annotate.classes", "annotate.click_tool",
        "annotate.images_tab", "annotate.session_restore", "annotate.train_tab", "annotate.training_run",
        "annotate.channels_row", "annotate.object_tools", "annotate.region_layer",
        "annotate.shapes_annotation", "shared.failures",
    ):  # fmt: skip
        module = importlib.import_module(f"napari_ptsam.widgets.{name}")
        for function in ("show_info", "show_warning"):
            if hasattr(module, function):
                monkeypatch.setattr(module, function, messages.append)
    return messages


@pytest.fixture
def dock(
    make_napari_viewer, qtbot, sessions, liked, told, all_threads
) -> Iterator[Callable[..., Any]]:
    """Return a function that docks "Annotate and train" in a viewer, by default a new one."""
    docked: list[AnnotateAndTrain] = []

    def make(viewer: Any = None, **images: np.ndarray) -> tuple[Any, AnnotateAndTrain]:
        viewer = viewer or make_napari_viewer()
        for name, image in images.items():
            viewer.add_image(image, name=name)
        widget = AnnotateAndTrain(viewer)
        viewer.window.add_dock_widget(widget, name="Annotate and train")
        quick = {
            "steps": 12, "embeddings": 4, "batch_size": 1, "tile": "whole", "seed": 0, "minutes": 0,
        }  # fmt: skip
        widget.session_model.settings |= quick
        docked.append(widget)
        return viewer, widget

    yield make
    while docked:
        docked.pop().close_down(10)


@pytest.fixture(scope="session")
def stack(nuclei) -> Nuclei:
    """Return crops of real nuclei as a read-only stack of shape (6, 128, 128)."""
    stacked = Nuclei(np.stack(nuclei[0]), np.stack(nuclei[1]))
    for array in (stacked.images, stacked.masks):
        array.setflags(write=False)
    return stacked


@pytest.fixture
def batch(make_napari_viewer, qtbot, prompt, all_threads) -> Iterator[Callable[..., Any]]:
    """Return a function that docks "Batch segment" in a new viewer with images and a prompt."""
    notification_manager.records.clear()
    docked: list[BatchSegment] = []

    def make(prompt: Prompt | None = prompt, **images: Any) -> tuple[Any, BatchSegment]:
        viewer = make_napari_viewer()
        for name, image in images.items():
            viewer.add_image(image, name=name)
        widget = BatchSegment(viewer)
        viewer.window.add_dock_widget(widget, name="Batch segment")
        docked.append(widget)
        for position in range(widget.layers.count()):
            tick(widget, position)
        if prompt is not None:
            widget.use_prompt(prompt, Path("nuclei.pt"))
        return viewer, widget

    yield make
    while docked:
        docked.pop().close_down(10)


@pytest.fixture
def appearance() -> Iterator[Any]:
    """Return the settings of theme and font, which are restored at the end."""
    chosen = get_settings().appearance
    before = chosen.theme, chosen.font_size
    yield chosen
    chosen.theme, chosen.font_size = before
