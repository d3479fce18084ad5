"""Name to frozen backbone on a device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from napari_ptsam.backbones.catalogue import EMBEDDED_NAME, entry_of
from napari_ptsam.backbones.checkpoints import (
    EXPECTED,
    architecture_of,
    read_checkpoint,
    signature_of,
)
from napari_ptsam.backbones.decoder import GRID, WIDTH, PromptDecoder
from napari_ptsam.backbones.devices import choose_device, choose_dtype
from napari_ptsam.backbones.encoder import SIDE, Encoder, ImageEncoder
from napari_ptsam.backbones.files import BackboneFiles
from napari_ptsam.backbones.kernels.tiny_vit import QuickTinyViT
from napari_ptsam.backbones.kernels.vit import PromptableViT
from napari_ptsam.errors import CheckpointError, Remedy

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from napari_ptsam.backbones.checkpoints import StateDict


@dataclass(frozen=True, eq=False)
class Backbone:
    """A frozen SAM on a device.

    Attributes
    ----------
    name
        Architecture: ``vit_t``, ``vit_b``, ``vit_l`` or ``vit_h``.
    signature
        Fingerprint of the weights, see `napari_ptsam.backbones.checkpoints.signature_of`.
    encoder, decoder
        The two halves, ready to be called.
    weights
        Where they come from: a name of the catalogue, such as ``vit_b_lm``, or
        the name of the user's own file.
    """

    name: str
    signature: str
    encoder: Encoder
    decoder: PromptDecoder
    weights: str = ""

    @property
    def device(self) -> torch.device:
        """Where the backbone runs."""
        return self.decoder.device


def load_backbone(
    name: str | None = EMBEDDED_NAME,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    dtype: torch.dtype | None = None,
) -> Backbone:
    """Load a backbone; the last few are kept, so that a second call costs nothing.

    Parameters
    ----------
    name
        One of the catalogue, such as ``vit_t`` (embedded), ``vit_b`` or
        ``vit_b_lm``; with a checkpoint, its architecture, or None to find it out.
    checkpoint
        The user's own file with weights; left out, that of the catalogue.
    device
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    dtype
        Number format of encoder and image side; by default the fastest that
        the device computes in hardware.

    Raises
    ------
    InputError
        If name or device are unknown.
    CheckpointError
        If the weights are not on this machine, damaged or of another architecture.
    """
    files, chosen = BackboneFiles(), choose_device(device)
    architecture = None if name is None else entry_of(name).architecture
    if checkpoint is None:
        entry = entry_of(name or EMBEDDED_NAME)
        path, weights = files.checked(entry), entry.name
    else:
        path, weights = Path(checkpoint), Path(checkpoint).name
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint file at {path}; check the path.")
    if checkpoint is not None:
        weights = files.known_name(path) or weights
    modified, dtype = path.stat().st_mtime_ns, dtype or choose_dtype(chosen)
    backbone = _load(architecture, path.resolve(), modified, chosen, dtype)
    if checkpoint is not None:
        files.remember_own(backbone.signature, path.resolve())
    return replace(backbone, weights=weights)


@lru_cache(maxsize=2)
def _load(
    architecture: str | None, path: Path, modified: int, device: torch.device, dtype: torch.dtype
) -> Backbone:
    """Load; ``modified`` is there for the cache alone, to notice a changed file."""
    state = read_checkpoint(path)
    found = architecture_of(state)
    if found is None or found != (architecture or found):
        what = f"the weights of a {found}" if found else "SAM weights of an unknown architecture"
        cause = f"{path} holds {what}, but the backbone {architecture or 'of a SAM'} was asked for"
        if found is None:
            raise CheckpointError(f"{cause}; {EXPECTED}")
        raise CheckpointError(f"{cause}.", Remedy.BACKBONE, backbone=found)
    try:
        return backbone_from_state(found, state, device, dtype)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} does not hold the tensors of a {found}, and those alone ({_differences(error)}); "
            "use the file as its makers published it."
        ) from error


def _differences(error: RuntimeError) -> str:
    """The first of what PyTorch lists."""
    lines = [line.strip().rstrip(".") for line in str(error).splitlines()]
    return lines[min(1, len(lines) - 1)][:160]


def backbone_from_state(
    name: str, state: StateDict, device: torch.device, dtype: torch.dtype
) -> Backbone:
    """Put a backbone together from its tensors.

    Raises
    ------
    RuntimeError
        If tensors are missing or of the wrong shape.
    """
    parts = _build_tiny() if name == "vit_t" else _build_vit(name)
    for part, module in parts.items():
        prefix = f"{part}."
        own = {k.removeprefix(prefix): v.float() for k, v in state.items() if k.startswith(prefix)}
        # TinyViT's classification head is not part of SAM.
        own = {k: v for k, v in own.items() if not k.startswith(("norm_head.", "head."))}
        missing, unexpected = module.load_state_dict(own, strict=False, assign=True)
        missing = [key for key in missing if not key.startswith(("norm_head.", "head."))]
        if missing or unexpected:
            told = (("missing", missing), ("not known", unexpected))
            raise RuntimeError(
                "; ".join(f"{what}: {part}.{keys[0]}" for what, keys in told if keys)
            )
    image_encoder = parts["image_encoder"]
    image_encoder = (QuickTinyViT if name == "vit_t" else PromptableViT)(image_encoder)
    encoder = ImageEncoder(image_encoder, device, dtype)
    decoder = PromptDecoder(parts["mask_decoder"], parts["prompt_encoder"], device, dtype)
    return Backbone(name, signature_of(state), encoder, decoder)


def with_encoder_tokens(backbone: Backbone, tokens: Sequence[np.ndarray]) -> Backbone:
    """The same backbone, whose encoder sees encoder tokens; without any, the backbone itself.

    Parameters
    ----------
    tokens
        float32, one array of shape (any number, width) for each layer that takes some.

    Raises
    ------
    PromptFileError
        If they are not those of this backbone.
    """
    if not len(tokens):
        return backbone
    own = [torch.from_numpy(one.copy()) for one in tokens]
    return replace(backbone, encoder=backbone.encoder.with_tokens(own))


def _build_vit(name: str) -> dict[str, Any]:
    from segment_anything import sam_model_registry

    # Without storage: random initial values would cost seconds, and are replaced anyway.
    with torch.device("meta"):
        sam = sam_model_registry[name]()
    return {
        part: getattr(sam, part) for part in ("image_encoder", "prompt_encoder", "mask_decoder")
    }


def _build_tiny() -> dict[str, Any]:
    from kornia.models.tiny_vit import TinyViT
    from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer

    transformer = TwoWayTransformer(depth=2, embedding_dim=WIDTH, mlp_dim=2048, num_heads=8)
    return {
        "image_encoder": TinyViT.from_config("5m", img_size=SIDE, mobile_sam=True),
        "prompt_encoder": PromptEncoder(WIDTH, (GRID, GRID), (SIDE, SIDE), mask_in_chans=16),
        "mask_decoder": MaskDecoder(transformer_dim=WIDTH, transformer=transformer),
    }
