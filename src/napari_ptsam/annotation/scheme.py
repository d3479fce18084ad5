"""What the labels that a person paints mean."""

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
"""Value in masks of pixels that do not count."""
SHOWN = 6
"""Labels that a message lists at most."""


@dataclass(frozen=True)
class Scheme:
    """How a person annotates: classes, and what 0 means.

    Attributes
    ----------
    classes
        A name for each class.
    colours
        ``#RRGGBB`` for each class; chosen where none are given.
    sparse
        Dense: 0 is background on a plane that is marked as done. Sparse: 0 is
        not labelled, and one label is the background.
    background
        Label of the background; of sparse annotation only.

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
        """Label of each class: 1, 2, ...; sparse annotation leaves the background's out."""
        numbers = range(1, len(self.classes) + 2)
        free = [n for n in numbers if not (self.sparse and n == self.background)]
        return tuple(free[: len(self.classes)])

    @property
    def instances(self) -> bool:
        """Whether every label above 0 is an object of the only class."""
        return not self.sparse and len(self.classes) == 1

    @property
    def reading(self) -> MaskReading:
        """How what `mask` makes is to be understood."""
        return MaskReading(self.classes, UNLABELLED if self.sparse else None, "background")

    def mask(self, labels: np.ndarray) -> np.ndarray:
        """Labels as painted to a mask that `reading` understands.

        Parameters
        ----------
        labels
            Integer, shape (y, x).

        Returns
        -------
        numpy.ndarray
            int64, shape (y, x): 0 is background, i + 1 class number i (or, with
            `instances`, any number an object), -1 not labelled.

        Raises
        ------
        InputError
            If there are labels of no class.
        """
        if self.instances:
            return check_labels(labels).astype(np.int64)
        self._numbers_of(labels)
        meaning = np.full(max(self._meanings) + 1, UNLABELLED, dtype=np.int64)
        for label, value in self._meanings.items():
            meaning[label] = value
        return meaning[labels.astype(np.intp)]

    def counts(self, labels: np.ndarray) -> dict[str, int]:
        """Pixels of each class, and of ``background`` where it is labelled.

        Parameters
        ----------
        labels
            Integer, shape (y, x).

        Raises
        ------
        InputError
            If there are labels of no class.
        """
        if self.instances:
            return {self.classes[0]: int(np.count_nonzero(check_labels(labels)))}
        found = self._numbers_of(labels)
        return {name: int(found[label]) for label, name in self._names.items()}

    def is_annotated(self, labels: np.ndarray) -> bool:
        """Whether any pixel is labelled."""
        return bool(np.any(labels))

    def to_plain(self) -> dict[str, Any]:
        """The scheme as a dict of numbers, strings and lists."""
        plain: dict[str, Any] = python_values(asdict(self))
        return plain

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Scheme:
        """The scheme that `to_plain` took apart; checks every value's type.

        Raises
        ------
        InputError, KeyError, TypeError
            If something is missing or makes no sense.
        """
        return cls(
            classes=tuple(as_text(name) for name in as_list(plain["classes"])),
            colours=tuple(as_colour(colour) for colour in as_list(plain["colours"])),
            sparse=as_flag(plain["sparse"]),
            background=as_integer(plain["background"]),
        )

    @property
    def _names(self) -> dict[int, str]:
        """Name of each label, the background's first."""
        own = dict(zip(self.values, self.classes, strict=True))
        return {self.background: BACKGROUND, **own} if self.sparse else own

    @property
    def _meanings(self) -> dict[int, int]:
        """Value in the mask of each label."""
        own = {label: number for number, label in enumerate(self.values, start=1)}
        return own | ({0: UNLABELLED, self.background: 0} if self.sparse else {0: 0})

    def _numbers_of(self, labels: np.ndarray) -> np.ndarray:
        """Pixels of each label up to the highest one; all labels are known."""
        top, highest = max(self._names), int(check_labels(labels).max(initial=0))
        if highest > top:
            raise self._unknown(highest)
        found = np.bincount(labels.ravel().astype(np.intp), minlength=top + 1)
        for label in np.flatnonzero(found[1:]) + 1:
            if int(label) not in self._names:
                raise self._unknown(int(label))
        return found

    def _unknown(self, label: int) -> InputError:
        known = [f"{own} ({name})" for own, name in self._names.items()]
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
    """Labels as they are, if they are whole numbers from 0 up.

    Raises
    ------
    InputError
        If they are not.
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
                f"The labels hold the number {highest}, beyond all numbers of objects; paint over it."
            )
    return labels
