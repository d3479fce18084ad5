"""The layout of a session folder: the paths of its files."""

from __future__ import annotations

import re
import unicodedata
from itertools import count
from pathlib import Path

from napari_ptsam.annotation.session import SessionPlane
from napari_ptsam.errors import SessionError
from napari_ptsam.io.writing import reason, safe_file_name

IMAGES, MASKS, PROMPTS = "images", "masks", "prompts"
LONGEST_SLUG = 40


def plane_path(folder: Path, kind: str, plane: SessionPlane) -> Path:
    """Return the path of a plane's pixels (kind ``images``) or labels (kind ``masks``)."""
    return folder / kind / f"{plane.stem}.tif"


def planes_with_masks(folder: Path) -> list[SessionPlane]:
    """Return the planes for which there is a mask file, going by the files' names."""
    names = _names(folder / MASKS, r"\d{3,9}(-\d{1,9})*\.tif")
    places = [[int(part) for part in name.removesuffix(".tif").split("-")] for name in names]
    return [SessionPlane(image, tuple(index)) for image, *index in sorted(places)]


def prompt_names(folder: Path) -> list[str]:
    """Return the names of the prompt files, ordered by number."""
    return sorted(_names(folder / PROMPTS, r"[^.].*\.pt"), key=lambda name: (number(name), name))


def number(prompt: str) -> int:
    """Return the number of a prompt file named by `next_prompt_path`, and 0 for other files."""
    digits = re.fullmatch(r"(\d{3,9})\.pt", prompt)
    return int(digits[1]) if digits else 0


def next_prompt_path(folder: Path) -> Path:
    """Return the next free path in the folder of prompts, which is made if it is missing."""
    make(folder / PROMPTS)
    return folder / PROMPTS / f"{max(map(number, prompt_names(folder)), default=0) + 1:03}.pt"


def _names(folder: Path, pattern: str) -> list[str]:
    """Return the names of files that match. Files that are being written begin with a dot."""
    try:
        return [path.name for path in folder.iterdir() if re.fullmatch(pattern, path.name)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SessionError(f"The folder {folder} cannot be read ({reason(error)}).") from error


def make(folder: Path) -> None:
    """Make a folder inside a session folder, if it does not exist."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise SessionError(
            f"The session is not saved: the folder {folder} cannot be made ({reason(error)})."
        ) from error


def make_new(root: Path, title: str) -> Path:
    """Make a new folder, adding a number to its name if the title is taken."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        for attempt in count(1):
            path = root / (title if attempt == 1 else f"{title}-{attempt}")
            try:
                path.mkdir()
                break
            except FileExistsError:
                continue
    except OSError as error:
        raise SessionError(
            f"No session folder can be made in {root} ({reason(error)}); choose another place."
        ) from error
    return path


def slug(name: str) -> str:
    """Return a folder name of lower-case ASCII letters, digits, ``_`` and ``-``."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return safe_file_name(plain, "session", separator="-", longest=LONGEST_SLUG)
