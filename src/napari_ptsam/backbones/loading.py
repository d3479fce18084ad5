"""Load frozen backbones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from napari_ptsam.backbones.catalogue import EMBEDDED_NAME, architecture_named, entry_of
from napari_ptsam.backbones.checkpoints import expected_tensors, read_checkpoint, signature_of
from napari_ptsam.backbones.decoder import PromptDecoder
from napari_ptsam.backbones.devices import choose_device, choose_dtype
from napari_ptsam.backbones.encoder import Encoder, ImageEncoder
from napari_ptsam.backbones.families.registry import architecture_of, family_of
from napari_ptsam.backbones.files import BackboneFiles
from napari_ptsam.backbones.gpu_memory import CPU
from napari_ptsam.errors import CheckpointError, Message, Remedy, Term, framed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from napari_ptsam.backbones.families.family import StateDict


@dataclass(frozen=True, eq=False)
class Backbone:
    """A frozen SAM on a device.

    Attributes
    ----------
    name
        Architecture, such as ``vit_t`` or ``vit_b``.
    signature
        Fingerprint of the weights; see `napari_ptsam.backbones.checkpoints.signature_of`.
    encoder, decoder
        Image encoder and mask decoder.
    weights
        Origin of the weights: a name in the catalogue, such as ``vit_b_lm``, or
        the name of the user's own file.
    """

    name: str
    signature: str
    encoder: Encoder
    decoder: PromptDecoder
    weights: str = ""

    @property
    def device(self) -> torch.device:
        """Device that the backbone runs on."""
        return self.decoder.device


def load_backbone(
    name: str | None = EMBEDDED_NAME,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    dtype: torch.dtype | None = None,
) -> Backbone:
    """Load a backbone.

    The two backbones that were loaded last are kept, so that loading them again
    takes no time.

    Parameters
    ----------
    name
        A name in the catalogue, such as ``vit_t`` (embedded), ``vit_b`` or
        ``vit_b_lm``. With a checkpoint: its architecture, or None to detect it.
    checkpoint
        The user's own file with weights; None for the file of the catalogue.
    device
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    dtype
        Dtype of the encoder and of the decoder's image side; by default the fastest
        one that the device supports in hardware.

    Returns
    -------
    Backbone
        The frozen backbone.

    Raises
    ------
    InputError
        If the name or the device is unknown.
    CheckpointError
        If the weights are missing, damaged or of another architecture.
    """
    files, chosen = BackboneFiles(), choose_device(device)
    architecture = None if name is None else architecture_named(name)
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
        files.remember_path(backbone.signature, path.resolve())
    return replace(backbone, weights=weights)


@lru_cache(maxsize=2)
def _load(
    architecture: str | None, path: Path, modified: int, device: torch.device, dtype: torch.dtype
) -> Backbone:
    """Load a file; ``modified`` only tells the cache that the file has changed."""
    state = read_checkpoint(path)
    detected = architecture_of(state)
    if detected is None or detected != (architecture or detected):
        weights = (
            f"the weights of a {detected}" if detected else "SAM weights of an unknown architecture"
        )
        wanted = f" {architecture or 'of a SAM'} was asked for"
        cause = Message(f"{path} holds {weights}, but the ", Term.BACKBONE, wanted)
        if detected is None:
            raise CheckpointError(framed(cause, after=f"; {expected_tensors()}"))
        raise CheckpointError(framed(cause, after="."), Remedy.BACKBONE, backbone=detected)
    embedded = path == BackboneFiles().checked(entry_of(EMBEDDED_NAME)).resolve()
    try:
        return backbone_from_state(detected, state, device, dtype, embedded)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} does not hold exactly the tensors of a {detected} ({_differences(error)}); "
            "use the file as its makers published it."
        ) from error


def _differences(error: RuntimeError) -> str:
    """Return the first difference that PyTorch lists."""
    lines = [line.strip().rstrip(".") for line in str(error).splitlines()]
    return lines[min(1, len(lines) - 1)][:160]


def backbone_from_state(
    name: str,
    state: StateDict,
    device: torch.device,
    dtype: torch.dtype,
    embedded: bool = False,
) -> Backbone:
    """Assemble a backbone from its tensors.

    Parameters
    ----------
    name
        Architecture, such as ``vit_b``.
    state
        Tensors of image encoder, prompt encoder and mask decoder, under
        segment-anything's names.
    device, dtype
        Device, and dtype of the encoder and of the decoder's image side.
    embedded
        Whether these are the weights that the package contains.

    Returns
    -------
    Backbone
        The backbone, without the origin of its weights.

    Raises
    ------
    RuntimeError
        If tensors are missing, unknown or of the wrong shape.
    """
    family = family_of(name)
    modules = family.build(name)
    for part, module in modules.items():
        prefix = f"{part}."
        tensors = {
            key.removeprefix(prefix): value.float()
            for key, value in state.items()
            if key.startswith(prefix) and not key.removeprefix(prefix).startswith(family.unused)
        }
        missing, unexpected = module.load_state_dict(tensors, strict=False, assign=True)
        missing = [key for key in missing if not key.startswith(family.unused)]
        if missing or unexpected:
            problems = (("missing", missing), ("not known", unexpected))
            raise RuntimeError(
                "; ".join(f"{problem}: {part}.{keys[0]}" for problem, keys in problems if keys)
            )
    image_encoder: Any = family.encoder(modules["image_encoder"])
    load_embedded = None if embedded else _load_embedded_encoder
    encoder = ImageEncoder(image_encoder, device, dtype, load_embedded=load_embedded)
    decoder = PromptDecoder(modules["mask_decoder"], modules["prompt_encoder"], device, dtype)
    return Backbone(name, signature_of(state), encoder, decoder)


def _load_embedded_encoder(device: torch.device, dtype: torch.dtype) -> ImageEncoder:
    path = BackboneFiles().checked(entry_of(EMBEDDED_NAME)).resolve()
    return _load(EMBEDDED_NAME, path, path.stat().st_mtime_ns, device, dtype).encoder.plain


def with_encoder_tokens(backbone: Backbone, tokens: Sequence[np.ndarray]) -> Backbone:
    """Return a backbone whose encoder uses encoder tokens; the same backbone if there are none.

    Parameters
    ----------
    backbone
        The backbone without the tokens.
    tokens
        float32, one array of shape (any number, width) for each layer that
        accepts tokens.

    Raises
    ------
    PromptFileError
        If the tokens do not fit the backbone's layers.
    """
    if not len(tokens):
        return backbone
    tensors = [torch.from_numpy(layer.copy()) for layer in tokens]
    return replace(backbone, encoder=backbone.encoder.with_tokens(tensors))


def on_cpu(backbone: Backbone) -> Backbone:
    """Return a copy of a backbone on the CPU, in the CPU's fastest dtype."""
    dtype = choose_dtype(CPU)
    return replace(
        backbone, encoder=backbone.encoder.on(CPU, dtype), decoder=backbone.decoder.on(CPU, dtype)
    )
