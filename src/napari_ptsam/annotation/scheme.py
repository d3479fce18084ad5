"""The meaning of painted labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from napari_ptsam.datasets.mask_reading import MaskReading
from napari_ptsam.errors import InputError
from napari_ptsam.io.validation import python_values, read_values
from napari_ptsam.prompts.prompt import MAX_CLASSES, check_colours, check_names, default_colours

BACKGROUND = "background"
UNLABELLED = -1
"""Value of pixels that are not annotated in masks."""
IGNORED = 60_000
"""Label for pixels that are neither object nor background, once a scheme uses it. It lies above the
labels that annotations reach, and leaves room for napari's *new label* in 16 bits."""
NEWER = ("ignored", "regions")
"""Fields of schemes and planes that sessions of earlier versions lack."""
IGNORED_NAME = "ignored"
"""Name of these pixels in counts and in the layer."""
SHOWN = 6
"""Number of labels that a message lists at most."""


@dataclass(frozen=True)
class Scheme:
    """A way to annotate: the classes, and the meaning of 0.

    Attributes
    ----------
    classes
        Name of each class.
    colours
        ``#RRGGBB`` for each class; by default from a palette.
    sparse
        Whether 0 means "not annotated" and the background has a label of its own. In dense
        annotation, 0 is the background of planes that are marked as done.
    background
        Label of the background in sparse annotation.
    ignored
        Label of pixels that are neither object nor background, such as unsure or cut-off
        objects; 0 if the scheme has no such label, as in sessions of earlier versions.

    Raises
    ------
    InputError
        If names, colours or the label of the background cannot be used.
    """

    classes: tuple[str, ...] = ("object",)
    colours: tuple[str, ...] = ()
    sparse: bool = False
    background: int = 1
    ignored: int = 0

    def __post_init__(self) -> None:
        count = len(self.classes)
        if not 1 <= count <= MAX_CLASSES:
            raise InputError(f"Name 1 to {MAX_CLASSES} classes, not {count}.")
        check_names(self.classes)
        if not self.colours:
            object.__setattr__(self, "colours", default_colours(count))
        if len(self.colours) != count:
            raise InputError(
                f"There are {count} classes but {len(self.colours)} colours; give one for each."
            )
        check_colours(self.colours)
        if type(self.background) is not int or not 1 <= self.background <= MAX_CLASSES + 1:
            raise InputError(
                f"The background's label is a number from 1 to {MAX_CLASSES + 1}, not {self.background!r}."
            )
        if self.ignored not in (0, IGNORED):
            raise InputError(
                f"The label of ignored pixels is {IGNORED}, or 0 without any, not {self.ignored!r}."
            )
        if self.sparse and BACKGROUND in self.classes:
            raise InputError(
                f"A class cannot be called {BACKGROUND}, since label {self.background} is that "
                "already; choose another name."
            )

    @property
    def values(self) -> tuple[int, ...]:
        """Label of each class: 1, 2, ... without the label of the background in sparse annotation."""
        numbers = range(1, len(self.classes) + 2)
        free = [n for n in numbers if not (self.sparse and n == self.background)]
        return tuple(free[: len(self.classes)])

    @property
    def instances(self) -> bool:
        """Whether every label above 0 is an object of the single class."""
        return not self.sparse and len(self.classes) == 1

    @property
    def reading(self) -> MaskReading:
        """The meaning of the masks that `mask` makes."""
        unlabelled = UNLABELLED if self.sparse or self.ignored else None
        return MaskReading(
            self.classes, unlabelled, "background", background=0, instances=len(self.classes) == 1
        )

    def mask(self, labels: np.ndarray) -> np.ndarray:
        """Convert painted labels to a mask.

        Parameters
        ----------
        labels
            Labels as painted: integer, shape (y, x).

        Returns
        -------
        numpy.ndarray
            int64, shape (y, x): 0 is background, i + 1 is class i, -1 is not annotated or
            ignored; with `instances`, every number above 0 is an object.

        Raises
        ------
        InputError
            If a label has no class.
        """
        painted = self.without_ignored(check_labels(labels))
        if self.instances:
            mask = painted.astype(np.int64)
        else:
            self._pixels_of_labels(painted)
            meaning = np.full(max(self._meanings) + 1, UNLABELLED, dtype=np.int64)
            for label, value in self._meanings.items():
                meaning[label] = value
            mask = meaning[painted.astype(np.intp)]
        if self.ignored:
            mask[labels == self.ignored] = UNLABELLED
        return mask

    def without_ignored(self, labels: np.ndarray) -> np.ndarray:
        """Return labels with 0 in place of the label of ignored pixels.

        Parameters
        ----------
        labels
            Labels as painted: integer, any shape. They are returned as they are if nothing in
            them is ignored.
        """
        if not self.ignored or not (labels == self.ignored).any():
            return labels
        return np.where(labels == self.ignored, 0, labels).astype(labels.dtype)

    def counts(self, labels: np.ndarray) -> dict[str, int]:
        """Return the number of pixels of each class, and of ``background`` if it has a label.

        Pixels that are ignored are counted as ``ignored``, if there are any.

        Parameters
        ----------
        labels
            Labels as painted: integer, shape (y, x).

        Raises
        ------
        InputError
            If a label has no class.
        """
        painted = self.without_ignored(check_labels(labels))
        ignored = int(np.count_nonzero(labels == self.ignored)) if self.ignored else 0
        extra = {IGNORED_NAME: ignored} if ignored else {}
        if self.instances:
            return {self.classes[0]: int(np.count_nonzero(painted))} | extra
        pixels = self._pixels_of_labels(painted)
        return {name: int(pixels[label]) for label, name in self._names.items()} | extra

    def object_count(self, labels: np.ndarray) -> int | None:
        """Return the number of objects on a plane; None if labels stand for classes.

        Parameters
        ----------
        labels
            Labels as painted: integer, shape (y, x).
        """
        if not self.instances:
            return None
        painted = self.without_ignored(check_labels(labels))
        if painted.dtype.itemsize <= 2:  # sorting a large plane takes seconds
            return int(np.count_nonzero(np.bincount(painted.ravel())[1:]))
        return len(np.unique(painted[painted != 0]))

    def is_annotated(self, labels: np.ndarray) -> bool:
        """Return whether any pixel has a label, be it that of ignored pixels."""
        return bool(np.any(labels))

    def to_plain(self) -> dict[str, Any]:
        """Return the scheme as a dict of numbers, strings and lists."""
        plain: dict[str, Any] = python_values(asdict(self))
        return plain

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Scheme:
        """Return the scheme that `to_plain` converted to plain values.

        Raises
        ------
        InputError
            If a value is missing, has another type, or cannot be used.
        """
        return read_values(cls, plain, optional=NEWER)

    @property
    def _names(self) -> dict[int, str]:
        """Name of each label, that of the background first."""
        names = dict(zip(self.values, self.classes, strict=True))
        return {self.background: BACKGROUND, **names} if self.sparse else names

    @property
    def _meanings(self) -> dict[int, int]:
        """Value of each label in the mask."""
        meanings = {label: number for number, label in enumerate(self.values, start=1)}
        return meanings | ({0: UNLABELLED, self.background: 0} if self.sparse else {0: 0})

    def _pixels_of_labels(self, labels: np.ndarray) -> np.ndarray:
        """Return the number of pixels of each label, after a check that all labels have a class."""
        top, highest = max(self._names), int(check_labels(labels).max(initial=0))
        if highest > top:
            raise self._unknown(highest)
        pixels = np.bincount(labels.ravel().astype(np.intp), minlength=top + 1)
        for label in np.flatnonzero(pixels[1:]) + 1:
            if int(label) not in self._names:
                raise self._unknown(int(label))
        return pixels

    def _unknown(self, label: int) -> InputError:
        known = [f"{number} ({name})" for number, name in self._names.items()]
        listed = ", ".join(known[:SHOWN]) + (", ..." if len(known) > SHOWN else "")
        return InputError(
            f"Label {label} stands for no class; paint over it with one of {listed}, "
            "or add a class for it."
        )


def check_labels(labels: np.ndarray) -> np.ndarray:
    """Return labels unchanged, after a check that they are whole numbers from 0 up.

    Raises
    ------
    InputError
        If they are not, or too large.
    """
    if labels.dtype.kind not in "bui":
        raise InputError(f"Labels are whole numbers, not {labels.dtype}; use a Labels layer.")
    if labels.size and labels.dtype.kind != "b":
        lowest, highest = int(labels.min()), int(labels.max())
        if lowest < 0:
            raise InputError(
                f"The labels hold the negative number {lowest}; erase it, or paint over it."
            )
        if highest >= 2**63:
            raise InputError(
                f"The labels hold the number {highest}, which is too large; paint over it."
            )
    return labels
