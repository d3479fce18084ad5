"""The prompt library: folders of prompt files, the user's own and shared ones."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ptsam.errors import InputError, KeptElsewhereError, OutputError, PtsamError, framed
from napari_ptsam.io.safe_loading import read_or
from napari_ptsam.io.user_folders import named_folder, temporary_folder, user_folder
from napari_ptsam.io.writing import make_folder, move_without_replacing, reason, replacing
from napari_ptsam.prompts.files import load

if TYPE_CHECKING:
    from napari_ptsam.prompts.prompt import Prompt

FOLDER_VARIABLE = "NAPARI_PTSAM_PROMPTS"
MOST_FILES = 2000
"""Number of files in a folder that are read at most."""


def library_folder() -> Path:
    """Return the user's folder of prompts: $NAPARI_PTSAM_PROMPTS, or one in the user's data folder."""
    return named_folder(FOLDER_VARIABLE) or user_folder("data") / "prompts"


@dataclass(frozen=True, eq=False)
class LibraryItem:
    """A prompt file of the library.

    Attributes
    ----------
    path
        The file.
    prompt
        The prompt; None if the file cannot be read.
    problem
        Why the file cannot be read; empty if it can.
    """

    path: Path
    prompt: Prompt | None
    problem: str = ""

    def matches(self, words: str) -> bool:
        """Return whether all words are in the name or the description, in upper or lower case."""
        known = [self.path.stem]
        if self.prompt is not None:
            prompt = self.prompt
            known += [*prompt.classes, prompt.author, prompt.notes, prompt.licence]
            known += [prompt.backbone_name, prompt.origin.date]
        text = " ".join(known).casefold()
        return all(word in text for word in words.casefold().split())


class Library:
    """The prompt files in some folders.

    Parameters
    ----------
    folders
        The folders; those that do not exist, such as an unmounted network share, are
        skipped.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(folders)
        self._known: dict[Path, tuple[tuple[int, int], LibraryItem]] = {}

    @property
    def items(self) -> list[LibraryItem]:
        """The items found by the last `refresh`, sorted by folder and name."""
        order = {folder: number for number, folder in enumerate(self.folders)}
        entries = [entry for _, entry in self._known.values()]
        return sorted(entries, key=lambda e: (order[e.path.parent], e.path.name.casefold()))

    @property
    def holds_files(self) -> bool:
        """Whether a folder holds a prompt file now."""
        return any(_prompt_files(folder) for folder in self.folders)

    def refresh(self) -> bool:
        """Read new and changed files; return whether there are any, or files are gone."""
        current: dict[Path, tuple[tuple[int, int], LibraryItem]] = {}
        for folder in self.folders:
            for path, mark in _prompt_files(folder):
                known = self._known.get(path)
                if known is not None and known[0] == mark:
                    current[path] = known
                else:
                    current[path] = mark, _read(path)
        marks = {path: mark for path, (mark, _) in current.items()}
        changed = marks != {path: mark for path, (mark, _) in self._known.items()}
        self._known = current
        return changed


def _prompt_files(folder: Path) -> list[tuple[Path, tuple[int, int]]]:
    """Return the prompt files of a folder, each with the time of its last change and its size."""
    files = []
    with suppress(OSError):
        for path in sorted(folder.glob("*.pt"))[:MOST_FILES]:
            with suppress(OSError):
                status = path.stat()
                if not path.name.startswith(".") and path.is_file():
                    files.append((path, (status.st_mtime_ns, status.st_size)))
    return files


def _read(path: Path) -> LibraryItem:
    try:
        return LibraryItem(path, load(path))
    except PtsamError as error:
        return LibraryItem(path, None, framed(error))


def put(prompt: Prompt, name: str, folder: Path | None = None) -> Path:
    """Add a prompt to the library under a name that is not taken.

    Raises
    ------
    InputError
        If the name cannot be the name of a file.
    OutputError
        If it cannot be written.
    """
    folder = make_folder(folder or library_folder())
    path = folder / f"{checked_name(name)}.pt"
    return prompt.save(path if not path.exists() else free_path(path))


def save_trained(prompt: Prompt, path: Path, overwrite: bool = False) -> Path:
    """Save a newly trained prompt; if that fails, keep it elsewhere.

    Raises
    ------
    KeptElsewhereError
        If it cannot be written to that path; the message says where it is kept.
    OutputError
        If it cannot be kept in the library or among the temporary files either.
    """
    try:
        return prompt.save(path, overwrite)
    except OutputError as error:
        raise kept_elsewhere(prompt, path.stem, error) from error


