"""Checkpoints of the catalogue on this machine: find, verify and remove them."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from napari_ptsam.backbones.catalogue import CatalogueEntry, catalogue
from napari_ptsam.errors import Advice, CheckpointError, Message, OutputError, Remedy, Term
from napari_ptsam.io.safe_loading import read_or
from napari_ptsam.io.user_folders import named_folder, user_folder
from napari_ptsam.io.writing import reason, replacing

FOLDER_VARIABLE = "NAPARI_PTSAM_BACKBONES"
INDEX = "index.json"
"""Name of the file that lists verified checkpoints, by size and time of change, and the paths of
the user's own checkpoints, by signature."""
PART = ".part"
"""Ending of an incomplete download, which the next download continues."""


def backbones_folder() -> Path:
    """Return the folder of NAPARI_PTSAM_BACKBONES, or else the user's data folder on this system."""
    return named_folder(FOLDER_VARIABLE) or user_folder("data") / "backbones"


class BackboneFiles:
    """Checkpoints of the catalogue in a folder.

    Parameters
    ----------
    folder
        Folder of the checkpoints, which need not exist; by default `backbones_folder`.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = Path(folder) if folder else backbones_folder()

    def path(self, entry: CatalogueEntry) -> Path:
        """Return the path of a checkpoint, whether it exists or not."""
        if entry.embedded:
            from napari_ptsam.backbones.checkpoints import embedded_checkpoint

            return embedded_checkpoint()
        return self.folder / entry.file

    def part(self, entry: CatalogueEntry) -> Path:
        """Return the path of a checkpoint's incomplete download."""
        return self.folder / (entry.file + PART)

    def exists_locally(self, entry: CatalogueEntry) -> bool:
        """Return whether a checkpoint exists; it may not be verified yet."""
        return self.path(entry).is_file()

    def checked(self, entry: CatalogueEntry) -> Path:
        """Return the path of a checkpoint after verifying it.

        A file is read and verified once, even if it was copied there by hand.
        Later, its size and the time of its last change are compared.

        Raises
        ------
        CheckpointError
            If the file does not exist, or is not the one in the catalogue.
        """
        if not self.exists_locally(entry):
            raise CheckpointError(self.how_to_get(entry))
        if not entry.embedded and self._index().get(entry.file) != self._mark(entry):
            self.verify(entry)
        return self.path(entry)

    def verify(self, entry: CatalogueEntry) -> None:
        """Compare the size and hash of a checkpoint with the catalogue.

        Raises
        ------
        CheckpointError
            If the file does not exist, cannot be read, or differs.
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
                f"{path} is not the {entry.name} that its makers published: its size or hash differs.",
                Remedy.DOWNLOAD_AGAIN,
                backbone=entry.name,
            )
        self.remember(entry)

    def remember(self, entry: CatalogueEntry) -> None:
        """Record that a checkpoint was verified, if the folder is writable."""
        self._write({entry.file: self._mark(entry)})

    def remember_path(self, signature: str, path: Path) -> None:
        """Record the path that a backbone outside the catalogue was loaded from."""
        if self._index().get(signature) != str(path):
            self._write({signature: str(path)})

    def known_name(self, path: Path) -> str:
        """Return the catalogue name of a file with the name and size of a published one, or empty."""
        size = path.stat().st_size
        entries = (e for e in catalogue().values() if not e.embedded and e.size == size)
        return next((entry.name for entry in entries if entry.file == path.name), "")

    def remembered_path(self, signature: str) -> Path | None:
        """Return the path that a backbone was loaded from; None if the file no longer exists."""
        path = self._index().get(signature)
        return Path(path) if isinstance(path, str) and Path(path).is_file() else None

    def remove(self, entry: CatalogueEntry) -> bool:
        """Delete a checkpoint and its incomplete download; return whether there were any.

        Raises
        ------
        CheckpointError
            If it is the embedded checkpoint, or cannot be deleted.
        """
        if entry.embedded:
            raise CheckpointError(f"{entry.name} is a part of napari-ptsam and cannot be removed.")
        paths = [path for path in (self.path(entry), self.part(entry)) if path.exists()]
        try:
            for path in paths:
                path.unlink()
        except OSError as error:
            raise CheckpointError(f"{path} cannot be removed ({reason(error)}).") from error
        return bool(paths)

    def how_to_get(self, entry: CatalogueEntry) -> Message:
        """Explain how to get a missing checkpoint, with or without a network."""
        return Message(
            "The ",
            Term.BACKBONE,
            f" {entry.name} ({entry.megabytes}) is not on this machine. ",
            Advice(Remedy.DOWNLOAD, {"backbone": entry.name}),
            f" {self.by_hand(entry)}",
        )

    def by_hand(self, entry: CatalogueEntry) -> str:
        """Explain how to copy a checkpoint to a machine without a network."""
        size = f"{entry.size:,} bytes" if entry.size else entry.megabytes
        return (
            f"Without a network: download {entry.url} on another machine ({size}, {entry.digest}), "
            f"and put it here as {self.path(entry)}."
        )

    def _mark(self, entry: CatalogueEntry) -> list[Any]:
        status = self.path(entry).stat()
        return [entry.digest, status.st_size, status.st_mtime_ns]

    def _write(self, more: dict[str, Any]) -> None:
        """Add entries to the index."""
        with suppress(OSError, OutputError):  # the folder may be shared and read-only
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(self.folder / INDEX, overwrite=True) as beside:
                beside.write_text(json.dumps(self._index() | more), encoding="utf-8")

    def _index(self) -> dict[str, Any]:
        index = self.folder / INDEX
        content = read_or(None, lambda: json.loads(index.read_text(encoding="utf-8")))
        return content if isinstance(content, dict) else {}


def matches(path: Path, entry: CatalogueEntry) -> bool:
    """Return whether a file has the size and the hash of an entry."""
    import pooch

    if entry.size and path.stat().st_size != entry.size:
        return False
    return bool(pooch.hashes.hash_matches(str(path), entry.digest))
