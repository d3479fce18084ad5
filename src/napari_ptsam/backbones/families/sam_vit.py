"""The plain vision transformers of SAM: ViT-B, ViT-L and ViT-H."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from napari_ptsam.backbones.families.family import BackboneFamily

if TYPE_CHECKING:
    from napari_ptsam.backbones.families.family import PromptableEncoder, StateDict

_PATCH = "image_encoder.patch_embed.proj.weight"
_WIDTHS = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}


class SamViTFamily(BackboneFamily):
    """SAM's encoders, which segment-anything builds and `PromptableViT` computes.

    Each layer accepts tokens, which are as wide as the layer: 768, 1024 or 1280.
    """

    parameters: ClassVar = {"vit_b": 93_735_472, "vit_l": 312_342_832, "vit_h": 641_090_608}

    def detect(self, state: StateDict) -> str | None:
        """Tell the architectures apart by the width of the patch embedding."""
        if _PATCH in state and state[_PATCH].ndim == 4:
            return _WIDTHS.get(len(state[_PATCH]))
        return None

    def build(self, architecture: str) -> dict[str, Any]:
        """Build the modules with segment-anything's registry, without storage for the weights."""
        import torch

        from napari_ptsam.backbones.sam_modules import sam_module

        # Random initial values would take seconds, and are replaced anyway.
        with torch.device("meta"):
            sam = sam_module("build_sam").sam_model_registry[architecture]()
        parts = ("image_encoder", "prompt_encoder", "mask_decoder")
        return {part: getattr(sam, part) for part in parts}

    def encoder(self, image_encoder: Any) -> PromptableEncoder:
        """Return a `PromptableViT`."""
        from napari_ptsam.backbones.kernels.vit import PromptableViT

        return PromptableViT(image_encoder)
