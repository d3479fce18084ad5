"""Measurements as features of a layer whose labels begin anew on each plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.images.axes import axis_column
from napari_ptsam.widgets.shared.view import plane_in_view

if TYPE_CHECKING:
    import napari
    from napari.layers import Labels

    from napari_ptsam.images.planes import Planes
    from napari_ptsam.inference.measurements import Table


def show_features(viewer: napari.Viewer, layer: Labels, planes: Planes, features: Table) -> None:
    """Set the features of a layer, so that napari describes the object under the mouse pointer.

    napari finds the row of a label by the column ``index``. Where a label has one row for each
    plane, the rows of the plane in view have their label there, and the others a name such as
    ``z3 label 12``; this follows the sliders until the layer is removed.

    Parameters
    ----------
    viewer
        The viewer.
    layer
        The layer with the result.
    planes
        The planes that were segmented.
    features
        The table, see `napari_ptsam.inference.measurements.layer_features`.
    """
    names = features["index"]
    axes = [axis for axis in planes.leading_axes if axis_column(axis) in features]
    if names.dtype != object or not axes:
        layer.features = features
        return
    labels = features["label"]
    starts = {axis: sum(start for cut, start, _ in planes.cut if cut == axis) for axis in axes}
    at = {axis: features[axis_column(axis)] - starts[axis] for axis in axes}
    shown: list[Any] = []

    def follow(event: object = None) -> None:
        number = plane_in_view(viewer, layer, planes)
        position = None if number is None else planes.position(number)
        place = None if position is None else tuple(position[axis] for axis in axes)
        if shown == [place]:
            return
        first = not shown
        shown[:] = [place]
        index = names.copy()
        if position is not None:
            in_view = np.logical_and.reduce([at[axis] == position[axis] for axis in axes])
            index[in_view] = labels[in_view]
        table = features if first else layer.features
        if "index" in table and len(table["index"]) == len(index):  # not replaced meanwhile
            layer.features = {**{name: table[name] for name in table}, "index": index}

    def removed(event: Any) -> None:
        if event.value is layer:
            viewer.dims.events.current_step.disconnect(follow)
            viewer.layers.events.removed.disconnect(removed)

    viewer.dims.events.current_step.connect(follow)
    viewer.layers.events.removed.connect(removed)
    follow()
