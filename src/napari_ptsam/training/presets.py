"""Named sets of training settings, and settings from the values that a session stores."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from napari_ptsam.errors import InputError
from napari_ptsam.io.declaration import settings_of
from napari_ptsam.io.former_names import with_current_names
from napari_ptsam.training.settings import TrainingSettings

DEFAULT_PRESET = "normal"

_NORMAL = {
    setting.name: setting.default
    for setting in settings_of(TrainingSettings).values()
    if setting.shown.preset
}
PRESETS: Mapping[str, Mapping[str, float | str]] = MappingProxyType(
    {
        "quick": {"steps": 150, "embeddings": 48, "minutes": 0},
        DEFAULT_PRESET: _NORMAL,
        "thorough": {"steps": 1000, "embeddings": 224, "minutes": 10},
        "paper": {
            "steps": 20_000,
            "embeddings": 64,
            "minutes": 600,
            "encoder_tokens": 0,
            "batch_size": 2,
            "learning_rate": 0.05,
            "weight_decay": 0.01,
            "loss": "weighted-bce-dice",
            "augmentation": "anew",
        },
    }
)
"""Fields of `TrainingSettings` for each name."""

PRESET_HELP: Mapping[str, str] = MappingProxyType(
    {
        "quick": "A first impression in well under a minute.",
        "normal": "Good for most images; one to two minutes on a laptop.",
        "thorough": "For difficult images: tunes the image encoder too; five to ten minutes on a "
        "laptop.",
        "paper": "The recipe of the publication, for a GPU: 20,000 steps on tiles that are deformed "
        "and embedded anew each time; many hours on a laptop.",
    }
)
"""What each preset is good for."""


def training_settings(settings: Mapping[str, Any]) -> TrainingSettings:
    """Return training settings from the values that a session stores.

    Parameters
    ----------
    settings
        ``preset``, a name of `PRESETS`, and any field of `TrainingSettings`, which takes
        precedence over the preset; ``normalization`` may be a dict of ``mode``, ``low`` and
        ``high``. None means not set. Other keys are ignored.

    Raises
    ------
    InputError
        If a value cannot be used.
    """
    chosen = {key: value for key, value in settings.items() if value is not None}
    chosen = with_current_names(TrainingSettings, chosen)
    preset = chosen.get("preset", DEFAULT_PRESET)
    if not isinstance(preset, str) or preset not in PRESETS:
        raise InputError(f"There is no preset {preset!r}; choose one of {', '.join(PRESETS)}.")
    fields = {name: chosen[name] for name in settings_of(TrainingSettings) if name in chosen}
    return TrainingSettings(**{**PRESETS[preset], **fields})
