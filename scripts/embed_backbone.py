"""Make the embedded backbone: MobileSAM's weights in float16.

    python scripts/embed_backbone.py CHECKPOINT [OUT.safetensors]

CHECKPOINT is the official ``mobile_sam.pt``, or a ``.safetensors`` file with
the same keys. Both give files with the same signature.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file

from napari_ptsam.backbones.checkpoints import EMBEDDED, read_checkpoint, signature_of
from napari_ptsam.backbones.families.registry import architecture_of

WEIGHTS = Path(__file__).parents[1] / "src" / "napari_ptsam" / "weights"


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the embedded backbone.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path, nargs="?", default=WEIGHTS / EMBEDDED)
    arguments = parser.parse_args()

    state = read_checkpoint(arguments.checkpoint)
    if architecture_of(state) != "vit_t":
        parser.error(f"{arguments.checkpoint} does not hold MobileSAM's weights")
    # The classification head is of no use here; counters of seen batches neither.
    unused = ("image_encoder.head.", "image_encoder.norm_head.")
    state = {
        key: value.to(torch.float16).contiguous()
        for key, value in state.items()
        if not key.startswith(unused) and not key.endswith("num_batches_tracked")
    }
    about = {
        "format": "pt",
        "architecture": "MobileSAM: TinyViT-5M image encoder, SAM prompt encoder and mask decoder",
        "licence": "Apache-2.0",
        "signature": signature_of(state),
    }
    save_file(state, arguments.out, metadata=about)
    print(
        f"{arguments.out}: {arguments.out.stat().st_size:,} bytes, signature {signature_of(state)}"
    )


if __name__ == "__main__":
    main()
