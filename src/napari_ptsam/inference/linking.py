"""Objects of neighbouring planes that belong together."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

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
    """Renumbers planes one after the other, so that an object keeps its number.

    Objects are assigned one to one so that their IoU is largest in all
    (Hungarian method); first to those of the plane before, then, what is left,
    to those that were last seen before that. Along z the result is 3D objects,
    along time it is tracks.
    """

    def __init__(self, settings: LinkSettings | None = None) -> None:
        self.settings = settings or LinkSettings()
        self._seen: deque[np.ndarray] = deque(maxlen=self.settings.gap + 1)
        self.found = 0
        """Objects so far; the next new one has the number after that."""

    def start_afresh(self) -> None:
        """The next plane follows on none: a new stack. Numbers go on."""
        self._seen.clear()

    def link(self, instances: np.ndarray) -> np.ndarray:
        """Renumber a plane.

        Parameters
        ----------
        instances
            Shape (y, x); 0 is background, objects are numbered in any way.

        Returns
        -------
        numpy.ndarray
            uint32, shape (y, x); numbers of the planes before where objects go
            on, new ones from `found` + 1 on where they begin.
        """
        own = np.unique(instances[instances > 0])
        numbers = np.zeros(len(own), dtype=np.uint32)
        position = np.zeros(int(own[-1]) + 1 if len(own) else 1, dtype=np.int64)
        position[own] = np.arange(1, len(own) + 1)
        compact = position[instances]
        taken: set[int] = set()
        for before in self._seen:
            for row, number in self._pairs(compact, before, numbers, taken):
                numbers[row] = number
                taken.add(number)
        new = numbers == 0
        numbers[new] = self.found + np.arange(1, new.sum() + 1)
        self.found += int(new.sum())
        linked = np.concatenate([[0], numbers]).astype(np.uint32)[compact]
        self._seen.appendleft(linked)
        return linked

    def _pairs(
        self, compact: np.ndarray, before: np.ndarray, numbers: np.ndarray, taken: set[int]
    ) -> list[tuple[int, int]]:
        """Positions of objects without a number, each with that of its partner on a plane before."""
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
        enough = (iou >= self.settings.threshold) & (numbers[rows] == 0)
        enough &= ~np.isin(old[columns], list(taken))
        chosen = _assign(rows[enough], columns[enough], iou[enough])
        return [(row, int(old[column])) for row, column in chosen]


class StackLinker:
    """A `Linker` for an image: along its last leading axis, each stack by itself; numbers go on.

    Parameters
    ----------
    planes
        The image.
    settings
        When objects on two planes are one.
    """

    def __init__(self, planes: Planes, settings: LinkSettings | None = None) -> None:
        self._length = planes.leading[-1] if planes.leading else 1
        self._linker = Linker(settings)

    def link(self, number: int, instances: np.ndarray) -> np.ndarray:
        """Renumber plane ``number``, which follows on the one before; see `Linker.link`."""
        if number % self._length == 0:
            self._linker.start_afresh()
        return self._linker.link(instances)


def _assign(rows: np.ndarray, columns: np.ndarray, gain: np.ndarray) -> list[tuple[int, int]]:
    """One to one, so that the gain is largest in all.

    Objects overlap with few others, so that each group of those that do is
    solved by itself: a plane may have tens of thousands of objects.
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
        own_rows, row = np.unique(rows[part], return_inverse=True)
        own_columns, column = np.unique(columns[part], return_inverse=True)
        table = np.zeros((len(own_rows), len(own_columns)))
        table[row, column] = gain[part]
        for i, j in zip(*linear_sum_assignment(-table), strict=True):
            if table[i, j] > 0:
                chosen.append((int(own_rows[i]), int(own_columns[j])))
    return chosen
