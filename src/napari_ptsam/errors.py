"""Errors and notes for the user, and the ways in which each front end words them.

A message says what is wrong, with what, and what to do about it. What to do differs
between Python, the command line and the widgets: an option has another name in each.
So a message holds a cause and a `Remedy`, and the front end that shows it calls
`worded` with its own `Words`. Taken as a plain string, a message speaks to Python users.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any


class Remedy(Enum):
    """What the user can do about a problem; the value is its wording for Python users.

    The command line and the widgets have a wording for each in ``cli/remedies.py`` and
    ``widgets/shared/remedies.py``. Placeholders are filled in by the message.
    """

    REPLACE = "Choose another name, or replace it (overwrite=True)."
    RESUME_OR_REPLACE = "Resume it (resume=True), or start anew (overwrite=True)."
    START_ANEW = "Start anew (overwrite=True), or choose another name."
    RESUME_AFTER_REPAIR = "Free some space or repair the disk, then resume the run (resume=True)."
    RESUME = "The other planes are kept; a run with resume=True continues with the missing ones."
    REPLACE_ON_RESUME = (
        "Move it away and resume (resume=True), or replace it (resume=True, overwrite=True)."
    )
    ALLOW_MINUTES = "Allow the time to use them (minutes={minutes})."
    NAME_AXES = "If the axes are wrong, name them (axes='CYX')."
    NAME_UNLABELLED = (
        "If {value} marks pixels that are not annotated, pass it (unlabelled={value}); if it is the "
        "background, pass that (background={value})."
    )
    NAME_BACKGROUND = "If one of the values is the background, pass it (background=VALUE)."
    MASK_VALUES = (
        "If that is wrong, pass what is right: background=VALUE, instances=True or "
        "classes=[NAME, NAME]."
    )
    ALL_OBJECTS = "If each value is an object all the same, pass instances=True."
    EMPTY_MASKS = (
        "Draw what is missing, or tell that such masks are background (empty='background') or "
        "are to be left out (empty='skip')."
    )
    NO_MARKERS = "Give each object a number of its own in the masks, or train without markers (markers='no')."
    SPLIT_COMPONENTS = (
        "Train a prompt on masks that tell objects apart, or take connected components "
        "(split='components')."
    )
    INSTANCES = "Ask for instances (output='instances')."
    DEVICE = "Choose another device (device='auto' or device='cpu')."
    BACKBONE = "Choose backbone='{backbone}', or another checkpoint."
    CHECKPOINT = "Ask the prompt's maker for that checkpoint, and name it (checkpoint=FILE)."
    DOWNLOAD = (
        "Get it with “napari-ptsam backbones download {backbone}”, or in the dialog “Base models…”."
    )
    DOWNLOAD_AGAIN = "Remove it (napari-ptsam backbones remove {backbone}) and download it again."
    TAKE_NEW = "Train with keep='new' to get the new one all the same."
    IMAGES_OF = "Choose the prompt whose settings are used (images_of), and check the result."


class Term(Enum):
    """A term that front ends have different words for; the value is the one for Python users."""

    BACKBONE = "backbone"
    BACKBONES = "backbones"

    def worded(self, words: Words) -> str:
        """Return the term in the words of a front end."""
        return words.terms.get(self, self.value)


@dataclass(frozen=True)
class Words:
    """The wording of a front end.

    Attributes
    ----------
    remedies
        The wording of each `Remedy`; remedies that are not in it are worded as for Python.
    setting
        How to refer to a setting; the placeholders are ``{name}`` (its name in Python),
        ``{option}`` (its option on the command line) and ``{title}`` (its label in a form).
    terms
        The wording of each `Term`; terms that are not in it are worded as for Python.
    """

    remedies: Mapping[Remedy, str]
    setting: str
    terms: Mapping[Term, str] = field(default_factory=dict)


PYTHON = Words({}, "The setting {name}")


@dataclass(frozen=True)
class Advice:
    """A remedy, with values for its placeholders."""

    remedy: Remedy
    values: Mapping[str, object]

    def worded(self, words: Words) -> str:
        """Return the advice in the words of a front end."""
        return words.remedies.get(self.remedy, self.remedy.value).format(**self.values)


@dataclass(frozen=True)
class SettingName:
    """The name of a setting: in Python, on the command line, and its label in a form."""

    name: str
    option: str
    title: str

    def worded(self, words: Words) -> str:
        """Return the name that a front end uses."""
        return words.setting.format(name=self.name, option=self.option, title=self.title)


Piece = str | Advice | SettingName | Term
"""A part of a message."""


class Message(str):
    """A text for the user that each front end words in its own way.

    Parameters
    ----------
    *pieces
        Texts, advice, terms and names of settings, one after the other.
    """

    _pieces: tuple[Piece, ...]

    def __new__(cls, *pieces: Piece) -> Message:  # noqa: D102 - see the class
        message = super().__new__(cls, "".join(_piece(piece, PYTHON) for piece in pieces))
        message._pieces = pieces
        return message

    def __reduce__(self) -> tuple[Any, ...]:
        return Message, self._pieces

    def worded(self, words: Words) -> str:
        """Return the message in the words of a front end."""
        return "".join(_piece(piece, words) for piece in self._pieces)


def _piece(piece: Piece, words: Words) -> str:
    return piece if type(piece) is str else piece.worded(words)  # type: ignore[union-attr]


def message_of(message: object) -> str:
    """Return the text of an error, a note or anything else; as a `Message` if it is one."""
    if isinstance(message, (PtsamError, PtsamWarning)) and message.args:
        message = message.args[0]
    return message if isinstance(message, Message) else str(message)


def framed(message: object, before: str = "", after: str = "") -> Message:
    """Return the text of an error or a note with further text around it, its remedies kept.

    A formatted string would fix the wording to that for Python.
    """
    return Message(before, message_of(message), after)


def joined(texts: Iterable[str]) -> Message:
    """Return notes as one text, separated by blanks, their remedies kept; empty ones are left out."""
    pieces = [piece for text in texts if text for piece in (" ", text)]
    return Message(*pieces[1:])


def worded(message: object, words: Words) -> str:
    """Return an error, a note or any other text in the words of a front end.

    Parameters
    ----------
    message
        A `PtsamError`, a `Message`, or anything that `str` turns into a text.
    words
        The wording of the front end.
    """
    text = message_of(message)
    return text.worded(words) if isinstance(text, Message) else text


class PtsamError(ValueError):
    """Base of all errors that are meant for the user's eyes.

    Parameters
    ----------
    cause
        What is wrong, and with what; with what to do, where that is the same everywhere.
    remedy
        What to do, where front ends word it in different ways.
    **values
        Values for the placeholders of the remedy.
    """

    def __init__(self, cause: str, remedy: Remedy | None = None, **values: object) -> None:
        super().__init__(cause if remedy is None else Message(cause, " ", Advice(remedy, values)))


class PtsamWarning(UserWarning):
    """Something was assumed, or done in another way than asked for; the message says what."""


class InputError(PtsamError):
    """An image, a mask or a setting cannot be used as it is."""


class NoObjectError(InputError):
    """There is nothing that looks like an object at a click or in a box."""


class PromptFileError(PtsamError):
    """A prompt file cannot be read, or does not fit what it is used with."""


class CheckpointError(PtsamError):
    """The weights of a backbone are missing, damaged or of another architecture."""


class CollapsedError(PtsamError):
    """A training ended with a prompt that predicts the same for every pixel."""


class OutputError(PtsamError):
    """A result cannot be written to the place that was asked for."""


class KeptElsewhereError(OutputError):
    """A trained prompt cannot be written to its place, and is kept in another one.

    Parameters
    ----------
    message
        What is wrong, and where the prompt is.
    path
        The file that it is kept in.
    """

    def __init__(self, message: str, path: Path) -> None:
        super().__init__(message)
        self.path = path


class DownloadError(PtsamError):
    """Sample images cannot be downloaded or stored."""


class SessionError(PtsamError):
    """A session folder, or a file in it, cannot be read or written."""


class InterruptedByUserError(Exception):
    """The user has pressed Ctrl-C; the message says what has been kept."""
