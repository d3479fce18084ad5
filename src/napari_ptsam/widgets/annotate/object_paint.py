"""The pixels of one object in a Labels layer: one step of its history, and nobody else's paint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.errors import InputError

if TYPE_CHECKING:
    from napari.layers import Labels

Pixels = tuple[np.ndarray, ...]
"""Positions in a layer's data: an array of integers for each axis, all of one length."""


class ObjectPaint:
    """Writes an object into a Labels layer, and may replace it as long as nothing else was edited.

    It writes on pixels that hold 0, and takes back only pixels that it wrote
    and that still hold its label. One object is one step of the layer's
    undo history, however often it is replaced.

    Parameters
    ----------
    labels
        The layer. If its data are replaced later, nothing is written any more.
    """

    def __init__(self, labels: Labels) -> None:
        self._labels, self._data = labels, labels.data
        self._pixels: Pixels | None = None
        self._label = 0
        self._step: list[Any] | None = None
        self._writing = self._over = False

    @property
    def written(self) -> bool:
        """Whether there was anything to write yet."""
        return self._pixels is not None

    @property
    def label(self) -> int:
        """The label that was written; 0 before."""
        return self._label

    @property
    def current(self) -> bool:
        """Whether the layer still has the data that this was made for."""
        return self._labels.data is self._data

    @property
    def intact(self) -> bool:
        """Whether the object is as it was written, and the last thing that was edited."""
        return (
            self._pixels is not None
            and not self._over
            and self.current
            and bool((np.asarray(self._data[self._pixels]) == self._label).all())
            and _last_step_is(self._labels, self._step) is not False
        )

    def covers(self, pixel: tuple[int, ...]) -> bool:
        """Whether a pixel, a position on each axis of the data, was written."""
        if self._pixels is None:
            return False
        same = [at == along for at, along in zip(pixel, self._pixels, strict=True)]
        return bool(np.logical_and.reduce(same).any())

    def write(self, pixels: Pixels, label: int) -> int:
        """Write the object in place of what was written before.

        Parameters
        ----------
        pixels
            Where the object lies; what is annotated already is left out.
        label
            Not 0.

        Returns
        -------
        int
            How many pixels were written. If there is none, all stays as it was.
        """
        free = np.asarray(self._data[pixels]) == 0
        if self._pixels is not None:
            shape = self._data.shape
            own = np.ravel_multi_index(self._pixels, shape)
            free |= np.isin(np.ravel_multi_index(pixels, shape), own)
        if not free.any():
            return 0
        self._writing = True
        try:
            self._take_back()
            pixels = tuple(along[free] for along in pixels)
            self._step = _write(self._labels, pixels, label)
        finally:
            self._writing = False
        if self._pixels is None:
            self._watch(True)
        self._pixels, self._label = pixels, label
        return int(free.sum())

    def _take_back(self) -> None:
        if self._pixels is None:
            return
        if _last_step_is(self._labels, self._step):
            self._labels.undo()
            return
        # A napari whose history cannot be looked into: a step of its own does no harm.
        own = np.asarray(self._data[self._pixels]) == self._label
        _write(self._labels, tuple(along[own] for along in self._pixels), 0)

    def finish(self) -> None:
        """Leave the object as it is for good."""
        if self._pixels is not None and not self._over:
            self._watch(False)
        self._over = True

    def _watch(self, on: bool) -> None:
        events = self._labels.events
        for emitter, handler in (
            (events.paint, self._edited), (events.data, self._edited), (events.set_data, self._redrawn),
        ):  # fmt: skip
            (emitter.connect if on else emitter.disconnect)(handler)

    def _edited(self, event: Any = None) -> None:
        if not self._writing:
            self.finish()

    def _redrawn(self, event: Any = None) -> None:
        """Undo and redo are told by nothing but this."""
        if not self._writing and not self.intact:
            self.finish()


def _write(labels: Labels, pixels: Pixels, label: int) -> list[Any] | None:
    """Write a label, and return the step of the history that it became, if it became one."""
    steps: list[Any] = []

    def note(event: Any) -> None:
        steps.append(event.value)

    labels.events.paint.connect(note)
    try:
        labels.data_setitem(pixels, label)
    finally:
        labels.events.paint.disconnect(note)
    return steps[-1] if steps else None


def _last_step_is(labels: Labels, step: list[Any] | None) -> bool | None:
    """Whether undoing would take back this step; None where napari does not let one know.

    napari has no public way to tell. This and `stroke_under_way` are the only
    places that look at what it keeps for itself.
    """
    history = getattr(labels, "_undo_history", None)
    if history is None:
        return None
    if step is None or not history or len(history[-1]) != len(step):
        return False
    # Undone and redone, a step is another list of the same atoms.
    return all(own is other for own, other in zip(step, history[-1], strict=True))


def stroke_under_way(labels: Labels) -> bool:
    """Whether what is written now would become part of a stroke that the user is painting."""
    return bool(getattr(labels, "_block_history", False))


def unused_label(plane: np.ndarray) -> int:
    """Return a label that no pixel of a plane has: one more than the highest, if it can hold that.

    Parameters
    ----------
    plane
        Labels, of an integer type, shape (y, x).

    Raises
    ------
    InputError
        If all labels of its type are in use.
    """
    most = int(np.iinfo(plane.dtype).max)
    highest = max(int(plane.max()), 0)
    if highest < most:
        return highest + 1
    used = np.unique(plane)
    unused = np.setdiff1d(np.arange(1, min(len(used) + 1, most) + 1), used)
    if not len(unused):
        raise InputError(
            f"All {most} labels that this annotation layer can hold are in use on this plane; "
            "convert it to uint16 (right click on the layer, Convert data type)."
        )
    return int(unused[0])
