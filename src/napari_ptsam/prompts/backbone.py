"""The backbone that a prompt belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_ptsam.backbones.catalogue import catalogue
from napari_ptsam.backbones.files import BackboneFiles
from napari_ptsam.errors import CheckpointError, message_of

if TYPE_CHECKING:
    import torch

    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.prompts.prompt import Prompt


def backbone_of(
    prompt: Prompt,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    dtype: torch.dtype | None = None,
) -> Backbone:
    """Load the backbone that a prompt was tuned for.

    Parameters
    ----------
    prompt
        Whose backbone is wanted.
    checkpoint
        The file with its weights; found by name or signature if left out.
    device, dtype
        See `napari_ptsam.backbones.loading.load_backbone`.

    Raises
    ------
    CheckpointError
        If it is not on this machine.
    PromptFileError
        If it turns out to be another one.
    """
    if checkpoint is None:
        checkpoint = find_checkpoint(prompt)
    from napari_ptsam.backbones.loading import load_backbone  # torch

    known = prompt.weights in catalogue()
    name = prompt.weights if known and checkpoint is None else prompt.backbone
    backbone = load_backbone(name, checkpoint, device, dtype)
    prompt.check_backbone(backbone.name, backbone.signature)
    return backbone


def find_checkpoint(prompt: Prompt) -> Path | None:
    """The user's own file with the weights for a prompt; None if those of the catalogue will do.

    Raises
    ------
    CheckpointError
        If the backbone is neither here nor in the catalogue.
    """
    files, entry = BackboneFiles(), catalogue().get(prompt.weights)
    if entry is not None and files.is_here(entry):
        return None
    own = files.own(prompt.signature)
    if own is None and entry is not None:
        raise CheckpointError(
            f"The prompt was tuned for another backbone. {files.how_to_get(entry)}"
        )
    # Prompts of earlier versions do not say where the weights come from.
    if own is None and prompt.weights:
        raise CheckpointError(
            f"The prompt was tuned for the backbone {prompt.backbone_name}, which is not known here.",
            prompt.remedy,
            backbone=prompt.weights,
        )
    return own


def missing_backbone(prompt: Prompt) -> str:
    """What there is to say of a backbone that is not on this machine; empty if it is."""
    try:
        find_checkpoint(prompt)
    except CheckpointError as error:
        entry = catalogue().get(prompt.weights)
        if entry is None:
            return message_of(error)
        return f"The prompt works with the backbone {entry.name} ({entry.megabytes}), which is not on this machine."
    return ""
