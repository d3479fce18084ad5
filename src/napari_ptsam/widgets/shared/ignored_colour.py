"""A colormap that shows ignored pixels in grey, whatever the other labels look like."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.utils.colormaps import CyclicLabelColormap

GREY = (0.62, 0.62, 0.62, 1.0)
"""Colour of ignored pixels: red, green, blue, alpha."""


class IgnoringColormap(CyclicLabelColormap):  # type: ignore[misc]
    """Colours in a cycle, except for one label.

    napari has no public way to give one label a colour of its own without its
    `DirectLabelColormap`, which blocks the window while it compiles code. If a
    version of napari does not call the method below, that label is shown in a
    colour of the cycle.

    Attributes
    ----------
    ignored
        The label that is shown in grey.
    """

    ignored: int = 0

    def _map_without_cache(self, values: np.ndarray) -> np.ndarray:
        mapped: np.ndarray = super()._map_without_cache(values)
        mapped[values == self.ignored] = GREY
        return mapped


def with_grey(colormap: CyclicLabelColormap, ignored: int) -> Any:
    """Return a colormap that shows a label in grey; the same one if the label is 0."""
    if not ignored:
        return colormap
    return IgnoringColormap(colors=colormap.colors, name=colormap.name, ignored=ignored)
