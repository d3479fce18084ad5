"""Encoder tokens: deep visual prompt tuning of the image encoders."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from segment_anything.modeling.image_encoder import ImageEncoderViT
from torch import nn

from napari_ptsam.backbones.embedding_cache import EmbeddingCache, with_cache
from napari_ptsam.backbones.kernels.vit import PromptableViT
from napari_ptsam.backbones.loading import with_encoder_tokens
from napari_ptsam.errors import PromptFileError


def random_tokens(widths, count: int = 8, spread: float = 0.5) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [spread * torch.randn(count, width, generator=generator) for width in widths]


def small_vit() -> ImageEncoderViT:
    """ViT as SAM has it: a layer with windows, then one without; 20 x 20 positions."""
    torch.manual_seed(0)
    module = ImageEncoderViT(
        img_size=320, embed_dim=48, depth=2, num_heads=3, use_rel_pos=True, window_size=14,
        global_attn_indexes=(1,),
    ).eval().requires_grad_(False)  # fmt: skip
    for name, value in module.named_parameters():
        if "pos" in name:
            nn.init.normal_(value, std=0.2)
    return module


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randn(1, 3, 320, 320, generator=torch.Generator().manual_seed(1))


def carried_through(module: ImageEncoderViT, pixels, tokens) -> torch.Tensor:
    """As the method is described: tokens join the sequence of each window, and are dropped after."""
    from segment_anything.modeling import image_encoder as theirs

    x = module.patch_embed(pixels) + module.pos_embed
    for block, own in zip(module.blocks, tokens, strict=True):
        normed, size = block.norm1(x), x.shape[1:3]
        if block.window_size:
            windows, padded = theirs.window_partition(normed, block.window_size)
        else:
            windows = normed
        batch, height, width, channels = windows.shape
        sequence = torch.cat([windows.flatten(1, 2), block.norm1(own).expand(batch, -1, -1)], dim=1)
        attn = block.attn
        qkv = attn.qkv(sequence).unflatten(-1, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.flatten(1, 2).unbind(0)
        weights = (q * attn.scale) @ k.transpose(1, 2)
        places, size_of = height * width, (height, width)
        placed = theirs.add_decomposed_rel_pos(
            weights[:, :places, :places].contiguous(), q[:, :places], attn.rel_pos_h,
            attn.rel_pos_w, size_of, size_of,
        )  # fmt: skip
        weights = torch.cat(
            [torch.cat([placed, weights[:, :places, places:]], 2), weights[:, places:]], 1
        )
        seen = (weights.softmax(-1) @ v).unflatten(0, (batch, -1)).transpose(1, 2).flatten(2)
        attended = attn.proj(seen)[:, :places].view(batch, height, width, channels)
        if block.window_size:
            attended = theirs.window_unpartition(attended, block.window_size, padded, size)
        x = x + attended
        x = x + block.mlp(block.norm2(x))
    return module.neck(x.permute(0, 3, 1, 2))


@torch.no_grad()
def test_tokens_act_as_if_they_were_carried_through(pixels) -> None:
    module = small_vit()
    tokens = random_tokens([48, 48])
    expected = carried_through(module, pixels, tokens)
    found = PromptableViT(module)(pixels, tokens)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert (found - module(pixels)).abs().max() > 0.01


@torch.no_grad()
@pytest.mark.parametrize("none", [(), [torch.empty(0, 48)] * 2])
def test_no_tokens_leave_the_vit_as_it_is(pixels, none) -> None:
    module = small_vit()
    expected = module(pixels)
    ours = PromptableViT(module)
    torch.testing.assert_close(ours(pixels, none), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(ours(pixels, none), ours(pixels))


@torch.no_grad()
@pytest.mark.parametrize("layer", [0, 1])
def test_layers_with_and_without_windows_see_their_tokens(pixels, layer) -> None:
    ours = PromptableViT(small_vit())
    tokens = random_tokens([48, 48])
    other = list(tokens)
    other[layer] = -other[layer]
    assert (ours(pixels, tokens) - ours(pixels, other)).abs().max() > 1e-3


def test_gradients_reach_the_tokens_of_the_vit_and_nothing_else(pixels) -> None:
    ours = PromptableViT(small_vit())
    tokens = [own.requires_grad_() for own in random_tokens([48, 48])]
    ours(pixels, tokens).square().mean().backward()
    assert all(own.grad is not None and own.grad.abs().min() > 0 for own in tokens)
    assert all(p.grad is None for p in ours.parameters())
    # Layers are computed again for the gradient, which changes nothing.
    plain = [own.detach().clone().requires_grad_() for own in tokens]
    carried_through(ours.module, pixels, plain).square().mean().backward()
    for own, other in zip(tokens, plain, strict=True):
        torch.testing.assert_close(own.grad, other.grad, atol=1e-6, rtol=1e-3)


@pytest.fixture(scope="module")
def tile() -> np.ndarray:
    return np.random.default_rng(0).random((256, 256, 3), dtype=np.float32)


def test_the_embedded_backbone_has_room_for_14848_numbers(exact_backbone) -> None:
    assert 8 * sum(exact_backbone.encoder.token_widths) == 14848


def test_no_tokens_leave_the_embedded_backbone_as_it_is(exact_backbone, tile) -> None:
    encoder = exact_backbone.encoder
    none = encoder.with_tokens([torch.empty(0, width) for width in encoder.token_widths])
    assert torch.equal(none([tile]), encoder([tile]))
    assert with_encoder_tokens(exact_backbone, ()) is exact_backbone


def test_each_block_of_the_embedded_backbone_sees_its_tokens(exact_backbone, tile) -> None:
    encoder = exact_backbone.encoder
    tokens = random_tokens(encoder.token_widths)
    features = encoder.early(tile)
    with torch.no_grad():
        found = encoder.late(features, tokens)
        assert torch.allclose(found, encoder.with_tokens(tokens)([tile], torch.float32), atol=1e-5)
        for layer in (0, 4, 9):
            other = list(tokens)
            other[layer] = -other[layer]
            assert (encoder.late(features, other) - found).abs().max() > 1e-3


def test_gradients_through_the_embedded_backbone_are_autograds(exact_backbone, tile) -> None:
    """The attention's own gradient against PyTorch's, up to the loss of the decoder."""
    from napari_ptsam.backbones.kernels import tiny_vit
    from napari_ptsam.backbones.kernels.window_attention import attend_reference

    encoder, decoder = exact_backbone.encoder, exact_backbone.decoder
    features, start = encoder.early(tile), random_tokens(encoder.token_widths)
    prompt = decoder.foreground_label + 0.1 * torch.randn(8, 256)

    def gradients() -> list[torch.Tensor]:
        tokens = [own.clone().requires_grad_() for own in start]
        decoder(encoder.late(features, tokens), prompt).sigmoid().mean().backward()
        return [own.grad for own in tokens]

    found = gradients()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_vit, "attend", attend_reference)
        expected = gradients()
    for ours, theirs in zip(found, expected, strict=True):
        assert theirs.abs().max() > 0
        torch.testing.assert_close(ours, theirs, atol=1e-4 * float(theirs.abs().max()), rtol=1e-2)
    assert all(p.grad is None for p in encoder.module.parameters())


def test_tokens_of_another_backbone_are_declined(exact_backbone) -> None:
    with pytest.raises(PromptFileError, match="do not fit the layers of this backbone"):
        exact_backbone.encoder.with_tokens(random_tokens([768] * 12))


def test_embeddings_under_other_tokens_are_kept_apart(exact_backbone, tile) -> None:
    cached = with_cache(exact_backbone, EmbeddingCache())
    tokens = [own.numpy() for own in random_tokens(exact_backbone.encoder.token_widths)]
    plain = cached.encoder([tile])
    prompted = with_encoder_tokens(cached, tokens).encoder([tile])
    assert not torch.equal(plain, prompted)
    assert torch.equal(cached.encoder([tile]), plain)
    assert torch.equal(with_encoder_tokens(cached, tokens).encoder([tile]), prompted)
