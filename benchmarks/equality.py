"""Largest difference between our logits and segment-anything's, with random weights.

    python benchmarks/equality.py [vit_b vit_l vit_h]

float32, on the CPU. vit_h needs about 10 GB of memory and a few minutes.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from segment_anything import sam_model_registry

from napari_ptsam.backbones.loading import backbone_from_state

NAMES = ("vit_b", "vit_l", "vit_h")


@torch.no_grad()
def largest_difference(name: str) -> tuple[float, float]:
    """Largest difference of the logits, and their standard deviation."""
    torch.manual_seed(0)
    sam = sam_model_registry[name]().eval()
    for key, value in sam.named_parameters():
        if "pos" in key:  # zero when fresh: a mistake in them would not show
            torch.nn.init.normal_(value, std=0.02)
    image = np.random.default_rng(0).random((1024, 1024, 3), dtype=np.float32)
    tokens = torch.randn(8, 256)
    dense = sam.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(1, -1, 64, 64)
    theirs, _ = sam.mask_decoder(
        image_embeddings=sam.image_encoder(
            sam.preprocess(torch.from_numpy(image * 255).permute(2, 0, 1)[None])
        ),
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=tokens[None],
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )
    backbone = backbone_from_state(name, sam.state_dict(), torch.device("cpu"), torch.float32)
    ours = backbone.decoder(backbone.encoder([image], dtype=torch.float32), tokens)
    return float((ours - theirs[0]).abs().max()), float(theirs.std())


def main() -> None:
    parser = argparse.ArgumentParser(description="Our logits against segment-anything's.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    print("| backbone | largest difference | standard deviation of the logits |\n|---|---|---|")
    for name in parser.parse_args().names or NAMES:
        difference, deviation = largest_difference(name)
        print(f"| {name} | {difference:.1e} | {deviation:.2f} |", flush=True)


if __name__ == "__main__":
    main()
