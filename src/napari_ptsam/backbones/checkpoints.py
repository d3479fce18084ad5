"""Read checkpoints of SAM without running anything in them, and identify the weights."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.backbones.families.registry import architecture_of, architectures, family_of
from napari_ptsam.errors import CheckpointError
from napari_ptsam.io.safe_loading import (
    check_storages,
    check_sums,
    holds_more_than_values,
    load_plain,
    unreadable_as,
)

if TYPE_CHECKING:
    from napari_ptsam.backbones.families.family import StateDict

EMBEDDED = "mobile_sam_vit_t.safetensors"

_PARTS = ("image_encoder.", "prompt_encoder.", "mask_decoder.")
_MARKER = "mask_decoder.iou_token.weight"
"""A tensor that every SAM has; the text before its name is the prefix of all names."""


def expected_tensors() -> str:
    """Describe in a sentence which tensors a checkpoint must hold."""
    *names, last = architectures()
    return (
        "Expected are the tensors of SAM's image_encoder, prompt_encoder and mask_decoder for "
        f"{', '.join(names)} or {last}, with or without a prefix: Meta's files, MobileSAM, micro-sam, "
        "MedSAM."
    )


def embedded_checkpoint() -> Path:
    """Return the path of the ``vit_t`` weights that ship inside the package."""
    path = Path(str(resources.files("napari_ptsam").joinpath(f"weights/{EMBEDDED}")))
    if not path.is_file():
        raise CheckpointError(
            f"The embedded weights {path.name} are missing from the installation; "
            "install napari-ptsam again."
        )
    return path


def read_checkpoint(path: str | Path) -> StateDict:
    """Read the tensors of a SAM without running code from the file.

    Fine-tuning scripts often save the tensors in a nested dict, or with a prefix
    such as ``module.`` or ``sam.``; both are accepted. See `sam_tensors`.

    Parameters
    ----------
    path
        A safetensors file, or a PyTorch file of tensors and plain values.

    Returns
    -------
    dict of str to torch.Tensor
        The tensors under segment-anything's names, on the CPU, in the dtype of
        the file.

    Raises
    ------
    CheckpointError
        If the file does not exist, cannot be read, or does not hold a SAM.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint file at {path}; check the path.")
    tensors = sam_tensors(_read_safely(path))
    if tensors is None:
        raise CheckpointError(f"{path} holds no SAM weights. {expected_tensors()}")
    return tensors


def _read_safely(path: Path) -> Any:
    """Return the content of a file that holds only tensors and plain values."""
    from safetensors.torch import load_file

    def message(error: Exception) -> str:
        if holds_more_than_values(error):
            return (
                f"{path} cannot be read as a checkpoint: it is damaged, or it holds something other than "
                "tensors and plain values, such as code, which was not run. Save only the weights "
                "(state_dict), or use a file with SAM weights as its makers published it."
            )
        return (
            f"{path} cannot be read as a checkpoint (it is damaged, or another kind of file); "
            "use a file with SAM weights as its makers published it."
        )

    with unreadable_as(CheckpointError, message):
        if not _is_pytorch(path):
            return load_file(path)
        if not zipfile.is_zipfile(path):
            return load_plain(path)
        with zipfile.ZipFile(path) as archive:
            check_sums(archive)
            content = load_plain(path)
            check_storages(content, archive)
        return content


def _is_pytorch(path: Path) -> bool:
    """Return whether a file begins like a zip archive or a pickle, not like safetensors."""
    with path.open("rb") as file:
        head = file.read(9)
    # In safetensors, eight bytes with the length of the header precede its first brace.
    return not (path.suffix == ".safetensors" or head[8:] == b"{")


def sam_tensors(content: Any, depth: int = 3) -> StateDict | None:
    """Find the tensors of a SAM in nested dicts, whatever prefix their names have.

    Parameters
    ----------
    content
        Content of a checkpoint.
    depth
        Number of nested dicts to search.

    Returns
    -------
    dict of str to torch.Tensor, or None
        Image encoder, prompt encoder and mask decoder under segment-anything's
        names; None if there is no mask decoder.
    """
    import torch

    if not isinstance(content, Mapping) or depth == 0:
        return None
    for key in content:
        if isinstance(key, str) and key.endswith(_MARKER):
            prefix = key.removesuffix(_MARKER)
            named = {
                name.removeprefix(prefix): value
                for name, value in content.items()
                if isinstance(name, str) and name.startswith(prefix)
            }
            return {
                name: value
                for name, value in named.items()
                if name.startswith(_PARTS) and isinstance(value, torch.Tensor)
            }
    nested = (sam_tensors(value, depth - 1) for value in content.values())
    return next((tensors for tensors in nested if tensors is not None), None)


def signature_of(state: StateDict, samples: int = 1024) -> str:
    """Compute a fingerprint of a backbone's weights.

    Equivalent checkpoints have the same fingerprint: float32 and float16 copies,
    with batch norms folded or not. Fine-tuned variants have another one. The
    fingerprint is a hash of evenly spaced values of each tensor, rounded to
    float16, without the tensors that the family leaves out
    (`napari_ptsam.backbones.families.family.BackboneFamily.unsigned`).

    Parameters
    ----------
    state
        Tensors of image encoder, prompt encoder and mask decoder.
    samples
        Largest number of values that are taken from a tensor.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    architecture = architecture_of(state)
    unsigned = None if architecture is None else family_of(architecture).unsigned
    digest = hashlib.sha256()
    for key in sorted(state):
        if unsigned is not None and key.startswith("image_encoder.") and unsigned.search(key):
            continue
        values = state[key].detach().cpu().flatten()
        values = values[:: max(1, len(values) // samples)].float()
        digest.update(key.encode())
        digest.update(np.ascontiguousarray(values.numpy().astype("<f2")).tobytes())
    return digest.hexdigest()[:16]
