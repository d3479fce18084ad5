"""PyTorch files that anybody may have made: tensors and plain values, and nothing is run."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import IO, Any

# What zipfile and torch.load raise on damaged files, but for pickle.UnpicklingError.
UNREADABLE = (
    zipfile.BadZipFile, RuntimeError, OSError, EOFError, LookupError, TypeError, ValueError,
    AttributeError, OverflowError, NotImplementedError, MemoryError, AssertionError,
)  # fmt: skip


def check_sums(archive: zipfile.ZipFile) -> None:
    """Compare the checksums of an archive's members, which torch.load does not look at.

    Raises
    ------
    zipfile.BadZipFile
        If one is another.
    """
    if archive.testzip() is not None:
        raise zipfile.BadZipFile("checksum")


def load_plain(source: Path | IO[bytes]) -> Any:
    """What is in a PyTorch file, on the CPU.

    Raises
    ------
    pickle.UnpicklingError
        If it holds anything but tensors and plain values.
    """
    import torch

    with warnings.catch_warnings():  # about pickles that are declined anyway
        warnings.simplefilter("ignore")
        return torch.load(source, map_location="cpu", weights_only=True)
