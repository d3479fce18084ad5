"""Where a backbone's weights come from, and how they are told apart."""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_ptsam.errors import CheckpointError

if TYPE_CHECKING:
    import torch

    StateDict = dict[str, torch.Tensor]

EMBEDDED = "mobile_sam_vit_t.safetensors"

# One tensor tells the architectures apart: the width of the first layer.
_PATCH_TINY = "image_encoder.patch_embed.seq.0.c.weight"
_PATCH_VIT = "image_encoder.patch_embed.proj.weight"
_FOLDED_OR_UNUSED = re.compile(r"\.bn\.|\.c\.|\.(norm_)?head\.")
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
    """Read a checkpoint's tensors without running anything that is in it.

    Parameters
    ----------
    path
        A ``.safetensors`` file, or a PyTorch file that holds tensors only.

    Returns
    -------
    dict of str to torch.Tensor
        The tensors in the dtype that they are stored in, on the CPU.

    Raises
    ------
    CheckpointError
        If there is no such file or it is not a checkpoint.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint file at {path}; check the path.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():  # about pickles that are declined anyway
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (
        SafetensorError,
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        LookupError,
        AttributeError,
        TypeError,
    ) as error:
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint (it is damaged or another kind of file); "
            "use a file with SAM weights as its makers published it."
        ) from error
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    ):
        raise CheckpointError(
            f"{path} holds no plain table of tensors; "
            "use a file with SAM weights as its makers published it."
        )
    return state


def architecture_of(state: StateDict) -> str | None:
    """Name of the SAM architecture that the tensors belong to, or None."""
    if not any(key.startswith("mask_decoder.") for key in state):
        return None
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
