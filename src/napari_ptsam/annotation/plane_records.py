"""Records of the planes that are annotated: how far each one is, and what it is used for."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from napari_ptsam.annotation.regions import Region

WANTED = 16
"""Number of annotated planes that the method is designed for. Fewer work too; more help a little."""

Key = tuple[Hashable, int]
"""An image, and the number of a plane in it."""


@dataclass(frozen=True, kw_only=True)
class PlaneStatus:
    """The decisions of the user and of the last training about a plane.

    It is the part that a plane's record in the window (`PlaneRecord`) and its
    entry in a session folder (`~napari_ptsam.annotation.session.SessionPlane`)
    have in common. They differ in how they identify the plane: by an image that
    is open now, or by the image's place in the folder.

    Attributes
    ----------
    done
        Whether everything on the plane is annotated, as dense annotation needs it.
    held_out
        Whether the plane is used for validation instead of training; None if
        that is not decided yet.
    dice
        Dice of the last prompt on the plane; None if it was not computed.
    regions
        Boxes in which everything is annotated, while nothing outside of them is; empty if the
        whole plane is meant, as in sessions of earlier versions.
    """

    done: bool = False
    held_out: bool | None = None
    dice: float | None = None
    regions: tuple[Region, ...] = ()

    @property
    def status(self) -> dict[str, Any]:
        """The values as keyword arguments."""
        return {name: getattr(self, name) for name in ("done", "held_out", "dice", "regions")}


@dataclass(frozen=True)
class PlaneRecord(PlaneStatus):
    """A plane of an open image that has been painted on or marked as done.

    Attributes
    ----------
    image
        Identifier of the image; any hashable value.
    number
        Number of the plane in the image.
    counts
        Number of labelled pixels of each class.
    objects
        Number of objects; None if labels stand for classes.
    """

    image: Hashable
    number: int
    counts: dict[str, int] = field(default_factory=dict)
    objects: int | None = None

    @property
    def key(self) -> Key:
        """Image and number, which identify the plane."""
        return self.image, self.number

    @property
    def painted(self) -> bool:
        """Whether any pixel is labelled."""
        return any(self.counts.values())


class PlaneRecords:
    """The records of all annotated planes.

    Iterating over them gives the planes of the images in use, in the order of
    the images and, within an image, of the planes.
    """

    def __init__(self) -> None:
        self._records: dict[Key, PlaneRecord] = {}
        self._images: list[Hashable] = []

    def all(self) -> list[PlaneRecord]:
        """Return the records of all images, whether they are in use or not."""
        return list(self._records.values())

    def __iter__(self) -> Iterator[PlaneRecord]:
        order = {image: position for position, image in enumerate(self._images)}
        return iter(
            sorted(
                (record for record in self._records.values() if record.image in order),
                key=lambda record: (order[record.image], record.number),
            )
        )

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def get(self, image: Hashable, number: int) -> PlaneRecord:
        """Return the record of a plane, which is a blank one if there is none yet."""
        return self._records.get((image, number), PlaneRecord(image, number))

    def use(self, images: list[Hashable]) -> None:
        """Set the images in use and their order. Records of other images are kept."""
        self._images = list(images)

    def count(
        self, image: Hashable, number: int, counts: dict[str, int], objects: int | None = None
    ) -> None:
        """Set the numbers of labelled pixels of each class, and of objects, on a plane."""
        self.put(replace(self.get(image, number), counts=dict(counts), objects=objects))

    def mark(self, image: Hashable, number: int, done: bool) -> None:
        """Mark a plane as done, or as not done."""
        self.put(replace(self.get(image, number), done=done))

    def hold_out(self, image: Hashable, number: int, held_out: bool | None) -> None:
        """Use a plane for validation (True) or for training (False), or leave it open (None)."""
        self.put(replace(self.get(image, number), held_out=held_out))

    def limit(self, image: Hashable, number: int, regions: tuple[Region, ...]) -> None:
        """Set the regions in which a plane is annotated; without any, the whole plane is."""
        self.put(replace(self.get(image, number), regions=regions))

    def rate(self, image: Hashable, number: int, dice: float | None) -> None:
        """Set the Dice of the last prompt on a plane."""
        self.put(replace(self.get(image, number), dice=dice))

    def forget(self, image: Hashable) -> None:
        """Remove all records of an image."""
        self._records = {key: r for key, r in self._records.items() if key[0] != image}

    def counting(self, sparse: bool) -> list[PlaneRecord]:
        """Return the planes to train on: the painted ones if sparse, else those that are done."""
        return [record for record in self if (record.painted if sparse else record.done)]

    def put(self, record: PlaneRecord) -> None:
        """Add or replace a record. One of a plane that is not annotated in any way is removed."""
        if record.painted or record.done or record.regions:
            self._records[record.key] = record
        else:
            self._records.pop(record.key, None)
