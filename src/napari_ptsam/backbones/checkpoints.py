"""Where a backbone's weights come from, and how they are told apart."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.errors import CheckpointError
from napari_ptsam.io.safe_loading import (
    check_storages,
    check_sums,
    holds_more_than_values,
    load_plain,
)
from napari_ptsam.io.user_files import unreadable_as

if TYPE_CHECKING:
    import torch

    StateDict = dict[str, torch.Tensor]

EMBEDDED = "mobile_sam_vit_t.safetensors"

# One tensor tells the architectures apart: the width of the first layer.
_PATCH_TINY = "image_encoder.patch_embed.seq.0.c.weight"
_PATCH_VIT = "image_encoder.patch_embed.proj.weight"
_FOLDED_OR_UNUSED = re.compile(r"\.bn\.|\.c\.|\.(norm_)?head\.")
_PARTS = ("image_encoder.", "prompt_encoder.", "mask_decoder.")
_MARK = "mask_decoder.iou_token.weight"
EXPECTED = (
    "Expected are the tensors of SAM's image_encoder, prompt_encoder and mask_decoder for vit_t, "
    "vit_b, vit_l or vit_h, with or without a prefix: Meta's files, MobileSAM, micro-sam, MedSAM."
)
_ARCHITECTURE_BY_WIDTH = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}


def embedded_checkpoint() -> Path:
    """Path of the ``vit_t`` weights that ship inside the package."""
    path = Path(str(resources.files("napari_ptsam").joinpath(f"weights/{EMBEDDED}")))
    if not path.is_file():
        raise CheckpointError(
            f"The embedded backbone {path.name} is missing from the installation; "
            "install napari-ptsam again."
        )
    return path


def read_checkpoint(path: str | Path) -> StateDict:
    """Read the tensors of a SAM without running anything that is in the file.

    The tensors may lie in a dict within the dict, and their names may have a
    prefix (``module.``, ``sam.`` and the like), as fine-tuning scripts leave
    them: see `sam_tensors`.

    Parameters
    ----------
    path
        A safetensors file, or a PyTorch file of tensors and plain values.

    Returns
    -------
    dict of str to torch.Tensor
        The tensors under segment-anything's names, in the dtype that they are
        stored in, on the CPU.

    Raises
    ------
    CheckpointError
        If there is no such file, it cannot be read, or holds no SAM.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint file at {path}; check the path.")
    found = sam_tensors(_read_safely(path))
    if found is None:
        raise CheckpointError(f"{path} holds no SAM weights that are known here. {EXPECTED}")
    return found


def _read_safely(path: Path) -> Any:
    """What is in a file, if that is nothing but tensors and plain values."""
    from safetensors.torch import load_file

    def told(error: Exception) -> str:
        if holds_more_than_values(error):
            return (
                f"{path} cannot be read as a checkpoint: it is damaged, or holds something other than "
                "tensors and plain values, maybe code, which was not run. Export the weights alone "
                "(state_dict), or use a file with SAM weights as its makers published it."
            )
        return (
            f"{path} cannot be read as a checkpoint (it is damaged or another kind of file); "
            "use a file with SAM weights as its makers published it."
        )

    with unreadable_as(CheckpointError, told):
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
    """Whether it begins like a zip archive or a pickle, not like a safetensors file."""
    with path.open("rb") as file:
        head = file.read(9)
    # The length of the header, 8 bytes, comes before its first brace.
    return not (path.suffix == ".safetensors" or head[8:] == b"{")


def sam_tensors(content: Any, depth: int = 3) -> StateDict | None:
    """Find the tensors of a SAM, whatever dict they lie in and whatever comes before their names.

    Parameters
    ----------
    content
        Of a checkpoint.
    depth
        Dicts within dicts to look into.

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
        if isinstance(key, str) and key.endswith(_MARK):
            prefix = key.removesuffix(_MARK)
            own = {
                name.removeprefix(prefix): value
                for name, value in content.items()
                if isinstance(name, str) and name.startswith(prefix)
            }
            return {
                name: value
                for name, value in own.items()
                if name.startswith(_PARTS) and isinstance(value, torch.Tensor)
            }
    inner = (sam_tensors(value, depth - 1) for value in content.values())
    return next((found for found in inner if found is not None), None)


def architecture_of(state: StateDict) -> str | None:
    """Name of the SAM architecture that the tensors belong to, or None."""
    if _PATCH_TINY in state:
        return "vit_t"
    if _PATCH_VIT in state and state[_PATCH_VIT].ndim == 4:
        return _ARCHITECTURE_BY_WIDTH.get(len(state[_PATCH_VIT]))
    return None


def signature_of(state: StateDict, samples: int = 1024) -> str:
    """Fingerprint of a backbone's weights.

    It is the same for the float32 and float16 copies of one backbone and for
    folded and unfolded batch norms, and differs between fine-tuned variants.
    To that end it takes evenly spaced values of each tensor, rounded to
    float16, and leaves out the batch norms and the convolutions that they are
    folded into (and the classification head, which SAM does not use).

    Parameters
    ----------
    state
        The tensors of image encoder, prompt encoder and mask decoder.
    samples
        Values taken from each tensor, at most.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for key in sorted(state):
        if key.startswith("image_encoder.") and _FOLDED_OR_UNUSED.search(key):
            continue
        values = state[key].detach().cpu().flatten()
        values = values[:: max(1, len(values) // samples)].float()
        digest.update(key.encode())
        digest.update(np.ascontiguousarray(values.numpy().astype("<f2")).tobytes())
    return digest.hexdigest()[:16]
