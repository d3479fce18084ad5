"""Describe exceptions in workers in one sentence; for bugs, napari also shows the traceback."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from traceback import clear_frames, walk_tb

from napari.utils.notifications import ErrorNotification, notification_manager, show_warning

from napari_ptsam.errors import PtsamError
from napari_ptsam.widgets.shared.remedies import in_form

INTERRUPTED = "{title} was interrupted. Start it again if you still want it."
OUT_OF_MEMORY = (
    "{title} needs more memory than there is ({reason}). Close other programs or layers, or use "
    "smaller images or tiles."
)
OUT_OF_GPU_MEMORY = (
    "{title} needs more memory than the GPU has left. Close other programs that use the GPU, use "
    "smaller tiles, or choose the CPU as the device."
)
FILE_ERROR = "{title} failed: {reason}. Check the disk or the network, then try again."
BUG = (
    "{title} stopped because of a bug in napari-ptsam ({reason}). You can keep working; please "
    "report the bug together with its traceback."
)
MAX_QUOTE = 200
"""Largest number of characters of an exception's message that a sentence quotes."""


@dataclass(frozen=True, eq=False)
class Failed:
    """The work has failed.

    Attributes
    ----------
    sentence
        The message for the user.
    bug
        The exception if it is a bug of the program; None if the user, the disk or the
        memory caused it.
    """

    sentence: str
    bug: BaseException | None = None

    @property
    def bug_location(self) -> tuple[str, str, int] | None:
        """Exception type, file and line, which identify the bug; None for other failures."""
        if self.bug is None:
            return None
        file, line = "", 0
        for frame, number in walk_tb(self.bug.__traceback__):
            file, line = frame.f_code.co_filename, number
        return type(self.bug).__name__, file, line


def failure_of(error: BaseException, title: str) -> Failed:
    """Describe any exception in one sentence.

    Parameters
    ----------
    error
        The exception. The variables of its frames, such as images or tensors, are
        released.
    title
        Name of the work that failed, as the subject of a sentence, such as
        ``"The training"``.
    """
    message = _message_of(error)
    if isinstance(error, PtsamError):
        return Failed(message)
    if isinstance(error, KeyboardInterrupt):
        return Failed(INTERRUPTED.format(title=title))
    if _is_out_of_gpu_memory(error):
        return Failed(OUT_OF_GPU_MEMORY.format(title=title))
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in message:
        return Failed(OUT_OF_MEMORY.format(title=title, reason=_shorten(message)))
    if isinstance(error, OSError):
        return Failed(FILE_ERROR.format(title=title, reason=_shorten(_file_reason(error, message))))
    clear_frames(error.__traceback__)
    kind = type(error).__name__
    reason = kind if message == kind else f"{kind}: {_shorten(message)}"
    return Failed(BUG.format(title=title, reason=reason), error)


def notify(failure: Failed) -> None:
    """Notify the user of a failure; call this in the GUI thread.

    napari's notification of a bug has a button that shows the traceback.
    """
    if failure.bug is None:
        show_warning(failure.sentence)
        return
    notification = ErrorNotification(failure.bug)
    notification.message = failure.sentence
    notification_manager.dispatch(notification)


def _message_of(error: BaseException) -> str:
    """Return the message of an exception, or its type if it has none."""
    try:
        return in_form(error).strip() or type(error).__name__
    except Exception:  # the __str__ of a library's exception may fail
        return type(error).__name__


def _file_reason(error: OSError, message: str) -> str:
    if error.strerror and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    return error.strerror or message


def _shorten(message: str) -> str:
    """Return the first line of a message, truncated if it is long."""
    line = message.splitlines()[0].rstrip(".")
    return line if len(line) <= MAX_QUOTE else line[:MAX_QUOTE] + "…"


def _is_out_of_gpu_memory(error: BaseException) -> bool:
    if "torch" not in sys.modules:
        return False
    from napari_ptsam.backbones.gpu_memory import is_out_of_memory

    return is_out_of_memory(error)
