"""Results on disk: written beside and renamed, and never over something by accident."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from napari_ptsam.errors import OutputError, Remedy


def check_output(path: str | Path, overwrite: bool = False) -> Path:
    """Find out before the work starts whether a result can be written.

    Raises
    ------
    OutputError
        If something is there already and must not be overwritten, or the
        folder does not exist or cannot be written to.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise OutputError(f"{path} is a folder; give the name of a file.")
        if path.exists() and not overwrite:
            raise OutputError(f"{path} exists and is kept.", Remedy.REPLACE)
    except OSError as error:
        raise _no_place(path, error) from error
    check_folder(path)
    return path


def check_folder(path: Path) -> None:
    """Find out whether something can be written where ``path`` is to be.

    Raises
    ------
    OutputError
        If its folder does not exist, or cannot be written to.
    """
    folder = path.absolute().parent
    try:
        if not folder.is_dir():
            raise OutputError(
                f"There is no folder {folder} to write {path.name} to; make it first."
            )
        probe = _beside(path)  # asking for permissions does not tell of read-only disks
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise _no_place(path, error) from error


def _no_place(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path.name} cannot be written to {path.absolute().parent} ({reason(error)}); "
        "choose another place."
    )


def _beside(path: Path) -> Path:
    """A name for a temporary file, never the same twice."""
    return path.with_name(f".{path.stem}-{uuid4().hex[:12]}{path.suffix}")


def make_folder(path: str | Path) -> Path:
    """Make a folder for results, if it is not there yet.

    Raises
    ------
    OutputError
        If it cannot be made.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {path} cannot be made ({reason(error)}).") from error
    return path


@contextmanager
def replacing(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary file beside ``path``, and move it there when all went well.

    Raises
    ------
    OutputError
        As `check_output`, and if the disk is full or the file cannot be written.
    """
    path = check_output(path, overwrite)
    beside = _beside(path)
    try:
        beside.touch(exist_ok=False)
        yield beside
        if overwrite:
            beside.replace(path)
        else:
            move_where_nothing_is(beside, path)
    except FileExistsError as error:
        raise OutputError(f"{path} exists and is kept.", Remedy.REPLACE) from error
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({reason(error)}); nothing was left there."
        ) from error
    finally:
        beside.unlink(missing_ok=True)


def move_where_nothing_is(source: Path, target: Path) -> None:
    """Rename without replacing what somebody else put there meanwhile."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if target.exists():
            raise FileExistsError(target) from None
        source.replace(target)


def reason(error: OSError) -> str:
    """What the system says, as a part of a sentence."""
    if error.strerror is None and isinstance(error, PermissionError):
        return "permission denied"  # pooch has a whole paragraph
    return (error.strerror or str(error)).lower()
