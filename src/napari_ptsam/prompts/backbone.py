"""Backbones of prompts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_ptsam.backbones.catalogue import catalogue
from napari_ptsam.backbones.files import BackboneFiles
from napari_ptsam.errors import CheckpointError, Message, Term, message_of

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
        The prompt.
    checkpoint
        The file with the weights; by default it is found by name or signature.
    device, dtype
        See `napari_ptsam.backbones.loading.load_backbone`.

    Raises
    ------
    CheckpointError
        If the backbone is not on this machine.
    PromptFileError
        If the checkpoint holds another backbone.
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
    """Return the user's file with the weights for a prompt; None for those of the catalogue.

    Raises
    ------
    CheckpointError
        If the backbone is neither on this machine nor in the catalogue.
    """
    files, entry = BackboneFiles(), catalogue().get(prompt.weights)
    if entry is not None and files.exists_locally(entry):
        return None
    path = files.remembered_path(prompt.signature)
    if path is None and entry is not None:
        how = files.how_to_get(entry)
        raise CheckpointError(
            Message("The prompt was tuned for another ", Term.BACKBONE, ". ", how)
        )
    # Prompts of earlier versions do not know where the weights come from.
    if path is None and prompt.weights:
        raise CheckpointError(
            Message(
                "The prompt was tuned for the ", Term.BACKBONE,
                f" {prompt.backbone_name}, which is not on this machine.",
            ),
            prompt.remedy,
            backbone=prompt.weights,
        )  # fmt: skip
    return path


def missing_backbone(prompt: Prompt) -> str:
    """Return a note if the backbone of a prompt is not on this machine; empty if it is."""
    try:
        find_checkpoint(prompt)
    except CheckpointError as error:
        entry = catalogue().get(prompt.weights)
        if entry is None:
            return message_of(error)
        name = f" {entry.name} ({entry.megabytes}), which is not on this machine."
        return Message("The prompt works with the ", Term.BACKBONE, name)
    return ""
