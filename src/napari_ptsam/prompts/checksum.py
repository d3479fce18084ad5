"""A checksum of a whole zip archive, stored in the comment of the archive.

A zip archive has checksums of its members only. A bit that flips between the members goes
unnoticed, and may change how the archive is read.
"""

from __future__ import annotations

import hashlib

from napari_ptsam.errors import PromptFileError

MARK = b"sha256:"
END = b"PK\x05\x06"
"""Signature of the last record of an archive, whose last two bytes are the length of the comment."""
RECORD = 22
"""Size of that record in bytes."""
LENGTH = len(MARK) + 64


def seal(archive: bytes) -> bytes:
    """Return an archive with its checksum as comment."""
    if archive[-RECORD:][:4] != END or archive[-2:] != b"\0\0":
        raise PromptFileError("An archive without a comment was expected.")
    body = archive[:-2] + LENGTH.to_bytes(2, "little")
    return body + MARK + hashlib.sha256(body).hexdigest().encode()


def is_sealed(archive: bytes) -> bool:
    """Return whether the comment of an archive is its checksum."""
    body, comment = archive[:-LENGTH], archive[-LENGTH:]
    return comment == MARK + hashlib.sha256(body).hexdigest().encode()
