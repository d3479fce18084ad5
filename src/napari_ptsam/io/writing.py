"""Write files: names that are safe, folders that are writable, and atomic replacement."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from napari_ptsam.errors import OutputError, Remedy


def check_output(path: str | Path, overwrite: bool = False) -> Path:
    """Check, before the work starts, that a result can be written.

    Parameters
    ----------
    path
        The file to write.
    overwrite
        Whether an existing file may be replaced.

    Raises
    ------
    OutputError
        If the path is a folder, if the file exists and must not be replaced, or
        if its folder does not exist or cannot be written to.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise OutputError(f"{path} is a folder; give the name of a file.")
        if path.exists() and not overwrite:
            raise OutputError(f"{path} exists and is kept.", Remedy.REPLACE)
    except OSError as error:
        raise _no_place(path, error) from error
    check_parent(path)
    return path


def check_parent(path: Path) -> None:
    """Check that the folder of ``path`` exists and can be written to.

    Raises
    ------
    OutputError
        If it does not exist, or cannot be written to.
    """
    folder = path.absolute().parent
    try:
        probe_folder(folder)
    except NotADirectoryError as error:
        raise OutputError(
            f"There is no folder {folder} to write {path.name} to; make it first."
        ) from error
    except OSError as error:
        raise _no_place(path, error) from error


def probe_folder(folder: Path) -> None:
    """Check that files can be written in a folder, by creating one and removing it.

    `os.access` answers from the permissions alone: it knows nothing of
    read-only disks, nor of Windows' access control lists.

    Raises
    ------
    NotADirectoryError
        If there is no such folder.
    OSError
        If no file can be created in it.
    """
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    probe = folder / f".probe-{uuid4().hex[:12]}"
    probe.touch(exist_ok=False)
    probe.unlink()


def safe_file_name(
    name: str, fallback: str, separator: str | None = None, longest: int = 150
) -> str:
    """Return a name that every file system takes, and that looks like ``name``.

    Parameters
    ----------
    name
        Any text, such as the name of a layer or of a class.
    fallback
        The name to return if nothing of ``name`` can be used.
    separator
        Replaces each run of characters that are not letters, digits, ``-`` or
        ``_``. By default, only characters that some file system refuses are
        replaced, by ``_``.
    longest
        Length of the result in bytes, at most.

    Returns
    -------
    str
        The name, without an ending. Names that Windows reserves are avoided.
    """
    from pathvalidate import sanitize_filename

    if separator is not None:
        name = re.sub(r"[^\w-]+", separator, name)
    name = name.strip(" ._-")
    safe = str(sanitize_filename(name, replacement_text="_", max_len=longest)).strip(" .-")
    return safe if safe.strip("_") else fallback


def printable(name: str) -> str:
    """Return a name that can be encoded; what is not UTF-8 in a file name becomes U+FFFD."""
    return name.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _no_place(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path.name} cannot be written to {path.absolute().parent} ({reason(error)}); "
        "choose another place."
    )


def _beside(path: Path) -> Path:
    """Return a unique path for a temporary file in the same folder."""
    return path.with_name(f".{path.stem}-{uuid4().hex[:12]}{path.suffix}")


def make_folder(path: str | Path) -> Path:
    """Create a folder for results, if it does not exist yet.

    Raises
    ------
    OutputError
        If it cannot be created.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {path} cannot be made ({reason(error)}).") from error
    return path


@contextmanager
def replacing(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary file, and rename it to ``path`` when the context exits without an error.

    Raises
    ------
    OutputError
        As in `check_output`, and if the disk is full or the file cannot be
        written. The temporary file is removed.
    """
    path = check_output(path, overwrite)
    beside = _beside(path)
    try:
        beside.touch(exist_ok=False)
        yield beside
        if overwrite:
            beside.replace(path)
        else:
            move_without_replacing(beside, path)
    except FileExistsError as error:
        raise OutputError(f"{path} exists and is kept.", Remedy.REPLACE) from error
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({reason(error)}); nothing was left there."
        ) from error
    finally:
        beside.unlink(missing_ok=True)


def move_without_replacing(source: Path, target: Path) -> None:
    """Rename a file without replacing one that another process has created in the meantime."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # the file system has no hard links
        if target.exists():
            raise FileExistsError(target) from None
        source.replace(target)


def reason(error: OSError) -> str:
    """Return the operating system's reason for an error, as a clause of a sentence."""
    if error.strerror is None and isinstance(error, PermissionError):
        return "permission denied"  # pooch writes a whole paragraph
    return (error.strerror or str(error)).lower()
