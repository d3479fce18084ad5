"""Find the images that a pattern names, in folders and inside of plates."""

from __future__ import annotations

import unicodedata
from glob import escape, glob
from pathlib import Path

from napari_ptsam.errors import InputError
from napari_ptsam.images.reading import is_image, is_original, natural_order
from napari_ptsam.images.zarrs import ZARR, is_image_group


def matching(pattern: Path) -> list[Path]:
    """Return the images that match a pattern, without those of unfinished runs.

    Images inside of a zarr are found by patterns that lead into it, such as
    ``plate.zarr/*/*/0``; its labels by patterns that name the folder ``labels``. Brackets may be
    part of names, and letters with accents composed or decomposed.

    Raises
    ------
    InputError
        If there are none.
    """
    for form in _forms(pattern):
        if matches := _matching(form, pattern):
            return matches
    raise InputError(f"No image matches {pattern}; check the pattern.")


def existing(path: Path) -> Path:
    """Return the path under which a file exists: letters with accents are written in two ways."""
    if not path.exists():
        for text in _spellings(str(path)):
            if Path(text).exists():
                return Path(text)
    return path


def _spellings(text: str) -> tuple[str, str, str]:
    """Return a text as it is, with composed and with decomposed letters."""
    return text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)


def _forms(pattern: Path) -> list[str]:
    """Return patterns to try, one after the other.

    Folders that exist are taken as they are, brackets included. Then all brackets are.
    """
    at = Path(pattern.anchor)
    parts, known = [], True
    for part in pattern.parts[bool(pattern.anchor) :]:
        at = at / part
        known = known and at.exists()
        parts.append((escape(part), True) if known else (part, False))
    named = Path(pattern.anchor, *(part for part, _ in parts))
    literal = (part if known else part.replace("[", "[[]") for part, known in parts)
    brackets = Path(pattern.anchor, *literal)
    return [text for path in (named, brackets) for text in _spellings(str(path))]


def _matching(form: str, pattern: Path) -> list[Path]:
    """Return the images that match one form of a pattern."""
    from natsort import natsorted

    paths = [
        path
        for path in map(Path, glob(form, recursive=True))  # noqa: PTH207 - it may be absolute
        if not any(parent.suffix == ".partial" for parent in path.parents)
    ]
    outside = [path for path in paths if not _is_inside(path)]
    matches = [path for path in outside if is_image(path)] or [
        path for path in outside if is_original(path)
    ]
    matches = natural_order(matches)
    if any(part.lower().endswith(ZARR) for part in pattern.parts[:-1]):
        inside = [path for path in paths if _is_inside(path) and is_image_group(path)]
        if "labels" not in pattern.parts:
            inside = [path for path in inside if "labels" not in path.parts]
        matches = natsorted(inside) or matches
    return matches


def _is_inside(path: Path) -> bool:
    return any(parent.suffix.lower() == ZARR for parent in path.parents)
