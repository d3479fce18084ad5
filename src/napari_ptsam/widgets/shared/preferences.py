"""What the user prefers: napari's plugin settings where it has them, else a file of Qt's."""

from __future__ import annotations

from typing import Any

from napari_ptsam.training.presets import PRESETS

PLUGIN, GROUP = "napari-ptsam", "training"
DEFAULTS: dict[str, Any] = {
    "device": "auto", "preset": "normal", "session_folder": "", "backbone": "vit_t", "mirror": "",
    "proxy": "",
}  # fmt: skip
CHOICES = {"device": ("auto", "cpu", "cuda", "mps"), "preset": tuple(PRESETS)}


def preferences() -> dict[str, Any]:
    """Device, preset, folder for sessions, backbone, and the way to the internet."""
    group = _napari_group()
    if group is not None:
        return {name: getattr(group, name, default) for name, default in DEFAULTS.items()}
    store = _qt_store()
    stored = {name: str(store.value(name, default)) for name, default in DEFAULTS.items()}
    # Written by hand, or by a newer version: what nobody knows must not keep the widget from coming.
    return {
        name: value if value in CHOICES.get(name, (value,)) else DEFAULTS[name]
        for name, value in stored.items()
    }


def remember(name: str, value: str) -> None:
    """Change a preference for good."""
    group = _napari_group()
    if group is not None:
        setattr(group, name, value)
        return
    store = _qt_store()
    store.setValue(name, value)
    store.sync()


def _napari_group() -> Any:
    """Our group of napari's plugin settings (0.9 and newer), or None."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return None
    try:
        return getattr(get_plugin_settings(PLUGIN), GROUP, None)
    except (
        KeyError
    ):  # the plugin was not found by npe2, as in a script that docks the widget itself
        return None


def _qt_store() -> Any:
    from qtpy.QtCore import QSettings

    return QSettings(PLUGIN, PLUGIN)
