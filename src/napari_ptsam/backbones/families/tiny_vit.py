"""TinyViT, the image encoder of MobileSAM."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from napari_ptsam.backbones.families.family import BackboneFamily, sam_decoder_modules

if TYPE_CHECKING:
    from napari_ptsam.backbones.families.family import PromptableEncoder, StateDict

_PATCH = "image_encoder.patch_embed.seq.0.c.weight"


class TinyViTFamily(BackboneFamily):
    """MobileSAM's ``vit_t``, which kornia builds and `QuickTinyViT` computes.

    Each of the ten blocks with attention accepts tokens; they are 128, 160 or
    320 wide.
    """

    parameters: ClassVar = {"vit_t": 10_130_092}
    unused = ("norm_head.", "head.")  # the classification head
    # Batch norms and the convolutions that they are folded into, and the classification head.
    unsigned = re.compile(r"\.bn\.|\.c\.|\.(norm_)?head\.")

    def detect(self, state: StateDict) -> str | None:
        """Recognise TinyViT by its patch embedding."""
        return "vit_t" if _PATCH in state else None

    def build(self, architecture: str) -> dict[str, Any]:
        """Build kornia's ``TinyViT`` and segment-anything's decoder."""
        from kornia.models.tiny_vit import TinyViT

        from napari_ptsam.backbones.encoder import SIDE

        image_encoder = TinyViT.from_config("5m", img_size=SIDE, mobile_sam=True)
        return {"image_encoder": image_encoder, **sam_decoder_modules()}

    def encoder(self, image_encoder: Any) -> PromptableEncoder:
        """Return a `QuickTinyViT`."""
        from napari_ptsam.backbones.kernels.tiny_vit import QuickTinyViT

        return QuickTinyViT(image_encoder)
