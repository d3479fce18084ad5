"""Prompts in folders: the user's own, and those of the lab."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ptsam.errors import InputError, KeptElsewhereError, OutputError, PtsamError, framed
from napari_ptsam.io.safe_loading import read_or
from napari_ptsam.io.writing import make_folder, move_where_nothing_is, reason, replacing
from napari_ptsam.prompts.files import load

if TYPE_CHECKING:
    from napari_ptsam.prompts.prompt import Prompt

FOLDER_VARIABLE = "NAPARI_PTSAM_PROMPTS"
MOST_FILES = 2000
"""Of one folder that are looked at."""


def library_folder() -> Path:
    """The user's own folder of prompts: what NAPARI_PTSAM_PROMPTS names, or one of this system."""
    folder = os.environ.get(FOLDER_VARIABLE)
    return Path(folder).expanduser() if folder else _users_folder()


def _users_folder() -> Path:
    from platformdirs import user_data_path

    return user_data_path("napari-ptsam", appauthor=False) / "prompts"


@dataclass(frozen=True, eq=False)
class LibraryItem:
    """A prompt file of the library.

    Attributes
    ----------
    path
        Of the file.
    prompt
        What is in it; None if it cannot be read.
    problem
        Why it cannot.
    """

    path: Path
    prompt: Prompt | None
    problem: str = ""

    def matches(self, words: str) -> bool:
        """Whether all words, of any case, are in its name or in what is known of it."""
        known = [self.path.stem]
        if self.prompt is not None:
            own = self.prompt
            known += [*own.classes, own.author, own.notes, own.licence, own.backbone_name]
            known.append(own.origin.date)
        text = " ".join(known).casefold()
        return all(word in text for word in words.casefold().split())


class Library:
    """What prompt files there are in some folders.

    Parameters
    ----------
    folders
        Where to look; those that are not there, such as a network share that is
        away, are left out.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(folders)
        self._known: dict[Path, tuple[tuple[int, int], LibraryItem]] = {}

    @property
    def shelved(self) -> list[LibraryItem]:
        """As of the last `refresh`, folder by folder, by name."""
        order = {folder: number for number, folder in enumerate(self.folders)}
        entries = [entry for _, entry in self._known.values()]
        return sorted(entries, key=lambda e: (order[e.path.parent], e.path.name.casefold()))

    def refresh(self) -> bool:
        """Look at the folders, and read what is new or was changed; whether anything was."""
        found: dict[Path, tuple[tuple[int, int], LibraryItem]] = {}
        for folder in self.folders:
            for path, mark in _prompt_files(folder):
                known = self._known.get(path)
                if known is not None and known[0] == mark:
                    found[path] = known
                else:
                    found[path] = mark, _read(path)
        marks = {path: mark for path, (mark, _) in found.items()}
        changed = marks != {path: mark for path, (mark, _) in self._known.items()}
        self._known = found
        return changed


def _prompt_files(folder: Path) -> list[tuple[Path, tuple[int, int]]]:
    """Prompt files of a folder, each with time of its last change and size."""
    found = []
    with suppress(OSError):
        for path in sorted(folder.glob("*.pt"))[:MOST_FILES]:
            with suppress(OSError):
                status = path.stat()
                if not path.name.startswith(".") and path.is_file():
                    found.append((path, (status.st_mtime_ns, status.st_size)))
    return found


def _read(path: Path) -> LibraryItem:
    try:
        return LibraryItem(path, load(path))
    except PtsamError as error:
        return LibraryItem(path, None, framed(error))


def put(prompt: Prompt, name: str, folder: Path | None = None) -> Path:
    """Add a prompt to the library, under a name that is free there.

    Raises
    ------
    InputError
        If that is no name for a file.
    OutputError
        If it cannot be written.
    """
    folder = make_folder(folder or library_folder())
    path = folder / f"{checked_name(name)}.pt"
    return prompt.save(path if not path.exists() else free_path(path))


def save_trained(prompt: Prompt, path: Path, overwrite: bool = False) -> Path:
    """Save a prompt that took a training; where that fails, keep it in the library.

    Raises
    ------
    KeptElsewhereError
        If it cannot be written to that path; it says where it is kept.
    OutputError
        If it cannot be kept at all.
    """
    try:
        return prompt.save(path, overwrite)
    except OutputError as error:
        raise kept_elsewhere(prompt, path.stem, error) from error


def kept_elsewhere(prompt: Prompt, name: str, error: PtsamError) -> PtsamError:
    """Keep a prompt that cannot be saved where it was to go, and give the error that says where.

    Parameters
    ----------
    prompt
        What took a training.
    name
        To keep it under, if it is one for a file.
    error
        Why it cannot be saved; it is given back where no other place takes the prompt.
    """
    try:
        name = checked_name(name)
    except InputError:
        name = "prompt"
    for folder in dict.fromkeys((library_folder(), _users_folder())):
        with suppress(PtsamError):
            path = put(prompt, name, folder)
            kept = f" The prompt is not lost: it is kept in {path}."
            return KeptElsewhereError(framed(error, after=kept), path)
    return error


def rename(path: Path, name: str) -> Path:
    """Give a prompt file another name, in the same folder.

    Raises
    ------
    InputError
        If that is no name for a file.
    OutputError
        If there is such a file already, or it cannot be renamed.
    """
    target = path.with_name(f"{checked_name(name)}.pt")
    if target == path:
        return path
    try:
        if target.exists() and target.samefile(path):  # upper and lower case, on some systems
            return path.rename(target)
        move_where_nothing_is(path, target)
        path.unlink(missing_ok=True)
    except FileExistsError as error:
        raise OutputError(f"{target} exists and is kept; choose another name.") from error
    except OSError as error:
        raise OutputError(f"{path} cannot be renamed ({reason(error)}).") from error
    return target


def duplicate(path: Path) -> Path:
    """Copy a prompt file, in the same folder, under a name that is free there.

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
    """``NAME (2).pt``, or with the next number that is free."""
    stem = re.sub(r" \(\d+\)$", "", path.stem)
    number = 2
    while (found := path.with_name(f"{stem} ({number}).pt")).exists():
        number += 1
    return found


def checked_name(name: str) -> str:
    """A name for a file on every system.

    Raises
    ------
    InputError
        If it is empty, too long, or holds characters that file names cannot hold.
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
    """The folders that the user looks for prompts in: the own one, and those that were added.

    Parameters
    ----------
    file
        Where they are kept; by default in the user's configuration.
    """

    def __init__(self, file: Path | None = None) -> None:
        from platformdirs import user_config_path

        self._file = file or user_config_path("napari-ptsam", appauthor=False) / "library.json"

    @property
    def folders(self) -> list[Path]:
        """The own folder first."""
        return [library_folder(), *self._added()]

    def _added(self) -> list[Path]:
        return read_or([], self._read)

    def _read(self) -> list[Path]:
        found = json.loads(self._file.read_text(encoding="utf-8"))
        return [Path(one) for one in found["folders"] if isinstance(one, str)]

    def add(self, folder: Path) -> None:
        """Look in one more folder from now on.

        Raises
        ------
        OutputError
            If that cannot be kept.
        """
        if folder not in self.folders:
            self._write([*self._added(), folder])

    def remove(self, folder: Path) -> None:
        """Look there no more; the files stay."""
        self._write([one for one in self._added() if one != folder])

    def _write(self, folders: Sequence[Path]) -> None:
        make_folder(self._file.parent)
        with replacing(self._file, overwrite=True) as beside:
            beside.write_text(json.dumps({"folders": [str(one) for one in folders]}), "utf-8")
