"""PyTorch files that anybody may have made: tensors and plain values, and nothing is run."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from napari_ptsam.errors import PtsamError

Value = TypeVar("Value")

PART = 2**20
"""Bytes that are read at a time."""


@contextmanager
def unreadable_as(kind: type[PtsamError], told: Callable[[Exception], str]) -> Iterator[None]:
    """Turn every error of reading into one for the user's eyes.

    Which ones there are is not listed: zipfile, zlib, torch, json, numpy,
    tifffile, Pillow and zarr raise what they like on damaged files. So nothing
    but reading belongs inside.

    Parameters
    ----------
    kind
        What is raised; those of this kind already are passed on as they are.
    told
        Gives the message for an error.

    Raises
    ------
    PtsamError
        Of that kind.
    """
    try:
        yield
    except kind:
        raise
    except Exception as error:
        raise kind(told(error)) from error


def read_or(otherwise: Value, read: Callable[[], Value]) -> Value:
    """What ``read`` gives, or something else where it cannot read."""
    try:
        return read()
    except Exception:
        return otherwise


def check_sums(archive: zipfile.ZipFile) -> None:
    """Compare the checksums and sizes of an archive's members, which torch.load does not look at.

    Raises
    ------
    zipfile.BadZipFile
        If one is another.
    """
    for info in archive.infolist():
        size = 0
        with archive.open(info) as member:  # which compares the checksum
            while part := member.read(PART):
                size += len(part)
        if size != info.file_size:
            raise zipfile.BadZipFile("size")


def check_storages(content: Any, archive: zipfile.ZipFile) -> None:
    """Make sure that the archive holds all of each tensor, before anything reads them.

    torch.load believes what a file says of its tensors' sizes, and takes what is
    missing from wherever in memory.

    Parameters
    ----------
    content
        What `load_plain` read from the archive.

    Raises
    ------
    zipfile.BadZipFile
        If there is a tensor without numbers of its own size.
    """
    held = Counter(info.file_size for info in archive.infolist() if "/data/" in info.filename)
    if Counter(_storages(content).values()) - held:
        raise zipfile.BadZipFile("tensors")


def _storages(content: Any) -> dict[int, int]:
    """Where the numbers of all tensors lie, and their bytes."""
    import torch

    if isinstance(content, torch.Tensor):
        if content.layout != torch.strided:
            return {}
        storage = content.untyped_storage()
        return {storage.data_ptr(): storage.nbytes()} if storage.nbytes() else {}
    parts: Iterable[Any] = ()
    if isinstance(content, Mapping):
        parts = content.values()
    elif isinstance(content, (list, tuple)):
        parts = content
    return {place: size for part in parts for place, size in _storages(part).items()}


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
