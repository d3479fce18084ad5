"""Which planes are annotated, and what is known of each."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field, replace

WANTED = 16
"""Annotated planes at which the method is at home; fewer work, more help a little."""

Key = tuple[Hashable, int]
"""An image, and the number of a plane in it."""


@dataclass(frozen=True)
class PlaneRecord:
    """One plane that somebody has painted on or marked.

    Attributes
    ----------
    image
        Which image; whatever tells images apart.
    number
        Of the plane in it.
    counts
        Pixels a class.
    done
        Whether everything on it is painted (dense annotation).
    held_out
        Whether it measures instead of training; None: not decided yet.
    dice
        Of the last prompt on it.
    """

    image: Hashable
    number: int
    counts: dict[str, int] = field(default_factory=dict)
    done: bool = False
    held_out: bool | None = None
    dice: float | None = None

    @property
    def key(self) -> Key:
        """What the records finds it by."""
        return self.image, self.number

    @property
    def painted(self) -> bool:
        """Whether any pixel is labelled."""
        return any(self.counts.values())


class PlaneRecords:
    """All entries, in the order of their images and planes."""

    def __init__(self) -> None:
        self._entries: dict[Key, PlaneRecord] = {}
        self._images: list[Hashable] = []

    def all(self) -> list[PlaneRecord]:
        """Entries of all images, in use or not."""
        return list(self._entries.values())

    def __iter__(self) -> Iterator[PlaneRecord]:
        order = {image: position for position, image in enumerate(self._images)}
        return iter(
            sorted(
                (e for e in self._entries.values() if e.image in order),
                key=lambda e: (order[e.image], e.number),
            )
        )

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def get(self, image: Hashable, number: int) -> PlaneRecord:
        """The entry of a plane; a blank one if nothing is known of it."""
        return self._entries.get((image, number), PlaneRecord(image, number))

    def use(self, images: list[Hashable]) -> None:
        """The images in use, in order; entries of others are kept, but not shown."""
        self._images = list(images)

    def count(self, image: Hashable, number: int, counts: dict[str, int]) -> None:
        """Note how many pixels of each class a plane has."""
        self._put(replace(self.get(image, number), counts=dict(counts)))

    def mark(self, image: Hashable, number: int, done: bool) -> None:
        """Mark a plane as done, or as not done."""
        self._put(replace(self.get(image, number), done=done))

    def hold_out(self, image: Hashable, number: int, held_out: bool | None) -> None:
        """Let a plane measure (True), train (False), or leave it open (None)."""
        self._put(replace(self.get(image, number), held_out=held_out))

    def rate(self, image: Hashable, number: int, dice: float | None) -> None:
        """Note the Dice of the last prompt on a plane."""
        self._put(replace(self.get(image, number), dice=dice))

    def put(self, entry: PlaneRecord) -> None:
        """Take an entry as it is, for instance from a session folder."""
        self._put(entry)

    def forget(self, image: Hashable) -> None:
        """Drop all entries of an image."""
        self._entries = {key: e for key, e in self._entries.items() if key[0] != image}

    def counting(self, sparse: bool) -> list[PlaneRecord]:
        """Entries that a training takes: sparse all painted ones, dense those done."""
        return [e for e in self if (e.painted if sparse else e.done)]

    def _put(self, entry: PlaneRecord) -> None:
        if entry.painted or entry.done:
            self._entries[entry.key] = entry
        else:
            self._entries.pop(entry.key, None)
