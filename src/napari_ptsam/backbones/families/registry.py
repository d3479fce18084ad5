"""The families of backbones that can be loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_ptsam.backbones.families.sam_vit import SamViTFamily
from napari_ptsam.backbones.families.tiny_vit import TinyViTFamily

if TYPE_CHECKING:
    from napari_ptsam.backbones.families.family import BackboneFamily, StateDict

FAMILIES: tuple[BackboneFamily, ...] = (
    TinyViTFamily(),
    SamViTFamily(),
)
"""Every family; the first that detects a checkpoint loads it."""


def architectures() -> dict[str, int]:
    """Return the names of all architectures, each with the number of its parameters."""
    return {name: count for family in FAMILIES for name, count in family.parameters.items()}


def family_of(architecture: str) -> BackboneFamily:
    """Return the family that an architecture belongs to.

    Raises
    ------
    KeyError
        If no family has an architecture of that name.
    """
    for family in FAMILIES:
        if architecture in family.parameters:
            return family
    raise KeyError(architecture)


def architecture_of(state: StateDict) -> str | None:
    """Return the name of the architecture that tensors belong to.

    Parameters
    ----------
    state
        Tensors of image encoder, prompt encoder and mask decoder, under
        segment-anything's names.

    Returns
    -------
    str or None
        Such as ``vit_b``; None if no family detects the tensors.
    """
    return next((name for family in FAMILIES if (name := family.detect(state))), None)
