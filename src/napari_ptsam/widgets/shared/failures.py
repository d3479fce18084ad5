"""What a failure in a worker becomes: one sentence, and for a bug its traceback in napari."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from traceback import clear_frames, walk_tb

from napari.utils.notifications import ErrorNotification, notification_manager, show_warning

from napari_ptsam.errors import PtsamError
from napari_ptsam.widgets.shared.remedies import in_form

INTERRUPTED = "{title} was interrupted. Start it again if you still want it."
MEMORY = (
    "{title} needs more memory than there is ({text}). Close other programs or layers, or take "
    "smaller images or tiles."
)
GPU_MEMORY = (
    "{title} needs more memory than the GPU has left. Close what else uses the GPU, take smaller "
    "tiles, or choose the CPU as the device."
)
FILES = "{title} failed: {text}. Check the disk or the network, then try again."
BUG = (
    "{title} stopped at a fault of napari-ptsam ({text}). You can go on working; please report the "
    "fault together with its traceback."
)
LONGEST = 200
"""Characters of an exception's text that a sentence quotes, at most."""


@dataclass(frozen=True, eq=False)
class Failed:
    """Work has failed.

    Attributes
    ----------
    sentence
        What the user is told.
    bug
        The exception, where it is a fault of the program rather than something
        that the user, the disk or the memory has caused.
    """

    sentence: str
    bug: BaseException | None = None

    @property
    def where(self) -> tuple[str, str, int] | None:
        """Kind of the bug, file and line, by which it is recognised; None for other failures."""
        if self.bug is None:
            return None
        file, line = "", 0
        for frame, number in walk_tb(self.bug.__traceback__):
            file, line = frame.f_code.co_filename, number
        return type(self.bug).__name__, file, line


def failure_of(error: BaseException, title: str) -> Failed:
    """Put any exception into a sentence.

    Parameters
    ----------
    error
        What was raised. What its frames hold, such as images or tensors, is let go.
    title
        What failed, as the subject of a sentence, such as ``"The training"``.
    """
    text = _text_of(error)
    if isinstance(error, PtsamError):
        return Failed(text)
    if isinstance(error, KeyboardInterrupt):
        return Failed(INTERRUPTED.format(title=title))
    if _is_full_gpu(error):
        return Failed(GPU_MEMORY.format(title=title))
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in text:
        return Failed(MEMORY.format(title=title, text=_shortened(text)))
    if isinstance(error, OSError):
        return Failed(FILES.format(title=title, text=_shortened(_of_files(error, text))))
    clear_frames(error.__traceback__)
    kind = type(error).__name__
    named = kind if text == kind else f"{kind}: {_shortened(text)}"
    return Failed(BUG.format(title=title, text=named), error)


def tell(failed: Failed) -> None:
    """Notify the user; call this in the GUI's thread.

    napari's notification of a bug has a button for its traceback.
    """
    if failed.bug is None:
        show_warning(failed.sentence)
        return
    notification = ErrorNotification(failed.bug)
    notification.message = failed.sentence
    notification_manager.dispatch(notification)


def _text_of(error: BaseException) -> str:
    """What an exception says; its type where it says nothing."""
    try:
        return in_form(error).strip() or type(error).__name__
    except Exception:  # a library's exception may fail at this, too
        return type(error).__name__


def _of_files(error: OSError, text: str) -> str:
    if error.strerror and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    return error.strerror or text


def _shortened(text: str) -> str:
    """The first line, which may be long."""
    line = text.splitlines()[0].rstrip(".")
    return line if len(line) <= LONGEST else line[:LONGEST] + "…"


def _is_full_gpu(error: BaseException) -> bool:
    if "torch" not in sys.modules:
        return False
    from napari_ptsam.backbones.gpu_memory import is_out_of_memory

    return is_out_of_memory(error)
