"""The folder of backbones on this machine: what is there, and whether it is what it should be."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from napari_ptsam.backbones.catalogue import CatalogueEntry, catalogue
from napari_ptsam.errors import CheckpointError, OutputError
from napari_ptsam.io.safe_loading import read_or
from napari_ptsam.io.writing import reason, replacing

FOLDER_VARIABLE = "NAPARI_PTSAM_BACKBONES"
INDEX = "index.json"
"""Which files were verified, by size and time of their last change; and where the user's own are."""
PART = ".part"
"""Ending of a download that is not complete yet; the next one goes on from there."""


def backbones_folder() -> Path:
    """The folder that NAPARI_PTSAM_BACKBONES names, or else the user's own on this system."""
    from platformdirs import user_data_path

    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        return Path(folder).expanduser()
    return user_data_path("napari-ptsam", appauthor=False) / "backbones"


class BackboneFiles:
    """Checkpoints of the catalogue in a folder.

    Parameters
    ----------
    folder
        By default `backbones_folder`; need not exist.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = Path(folder) if folder else backbones_folder()

    def path(self, entry: CatalogueEntry) -> Path:
        """Where a checkpoint is, or would be."""
        if entry.embedded:
            from napari_ptsam.backbones.checkpoints import embedded_checkpoint

            return embedded_checkpoint()
        return self.folder / entry.file

    def part(self, entry: CatalogueEntry) -> Path:
        """Where a download of it that is not complete is kept."""
        return self.folder / (entry.file + PART)

    def is_here(self, entry: CatalogueEntry) -> bool:
        """Whether there is a file; it may still have to be verified."""
        return self.path(entry).is_file()

    def checked(self, entry: CatalogueEntry) -> Path:
        """Path of a checkpoint that is what it should be.

        A file is read once, also one that was put there by hand, and then known
        by its size and the time of its last change.

        Raises
        ------
        CheckpointError
            If it is not here, or another file.
        """
        if not self.is_here(entry):
            raise CheckpointError(self.how_to_get(entry))
        if not entry.embedded and self._index().get(entry.file) != self._mark(entry):
            self.verify(entry)
        return self.path(entry)

    def verify(self, entry: CatalogueEntry) -> None:
        """Compare a file's size and hash with the catalogue's.

        Raises
        ------
        CheckpointError
            If it is not here, cannot be read, or another file.
        """
        if entry.embedded:
            return
        path = self.path(entry)
        if not path.is_file():
            raise CheckpointError(self.how_to_get(entry))
        try:
            same = matches(path, entry)
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read ({reason(error)}).") from error
        if not same:
            raise CheckpointError(
                f"{path} is not the {entry.name} that its makers published: its size or hash is "
                f"another. Remove it (napari-ptsam backbones remove {entry.name}) and get it again."
            )
        self.remember(entry)

    def remember(self, entry: CatalogueEntry) -> None:
        """Keep in mind that a file was verified, where the folder can be written to."""
        self._write({entry.file: self._mark(entry)})

    def remember_own(self, signature: str, path: Path) -> None:
        """Keep in mind where a backbone that is not in the catalogue was loaded from."""
        if self._index().get(signature) != str(path):
            self._write({signature: str(path)})

    def known_name(self, path: Path) -> str:
        """Name in the catalogue of a file that has the name and size of a published one, or empty."""
        size = path.stat().st_size
        entries = (e for e in catalogue().values() if not e.embedded and e.size == size)
        return next((entry.name for entry in entries if entry.file == path.name), "")

    def own(self, signature: str) -> Path | None:
        """Where a backbone of that signature was loaded from, if the file is still there."""
        found = self._index().get(signature)
        return Path(found) if isinstance(found, str) and Path(found).is_file() else None

    def remove(self, entry: CatalogueEntry) -> bool:
        """Delete a checkpoint and what was downloaded of it; False if there was nothing.

        Raises
        ------
        CheckpointError
            If it is the embedded one, or cannot be deleted.
        """
        if entry.embedded:
            raise CheckpointError(f"{entry.name} is a part of napari-ptsam; it cannot be removed.")
        found = [path for path in (self.path(entry), self.part(entry)) if path.exists()]
        try:
            for path in found:
                path.unlink()
        except OSError as error:
            raise CheckpointError(f"{path} cannot be removed ({reason(error)}).") from error
        return bool(found)

    def how_to_get(self, entry: CatalogueEntry) -> str:
        """What to do about a checkpoint that is not here, with or without a network."""
        return (
            f"The backbone {entry.name} ({entry.megabytes}) is not on this machine; get it with "
            f"“napari-ptsam backbones download {entry.name}” or in the dialog Backbones. {self.by_hand(entry)}"
        )

    def by_hand(self, entry: CatalogueEntry) -> str:
        """How to get a checkpoint to a machine without a network."""
        size = f"{entry.size:,} bytes" if entry.size else entry.megabytes
        return (
            f"Without a network: download {entry.url} elsewhere ({size}, {entry.digest}), and put "
            f"it here as {self.path(entry)}."
        )

    def _mark(self, entry: CatalogueEntry) -> list[Any]:
        status = self.path(entry).stat()
        return [entry.digest, status.st_size, status.st_mtime_ns]

    def _write(self, more: dict[str, Any]) -> None:
        """Add to the index."""
        with suppress(OSError, OutputError):  # a folder of the lab that only others may write to
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(self.folder / INDEX, overwrite=True) as beside:
                beside.write_text(json.dumps(self._index() | more), encoding="utf-8")

    def _index(self) -> dict[str, Any]:
        index = self.folder / INDEX
        found = read_or(None, lambda: json.loads(index.read_text(encoding="utf-8")))
        return found if isinstance(found, dict) else {}


def matches(path: Path, entry: CatalogueEntry) -> bool:
    """Whether a file has the size and the hash of an entry."""
    import pooch

    if entry.size and path.stat().st_size != entry.size:
        return False
    return bool(pooch.hashes.hash_matches(str(path), entry.digest))
