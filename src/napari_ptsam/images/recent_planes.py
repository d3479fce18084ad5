"""Planes that were read last stay in memory, so that they can be used twice."""

from __future__ import annotations

from threading import Lock
from typing import Any

import numpy as np
from cachetools import LRUCache

from napari_ptsam.images.planes import Planes

KEPT = 2
"""Number of planes that are kept: the one that is segmented, and the next one."""


class RecentPlanes(Planes):
    """The planes of an image, of which the last ones are not read again; for any thread.

    Parameters
    ----------
    planes
        The image.
    """

    def __init__(self, planes: Planes) -> None:
        self.__dict__.update(planes.__dict__)
        self._recent: LRUCache[int, np.ndarray] = LRUCache(KEPT)
        self._lock = Lock()

    def __getitem__(self, index: Any) -> Any:
        """Return plane ``index``; see `Planes`."""
        if isinstance(index, slice):
            return super().__getitem__(index)
        number = int(index) % len(self) if -len(self) <= int(index) < len(self) else int(index)
        with self._lock:
            plane = self._recent.get(number)
        if plane is None:
            plane = super().__getitem__(number)
            with self._lock:
                self._recent[number] = plane
        return plane
