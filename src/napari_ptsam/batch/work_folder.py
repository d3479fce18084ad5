"""The folder beside a target in which a run keeps what is done, so that it can go on."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.errors import OutputError, Remedy
from napari_ptsam.io.user_files import unreadable_as
from napari_ptsam.io.writing import reason

if TYPE_CHECKING:
    from napari_ptsam.batch.run_identity import RunIdentity

RUN, PLANES, JOURNAL, RESULT, OLD = "run.json", "planes.zarr", "done", "result", "old"
CHUNK = 2048
"""Side of a chunk in pixels, of planes that are larger."""


def chunks_of(shape: tuple[int, int]) -> tuple[int, int]:
    """Chunk of a plane: the plane itself, or squares of `CHUNK` pixels."""
    large = max(shape) > CHUNK
    return (min(CHUNK, shape[0]), min(CHUNK, shape[1])) if large else shape


class WorkFolder:
    """``<target>.partial/``: which run it is of, results of planes, and a journal of those done.

    A plane is in the journal only after all of it was written; what is not in
    the journal does not count. So the folder may be left at any moment.

    Parameters
    ----------
    target
        The file or folder that the run is to write.
    """

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.partial")
        self.done: dict[int, int] = {}
        """Planes in the journal, with the largest number of each result (0 for floats)."""
        self._array: Any = None

    @property
    def exists(self) -> bool:
        """Whether something of that name is there."""
        return os.path.lexists(self.path)

    def run(self) -> RunIdentity | None:
        """Of which run it is; None where nothing was begun yet.

        Raises
        ------
        OutputError
            If it is no work folder, or its run cannot be read.
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
        """For reading what a part of the folder holds."""
        problem = self._problem(f"holds a {name} that cannot be read")
        return unreadable_as(OutputError, lambda _: problem)

    def create(self, run: RunIdentity) -> None:
        """Begin anew, with nothing done; whatever the folder holds is removed."""
        if self.exists:
            self.remove()
        self.path.mkdir()
        beside = self.path / f"{RUN}.new"
        beside.write_text(json.dumps(run, indent=1, sort_keys=True), encoding="utf-8")
        beside.replace(self.path / RUN)  # in one step: a run that is there can be read

    def open(self, count: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
        """Go on with what is there: read the journal, without a last line that is torn.

        Parameters
        ----------
        count
            Planes in all.
        shape, dtype
            Of a plane's result: (y, x) or (classes, y, x).
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
        else:  # nothing counts, and the array itself may be half made
            discard(array)
            self._array = new_array(array, count, shape, dtype)

    @property
    def array(self) -> Any:
        """Results of all planes, a zarr array: shape (planes, y, x) or (planes, classes, y, x)."""
        return self._array

    def write(self, number: int, result: np.ndarray) -> int:
        """Write a plane's result, and give its largest number; `record` is to follow."""
        self._array[number] = result
        return largest(result)

    def record(self, number: int, highest: int) -> None:
        """Note in the journal that a plane is done."""
        with (self.path / JOURNAL).open("ab") as file:
            file.write(f"{number} {highest}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        self.done[number] = highest

    def remove(self) -> None:
        """Remove the folder; the journal first, so that no half of it is taken for a whole."""
        (self.path / JOURNAL).unlink(missing_ok=True)
        for entry in self.path.iterdir():
            if entry.name != RUN:
                discard(entry)
        (self.path / RUN).unlink(missing_ok=True)
        self.path.rmdir()


def largest(result: np.ndarray) -> int:
    """The largest number of labels or instances; 0 for probabilities."""
    return 0 if result.dtype.kind == "f" else int(result.max())


def new_array(path: Path, count: int, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    """A zarr array for the results of ``count`` planes, one chunk (or more) a plane and class."""
    import zarr

    chunks = (1,) * (len(shape) - 1) + chunks_of((shape[-2], shape[-1]))
    return zarr.create_array(
        path, shape=(count, *shape), chunks=chunks, dtype=dtype, compressors=compressors(),
        fill_value=0,
    )  # fmt: skip


def open_array(path: Path) -> Any:
    """An array of `new_array`, to be written and read."""
    import zarr

    return zarr.open_array(path, mode="r+")


def compressors() -> list[Any]:
    """The same bytes for the same values, wherever it runs; all zarr readers know it."""
    from zarr.codecs import ZstdCodec

    return [ZstdCodec(level=3)]


def discard(path: Path) -> None:
    """Remove a file or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def no_space(error: OSError, target: Path) -> OutputError:
    """What to tell when writing failed midway."""
    return OutputError(
        f"{target.name} cannot be written ({reason(error)}); what is done is kept in "
        f"{target.name}.partial.",
        Remedy.RESUME_AFTER_REPAIR,
    )
