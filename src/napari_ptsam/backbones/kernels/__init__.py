"""Hand-written computations, each beside a plain reference that it is tested against.

The references of `fused`, `image_positions` and `window_attention` are the functions
whose names end in ``_reference``. The reference of `tiny_vit` is kornia's ``TinyViT``,
and that of `vit` is segment-anything's ``ImageEncoderViT``. Where PyTorch lacks a
private operator, `fused` falls back to its reference, and with it all the others.
"""
