"""Read files from untrusted sources: readable errors, and PyTorch files without running code."""

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
"""Number of bytes that are read at a time."""


@contextmanager
def unreadable_as(
    error_type: type[PtsamError], message: Callable[[Exception], str]
) -> Iterator[None]:
    """Turn every exception into an error with a message for the user.

    On damaged files, zipfile, zlib, torch, json, numpy, tifffile, Pillow and
    zarr raise exceptions of almost any type, so all are caught. The context
    must contain nothing but reading.

    Parameters
    ----------
    error_type
        The type of the error. Exceptions of this type pass unchanged.
    message
        Returns the message for an exception.

    Raises
    ------
    PtsamError
        An error of the given type.
    """
    try:
        yield
    except error_type:
        raise
    except Exception as error:
        raise error_type(message(error)) from error


def read_or(default: Value, read: Callable[[], Value]) -> Value:
    """Return the result of ``read``, or the default if it raises an exception."""
    try:
        return read()
    except Exception:
        return default


def check_sums(archive: zipfile.ZipFile) -> None:
    """Compare the checksums and sizes of an archive's members, which torch.load does not check.

    Raises
    ------
    zipfile.BadZipFile
        If a checksum or size is wrong.
    """
    for info in archive.infolist():
        size = 0
        with archive.open(info) as member:  # it compares the checksum at the end
            while part := member.read(PART):
                size += len(part)
        if size != info.file_size:
            raise zipfile.BadZipFile("size")


def check_storages(content: Any, archive: zipfile.ZipFile) -> None:
    """Check that the archive holds the complete data of each tensor.

    torch.load trusts the sizes that a file states. It fills a tensor whose
    data is too short with whatever follows in memory.

    Parameters
    ----------
    content
        The result of `load_plain` for the archive.

    Raises
    ------
    zipfile.BadZipFile
        If the data of a tensor is missing or has another size.
    """
    held = Counter(info.file_size for info in archive.infolist() if "/data/" in info.filename)
    if Counter(_storages(content).values()) - held:
        raise zipfile.BadZipFile("tensors")


def _storages(content: Any) -> dict[int, int]:
    """Return the address of each tensor's storage, with its size in bytes."""
    import torch

    if isinstance(content, torch.Tensor):
        if content.layout != torch.strided:
            return {}
        storage = content.untyped_storage()
        return {storage.data_ptr(): storage.nbytes()} if storage.nbytes() else {}
    items: Iterable[Any] = ()
    if isinstance(content, Mapping):
        items = content.values()
    elif isinstance(content, (list, tuple)):
        items = content
    return {address: size for item in items for address, size in _storages(item).items()}


def load_plain(source: Path | IO[bytes]) -> Any:
    """Load a PyTorch file to the CPU without running any code in it.

    Raises
    ------
    Exception
        If the file is damaged, or holds anything but tensors and plain values
        (see `holds_more_than_values`).
    """
    import torch

    with warnings.catch_warnings():  # they concern pickles that are refused anyway
        warnings.simplefilter("ignore")
        return torch.load(source, map_location="cpu", weights_only=True)


def holds_more_than_values(error: Exception) -> bool:
    """Return whether `load_plain` refused a file because it holds other objects, maybe code."""
    return isinstance(error, pickle.UnpicklingError)


ARRAY_GLOBALS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *((f"numpy.{core}.multiarray", name)
      for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    ("_codecs", "encode"),
}  # fmt: skip
"""What the pickle of arrays, numbers and text in dictionaries and lists refers to."""


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler that makes arrays and plain values, and cannot call anything else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ARRAY_GLOBALS:
            raise pickle.UnpicklingError(f"{module}.{name} is neither an array nor a plain value")
        return super().find_class(module, name)


def load_object_array(path: Path) -> Any:
    """Load the single object of an NPY file, such as a dictionary of arrays, without running code.

    Raises
    ------
    Exception
        If the file is damaged, or holds anything but arrays and plain values.
    """
    import numpy as np

    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read_header(file)
        if shape != () or not dtype.hasobject:
            raise ValueError("an array of numbers")
        return _ArrayUnpickler(file).load().item()
