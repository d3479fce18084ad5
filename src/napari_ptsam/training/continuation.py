"""Continue from a prompt quickly: keep the choices that its training made, and tune the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_ptsam.prompts.prompt import Prompt
    from napari_ptsam.training.settings import TrainingSettings

STEPS_PART, TILES_PART = 0.25, 0.5
"""Steps and tiles of a quick continuation, as fractions of those of a training from scratch."""


def continued_settings(settings: TrainingSettings, start: Prompt, planes: int) -> TrainingSettings:
    """Return the settings of a quick continuation.

    What the prompt does not have, its training did not find useful, or was told to leave out. So
    it is not tried again.

    Parameters
    ----------
    settings
        The settings as they were given.
    start
        The prompt to continue from.
    planes
        Number of annotated planes, each of which should have a tile.
    """
    return replace(
        settings,
        steps=max(1, round(STEPS_PART * settings.steps)),
        embeddings=min(settings.embeddings, max(planes, round(TILES_PART * settings.embeddings))),
        encoder_tokens=0,  # those of the prompt stay
        flips="no",  # the same
        detail=settings.detail if any(start.detail) else "off",
        markers="no" if start.markers is None else settings.markers,
    )
