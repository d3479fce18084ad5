"""Settings of a training by name, and from plain values such as a session's."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from napari_ptsam.errors import InputError
from napari_ptsam.images.normalize import Normalization
from napari_ptsam.training.settings import TrainingSettings

PRESETS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "quick": {"steps": 150, "embeddings": 48, "minutes": 0},
        "normal": {
            "steps": TrainingSettings.steps,
            "embeddings": TrainingSettings.embeddings,
            "minutes": TrainingSettings.minutes,
        },
        "thorough": {"steps": 1000, "embeddings": 224, "minutes": 10},
    }
)
"""Fields of `TrainingSettings` for each name."""

DEFAULT_PRESET = "normal"

_AS_THEY_ARE = (
    "steps", "batch_size", "embeddings", "seed", "tile", "channels", "cores", "encoder_tokens",
    "encoder_steps", "flips", "loss",
)  # fmt: skip
_NUMBERS = ("learning_rate", "held_out", "minutes")


def training_settings(settings: Mapping[str, Any]) -> TrainingSettings:
    """Training settings from plain values.

    Parameters
    ----------
    settings
        ``preset``, a name of `PRESETS`; any field of `TrainingSettings`, which
        wins over the preset, with ``normalization`` as a dict of ``mode``,
        ``low`` and ``high``. None means not set; other keys are ignored.

    Raises
    ------
    InputError
        If a value makes no sense.
    """
    given = {key: value for key, value in settings.items() if value is not None}
    preset = given.get("preset", DEFAULT_PRESET)
    if not isinstance(preset, str) or preset not in PRESETS:
        raise InputError(f"There is no preset {preset!r}; choose one of {', '.join(PRESETS)}.")
    fields: dict[str, Any] = dict(PRESETS[preset])
    fields |= {name: given[name] for name in _AS_THEY_ARE if name in given}
    fields |= {name: _number(name, given[name]) for name in _NUMBERS if name in given}
    if "normalization" in given:
        fields["normalization"] = _normalization(given["normalization"])
    return TrainingSettings(**fields)


def _normalization(value: Any) -> Normalization:
    if not isinstance(value, Mapping) or "mode" not in value:
        raise InputError(
            f"The setting normalization has a mode, a low and a high value; {value!r} does not."
        )
    limits = {
        name: _number(f"{name} of the normalisation", value[name])
        for name in ("low", "high")
        if value.get(name) is not None
    }
    return Normalization(value["mode"], **limits)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"The setting {name} is a number, not {value!r}.")
    return float(value)
