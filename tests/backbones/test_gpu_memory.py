"""A GPU without enough memory: the CPU takes over. A CPU plays the GPU here."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_ptsam.backbones import encoder
from napari_ptsam.backbones.encoder import ImageEncoder
from napari_ptsam.backbones.gpu_memory import gpu_is_full, is_out_of_memory
from napari_ptsam.errors import PtsamWarning
from napari_ptsam.images.tiling import Tile
from napari_ptsam.inference import decoding
from napari_ptsam.inference.embedded_plane import EmbeddedPlane

CPU = torch.device("cpu")


def full() -> torch.cuda.OutOfMemoryError:
    return torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.")


class Full(torch.nn.Module):
    """A module without room; a copy elsewhere has it."""

    def __init__(self, real: torch.nn.Module) -> None:
        super().__init__()
        self.real = real

    def forward(self, pixels, tokens):
        raise full()

    def __deepcopy__(self, memo):
        return self.real


@pytest.fixture
def gpu(monkeypatch) -> None:
    for module in (encoder, decoding):
        monkeypatch.setattr(module, "gpu_is_full", lambda error, device: is_out_of_memory(error))


def test_a_tile_that_does_not_fit_is_embedded_by_the_cpu(backbone, gpu) -> None:
    tile = np.random.default_rng(0).random((64, 64, 3), dtype=np.float32)
    real = backbone.encoder.plain
    narrow = ImageEncoder(Full(real.module), CPU, real.dtype)
    with pytest.warns(PtsamWarning, match="the CPU takes over"):
        found = narrow([tile])
    assert torch.equal(found, real([tile]))


class Narrow:
    """A decoder with room for so many tiles."""

    def __init__(self, real, room: int) -> None:
        self.real, self.room, self.device, self.tried = real, room, real.device, []

    def __call__(self, embeddings, tokens):
        self.tried.append(len(embeddings))
        if len(embeddings) > self.room:
            raise full()
        return self.real(embeddings, tokens)

    def on(self, device, dtype):
        return self.real


@pytest.mark.parametrize(("room", "tried"), [(2, [4, 2, 2]), (1, [4, 2, 1, 1, 2, 1, 1])])
def test_tiles_are_decoded_in_smaller_batches(exact_backbone, gpu, room, tried) -> None:
    plane, tokens = some(exact_backbone)
    narrow = Narrow(exact_backbone.decoder, room)
    found = plane.logits(narrow, tokens)
    expected = plane.logits(exact_backbone.decoder, tokens)
    assert narrow.tried == tried
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_without_room_for_one_the_cpu_decodes(exact_backbone, gpu) -> None:
    plane, tokens = some(exact_backbone)
    with pytest.warns(PtsamWarning, match="smaller tiles or the CPU"):
        found = plane.logits(Narrow(exact_backbone.decoder, 0), tokens)
    expected = plane.logits(exact_backbone.decoder, tokens)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def some(backbone):
    """A plane of four tiles of noise."""
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(4, 4096, 256, generator=generator) * 0.1
    tokens = torch.randn(1, 8, 256, generator=generator)
    tiles = [Tile(y, x, 32) for y in (0, 32) for x in (0, 32)]
    return EmbeddedPlane((64, 64), tiles, embeddings[:, None]), tokens


def test_only_a_gpu_is_full() -> None:
    assert not gpu_is_full(full(), CPU)
    assert not gpu_is_full(RuntimeError("shapes differ"), torch.device("cuda"))
