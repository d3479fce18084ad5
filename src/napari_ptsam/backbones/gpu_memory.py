"""What to do where a GPU's memory does not suffice."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from napari_ptsam.backbones.devices import choose_dtype
from napari_ptsam.errors import PtsamWarning

if TYPE_CHECKING:
    from napari_ptsam.backbones.loading import Backbone

NO_ROOM = (
    "The GPU has not enough memory; the CPU takes over what does not fit, which is slower. Close "
    "what else uses the GPU, or take smaller tiles or the CPU from the start."
)


CPU = torch.device("cpu")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device has no memory left."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "out of memory" in str(error)  # Apple's MPS


def release_memory(device: torch.device) -> None:
    """Give what PyTorch holds in reserve back to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def gpu_is_full(error: RuntimeError, device: torch.device) -> bool:
    """Whether it is a GPU that has no memory left.

    What PyTorch holds in reserve is to be given back (`release_memory`) only once
    the error is gone, which holds what was being computed.
    """
    return device.type != "cpu" and is_out_of_memory(error)


def warn_of_full_gpu() -> None:
    """Tell the user, once, that the CPU has taken over."""
    warnings.warn(NO_ROOM, PtsamWarning, stacklevel=2)


def on_cpu(backbone: Backbone) -> Backbone:
    """A copy of the backbone that computes on the CPU, in the CPU's fastest number format."""
    dtype = choose_dtype(CPU)
    return replace(
        backbone, encoder=backbone.encoder.on(CPU, dtype), decoder=backbone.decoder.on(CPU, dtype)
    )


def copied(module: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """A module of its own on another device; the copy is made there, where there is room."""
    memo = {
        id(t): torch.nn.Parameter(t.detach().to(device, copy=True), t.requires_grad)
        if isinstance(t, torch.nn.Parameter)
        else t.to(device, copy=True)
        for t in (*module.parameters(), *module.buffers())
    }
    return copy.deepcopy(module, memo)
