"""Segmenters that cost nothing, for the bookkeeping of runs."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from napari_ptsam.images.planes import Planes
from napari_ptsam.images.settings import ImageSettings
from napari_ptsam.images.tiling import Tiling
from napari_ptsam.inference.result import ResultSettings
from napari_ptsam.inference.shared_embedding import SharedSegmenter
from napari_ptsam.prompts.prompt import Prompt


def fake_prompt(seed: int = 0, classes: tuple[str, ...] = ("a",)) -> Prompt:
    tokens = np.random.default_rng(seed).normal(size=(len(classes), 8, 256)).astype(np.float32)
    colours = ("#E69F00", "#56B4E9")[: len(classes)]
    return Prompt(tokens, classes, colours, "vit_t", "0" * 16, ImageSettings(Tiling(128)))


class FakeSegmenter:
    """Thresholds; objects are runs of 16 columns."""

    def __init__(self, output: str = "labels", prompt: Prompt | None = None, **settings) -> None:
        self.settings = ResultSettings(output, **settings)
        self.output, self.dtype = output, self.settings.dtype
        self.prompt = prompt or fake_prompt()
        self.planes_done = 0

    def result_shape(self, shape):
        return (len(self.prompt.classes), *shape) if self.output == "probabilities" else shape

    def prepare(self, plane):
        from napari_ptsam.errors import InputError

        if not np.isfinite(plane).all():
            raise InputError("the plane holds NaN or infinite pixels; replace them.")
        return plane

    def plane(self, plane, rgb=False, limits=None):
        plane = self.prepare(plane)
        self.planes_done += 1
        found = plane > 50
        if self.output == "probabilities":
            return np.stack([plane / 255] * len(self.prompt.classes)).astype(np.float32)
        if self.output == "instances":
            return (found * (np.arange(plane.shape[1]) // 16 + 1)).astype(np.uint32)
        return found.astype(np.uint8)


def share_fakes(monkeypatch) -> None:
    """Let `SharedSegmenter` take fakes."""
    monkeypatch.setattr(SharedSegmenter, "__init__", _init)
    monkeypatch.setattr(
        SharedSegmenter, "limits", lambda self, planes: [None] * len(self.segmenters)
    )
    monkeypatch.setattr(
        SharedSegmenter,
        "_prepared",
        lambda self, plane, rgb, limits: [one.prepare(plane) for one in self.segmenters],
    )
    monkeypatch.setattr(
        SharedSegmenter,
        "_results",
        lambda self, planes: [o.plane(p) for o, p in zip(self.segmenters, planes, strict=True)],
    )


def _init(self, segmenters):
    self.segmenters = list(segmenters)


def stack(*leading: int, side: int = 32, axes: str | None = None, **options) -> Planes:
    values = np.random.default_rng(1).integers(0, 100, (*leading, side, side)).astype(np.uint8)
    return Planes(values, axes, "stack.tif", **options)


__all__ = ["FakeSegmenter", "SimpleNamespace", "fake_prompt", "replace", "share_fakes", "stack"]
