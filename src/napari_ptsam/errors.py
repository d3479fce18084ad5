"""The errors that a user can meet.

Each message says what is wrong, with what, and what to do about it, in a
sentence that can be shown as it is: in a napari notification, as the one line
that the command line prints, or as the text of the exception.
"""

from __future__ import annotations

from pathlib import Path


class PtsamError(ValueError):
    """Base of all errors that are meant for the user's eyes."""


class PtsamWarning(UserWarning):
    """Something went another way than asked for, and still came out right."""


class InputError(PtsamError):
    """An image, a mask or a setting cannot be used as it is."""


class NoObjectError(InputError):
    """Where somebody clicked or drew a box, there is nothing that looks like an object."""


class PromptFileError(PtsamError):
    """A prompt file cannot be read, or does not fit what it is used with."""


class CheckpointError(PtsamError):
    """A backbone's weights are missing, damaged or of another architecture."""


class CollapsedError(PtsamError):
    """Training ended with a prompt that calls every pixel the same."""


class OutputError(PtsamError):
    """A result cannot be written where it was asked for."""


class KeptElsewhereError(OutputError):
    """A trained prompt cannot be written where it was to go, and is kept in another place.

    Parameters
    ----------
    message
        What is wrong, and where the prompt is.
    path
        Of the file it is kept in.
    """

    def __init__(self, message: str, path: Path) -> None:
        super().__init__(message)
        self.path = path


class DownloadError(PtsamError):
    """Sample images cannot be downloaded, or not be kept."""


class SessionError(PtsamError):
    """A session folder, or a file in it, cannot be read or written."""
