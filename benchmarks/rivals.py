"""What else could be trained on the same images: each rival gives the foreground of a plane.

Otsu's threshold, random forests on classical features, on features of the frozen
TinyViT, and on these with a prompt's logits (see `forests`), a U-Net from scratch
(Ronneberger et al., MICCAI 2015), and all of SAM's mask decoder, fine-tuned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from finders import Finder, scores
from forests import autocontext, feature_forest, forest
from napari_ptsam.backbones.checkpoints import embedded_checkpoint, read_checkpoint
from napari_ptsam.backbones.families.registry import family_of
from napari_ptsam.backbones.loading import Backbone
from napari_ptsam.datasets.annotated_planes import AnnotatedPlane, AnnotationSet
from napari_ptsam.images.normalize import Normalization, normalize
from napari_ptsam.images.tiling import cut
from napari_ptsam.inference.embedded_plane import EmbeddedPlane
from napari_ptsam.training.loss import bce_dice
from napari_ptsam.training.scale import image_settings
from napari_ptsam.training.settings import TrainingSettings
from napari_ptsam.training.tiles import PreparedPlanes, embed, plan

UNET_STEPS, UNET_BATCH, UNET_SIDE, UNET_WIDTH = 500, 8, 256, 16
TUNING_STEPS, TUNING_RATE = 300, 3e-4


def otsu(train: AnnotationSet, seed: int, backbone: Backbone) -> tuple[Finder, int]:
    """Brighter or darker than Otsu's threshold, whichever fits the training planes better."""
    from skimage.filters import threshold_otsu

    def bright(example: AnnotatedPlane) -> np.ndarray:
        grey = _prepared(example).mean(-1)
        return grey > threshold_otsu(grey)

    def dark(example: AnnotatedPlane) -> np.ndarray:
        return ~bright(example)

    return max((bright, dark), key=lambda find: np.mean([s.iou[0] for s in scores(find, train)])), 0


def _prepared(example: AnnotatedPlane) -> np.ndarray:
    return normalize(example.pixels, Normalization(), None, example.rgb, None)


