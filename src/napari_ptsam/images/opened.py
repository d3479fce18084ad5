"""What a reader of image files returns, and what is said if it fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_ptsam.images.planes import PixelSize, TimeStep


def unreadable(path: object) -> str:
    """Return what is wrong with a file that a reader fails on for no known reason."""
    return f"{path} cannot be read: the file is truncated, damaged or of another kind."


@dataclass(frozen=True)
class OpenedImage:
    """An image as its file describes it.

    Attributes
    ----------
    array
        An array with ``shape``, ``dtype`` and indexing, which reads pixels when
        they are accessed.
    axes
        One letter per axis, or None if the file does not state them.
    pixel_size
        The pixel size, or None if the file does not state it.
    channel_names
        The names, or an empty tuple if the file does not state them.
    time_step
        The time between frames, or None if the file does not state it.
    notes
        Sentences for the user, such as which of several images was taken.
    """

    array: Any
    axes: str | None = None
    pixel_size: PixelSize | None = None
    channel_names: tuple[str, ...] = ()
    time_step: TimeStep | None = None
    notes: tuple[str, ...] = ()
