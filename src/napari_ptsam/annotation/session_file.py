"""The file session.json, which is read with every value checked, and replaced as a whole."""

from __future__ import annotations

import json
from pathlib import Path

from napari_ptsam.annotation.session import KIND, VERSION, Session
from napari_ptsam.errors import OutputError, SessionError, framed
from napari_ptsam.io.safe_loading import unreadable_as
from napari_ptsam.io.writing import reason, replacing

FILE = "session.json"
SIZE_LIMIT = 64 * 2**20
"""Bytes; no session.json is larger, so larger files are not read."""


def load_session(folder: Path) -> Session:
    """Read the session.json of a folder, without looking for the files of the planes.

    Raises
    ------
    SessionError
        If the file is missing, damaged, or from a newer version.
    """
    path = folder / FILE
    try:
        if not folder.is_dir():
            raise SessionError(f"There is no folder {folder}; check the path.")
        if not path.is_file():
            raise SessionError(
                f"{folder} is not a session folder, since it holds no {FILE}; choose one that "
                "napari-ptsam made."
            )
        data = path.read_bytes() if path.stat().st_size <= SIZE_LIMIT else b""
    except OSError as error:
        raise SessionError(f"{path} cannot be read ({reason(error)}).") from error
    with unreadable_as(SessionError, lambda _: _damaged(path, "it is truncated, or no JSON")):
        plain = json.loads(data.decode())
    if not isinstance(plain, dict) or plain.get("kind") != KIND:
        raise SessionError(
            f"{path} is not the file of a session; choose a folder that napari-ptsam made."
        )
    version = plain.get("version")
    if type(version) is int and version > VERSION:
        raise SessionError(
            f"{folder} was made by a newer napari-ptsam (format {version}, this one reads up to "
            f"{VERSION}); update napari-ptsam."
        )
    if type(version) is not int or version < 1:
        raise SessionError(_damaged(path, "it names no valid version"))
    with unreadable_as(SessionError, lambda error: _damaged(path, _reason(error))):
        return Session.from_plain(plain)


def _reason(error: Exception) -> str:
    """Describe the error in the values of a session."""
    return f"{error} is missing" if isinstance(error, KeyError) else str(error).rstrip(".")


def _damaged(path: Path, why: str) -> str:
    return (
        f"{path} is damaged ({why}); the images and masks beside it are TIFF files, which can be "
        "opened by themselves."
    )


def save_session(folder: Path, session: Session) -> None:
    """Write the session.json of a folder.

    Raises
    ------
    SessionError
        If the file cannot be written, or could not be read again.
    """
    wrong = "The session is not saved, since it holds a value that cannot be read again ({})."
    with unreadable_as(SessionError, wrong.format):
        text = json.dumps(session.to_plain(), indent=1, allow_nan=False)
        Session.from_plain(json.loads(text))
    try:
        with replacing(folder / FILE, overwrite=True) as beside:
            beside.write_text(text, encoding="utf-8")
    except OutputError as error:
        raise SessionError(framed(error, before="The session is not saved: ")) from error
