"""Recognise that a GPU is out of memory, and continue on the CPU."""

from __future__ import annotations

import copy
import warnings

import torch

from napari_ptsam.errors import PtsamWarning

NO_ROOM = (
    "The GPU does not have enough memory; the CPU takes over where it is full, which is slower. "
    "Close other programs that use the GPU, or choose smaller tiles or the CPU."
)
CPU = torch.device("cpu")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that the device has no memory left."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "out of memory" in str(error)  # Apple's MPS


def release_memory(device: torch.device) -> None:
    """Return the memory that PyTorch keeps in reserve to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def gpu_is_full(error: RuntimeError, device: torch.device) -> bool:
    """Return whether an error says that a GPU has no memory left.

    Call `release_memory` only after the error is gone: its traceback holds the
    tensors of the failed computation.
    """
    return device.type != "cpu" and is_out_of_memory(error)


def warn_of_full_gpu() -> None:
    """Warn the user, once, that the CPU has taken over."""
    warnings.warn(NO_ROOM, PtsamWarning, stacklevel=2)


def copied(module: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """Return a copy of a module on another device, without a second copy on its own device."""
    memo = {
        id(tensor): torch.nn.Parameter(tensor.detach().to(device, copy=True), tensor.requires_grad)
        if isinstance(tensor, torch.nn.Parameter)
        else tensor.to(device, copy=True)
        for tensor in (*module.parameters(), *module.buffers())
    }
    return copy.deepcopy(module, memo)
