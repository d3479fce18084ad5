"""Link the objects of neighbouring planes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from napari_ptsam.errors import InputError
from napari_ptsam.inference.objects import NumberedObjects, classes_of
from napari_ptsam.io.declaration import Shown, declared

if TYPE_CHECKING:
    from napari_ptsam.images.planes import Planes


@declared
@dataclass(frozen=True)
class LinkSettings:
    """The settings of linking, which gives objects on neighbouring planes the same number."""

    threshold: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            title="IoU from",
            description="Smallest IoU of two objects on different planes that count as one.",
        ),
        Shown(option="link-planes", metavar="IOU", step=0.05),
    ] = 0.25
    gap: Annotated[
        int,
        Field(
            ge=0,
            le=9,
            title="Gap",
            description="Largest number of planes in between on which an object may be missing.",
        ),
        Shown(option="link-gap", metavar="N"),
    ] = 1


class Linker:
    """Renumber planes one after the other, so that an object keeps its number.

    Objects are assigned one to one such that the sum of their IoUs is largest
    (Hungarian method). They are first compared with the objects of the previous
    plane. Those that remain are compared with the planes before it. Along z the
    result is 3D objects, along time it is tracks.

    Parameters
    ----------
    settings
        Conditions for a link; the defaults if None.
    """

    def __init__(self, settings: LinkSettings | None = None) -> None:
        self.settings = settings or LinkSettings()
        self._previous: deque[np.ndarray] = deque(maxlen=self.settings.gap + 1)
        self.object_count = 0
        """Number of objects so far. The next new object gets the following number."""

    def start_stack(self) -> None:
        """Start a new stack. Its first plane is not linked, but the numbers continue."""
        self._previous.clear()

    def link(self, instances: np.ndarray) -> np.ndarray:
        """Renumber a plane.

        Parameters
        ----------
        instances
            Integers, shape (y, x); 0 is background, objects have any numbers.

        Returns
        -------
        numpy.ndarray
            uint32, shape (y, x). A linked object has the number that it has on
            the earlier planes; the others have new numbers. Classes that
            `NumberedObjects` know are kept.
        """
        present = np.unique(instances[instances > 0])
        numbers = np.zeros(len(present), dtype=np.uint32)
        position = np.zeros(int(present[-1]) + 1 if len(present) else 1, dtype=np.int64)
        position[present] = np.arange(1, len(present) + 1)
        compact = position[instances]
        taken: set[int] = set()
        for before in self._previous:
            for row, number in self._pairs(compact, before, numbers, taken):
                numbers[row] = number
                taken.add(number)
        new = numbers == 0
        numbers[new] = self.object_count + np.arange(1, new.sum() + 1)
        self.object_count += int(new.sum())
        linked = np.concatenate([[0], numbers]).astype(np.uint32)[compact]
        self._previous.appendleft(linked)
        classes = classes_of(instances)
        if classes is None:
            return linked
        by_number = np.zeros(self.object_count + 1, dtype=np.uint8)
        by_number[numbers] = classes[present]
        return NumberedObjects.of(linked, by_number)

    def _pairs(
        self, compact: np.ndarray, before: np.ndarray, numbers: np.ndarray, taken: set[int]
    ) -> list[tuple[int, int]]:
        """Return positions of objects without a number, and the numbers of their partners."""
        both = (compact > 0) & (before > 0)
        if not both.any():
            return []
        old, old_areas = np.unique(before[before > 0], return_counts=True)
        areas = np.bincount(compact.ravel(), minlength=len(numbers) + 1)[1:]
        pairs, shared = np.unique(
            np.stack([compact[both] - 1, np.searchsorted(old, before[both])]),
            axis=1,
            return_counts=True,
        )
        rows, columns = pairs
        iou = shared / (areas[rows] + old_areas[columns] - shared)
        possible = (iou >= self.settings.threshold) & (numbers[rows] == 0)
        possible &= ~np.isin(old[columns], list(taken))
        chosen = _assign(rows[possible], columns[possible], iou[possible])
        return [(row, int(old[column])) for row, column in chosen]


def check_linkable(planes: Planes) -> None:
    """Raise an `InputError` if the planes of an image are independent images."""
    if not planes.is_linkable:
        raise InputError(
            f"The axis {planes.stack_axis} of {planes.name} counts independent images, whose objects "
            "cannot be linked; call the axis Z or T if they are planes of a stack or a time series."
        )


class StackLinker:
    """Link the planes of an image along its `Planes.stack_axis`, each stack by itself.

    Parameters
    ----------
    planes
        The image.
    settings
        Conditions for a link; the defaults if None.

    Raises
    ------
    InputError
        If the planes are independent images.
    """

    def __init__(self, planes: Planes, settings: LinkSettings | None = None) -> None:
        check_linkable(planes)
        self._length = planes.stack_length
        self._linker = Linker(settings)

    def link(self, number: int, instances: np.ndarray) -> np.ndarray:
        """Renumber plane ``number``; call it in the order of the planes. See `Linker.link`."""
        if number % self._length == 0:
            self._linker.start_stack()
        return self._linker.link(instances)


def _assign(rows: np.ndarray, columns: np.ndarray, gain: np.ndarray) -> list[tuple[int, int]]:
    """Assign rows to columns one to one, such that the total gain is largest.

    A plane may have tens of thousands of objects, but each overlaps with few
    others. So each connected group of objects is solved by itself.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(rows):
        return []
    size = int(rows.max()) + 1
    total = size + int(columns.max()) + 1
    graph = coo_array((np.ones(len(rows)), (rows, columns + size)), shape=(total, total))
    groups = connected_components(graph, directed=False)[1][rows]
    order = np.argsort(groups, kind="stable")
    chosen = []
    for part in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        group_rows, row = np.unique(rows[part], return_inverse=True)
        group_columns, column = np.unique(columns[part], return_inverse=True)
        table = np.zeros((len(group_rows), len(group_columns)))
        table[row, column] = gain[part]
        for i, j in zip(*linear_sum_assignment(-table), strict=True):
            if table[i, j] > 0:
                chosen.append((int(group_rows[i]), int(group_columns[j])))
    return chosen
