"""What to do where a GPU's memory does not suffice."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from napari_ptsam.sam.backbones import Backbone


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


def on_cpu(backbone: Backbone) -> Backbone:
    """A copy of the backbone that computes on the CPU, in the CPU's fastest number format."""
    from napari_ptsam.sam.backbones import choose_dtype

    cpu = torch.device("cpu")
    dtype = choose_dtype(cpu)
    return replace(
        backbone, encoder=backbone.encoder.on(cpu, dtype), decoder=backbone.decoder.on(cpu, dtype)
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
