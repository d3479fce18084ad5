"""Prompts that were never trained."""

from __future__ import annotations

import numpy as np

from napari_ptsam.images.normalize import Normalization
from napari_ptsam.images.planes import PixelSize
from napari_ptsam.images.settings import ImageSettings
from napari_ptsam.images.tiling import Tiling
from napari_ptsam.prompts.detail import DetailHead, parameter_count
from napari_ptsam.prompts.prompt import Origin, Prompt


def make(classes: int = 1, **parts) -> Prompt:
    rng = np.random.default_rng(0)
    given = {
        "tokens": rng.normal(size=(classes, 8, 256)).astype(np.float32),
        "classes": tuple(f"class {i}" for i in range(classes)),
        "colours": ("#E69F00",) * classes,
        "backbone": "vit_t",
        "signature": "0123456789abcdef",
        "images": ImageSettings(Tiling(371), Normalization("range", 3.5, 200), (0, 2)),
        "pixel_size": PixelSize(0.65, 0.65, 2.0, "micrometer"),
        "origin": Origin(16, 3, 300, 4, 7, 0.91, False, "label", "2026-11-23", {"torch": "2"}),
        "notes": "Präparat 7",
        "licence": "CC0",
    }
    return Prompt(**(given | parts))


def head(width: int = 14, share: float = 1.0, seed: int = 0) -> DetailHead:
    """A detail head that was never trained."""
    values = np.random.default_rng(seed).normal(0, 0.1, parameter_count(width))
    values[-width - 1 :] *= 20  # the last layer, so that the correction is not tiny
    return DetailHead(values.astype(np.float16), width, share)


def same_heads(found: Prompt, prompt: Prompt) -> bool:
    """Whether two prompts have the same detail heads."""
    return len(found.detail) == len(prompt.detail) and all(
        one is other
        or (
            one is not None
            and other is not None
            and (one.width, one.share) == (other.width, other.share)
            and np.array_equal(one.parameters, other.parameters)
        )
        for one, other in zip(found.detail, prompt.detail, strict=True)
    )
