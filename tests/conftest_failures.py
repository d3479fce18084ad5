"""Exceptions that workers may raise, and the messages that the user gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from napari.utils.notifications import ErrorNotification, notification_manager

from napari_ptsam.errors import InputError


@dataclass(frozen=True)
class Fault:
    """A kind of exception.

    Attributes
    ----------
    make
        Returns a new exception.
    expected
        Part of the sentence that the user gets.
    bug
        Whether napari shows a traceback.
    """

    make: Callable[[], BaseException]
    expected: str
    bug: bool = False

    def __call__(self, *_: Any, **__: Any) -> Any:
        """Raise the exception; accepts the arguments of any function that it replaces."""
        raise self.make()


FAULTS = {
    "RuntimeError": Fault(lambda: RuntimeError("mat1 and mat2"), "(RuntimeError: mat1 and", True),
    "KeyError": Fault(lambda: KeyError("tile"), "bug in napari-ptsam (KeyError: 'tile')", True),
    "GeneratorExit": Fault(GeneratorExit, "(GeneratorExit)", True),
    "SystemExit": Fault(lambda: SystemExit(3), "(SystemExit: 3)", True),
    "StopIteration": Fault(StopIteration, "bug in napari-ptsam (RuntimeError", True),
    "KeyboardInterrupt": Fault(KeyboardInterrupt, "was interrupted"),
    "MemoryError": Fault(MemoryError, "more memory than there is (MemoryError)"),
    "CPU memory": Fault(
        lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory"), "than there is (Default"
    ),
    "GPU memory": Fault(lambda: RuntimeError("MPS backend out of memory"), "than the GPU has left"),
    "OSError": Fault(
        lambda: OSError(28, "No space left on device", "/scan"), "No space left on device: /scan"
    ),
    "PtsamError": Fault(lambda: InputError("The plane is blank."), "The plane is blank."),
}
"""Faults by name, for parametrised tests."""


def tracebacks() -> list[str]:
    """Return the messages of the notifications with a traceback."""
    errors = [r for r in notification_manager.records if isinstance(r, ErrorNotification)]
    assert all("conftest_failures" in record.as_text() for record in errors)
    return [record.message for record in errors]
