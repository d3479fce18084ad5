"""A checksum of a whole zip archive, kept in the archive's comment.

A zip archive has checksums of its members alone: a bit that flips in what lies between them goes
unnoticed, and may change what a reader makes of it.
"""

from __future__ import annotations

import hashlib

from napari_ptsam.errors import PromptFileError

MARK = b"sha256:"
END = b"PK\x05\x06"
"""Begins the last record of an archive; the length of its comment is in the last two bytes."""
RECORD = 22
"""Bytes of that record."""
LENGTH = len(MARK) + 64


def seal(archive: bytes) -> bytes:
    """The archive with its checksum as comment."""
    if archive[-RECORD:][:4] != END or archive[-2:] != b"\0\0":
        raise PromptFileError("An archive without a comment was expected.")
    body = archive[:-2] + LENGTH.to_bytes(2, "little")
    return body + MARK + hashlib.sha256(body).hexdigest().encode()


def is_sealed(archive: bytes) -> bool:
    """Whether an archive has the right checksum as comment."""
    body, comment = archive[:-LENGTH], archive[-LENGTH:]
    return comment == MARK + hashlib.sha256(body).hexdigest().encode()
