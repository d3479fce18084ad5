"""Add and remove regions with the mouse, and show them in a Shapes layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.utils.notifications import show_info
from qtpy.QtCore import QObject

from napari_ptsam.annotation.regions import SMALLEST, Region, region_at, region_of
from napari_ptsam.widgets.shared.layers import layer_axes, placement

if TYPE_CHECKING:
    from napari.layers import Shapes

    from napari_ptsam.widgets.annotate.session_model import AnnotatedImage, SessionModel

COLOUR = "#FFD400"
EDGES = 80
"""Shorter side of a region as a multiple of the width of its lines."""
TOO_SMALL = f"A region has at least {SMALLEST} pixels on each side; drag a larger box on the image."
NO_REGION = "There is no region here; drag a box to make one."


class RegionLayers(QObject):
    """Keep the regions of the planes, and show those of each image in a layer of its own.

    The records of the planes hold the regions; the layers only show them.
    """

    def __init__(self, session_model: SessionModel) -> None:
        super().__init__(session_model)
        self._session_model = session_model
        self._layers: dict[int, tuple[Shapes, list[np.ndarray]]] = {}
        session_model.planes_changed.connect(self.refresh)

    def add(
        self,
        image: AnnotatedImage,
        number: int,
        begin: tuple[float, float],
        end: tuple[float, float],
    ) -> None:
        """Add a region between two corners (y, x) of a plane, in pixels."""
        region = region_of(begin, end, image.planes.shape)
        if region is None:
            show_info(TOO_SMALL)
            return
        self._set(image, number, (*self._regions(image, number), region))

    def remove(self, image: AnnotatedImage, number: int, at: tuple[float, float]) -> None:
        """Remove the region at (y, x) of a plane, in pixels."""
        regions = self._regions(image, number)
        found = region_at(regions, at)
        if found is None:
            show_info(NO_REGION)
            return
        self._set(image, number, tuple(region for region in regions if region != found))

    def _regions(self, image: AnnotatedImage, number: int) -> tuple[Region, ...]:
        return self._session_model.records.get(image.id, number).regions

    def _set(self, image: AnnotatedImage, number: int, regions: tuple[Region, ...]) -> None:
        self._session_model.records.limit(image.id, number, regions)
        self._session_model.touch()
        self.refresh()

    def refresh(self) -> None:
        """Show the regions as they are now."""
        viewer = self._session_model.viewer
        for image in self._session_model.images:
            channels = image.planes.channels if "C" in layer_axes(image.layer, image.planes) else 1
            corners = [
                self._corners(image, record.number, channel, region)
                for record in self._session_model.records
                if record.image == image.id
                for region in record.regions
                for channel in range(channels)
            ]
            layer, shown = self._layers.get(image.id, (None, []))
            if layer is not None and layer not in viewer.layers:
                layer, shown = None, []
            if len(corners) == len(shown) and all(map(np.array_equal, corners, shown)):
                continue
            self._remove(layer)
            self._layers.pop(image.id, None)
            if corners:
                self._layers[image.id] = self._added(image, corners), corners

    def _added(self, image: AnnotatedImage, corners: list[np.ndarray]) -> Shapes:
        viewer = self._session_model.viewer
        active = viewer.layers.selection.active
        layer = viewer.add_shapes(
            corners, shape_type="rectangle", name=f"{image.layer.name} regions",
            face_color="transparent", edge_color=COLOUR, **placement(image.layer),
            edge_width=[max(min(np.ptp(c, axis=0)[-2:]) / EDGES, 1) for c in corners],
        )  # fmt: skip
        layer.editable = False
        viewer.layers.selection.active = active  # the layer that the user paints on
        return layer

    @staticmethod
    def _corners(image: AnnotatedImage, number: int, channel: int, region: Region) -> np.ndarray:
        """Return the corners of a region in pixels of the image's layer: shape (4, axes)."""
        planes, (y0, x0, y1, x1) = image.planes, region
        position = planes.position(number)
        axes = layer_axes(image.layer, planes)
        corners = np.zeros((4, len(axes)))
        for axis, letter in enumerate(axes):
            if letter == "Y":
                corners[:, axis] = np.array([y0, y0, y1, y1]) - 0.5
            elif letter == "X":
                corners[:, axis] = np.array([x0, x1, x1, x0]) - 0.5
            else:
                corners[:, axis] = position.get(letter, channel)
        return corners

    def _remove(self, layer: Shapes | None) -> None:
        if layer is not None and layer in self._session_model.viewer.layers:
            self._session_model.viewer.layers.remove(layer)

    def close(self) -> None:
        """Remove the layers."""
        for layer, _ in self._layers.values():
            self._remove(layer)
        self._layers = {}
