"""Our way through SAM against segment-anything's own modules, in float32."""

from functools import partial

import numpy as np
import pytest
import torch
from segment_anything import sam_model_registry
from segment_anything.build_sam import _build_sam
from segment_anything.modeling import Sam

from napari_ptsam.backbones.checkpoints import embedded_checkpoint, read_checkpoint
from napari_ptsam.backbones.families.registry import family_of
from napari_ptsam.backbones.kernels import fused
from napari_ptsam.backbones.kernels.image_positions import mask_subgrid, position_subgrid
from napari_ptsam.backbones.loading import backbone_from_state, load_backbone

TOLERANCE = 1e-4


def build_reference_sam() -> Sam:
    """MobileSAM put together from segment-anything's and kornia's modules as they come."""
    sam = Sam(**family_of("vit_t").build("vit_t")).eval()
    state = {key: value.float() for key, value in read_checkpoint(embedded_checkpoint()).items()}
    sam.load_state_dict(state, strict=False)
    return sam


@pytest.fixture(scope="module")
def reference_sam() -> Sam:
    return build_reference_sam()


@torch.no_grad()
def reference_logits(sam: Sam, image: np.ndarray, tokens: torch.Tensor) -> torch.Tensor:
    """Image to logits with SAM's own preprocessing, encoder and decoder."""
    pixels = sam.preprocess(torch.from_numpy(image * 255).permute(2, 0, 1)[None])
    dense = sam.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(1, -1, 64, 64)
    logits, _ = sam.mask_decoder(
        image_embeddings=sam.image_encoder(pixels),
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=tokens[None],
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )
    return logits[0]


def our_logits(backbone, image: np.ndarray, tokens: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return backbone.decoder(backbone.encoder([image], dtype=torch.float32), tokens)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).random((1024, 1024, 3), dtype=np.float32)


def test_embedded_backbone(exact_backbone, reference_sam, image) -> None:
    tokens = exact_backbone.decoder.foreground_label + 0.1 * torch.randn(8, 256)
    theirs = reference_logits(reference_sam, image, tokens)
    ours = our_logits(exact_backbone, image, tokens)
    assert theirs.std() > 0.1  # else equality would mean nothing
    torch.testing.assert_close(ours, theirs, atol=TOLERANCE, rtol=TOLERANCE)


def test_another_backbone_from_a_checkpoint_file(image, tmp_path, monkeypatch) -> None:
    """Two layers of vit_b; benchmarks/equality.py does the same for all of vit_b, vit_l and vit_h."""
    few = partial(
        _build_sam, encoder_embed_dim=768, encoder_depth=2, encoder_num_heads=12,
        encoder_global_attn_indexes=[1],
    )  # fmt: skip
    monkeypatch.setitem(sam_model_registry, "vit_b", few)
    torch.manual_seed(0)
    sam = sam_model_registry["vit_b"]().eval()
    # Fresh position tables are zero; a mistake in them would not show.
    for key, value in sam.named_parameters():
        if "pos" in key:
            torch.nn.init.normal_(value, std=0.02)
    path = tmp_path / "weights.pth"
    torch.save(sam.state_dict(), path)
    tokens = torch.randn(8, 256)
    theirs = reference_logits(sam, image, tokens)
    del sam
    backbone = load_backbone("vit_b", path, device="cpu", dtype=torch.float32)
    ours = our_logits(backbone, image, tokens)
    assert theirs.std() > 0.01
    torch.testing.assert_close(ours, theirs, atol=TOLERANCE, rtol=TOLERANCE)


def test_gradients_reach_the_tokens_alone(exact_backbone) -> None:
    embeddings = 0.1 * torch.randn(2, 4096, 256)
    tokens = (exact_backbone.decoder.foreground_label + 0.1 * torch.randn(8, 256)).requires_grad_()
    exact_backbone.decoder(embeddings, tokens).sigmoid().mean().backward()
    assert tokens.grad is not None and tokens.grad.abs().min() > 0
    frozen = exact_backbone.decoder._mask_mlp, exact_backbone.encoder.module
    assert all(p.grad is None for module in frozen for p in module.parameters())