class _UNet(nn.Module):
    """Four levels, two convolutions each."""

    def __init__(self, width: int = UNET_WIDTH) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(4)]
        self.down = nn.ModuleList(
            _convolutions(a, b) for a, b in zip([3, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(
            _convolutions(a + b, b) for a, b in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.last = nn.Conv2d(width, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for level, part in enumerate(self.down):
            x = part(F.max_pool2d(x, 2) if level else x)
            kept.append(x)
        x = kept.pop()
        for part in self.up:
            x = F.interpolate(x, scale_factor=2, mode="bilinear")
            x = part(torch.cat([x, kept.pop()], 1))
        return self.last(x)[:, 0]


def _convolutions(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(),
        nn.Conv2d(after, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(),
    )  # fmt: skip


def unet(train: AnnotationSet, seed: int, backbone: Backbone) -> tuple[Finder, int]:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    planes = [(_prepared(e), (e.labels > 0).astype(np.float32)) for e in train.examples]
    device = backbone.device
    model = _UNet().to(device, memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=UNET_STEPS + 1)
    for _ in range(UNET_STEPS):
        crops = [_crop(*planes[rng.integers(len(planes))], rng) for _ in range(UNET_BATCH)]
        pixels, truth = (
            torch.from_numpy(np.stack(part)).to(device) for part in zip(*crops, strict=True)
        )
        with _low_precision(device):
            logits = model(pixels.permute(0, 3, 1, 2))
        loss = bce_dice(logits.float(), truth, torch.ones_like(truth))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    model.eval()

    @torch.no_grad()
    def find(example: AnnotatedPlane) -> np.ndarray:
        pixels = torch.from_numpy(_prepared(example)).permute(2, 0, 1)[None]
        height, width = pixels.shape[2:]
        pixels = F.pad(pixels, (0, -width % 8, 0, -height % 8), mode="replicate")
        return (model(pixels.to(device))[0, :height, :width] > 0).cpu().numpy()

    return find, _count(model)


def _crop(
    pixels: np.ndarray, truth: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A random square, turned or flipped at random."""
    side = min(UNET_SIDE, *truth.shape) // 8 * 8
    y, x = (rng.integers(length - side + 1) for length in truth.shape)
    turns, flipped = int(rng.integers(4)), rng.random() < 0.5
    found = []
    for part in (pixels, truth):
        part = np.rot90(part[y : y + side, x : x + side], turns)
        found.append(np.ascontiguousarray(part[:, ::-1] if flipped else part))
    return found[0], found[1]


def fine_tuned(train: AnnotationSet, seed: int, backbone: Backbone) -> tuple[Finder, int]:
    """All of SAM's mask decoder, on the tiles that a prompt would be trained on."""
    generator = torch.Generator().manual_seed(seed)
    images = image_settings(train.examples, TrainingSettings())
    limits = [images.limits(stack) for stack in train.stacks]
    jobs = plan(
        train.examples, images.tiling, TrainingSettings().embeddings, np.random.default_rng(seed)
    )
    tiles = list(embed(jobs, train.examples, PreparedPlanes(images, limits), backbone, 1))
    decoder = _Decoder(backbone.device)
    parameters = list(decoder.module.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=TUNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, TUNING_RATE, total_steps=TUNING_STEPS + 1
    )
    for _ in range(TUNING_STEPS):
        drawn = [tiles[i] for i in torch.randint(len(tiles), (4,), generator=generator).tolist()]
        logits = decoder(torch.stack([tile.embedding for tile in drawn]))
        target = torch.stack([tile.target[0] for tile in drawn])
        loss = bce_dice(logits, target, torch.stack([tile.weight for tile in drawn]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()

    def find(example: AnnotatedPlane) -> np.ndarray:
        plane = images.prepare(example.pixels, example.rgb)
        embeddings = (backbone.encoder([cut(plane.pixels, tile)]) for tile in plane.tiles)
        embedded = EmbeddedPlane(plane.shape, plane.tiles, embeddings)
        return embedded.logits(decoder, torch.zeros(1))[0] > 0

    return find, _count(decoder.module)


class _Decoder:
    """segment-anything's mask decoder without any prompt, called as ours is."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        parts: dict[str, Any] = family_of("vit_t").build("vit_t")
        state = {k: v.float() for k, v in read_checkpoint(embedded_checkpoint()).items()}
        for name in ("mask_decoder", "prompt_encoder"):
            own = {k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(name)}
            parts[name].load_state_dict(own)
        self.module, prompts = (
            parts[name].to(device) for name in ("mask_decoder", "prompt_encoder")
        )
        self._positions = prompts.get_dense_pe().detach()
        self._dense = prompts.no_mask_embed.weight.detach().view(1, -1, 1, 1).expand(1, -1, 64, 64)

    def __call__(self, embeddings: torch.Tensor, tokens: object = None) -> torch.Tensor:
        square = embeddings.float().transpose(1, 2).unflatten(2, (64, 64))
        with _low_precision(self.device):
            masks, _ = self.module(
                image_embeddings=square,
                image_pe=self._positions,
                sparse_prompt_embeddings=torch.empty(1, 0, 256, device=self.device),
                dense_prompt_embeddings=self._dense,
                multimask_output=False,
            )
        return masks[:, 0].float()


def _low_precision(device: torch.device) -> torch.autocast:
    from napari_ptsam.backbones.devices import choose_dtype

    dtype = choose_dtype(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)


def _count(module: nn.Module) -> int:
    return sum(part.numel() for part in module.parameters())


RIVALS: dict[str, Callable[[AnnotationSet, int, Backbone], tuple[Finder, int]]] = {
    "Otsu": otsu,
    "random forest": forest,
    "feature forest": feature_forest,
    "autocontext": autocontext,
    "U-Net": unet,
    "SAM's decoder": fine_tuned,
}
