"""The annotation scheme: the meaning of painted labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from napari_ptsam.datasets.annotated_planes import MaskReading
from napari_ptsam.errors import InputError
from napari_ptsam.io.validation import (
    as_colour,
    as_flag,
    as_integer,
    as_list,
    as_text,
    python_values,
)
from napari_ptsam.prompts.prompt import MAX_CLASSES, check_names, default_colours

BACKGROUND = "background"
UNLABELLED = -1
"""Value of pixels in masks that are not annotated."""
SHOWN = 6
"""Largest number of labels that a message lists."""


@dataclass(frozen=True)
class Scheme:
    """Classes, their colours, and whether annotation is dense or sparse.

    Attributes
    ----------
    classes
        Name of each class.
    colours
        Colour of each class as ``#RRGGBB``; defaults if empty.
    sparse
        Whether the label 0 means "not annotated", and the background has a
        label of its own. In dense annotation, 0 is background on every plane
        that is marked as done.
    background
        Label of the background in sparse annotation.

    Raises
    ------
    InputError
        If names, colours or the background's label cannot be used.
    """

    classes: tuple[str, ...] = ("object",)
    colours: tuple[str, ...] = ()
    sparse: bool = False
    background: int = 1

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
        for colour in self.colours:
            _check_colour(colour)
        if type(self.background) is not int or not 1 <= self.background <= MAX_CLASSES + 1:
            raise InputError(
                f"The background's label is a number from 1 to {MAX_CLASSES + 1}, not {self.background!r}."
            )
        if self.sparse and BACKGROUND in self.classes:
            raise InputError(
                f"A class cannot be called {BACKGROUND}, since label {self.background} is that "
                "already; choose another name."
            )

    @property
    def values(self) -> tuple[int, ...]:
        """Label of each class: 1, 2, ..., without the background's in sparse annotation."""
        numbers = range(1, len(self.classes) + 2)
        free = [n for n in numbers if not (self.sparse and n == self.background)]
        return tuple(free[: len(self.classes)])

    @property
    def instances(self) -> bool:
        """Whether every label above 0 is an object of the single class."""
        return not self.sparse and len(self.classes) == 1

    @property
    def reading(self) -> MaskReading:
        """Interpretation of the values that `mask` returns."""
        return MaskReading(self.classes, UNLABELLED if self.sparse else None, "background")

    def mask(self, labels: np.ndarray) -> np.ndarray:
        """Convert labels as painted to a mask, whose values `reading` interprets.

        Parameters
        ----------
        labels
            Labels as painted: integer, shape (y, x).

        Returns
        -------
        numpy.ndarray
            int64, shape (y, x): 0 is background, i + 1 is class number i (or, if
            `instances`, any number is an object), and -1 is not annotated.

        Raises
        ------
        InputError
            If some labels stand for no class.
        """
        if self.instances:
            return check_labels(labels).astype(np.int64)
        self._pixels_of_labels(labels)
        meaning = np.full(max(self._meanings) + 1, UNLABELLED, dtype=np.int64)
        for label, value in self._meanings.items():
            meaning[label] = value
        return meaning[labels.astype(np.intp)]

    def counts(self, labels: np.ndarray) -> dict[str, int]:
        """Count the pixels of each class, and of ``background`` if it has a label.

        Parameters
        ----------
        labels
            Labels as painted: integer, shape (y, x).

        Raises
        ------
        InputError
            If some labels stand for no class.
        """
        if self.instances:
            return {self.classes[0]: int(np.count_nonzero(check_labels(labels)))}
        pixels = self._pixels_of_labels(labels)
        return {name: int(pixels[label]) for label, name in self._names.items()}

    def is_annotated(self, labels: np.ndarray) -> bool:
        """Return whether any pixel is labelled."""
        return bool(np.any(labels))

    def to_plain(self) -> dict[str, Any]:
        """Return the scheme as a dict of JSON values."""
        plain: dict[str, Any] = python_values(asdict(self))
        return plain

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Scheme:
        """Make a scheme from the result of `to_plain`, checking every value's type.

        Raises
        ------
        InputError, KeyError, TypeError
            If a value is missing, or of the wrong type or range.
        """
        return cls(
            classes=tuple(as_text(name) for name in as_list(plain["classes"])),
            colours=tuple(as_colour(colour) for colour in as_list(plain["colours"])),
            sparse=as_flag(plain["sparse"]),
            background=as_integer(plain["background"]),
        )

    @property
    def _names(self) -> dict[int, str]:
        """Name of each label, that of the background first."""
        names = dict(zip(self.values, self.classes, strict=True))
        return {self.background: BACKGROUND, **names} if self.sparse else names

    @property
    def _meanings(self) -> dict[int, int]:
        """Value in the mask for each label."""
        values = {label: number for number, label in enumerate(self.values, start=1)}
        return values | ({0: UNLABELLED, self.background: 0} if self.sparse else {0: 0})

    def _pixels_of_labels(self, labels: np.ndarray) -> np.ndarray:
        """Count the pixels of each label up to the highest, checking that all labels are known."""
        top, highest = max(self._names), int(check_labels(labels).max(initial=0))
        if highest > top:
            raise self._unknown(highest)
        pixels = np.bincount(labels.ravel().astype(np.intp), minlength=top + 1)
        for label in np.flatnonzero(pixels[1:]) + 1:
            if int(label) not in self._names:
                raise self._unknown(int(label))
        return pixels

    def _unknown(self, label: int) -> InputError:
        known = [f"{value} ({name})" for value, name in self._names.items()]
        listed = ", ".join(known[:SHOWN]) + (", ..." if len(known) > SHOWN else "")
        return InputError(
            f"Label {label} stands for no class; paint over it with one of {listed}, "
            "or add a class for it."
        )


def _check_colour(colour: object) -> None:
    try:
        as_colour(colour)
    except InputError as error:
        raise InputError(
            f"The colour {colour!r} is not of the form #RRGGBB; choose another."
        ) from error


def check_labels(labels: np.ndarray) -> np.ndarray:
    """Check that labels are whole numbers from 0 up, and return them unchanged.

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
                f"The labels hold the number {highest}, too large for the number of an object; paint over it."
            )
    return labels
