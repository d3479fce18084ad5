"""Gradients that are written by hand, against autograd's."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from napari_ptsam.backbones.kernels import fused
from napari_ptsam.backbones.kernels.image_positions import (
    image_to_token,
    image_to_token_reference,
    mask_logits,
    mask_logits_reference,
    token_to_image,
    token_to_image_reference,
)
from napari_ptsam.backbones.kernels.window_attention import attend, attend_reference

HEADS, TOKENS, POSITIONS, WIDTH = 2, 3, 16, 8


@pytest.fixture(params=["in one pass", "in steps"])
def way(request, monkeypatch) -> str:
    """With PyTorch's operator that is not public, and without it."""
    fused._softmax_backward_works.cache_clear()
    if request.param == "in steps":
        monkeypatch.delattr(torch, "_softmax_backward_data")
    assert fused._softmax_backward_works() == (request.param == "in one pass")
    yield request.param
    fused._softmax_backward_works.cache_clear()


def random(*shape: int, device: str) -> torch.Tensor:
    values = torch.randn(
        shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape))
    )
    return values.to(device).requires_grad_()


@pytest.mark.parametrize("batch", [1, 2])
def test_looking_at_the_image(way, batch: int, device: str) -> None:
    queries = random(batch, HEADS * TOKENS, WIDTH, device=device)
    image = random(batch, POSITIONS, WIDTH, device=device)
    places = random(POSITIONS, WIDTH, device=device).detach()

    ours = token_to_image(queries, image, (image + places).detach())
    weights = (queries @ (image + places).transpose(1, 2)).softmax(-1)
    compare(ours, (weights @ image, image), (queries, image))
    ours = token_to_image(queries, image, (image + places).detach())
    compare(ours, token_to_image_reference(queries, image, image + places), (queries, image))


@pytest.mark.parametrize("batch", [1, 2])
def test_answering(way, batch: int, device: str) -> None:
    image = random(batch, POSITIONS, WIDTH, device=device)
    places = random(POSITIONS, WIDTH, device=device).detach()
    keys, values = (random(batch, HEADS * TOKENS, WIDTH + i, device=device) for i in (0, 1))
    values = values[..., :-1].detach().requires_grad_()
    bias = random(batch, HEADS * TOKENS, device=device)
    norm = random(WIDTH, device=device).detach(), random(WIDTH, device=device).detach(), 1e-5

    ours = image_to_token(image, (image + places).detach(), keys, bias, values, HEADS, norm)
    logits = keys @ (image + places).transpose(1, 2) + bias[..., None]
    weights = logits.unflatten(1, (HEADS, -1)).softmax(2).flatten(1, 2)
    theirs = F.layer_norm(image + weights.transpose(1, 2) @ values, (WIDTH,), *norm)
    compare((ours,), (theirs,), (image, keys, bias, values))
    ours = image_to_token(image, (image + places).detach(), keys, bias, values, HEADS, norm)
    reference = image_to_token_reference(image, image + places, keys, bias, values, HEADS, norm)
    compare((ours,), (reference,), (image, keys, bias, values))


@pytest.mark.parametrize("masks", [1, 4])
def test_weighing_pixels(masks: int, device: str) -> None:
    pixels, weights = (random(2, n, WIDTH, device=device) for n in (POSITIONS, masks))
    compare(
        (mask_logits(pixels, weights),),
        (mask_logits_reference(pixels, weights),),
        (pixels, weights),
    )


def test_attending_within_windows(way, device: str) -> None:
    q, k, v = (random(3, HEADS, n, WIDTH, device=device) for n in (4, 6, 6))
    bias = random(HEADS, 4, 6, device=device).detach()
    ours, reference = (f(q, k, v, bias) for f in (attend, attend_reference))
    compare((ours,), (reference,), (q, k, v))
    with torch.no_grad():
        torch.testing.assert_close(attend(q, k, v, bias), reference)


def compare(ours, theirs, inputs) -> None:
    """Values, gradients, and that the gradients which come in stay as they are."""
    given = [torch.randn_like(one) for one in ours]
    before = [one.clone() for one in given]
    found = torch.autograd.grad(ours, inputs, given, retain_graph=True)
    expected = torch.autograd.grad(theirs, inputs, before, retain_graph=True)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(found, expected)
    for one, was in zip(given, before, strict=True):
        assert torch.equal(one, was)
    # A sum gives one number for all positions, which nothing can be added to in place.
    sums = [sum(one.sum() for one in outputs) for outputs in (ours, theirs)]
    torch.testing.assert_close(*(torch.autograd.grad(one, inputs) for one in sums))
