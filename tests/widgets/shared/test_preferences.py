"""Preferences are stored in napari's plugin settings, or in Qt's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import napari.settings
import npe2
import pytest
from qtpy.QtCore import QSettings

import napari_ptsam
from napari_ptsam.widgets.annotate.annotate_and_train import AnnotateAndTrain
from napari_ptsam.widgets.shared import preferences as preferences_module
from napari_ptsam.widgets.shared.preferences import DEFAULTS, preferences, remember

MANIFEST = Path(napari_ptsam.__file__).parent / "napari.yaml"
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def by_qt(monkeypatch, tmp_path) -> Path:
    """Store Qt's settings in a file of the test."""
    path = tmp_path / "qt.ini"
    monkeypatch.setattr(
        preferences_module, "_qt_settings", lambda: QSettings(str(path), QSettings.Format.IniFormat)
    )
    return path


@pytest.fixture
def by_napari(request, by_qt) -> Any:
    """Store napari's plugin settings in files of the test."""
    if not hasattr(napari.settings, "get_plugin_settings"):
        pytest.skip("a napari without settings for plugins")
    request.getfixturevalue("plugin_settings")
    npe2pm = request.getfixturevalue("npe2pm")
    manifest = npe2.PluginManifest.from_file(MANIFEST)
    with npe2pm.tmp_plugin(manifest=manifest):
        yield lambda: napari.settings.get_plugin_settings("napari-ptsam").training


def test_napari_stores_preferences(by_napari, by_qt) -> None:
    assert preferences() == DEFAULTS
    remember("preset", "quick")
    remember("session_folder", "/somewhere")
    assert preferences() == DEFAULTS | {"preset": "quick", "session_folder": "/somewhere"}
    assert by_napari().preset == "quick"
    by_napari().device = "cpu"  # in napari's dialog
    assert preferences()["device"] == "cpu"
    assert not by_qt.exists()


def test_napari_offers_the_choices_of_the_widget(by_napari) -> None:
    from napari_ptsam.training.presets import PRESETS
    from napari_ptsam.widgets.annotate.training_options import DEVICES

    with pytest.raises(ValueError):
        by_napari().preset = "slow"
    for name in PRESETS:
        by_napari().preset = name
    for name in DEVICES:
        by_napari().device = name


@pytest.mark.parametrize("how", ["old", "not found"])
def test_qt_stores_preferences_where_napari_cannot(by_qt, monkeypatch, how: str) -> None:
    if how == "old":
        monkeypatch.delattr(napari.settings, "get_plugin_settings", raising=False)
    else:
        monkeypatch.setattr(napari.settings, "get_plugin_settings", {}.__getitem__, raising=False)
    assert preferences() == DEFAULTS
    remember("device", "cpu")
    assert by_qt.exists()
    assert preferences() == {**DEFAULTS, "device": "cpu"}


def test_unknown_values_are_ignored(by_qt, monkeypatch) -> None:
    """Values edited by hand, or written by a newer version, must not break the widget."""
    monkeypatch.delattr(napari.settings, "get_plugin_settings", raising=False)
    remember("preset", "from the future")
    remember("device", "abacus")
    assert preferences() == DEFAULTS


def test_the_widget_uses_the_preferences(
    make_napari_viewer, qtbot, by_qt, monkeypatch, tmp_path, told
) -> None:
    monkeypatch.delattr(napari.settings, "get_plugin_settings", raising=False)
    monkeypatch.setattr(AnnotateAndTrain, "_load", lambda self: None)
    remember("preset", "quick")
    remember("session_folder", str(tmp_path / "mine"))
    widget = AnnotateAndTrain(make_napari_viewer())
    qtbot.addWidget(widget)
    try:
        options = widget.train.options
        assert options.preset.currentText() == "quick"
        assert widget.autosave.root == tmp_path / "mine"
        options.preset.setCurrentIndex(options.preset.findData("thorough"))
        options.preset.activated.emit(options.preset.currentIndex())
        assert preferences()["preset"] == "thorough"
    finally:
        widget.close_down(10)
