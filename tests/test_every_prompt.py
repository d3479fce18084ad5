"""Every kind of prompt in every place but the forms: all give what `segment` gives."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import torch
from torch import nn

import napari_ptsam as ptsam
from conftest_cli import run
from conftest_every import CHOSEN, KINDS, OUTPUTS, planes_for
from napari_ptsam.backbones.embedding_cache import EmbeddingCache, with_cache
from napari_ptsam.backbones.loading import with_encoder_tokens
from napari_ptsam.export.specialist import Specialist
from napari_ptsam.inference.detail import corrections_of
from napari_ptsam.inference.preview import PlanePreview
from napari_ptsam.inference.result import ResultSettings
from napari_ptsam.inference.segment import Segmenter

pytestmark = pytest.mark.usefixtures("loaded")

EACH = pytest.mark.parametrize("kind", KINDS)


def alike(own: np.ndarray, other: np.ndarray) -> bool:
    """Whether results are the same; threads round probabilities otherwise."""
    if own.dtype.kind == "f":
        return own.shape == other.shape and np.allclose(own, other, atol=0.02)
    return np.array_equal(own, other)


@EACH
def test_segment(kind, prompts, grey, backbone, found) -> None:
    """Plane by plane, and not the same whatever the prompt is."""
    planes, prompt = planes_for(kind, grey), prompts[kind]
    limits = prompt.images.limits(planes)
    for output in OUTPUTS:
        segmenter = Segmenter(prompt, backbone, ResultSettings(output))
        expected = [segmenter.plane(plane, planes.rgb, limits) for plane in planes]
        axis = 1 if output == "probabilities" else 0
        assert alike(found(kind, output), np.stack(expected, axis)), output
    assert 0 < (found(kind, "labels") > 0).mean() < 1
    if kind == "detail of one of two classes":
        bare, own = found("several classes", "probabilities"), found(kind, "probabilities")
        assert np.array_equal(own[0], bare[0]) and not np.allclose(own[1], bare[1], atol=0.02)
    if kind in {"detail", "encoder tokens", "filter", "flips", "stack normalisation", "tiles"}:
        changed = found(kind, "probabilities")[0] - found("one class", "probabilities")[0]
        assert np.abs(changed).max() > 1e-6


@EACH
def test_preview(kind, prompts, grey, backbone, found) -> None:
    planes, prompt = planes_for(kind, grey), prompts[kind]
    seeing = with_encoder_tokens(backbone, prompt.encoder_tokens)
    preview = PlanePreview(
        seeing, prompt.images, planes[1], planes.rgb, prompt.images.limits(planes),
        prompt.refinement, prompt.flips, corrections_of(prompt.detail, backbone.device),
    )  # fmt: skip
    assert len(list(preview.embed())) == len(prompt.images.tiling.tiles(planes.shape))
    tokens = torch.from_numpy(prompt.tokens.copy()).to(backbone.device)
    assert np.array_equal(preview.labels(tokens), found(kind, "labels")[1])


def written(folder: Path, prompts: dict, grey: np.ndarray) -> dict[str, Path]:
    """Files of the prompts and images, by what they are called."""
    paths = {kind: prompt.save(folder / f"{kind}.pt") for kind, prompt in prompts.items()}
    for kind in ("one class", CHOSEN):
        planes = planes_for(kind, grey)
        paths[planes.name] = folder / f"{planes.name}.tif"
        pixels = np.stack([planes[0], planes[1]])
        pixels = np.moveaxis(pixels, -1, 1) if pixels.ndim == 4 else pixels
        tifffile.imwrite(paths[planes.name], pixels, imagej=True, metadata={"axes": planes.axes})
    return paths


@pytest.mark.parametrize("output", OUTPUTS)
def test_command_line(output, prompts, grey, found, tmp_path: Path) -> None:
    """All prompts at once, those of other channels on images of theirs."""
    paths = written(tmp_path, prompts, grey)
    (tmp_path / "out").mkdir()
    option = [] if output == "labels" else [f"--{output}"]
    grey_ones = [kind for kind in KINDS if kind != CHOSEN]
    also = [part for kind in grey_ones[1:] for part in ("--also", paths[kind])]
    given = ("-o", tmp_path / "out", *option)
    assert run("segment", paths["one class"], paths["nuclei"], *also, *given) == 0
    assert run("segment", paths[CHOSEN], paths["composite"], *given) == 0
    for kind in KINDS:
        name = "composite.tif" if kind == CHOSEN else f"nuclei-{kind}.tif"
        result = tifffile.imread(tmp_path / "out" / name)
        if output == "probabilities":
            result = result[:, None] if result.ndim == 3 else result
            result = np.moveaxis(result, 1, 0)
        assert alike(result, found(kind, output).astype(result.dtype)), kind


WHOLE = ("one class", "encoder tokens", "detail of one of two classes")
"""Kinds with which a training makes all choices anew; with the others it keeps those of the prompt."""


@EACH
def test_train_on(kind, prompts, two_classes, cell_and_rest, nuclei, grey, device) -> None:
    prompt, planes = prompts[kind], planes_for(kind, grey)
    masks = np.stack(nuclei[1][:2])[:, :112]
    if len(prompt.classes) > 1:  # the second was made up; its tokens find the same as the first's
        prompt = replace(prompt, tokens=two_classes.tokens)
        masks = np.stack(cell_and_rest)[:, :112]
    more = ptsam.train(
        planes, masks, start=prompt, device=device, steps=1, embeddings=2, batch_size=1,
        encoder_steps=1, minutes=0, markers="no", seed=0, keep="new",
        continuation="whole" if kind in WHOLE else "quick",
    )  # fmt: skip
    assert more.images == prompt.images and more.classes == prompt.classes
    assert len(more.encoder_tokens) == len(prompt.encoder_tokens)
    assert more.origin.start == "a prompt" and more.origin.images == 2
    assert ptsam.segment(planes, more, device=device).shape == grey.shape


class Once(nn.Module):
    """An image encoder that computes nothing twice: most kinds of prompt see a tile alike."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.known = module, {}
        self.token_widths = module.token_widths

    def forward(self, pixels: torch.Tensor, tokens: list[torch.Tensor]) -> torch.Tensor:
        return self._once(self.module, pixels, tokens)

    def early_stages(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self._once(self.module.early_stages, pixels)

    def late(self, features: torch.Tensor, tokens: list[torch.Tensor]) -> torch.Tensor:
        return self._once(self.module.late, features, tokens)

    def _once(self, compute: Callable, x: torch.Tensor, *tokens: list[torch.Tensor]):
        parts = (x, *(layer for layers in tokens for layer in layers))
        key = compute, b"".join(part.numpy().tobytes() for part in parts)
        if key not in self.known:
            self.known[key] = compute(x, *tokens)
        return self.known[key]


@pytest.fixture(scope="module")
def backbones(exact_backbone):
    """As exports take it, and as segmenting does; in float32, with the same module."""
    module = Once(exact_backbone.encoder.plain.module)
    plain = SimpleNamespace(module=module)
    plain.embedded = plain
    encoder = SimpleNamespace(plain=plain)
    exported = SimpleNamespace(encoder=encoder, decoder=exact_backbone.decoder)
    segmenting = copy(exact_backbone.encoder.plain)
    segmenting.module = module
    return exported, with_cache(replace(exact_backbone, encoder=segmenting), EmbeddingCache())


@EACH
def test_export(kind, prompts, nuclei, backbones) -> None:
    """The network that is exported, on a tile: ONNX Runtime's own arithmetic is tested elsewhere."""
    prompt, (exported, segmenting) = prompts[kind], backbones
    side = prompt.images.tiling.side
    plane = nuclei[0][0][:side, :side]
    one = replace(prompt, images=replace(prompt.images, channels=None))
    seen = one.images.prepare(plane).pixels[None, None, ..., 0].copy()
    with torch.no_grad():
        found = Specialist(prompt, exported, side).eval()(torch.from_numpy(seen))[0].numpy()
    expected = Segmenter(one, segmenting, "probabilities").plane(plane)
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 1e-3
