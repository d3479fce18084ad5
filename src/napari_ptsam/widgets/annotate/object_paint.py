"""Paint one object into a Labels layer as one step of its history, sparing other labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.annotation.accepting import unused_labels
from napari_ptsam.widgets.shared.layers import without_proxy

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_ptsam.annotation.outlines import Outline
    from napari_ptsam.widgets.annotate.session_model import AnnotatedImage

Pixels = tuple[np.ndarray, ...]
"""Positions in a layer's data: an integer array for each axis, all of the same length."""


def plane_positions(
    image: AnnotatedImage, number: int, rows: np.ndarray, columns: np.ndarray
) -> Pixels:
    """Return the positions of pixels of a plane in the data of its annotation layer."""
    planes = image.label_planes
    leading = dict(zip(planes.leading_axes, image.index(number), strict=True))
    by_axis = {"Y": rows, "X": columns}
    return tuple(
        by_axis[axis] if axis in by_axis else np.full(len(rows), leading.get(axis, 0))
        for axis in planes.axes
    )


class ObjectPaint:
    """An object in a Labels layer, which can be replaced until anything else is edited.

    It is written only on pixels that are 0, and only pixels that it wrote and
    that still have its label are erased. However often it is replaced, it is
    one step of the layer's undo history.

    Parameters
    ----------
    labels
        The Labels layer. If its data are replaced, nothing more is written.
    """

    def __init__(self, labels: Labels) -> None:
        self._labels, self._data = labels, labels.data
        self._pixels: Pixels | None = None
        self._label = 0
        self._step: list[Any] | None = None
        self._writing = self._finished = False

    @property
    def written(self) -> bool:
        """Whether the object was written."""
        return self._pixels is not None

    @property
    def label(self) -> int:
        """The label that was written; 0 before that."""
        return self._label

    @property
    def current(self) -> bool:
        """Whether the layer still has the same data."""
        return self._labels.data is self._data

    @property
    def intact(self) -> bool:
        """Whether the object is unchanged and was the last edit of the layer."""
        return (
            self._pixels is not None
            and not self._finished
            and self.current
            and bool((np.asarray(self._data[self._pixels]) == self._label).all())
            and _last_step_is(self._labels, self._step) is not False
        )

    def covers(self, pixel: tuple[int, ...]) -> bool:
        """Return whether the object includes a pixel, given by its position on each axis."""
        if self._pixels is None:
            return False
        same = [at == along for at, along in zip(pixel, self._pixels, strict=True)]
        return bool(np.logical_and.reduce(same).any())

    def write(self, pixels: Pixels, label: int) -> int:
        """Write the object, replacing what was written before.

        Parameters
        ----------
        pixels
            Positions of the object; those with other labels are left out.
        label
            Label of the object, not 0.

        Returns
        -------
        int
            Number of pixels written. If it is 0, nothing has changed.
        """
        free = np.asarray(self._data[pixels]) == 0
        if self._pixels is not None:
            shape = self._data.shape
            written = np.ravel_multi_index(self._pixels, shape)
            free |= np.isin(np.ravel_multi_index(pixels, shape), written)
        if not free.any():
            return 0
        self._writing = True
        try:
            self._erase()
            pixels = tuple(along[free] for along in pixels)
            self._step = _write(self._labels, pixels, label)
        finally:
            self._writing = False
        if self._pixels is None:
            self._watch(True)
        self._pixels, self._label = pixels, label
        return int(free.sum())

    def _erase(self) -> None:
        if self._pixels is None:
            return
        if _last_step_is(self._labels, self._step):
            self._labels.undo()
            return
        # If the history of this napari cannot be read, erasing is one more step of it.
        unchanged = np.asarray(self._data[self._pixels]) == self._label
        _write(self._labels, tuple(along[unchanged] for along in self._pixels), 0)

    def finish(self) -> None:
        """Stop replacing the object."""
        if self._pixels is not None and not self._finished:
            self._watch(False)
        self._finished = True

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
        """Detect undo and redo, for which napari emits no other event."""
        if not self._writing and not self.intact:
            self.finish()


@dataclass(eq=False)
class ClickedObject:
    """An object on a plane, with the clicks that selected it.

    Attributes
    ----------
    image, number
        Image and number of the plane.
    label
        Label of the object's class; None if the object gets a label of its own.
    paint
        The painted part of the object.
    labels
        The annotation layer.
    points, positive
        Positions of the clicks, (y, x) in pixels of the plane, and whether each
        is on the object.
    box
        Box around the object: (y0, x0, y1, x1); None if there is none.
    outline
        The latest outline; None before the first one.
    turn
        How many other outlines of the same clicks were shown instead.
    """

    image: AnnotatedImage
    number: int
    label: int | None
    paint: ObjectPaint
    labels: Labels
    points: list[tuple[float, float]] = field(default_factory=list)
    positive: list[bool] = field(default_factory=list)
    box: tuple[float, float, float, float] | None = None
    outline: Outline | None = None
    turn: int = 0


def _write(labels: Labels, pixels: Pixels, label: int) -> list[Any] | None:
    """Write a label, and return the new step of the history, if there is one."""
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
    """Return whether this is the last step of the history; None if that is unknown.

    napari has no public access to the history. Only this function and
    `stroke_under_way` use private attributes; without them they return None
    and False.
    """
    history = getattr(without_proxy(labels), "_undo_history", None)
    if history is None:
        return None
    if step is None or not history or len(history[-1]) != len(step):
        return False
    # A step that was undone and redone is another list of the same atoms.
    return all(atom is other for atom, other in zip(step, history[-1], strict=True))


def stroke_under_way(labels: Labels) -> bool:
    """Return whether the user is painting a stroke; a change now would become part of it."""
    return bool(getattr(without_proxy(labels), "_block_history", False))


def obstacle(labels: Labels | None, sentences: Mapping[str, str]) -> str:
    """Return why an annotation layer cannot be painted on; an empty text if it can.

    Parameters
    ----------
    labels
        The layer; None if there is none.
    sentences
        What to say if it is ``missing``, ``locked`` or ``hidden``, with a place for its ``name``.
    """
    if labels is None:
        return sentences["missing"]
    if not labels.editable:
        return sentences["locked"].format(name=labels.name)
    return "" if labels.visible else sentences["hidden"].format(name=labels.name)


def unused_label(plane: np.ndarray, reserved: int = 0) -> int:
    """Return a label that no pixel of a plane has, see `unused_labels`."""
    return int(unused_labels(plane, 1, reserved)[0])