def test_gradients_equal_segment_anythings(exact_backbone, reference_sam) -> None:
    sam = reference_sam
    embedding = 0.1 * torch.randn(1, 256, 64, 64, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(256, 256, generator=torch.Generator().manual_seed(1))
    start = exact_backbone.decoder.foreground_label + 0.1 * torch.randn(8, 256)
    theirs, ours = start.clone().requires_grad_(), start.clone().requires_grad_()
    dense = sam.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(1, -1, 64, 64)
    positions = sam.prompt_encoder.get_dense_pe()
    logits, _ = sam.mask_decoder(embedding, positions, theirs[None], dense, False)
    (logits[0, 0] * weight).mean().backward()
    (
        exact_backbone.decoder(embedding.flatten(2).transpose(1, 2), ours)[0] * weight
    ).mean().backward()
    scale = float(theirs.grad.abs().max())
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-4 * scale, rtol=1e-3)


@pytest.mark.parametrize("offset", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_quarter_of_the_positions_equals_segment_anythings(
    exact_backbone, reference_sam, offset
) -> None:
    """As if the embedding had only those positions, each with its own place."""
    sam, (row, column) = reference_sam, offset
    embedding = 0.1 * torch.randn(2, 256, 64, 64)
    tokens = exact_backbone.decoder.foreground_label + 0.1 * torch.randn(8, 256)
    with torch.no_grad():
        found = exact_backbone.decoder(embedding.flatten(2).transpose(1, 2), tokens, offset)
        dense = sam.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(1, -1, 32, 32)
        positions = sam.prompt_encoder.get_dense_pe()[..., row::2, column::2]
        for one, ours in zip(embedding, found, strict=True):
            thin = one[None, :, row::2, column::2]
            theirs, _ = sam.mask_decoder(thin, positions, tokens[None], dense, False)
            torch.testing.assert_close(ours, theirs[0, 0], atol=TOLERANCE, rtol=TOLERANCE)
    assert found.shape == (2, 128, 128) and found.std() > 0.1


@pytest.mark.parametrize("offset", [(0, 1), (1, 0)])
def test_masks_are_thinned_as_the_positions_are(offset) -> None:
    """Each position is 4 x 4 pixels of the mask."""
    row, column = offset
    grid = torch.arange(64 * 64).view(64, 64)
    mask = grid.repeat_interleave(4, 0).repeat_interleave(4, 1)
    expected = position_subgrid(grid.view(-1, 1), offset).view(32, 32)
    assert torch.equal(expected, grid[row::2, column::2])
    thin = mask_subgrid(mask[None], offset)[0]
    assert torch.equal(thin, expected.repeat_interleave(4, 0).repeat_interleave(4, 1))


def test_without_fused_operators_the_result_is_the_same(exact_backbone, image, monkeypatch) -> None:
    tokens = exact_backbone.decoder.foreground_label + 0.1 * torch.randn(8, 256)
    expected = our_logits(exact_backbone, image, tokens)
    monkeypatch.setattr(fused, "_works", lambda dtype: False)
    found = our_logits(exact_backbone, image, tokens)
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=TOLERANCE)


def test_gradients_pass_through_the_encoder(exact_backbone) -> None:
    """The fused operators know none; what is to be tuned in front of them must not be cut off."""
    pixels = torch.randn(1, 3, 1024, 1024).requires_grad_()
    exact_backbone.encoder.module(pixels).square().mean().backward()
    assert pixels.grad is not None and pixels.grad.abs().max() > 0


def test_state_with_missing_tensors_is_refused() -> None:
    state = read_checkpoint(embedded_checkpoint())
    del state["mask_decoder.iou_token.weight"]
    with pytest.raises(RuntimeError, match="iou_token"):
        backbone_from_state("vit_t", state, torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fused_operators_agree_with_their_references(dtype: torch.dtype) -> None:
    x, other, weight = (torch.randn(shape).to(dtype) for shape in ((7, 16), (7, 8), (8, 16)))
    bias, image = torch.randn(8).to(dtype), torch.randn(1, 8, 6, 5).to(dtype)
    conv = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8).to(dtype).requires_grad_(False)
    for fast, reference, values in (
        (fused.linear_gelu, fused.linear_gelu_reference, (x, weight, bias)),
        (fused.linear_add, fused.linear_add_reference, (x, weight, bias, other)),
        (fused.conv_gelu, fused.conv_gelu_reference, (image, conv)),
    ):
        expected = reference(*values)
        tolerance = 1e-4 if dtype == torch.float32 else 0.05
        torch.testing.assert_close(fast(*values), expected, atol=tolerance, rtol=tolerance)
        with fused.public_operators():
            assert torch.equal(fast(*values), expected)
