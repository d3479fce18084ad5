"""Where to compute, and in which number format."""

from __future__ import annotations

import torch

from napari_ptsam.errors import InputError, Remedy

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str = "auto") -> torch.device:
    """Device of that name; ``auto`` takes CUDA, then Apple's MPS, then the CPU.

    Raises
    ------
    InputError
        If the name is unknown or this machine has no such device.
    """
    if name not in DEVICES:
        raise InputError(f"Unknown device {name!r}; choose one of {', '.join(DEVICES)}.")
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device in present if present[device])
    if not present[name]:
        raise InputError(f"This machine has no {name} device that PyTorch can use.", Remedy.DEVICE)
    return torch.device(name)


def gpu_gigabytes() -> float | None:
    """Memory of the GPU that ``auto`` takes, in GB (10^9 bytes); None without one.

    Apple's GPUs share the main memory, of which PyTorch takes a part.
    """
    device = choose_device()
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory / 1e9
    if device.type == "mps":
        return torch.mps.recommended_max_memory() / 1e9
    return None


def choose_dtype(device: torch.device) -> torch.dtype:
    """Fastest number format that the device computes in hardware."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type == "cpu":
        # Without these instructions bfloat16 is emulated, and slower than float32.
        capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"):
            return torch.bfloat16
    return torch.float32
