"""The folder beside a target that holds the finished planes of a run, so that it can be resumed."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.batch.places import beside
from napari_ptsam.errors import OutputError, Remedy
from napari_ptsam.io.safe_loading import unreadable_as
from napari_ptsam.io.writing import reason

if TYPE_CHECKING:
    from napari_ptsam.batch.run_identity import RunIdentity

RUN, PLANES, JOURNAL, RESULT, OLD = "run.json", "planes.zarr", "done", "result", "old"
CHUNK = 2048
"""Side of a chunk in pixels, if the plane is larger."""


def chunks_of(shape: tuple[int, int]) -> tuple[int, int]:
    """Return the shape of a chunk: the whole plane, or a square of `CHUNK` pixels."""
    large = max(shape) > CHUNK
    return (min(CHUNK, shape[0]), min(CHUNK, shape[1])) if large else shape


class WorkFolder:
    """The folder ``<target>.partial``, with a run's description, results and journal.

    A plane is added to the journal only after its result was written
    completely. Planes that are not in the journal do not count, so a run may be
    killed at any moment.

    Parameters
    ----------
    target
        The file or folder that the run writes.
    """

    def __init__(self, target: Path) -> None:
        place = beside(target)
        self.path = place.with_name(f"{place.name}.partial")
        self.done: dict[int, int] = {}
        """Finished planes, with the largest value of each result (0 for floats)."""
        self._array: Any = None

    @property
    def exists(self) -> bool:
        """Whether a file or folder of that name exists."""
        return os.path.lexists(self.path)

    def run(self) -> RunIdentity | None:
        """Return the description of the run, or None if it has not started yet.

        Raises
        ------
        OutputError
            If this is not a work folder, or the description cannot be read.
        """
        file = self.path / RUN
        if not file.exists():
            if self.path.is_dir() and not {p.name for p in self.path.iterdir()} - {f"{RUN}.new"}:
                return None
            raise OutputError(self._problem(f"is no folder of an unfinished run, {RUN} is missing"))
        with self._reading(RUN):
            return dict(json.loads(file.read_text(encoding="utf-8")))

    def _problem(self, problem: str) -> str:
        return f"{self.path} {problem}; remove it, or choose another name."

    def _reading(self, name: str) -> AbstractContextManager[None]:
        """Return a context for reading a file of the folder."""
        problem = self._problem(f"holds a {name} that cannot be read")
        return unreadable_as(OutputError, lambda _: problem)

    def create(self, run: RunIdentity) -> None:
        """Start a run without finished planes. An existing folder is removed first."""
        if self.exists:
            self.remove()
        self.path.mkdir()
        beside = self.path / f"{RUN}.new"
        beside.write_text(json.dumps(run, indent=1, sort_keys=True), encoding="utf-8")
        beside.replace(self.path / RUN)  # in one step, so that an existing description is complete

    def open(self, count: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
        """Resume the run: read the journal, and discard an incomplete last line.

        Parameters
        ----------
        count
            Number of planes.
        shape, dtype
            Shape and dtype of a plane's result: (y, x) or (classes, y, x).
        """
        journal, array = self.path / JOURNAL, self.path / PLANES
        data = journal.read_bytes() if journal.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            os.truncate(journal, len(whole))
        pairs = (line.split() for line in whole.decode("ascii", "replace").splitlines())
        with self._reading(JOURNAL):
            self.done = {int(pair[0]): int(pair[1]) for pair in pairs if len(pair) == 2}
        if self.done:
            with self._reading(PLANES):
                self._array = open_array(array)
        else:  # no plane is finished, and the array itself may be incomplete
            discard(array)
            self._array = new_array(array, count, shape, dtype)

    @property
    def array(self) -> Any:
        """Zarr array of all results: shape (planes, y, x) or (planes, classes, y, x)."""
        return self._array

    def write(self, number: int, result: np.ndarray) -> int:
        """Write a plane's result, and return its largest value. Call `record` afterwards."""
        self._array[number] = result
        return largest(result)

    def record(self, number: int, highest: int) -> None:
        """Add a finished plane to the journal."""
        with (self.path / JOURNAL).open("ab") as file:
            file.write(f"{number} {highest}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        self.done[number] = highest

    def remove(self) -> None:
        """Remove the folder, the journal first, so that no incomplete folder looks complete."""
        (self.path / JOURNAL).unlink(missing_ok=True)
        for entry in self.path.iterdir():
            if entry.name != RUN:
                discard(entry)
        (self.path / RUN).unlink(missing_ok=True)
        self.path.rmdir()


def largest(result: np.ndarray) -> int:
    """Return the largest label or instance number, or 0 for probabilities."""
    return 0 if result.dtype.kind == "f" else int(result.max())


def new_array(path: Path, count: int, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    """Create a zarr array for the results of ``count`` planes, with chunks of one plane and class."""
    import zarr

    chunks = (1,) * (len(shape) - 1) + chunks_of((shape[-2], shape[-1]))
    return zarr.create_array(
        path, shape=(count, *shape), chunks=chunks, dtype=dtype, compressors=compressors(),
        fill_value=0,
    )  # fmt: skip


def open_array(path: Path) -> Any:
    """Open an array that `new_array` created, for reading and writing."""
    import zarr

    return zarr.open_array(path, mode="r+")


def compressors() -> list[Any]:
    """Return codecs that give the same bytes everywhere, and that all zarr readers know."""
    from zarr.codecs import ZstdCodec

    return [ZstdCodec(level=3)]


def discard(path: Path) -> None:
    """Remove a file or folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def no_space(error: OSError, target: Path) -> OutputError:
    """Return the error for a run that cannot write any more."""
    return OutputError(
        f"{target.name} cannot be written ({reason(error)}); what is done is kept in "
        f"{beside(target).name}.partial.",
        Remedy.RESUME_AFTER_REPAIR,
    )
