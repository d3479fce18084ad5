"""How much memory a training takes for weights and for what a step keeps.

    python benchmarks/memory.py [vit_t vit_b ...] [--device cpu]

Random weights, except for the embedded vit_t. One step of the decoder tokens
(batch 4), then of encoder and decoder tokens together (one tile at a time). On
a GPU PyTorch counts the peak; on a CPU it is the growth of the process's peak
of resident memory, which holds the runtime's own buffers too. Prints a Markdown
table; the last column is all that the device has to have room for.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import torch

from napari_ptsam.backbones.devices import choose_device, choose_dtype
from napari_ptsam.backbones.loading import Backbone, backbone_from_state, load_backbone
from napari_ptsam.images.tiling import Tile
from napari_ptsam.training.joint_training import Features, optimise_both, start_encoder_tokens
from napari_ptsam.training.optimization import TileSource, optimise
from napari_ptsam.training.tiles import TileJob, TrainingTile

NAMES = ("vit_t", "vit_b")


class Random(TileSource):
    """The same random tiles again and again."""

    def __init__(self, size: int, device: torch.device) -> None:
        super().__init__(size)
        self._tiles = [
            TrainingTile(
                torch.randn(4096, 256, dtype=torch.float16, device=device),
                torch.rand(1, 256, 256, device=device),
                torch.ones(256, 256, device=device),
                TileJob(0, Tile(0, 0, 1024), 0),
            )
            for _ in range(size)
        ]

    def draw(self) -> list[TrainingTile]:
        return self._tiles[: self.size]


def build(name: str, device: torch.device) -> Backbone:
    if name == "vit_t":
        return load_backbone(device=str(device))
    from segment_anything import sam_model_registry

    torch.manual_seed(0)
    state = sam_model_registry[name]().half().state_dict()
    return backbone_from_state(name, state, device, choose_dtype(device))


def peak(device: torch.device) -> float:
    """Bytes, at most, so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def row(name: str, device: torch.device) -> str:
    before = peak(device)
    backbone = build(name, device)
    weights = peak(device) - before
    tokens = torch.randn(1, 8, 256, device=device)
    list(optimise(backbone.decoder, tokens, Random(4, device), 2, 0.1))
    decoder = peak(device) - before
    encoder = backbone.encoder.plain
    pixels = SimpleNamespace(pixels_of=lambda job: np.zeros((1024, 1024, 3), np.float32))
    start = start_encoder_tokens(encoder.token_widths, 8, torch.Generator())
    features = Features(encoder, pixels)
    list(optimise_both(backbone, tokens, start, Random(1, device), features, 2))
    cells = (f"{value / 2**30:.1f} GB" for value in (weights, decoder, peak(device) - before))
    return f"| {name} | {backbone.encoder.dtype} on {device} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory that a training takes.")
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(row(options.names[0], choose_device(options.device)))
        return
    print("| backbone | | weights | with a step of the decoder | with a step through the encoder |")
    print("|---|---|---|---|---|", flush=True)
    for name in options.names:  # each in a process of its own: a peak does not go down again
        command = [sys.executable, __file__, name, "--device", options.device, "--one"]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
