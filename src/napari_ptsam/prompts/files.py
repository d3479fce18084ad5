"""Prompt files: a dict of plain values, read without running code.

The layout is described in docs/prompt-file.md.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

from napari_ptsam.errors import InputError, PromptFileError
from napari_ptsam.io.safe_loading import (
    check_storages,
    check_sums,
    holds_more_than_values,
    load_plain,
    unreadable_as,
)
from napari_ptsam.io.writing import replacing
from napari_ptsam.prompts.checksum import is_sealed, seal
from napari_ptsam.prompts.contents import KIND, VERSION, from_plain, to_plain
from napari_ptsam.prompts.prompt import Prompt

ARRAYS = ("tokens", "cores", "thumbnail")
SIZE_LIMIT = 24 * 2**20
"""Bytes; no prompt file is larger, even with encoder tokens and heads, so larger files are not read."""


def save(prompt: Prompt, path: str | Path, overwrite: bool = False) -> Path:
    """Write a prompt file.

    Parameters
    ----------
    prompt
        The prompt.
    path
        The file to write; its usual extension is ``.pt``.
    overwrite
        Whether an existing file may be replaced.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    OutputError
        If the file exists, or cannot be written.
    InputError
        If the prompt holds values that could not be read again.
    """
    import torch

    plain = to_plain(prompt) | {"sealed": True}
    for name in ARRAYS:
        if name in plain:
            plain[name] = torch.from_numpy(plain[name].copy())
    if "encoder_tokens" in plain:
        plain["encoder_tokens"] = [torch.from_numpy(t.copy()) for t in plain["encoder_tokens"]]
    for head in plain.get("detail", ()):
        if head is not None:
            head["parameters"] = torch.from_numpy(head["parameters"].copy())
    from_plain(plain)  # raises if the file could not be read again
    # Saved to memory first, since torch stores the name of the file in the archive.
    data = io.BytesIO()
    torch.save(plain, data)
    with replacing(path, overwrite) as beside:
        beside.write_bytes(seal(data.getvalue()))
    return Path(path)


def load(path: str | Path) -> Prompt:
    """Read a prompt file.

    Parameters
    ----------
    path
        A file written by `save`.

    Returns
    -------
    Prompt
        The prompt.

    Raises
    ------
    PromptFileError
        If the file is missing, truncated, damaged, of another kind, from a
        newer version, or holds code. Code is not run.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise PromptFileError(f"There is no prompt file at {path}; check the path.")
        if path.stat().st_size > SIZE_LIMIT:
            raise PromptFileError(f"{path} is no prompt file: it is much too large for one.")
        data = path.read_bytes()
    except OSError as error:
        raise PromptFileError(f"{path} cannot be read; check its permissions.") from error
    plain = _read_plain(data, path)
    if not isinstance(plain, dict) or plain.get("kind") != KIND:
        raise PromptFileError(
            f"{path} is a PyTorch file of another kind, not a prompt; choose a file that napari-ptsam saved."
        )
    version = plain.get("version")
    if type(version) is not int or version < 1:
        raise PromptFileError(f"{path} names no valid version; ask its maker for a new copy.")
    if version > VERSION:
        raise PromptFileError(
            f"{path} was made by a newer napari-ptsam (format {version}, this one reads up to {VERSION}); "
            "update napari-ptsam."
        )
    # Earlier files have no checksum of the whole.
    if plain.get("sealed") is not None and not is_sealed(data):
        raise PromptFileError(
            f"{path} is damaged: its checksum is wrong; copy it again, or ask its maker for a new copy."
        )

    def message(error: Exception) -> str:
        reason = (
            str(error) if isinstance(error, InputError) else "a part is missing or of a wrong kind"
        )
        return (
            f"{path} is a damaged prompt file ({reason.rstrip('.')}); ask its maker for a new copy."
        )

    with unreadable_as(PromptFileError, message):
        return from_plain(plain)


def _read_plain(data: bytes, path: Path) -> Any:
    if not data.startswith(b"PK\x03\x04"):
        what = "is empty" if not data else "is no prompt file"
        raise PromptFileError(f"{path} {what}; choose a file that napari-ptsam saved.")

    def message(error: Exception) -> str:
        if holds_more_than_values(error):
            return (
                f"{path} holds something other than plain values, maybe code; it was not run. "
                "Choose a file that napari-ptsam saved."
            )
        return f"{path} is truncated or damaged; copy it again, or ask its maker for a new copy."

    with unreadable_as(PromptFileError, message):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            # Prompts are stored uncompressed, so an archive that unpacks to more is none.
            if sum(part.file_size for part in archive.infolist()) > SIZE_LIMIT:
                raise PromptFileError(f"{path} is no prompt file: it would unpack to a huge size.")
            check_sums(archive)
            plain = load_plain(_repacked(archive))
            check_storages(plain, archive)
        return plain


def _repacked(archive: zipfile.ZipFile) -> io.BytesIO:
    """Return a copy of an archive that holds the checked members only.

    torch.load reads archives in its own way, and may find other bytes in a damaged one.
    """
    copy = io.BytesIO()
    with zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as checked:
        for info in archive.infolist():
            checked.writestr(info.filename, archive.read(info))
    copy.seek(0)
    return copy
