"""PyTorch files that anybody may have made: tensors and plain values, and nothing is run."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any


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
    Exception
        If it holds anything but tensors and plain values (see
        `holds_more_than_values`), or is damaged.
    """
    import torch

    with warnings.catch_warnings():  # about pickles that are declined anyway
        warnings.simplefilter("ignore")
        return torch.load(source, map_location="cpu", weights_only=True)


def holds_more_than_values(error: Exception) -> bool:
    """Whether `load_plain` declined a file because of what is in it, maybe code."""
    return isinstance(error, pickle.UnpicklingError)
