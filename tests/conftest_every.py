"""A prompt of every kind, made of one that was trained, and what each is tried on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

import napari_ptsam as ptsam
from conftest_prompts import head
from napari_ptsam.images.channels import Channels
from napari_ptsam.images.guided_filter import Refinement
from napari_ptsam.images.normalize import Normalization
from napari_ptsam.images.planes import Planes
from napari_ptsam.images.tiling import Tiling
from napari_ptsam.prompts.files import load
from napari_ptsam.prompts.merging import merge
from napari_ptsam.prompts.prompt import Prompt
from napari_ptsam.prompts.text import from_text, to_text

OUTPUTS = ("labels", "instances", "probabilities")
CHOSEN = "chosen channels"
NEWER = {
    "encoder_tokens", "refinement", "cores", "weights", "author", "thumbnail", "flips",
    "trained_channels", "sealed", "detail",
}  # fmt: skip
"""What prompt files of version 0.1.0 did not have."""


def _several(prompt: Prompt, encoder_widths: tuple[int, ...], folder: Path) -> Prompt:
    return replace(
        prompt, tokens=np.concatenate([prompt.tokens, prompt.tokens[:, ::-1]]),
        classes=("nucleus", "other"), colours=("#E69F00", "#56B4E9"),
    )  # fmt: skip


def _encoder_tokens(prompt: Prompt, encoder_widths: tuple[int, ...], folder: Path) -> Prompt:
    rng = np.random.default_rng(0)
    tokens = (rng.normal(0, 0.5, (2, width)).astype(np.float32) for width in encoder_widths)
    return replace(prompt, encoder_tokens=tuple(tokens))


def _of_version_1(prompt: Prompt, encoder_widths: tuple[int, ...], folder: Path) -> Prompt:
    import torch

    path = prompt.save(folder / "now.pt")
    plain = {k: v for k, v in torch.load(path, weights_only=True).items() if k not in NEWER}
    torch.save(plain | {"version": 1}, folder / "then.pt")
    return load(folder / "then.pt")


def _seeing(**images) -> Callable[..., Prompt]:
    return lambda prompt, widths, folder: replace(prompt, images=replace(prompt.images, **images))


def _with_heads(*heads: bool) -> Callable[..., Prompt]:
    """Give a prompt detail heads whose corrections are about as large as its logits."""

    def make(prompt: Prompt, encoder_widths: tuple[int, ...], folder: Path) -> Prompt:
        return replace(
            prompt,
            detail=tuple(head(4, 0.5, seed) if has else None for seed, has in enumerate(heads)),
        )

    return make


def _after(*steps: Callable[..., Prompt]) -> Callable[..., Prompt]:
    """Do several things to a prompt, one after the other."""

    def make(prompt: Prompt, encoder_widths: tuple[int, ...], folder: Path) -> Prompt:
        for step in steps:
            prompt = step(prompt, encoder_widths, folder)
        return prompt

    return make


KINDS: dict[str, Callable[[Prompt, tuple[int, ...], Path], Prompt]] = {
    "one class": lambda prompt, widths, folder: prompt,
    "several classes": _several,
    "markers": lambda prompt, widths, folder: replace(prompt, markers=prompt.tokens * np.float32(0.9)),
    "encoder tokens": _encoder_tokens,
    "detail, markers and flips": lambda prompt, widths, folder: replace(
        _with_heads(True)(prompt, widths, folder), markers=prompt.tokens * np.float32(0.9), flips=("x",)
    ),
    "detail": _with_heads(True),
    "detail of one of two classes": _after(_several, _with_heads(False, True)),
    "detail and encoder tokens": _after(_encoder_tokens, _with_heads(True)),
    "filter": lambda prompt, widths, folder: replace(prompt, refinement=Refinement(4, 0.01, 0.5)),
    "flips": lambda prompt, widths, folder: replace(prompt, flips=("x",)),
    CHOSEN: lambda prompt, widths, folder: replace(
        prompt, images=replace(prompt.images, channels=(1,)),
        trained_channels=Channels("composite", 2, ("", "DAPI")),
    ),
    "stack normalisation": _seeing(normalization=Normalization("stack", 1, 99)),
    "tiles": _seeing(tiling=Tiling(112)),
    "whole planes": _seeing(tiling=Tiling(100, whole=True)),
    "merged": lambda prompt, widths, folder: merge(
        [prompt, replace(prompt, tokens=prompt.tokens[:, ::-1].copy(), classes=("other",))]
    ),
    "read from text": lambda prompt, widths, folder: from_text(to_text(prompt)),
    "of version 0.1.0": _of_version_1,
}  # fmt: skip


def every_prompt(
    prompt: Prompt, encoder_widths: tuple[int, ...], folder: Path
) -> dict[str, Prompt]:
    """A prompt of each kind."""
    plain = replace(prompt, markers=None, encoder_tokens=(), refinement=None, flips=())
    return {kind: make(plain, encoder_widths, folder) for kind, make in KINDS.items()}


def planes_for(kind: str, grey: np.ndarray) -> Planes:
    """The stack (z, y, x) as a prompt of that kind takes it: with a decoy channel, or as it is."""
    if kind != CHOSEN:
        return Planes(grey, "ZYX", "nuclei")
    return Planes(np.stack([grey[::-1, ::-1], grey], axis=1), "ZCYX", "composite")


def segmented(
    prompts: dict[str, Prompt], grey: np.ndarray, device: str
) -> Callable[[str, str], np.ndarray]:
    """Return what `segment` gives for a kind of prompt and an output, computed once."""
    known: dict[tuple[str, str], np.ndarray] = {}

    def of(kind: str, output: str) -> np.ndarray:
        if (kind, output) not in known:
            planes = planes_for(kind, grey)
            known[kind, output] = ptsam.segment(planes, prompts[kind], output=output, device=device)
        return known[kind, output]

    return of
