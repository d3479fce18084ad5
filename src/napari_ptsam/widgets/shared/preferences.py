"""The user's preferences, in napari's plugin settings or, in older versions of napari, in QSettings."""

from __future__ import annotations

from typing import Any

from napari_ptsam.backbones.devices import DEVICES
from napari_ptsam.training.presets import PRESETS

PLUGIN, GROUP = "napari-ptsam", "training"
DEFAULTS: dict[str, Any] = {
    "device": "auto", "preset": "normal", "session_folder": "", "backbone": "vit_t", "mirror": "",
    "proxy": "",
}  # fmt: skip
CHOICES = {"device": DEVICES, "preset": tuple(PRESETS)}


def preferences() -> dict[str, Any]:
    """Return the value of each preference, by the names in `DEFAULTS`."""
    group = _napari_settings()
    if group is not None:
        return {name: getattr(group, name, default) for name, default in DEFAULTS.items()}
    settings = _qt_settings()
    stored = {name: str(settings.value(name, default)) for name, default in DEFAULTS.items()}
    # A value that was edited by hand or written by a newer version must not break the widget.
    return {
        name: value if value in CHOICES.get(name, (value,)) else DEFAULTS[name]
        for name, value in stored.items()
    }


def remember(name: str, value: str) -> None:
    """Store a preference."""
    group = _napari_settings()
    if group is not None:
        setattr(group, name, value)
        return
    settings = _qt_settings()
    settings.setValue(name, value)
    settings.sync()


def _napari_settings() -> Any:
    """Return our group of napari's plugin settings (napari 0.9 and newer), or None."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return None
    try:
        return getattr(get_plugin_settings(PLUGIN), GROUP, None)
    except KeyError:  # npe2 has not discovered the plugin, as in a script that adds the widget
        return None


def _qt_settings() -> Any:
    from qtpy.QtCore import QSettings

    return QSettings(PLUGIN, PLUGIN)