def kept_elsewhere(prompt: Prompt, name: str, error: PtsamError) -> PtsamError:
    """Keep a prompt that cannot be saved in its place, and return the error that says where.

    Parameters
    ----------
    prompt
        The newly trained prompt.
    name
        The name to keep it under, if it can be the name of a file.
    error
        Why it cannot be saved. It is returned if the prompt cannot be kept elsewhere.
    """
    try:
        name = checked_name(name)
    except InputError:
        name = "prompt"
    elsewhere = library_folder(), user_folder("data") / "prompts", temporary_folder()
    for folder in dict.fromkeys(elsewhere):
        with suppress(PtsamError):
            path = put(prompt, name, folder)
            kept = f" The prompt is not lost: it is kept in {path}."
            return KeptElsewhereError(framed(error, after=kept), path)
    return error


def rename(path: Path, name: str) -> Path:
    """Rename a prompt file within its folder.

    Raises
    ------
    InputError
        If the name cannot be the name of a file.
    OutputError
        If there is such a file, or it cannot be renamed.
    """
    target = path.with_name(f"{checked_name(name)}.pt")
    if target == path:
        return path
    try:
        if target.exists() and target.samefile(path):  # differs in case only, on some systems
            return path.rename(target)
        move_without_replacing(path, target)
        path.unlink(missing_ok=True)
    except FileExistsError as error:
        raise OutputError(f"{target} exists and is kept; choose another name.") from error
    except OSError as error:
        raise OutputError(f"{path} cannot be renamed ({reason(error)}).") from error
    return target


def duplicate(path: Path) -> Path:
    """Copy a prompt file within its folder, under a name that is not taken.

    Raises
    ------
    OutputError
        If it cannot be copied.
    """
    target = free_path(path)
    with replacing(target) as beside:
        shutil.copyfile(path, beside)
    return target


def free_path(path: Path) -> Path:
    """Return the path ``NAME (2).pt``, or that with the next number that is not taken."""
    stem = re.sub(r" \(\d+\)$", "", path.stem)
    number = 2
    while (candidate := path.with_name(f"{stem} ({number}).pt")).exists():
        number += 1
    return candidate


def checked_name(name: str) -> str:
    """Return a name as a file name that is valid on every system.

    Raises
    ------
    InputError
        If it is empty, too long, or has characters that file names cannot have.
    """
    name = name.strip().removesuffix(".pt").strip()
    reserved = re.fullmatch(r"(?i)con|prn|aux|nul|com\d|lpt\d", name)
    if not 0 < len(name) <= 100 or re.search(r'[<>:"/\\|?*\x00-\x1f]', name) or name[0] == ".":
        raise InputError(
            f"{name!r} is no name for a file; use 1 to 100 letters, digits, blanks and - _ ( )."
        )
    if reserved or name[-1] == ".":
        raise InputError(f"Windows has no files of the name {name!r}; choose another.")
    return name


class LibraryFolders:
    """The folders of the library: the user's own one, and those that were added.

    Parameters
    ----------
    file
        The file that stores them; by default in the user's configuration folder.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file or user_folder("config") / "library.json"

    @property
    def folders(self) -> list[Path]:
        """The folders, the user's own one first."""
        return [library_folder(), *self._added()]

    def _added(self) -> list[Path]:
        return read_or([], self._read)

    def _read(self) -> list[Path]:
        stored = json.loads(self._file.read_text(encoding="utf-8"))
        return [Path(folder) for folder in stored["folders"] if isinstance(folder, str)]

    def add(self, folder: Path) -> None:
        """Add a folder.

        Raises
        ------
        OutputError
            If the list of folders cannot be stored.
        """
        if folder not in self.folders:
            self._write([*self._added(), folder])

    def remove(self, folder: Path) -> None:
        """Remove a folder from the list; its files stay."""
        self._write([added for added in self._added() if added != folder])

    def _write(self, folders: Sequence[Path]) -> None:
        make_folder(self._file.parent)
        with replacing(self._file, overwrite=True) as beside:
            beside.write_text(json.dumps({"folders": [str(folder) for folder in folders]}), "utf-8")
