"""Choose the device and the dtype for computations."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ptsam.errors import InputError, Remedy

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str = "auto") -> torch.device:
    """Return a device by its name.

    ``auto`` stands for CUDA, or else Apple's MPS, or else the CPU.

    Raises
    ------
    InputError
        If the name is unknown, or this machine has no such device.
    """
    import torch

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
    """Return the memory of the GPU in GB (10^9 bytes); None if there is no GPU.

    The GPU is the one that ``auto`` chooses. Apple's GPUs share the main memory;
    the part that PyTorch may use is returned.
    """
    import torch

    device = choose_device()
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory / 1e9
    if device.type == "mps":
        return torch.mps.recommended_max_memory() / 1e9
    return None


def unused_gpu() -> str:
    """Explain why a GPU of this machine is not used, and how to change that.

    Returns
    -------
    str
        A few sentences; empty if PyTorch uses a GPU, or none was found.
    """
    import torch

    if choose_device().type != "cpu":
        return ""
    if has_nvidia_driver():
        if torch.version.cuda is not None:
            return (
                f"This computer has an NVIDIA GPU, but its driver does not work with PyTorch {torch.__version__} "
                f"(CUDA {torch.version.cuda}). Update the driver, and restart the computer."
            )
        gpu = "an NVIDIA GPU"
    elif has_apple_gpu() and not torch.backends.mps.is_built():
        gpu = "an Apple GPU"
    else:
        return ""
    python = f'"{sys.executable}" -m'
    return (
        f"This computer has {gpu}, but PyTorch {torch.__version__} was built without support for it. Close "
        f"napari, then run: {python} pip install uv; after that: {python} uv pip install --python "
        f'"{sys.executable}" --reinstall torch --torch-backend=auto'
    )


def has_nvidia_driver() -> bool:
    """Return whether the driver of an NVIDIA GPU is installed."""
    if sys.platform == "win32":
        return (
            Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32" / "nvcuda.dll"
        ).exists()
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia/version").exists()


def has_apple_gpu() -> bool:
    """Return whether this is a Mac whose GPU PyTorch supports."""
    return sys.platform == "darwin" and platform.machine() == "arm64"


def choose_dtype(device: torch.device) -> torch.dtype:
    """Return the fastest dtype that a device supports in hardware."""
    import torch

    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type == "cpu":
        # Without these instructions, bfloat16 is emulated and slower than float32.
        capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"):
            return torch.bfloat16
    return torch.float32
