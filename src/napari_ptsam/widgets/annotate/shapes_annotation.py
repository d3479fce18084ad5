"""Use a Shapes layer as annotation: its shapes are converted to labels as they are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_warning
from qtpy.QtCore import QObject

from napari_ptsam.annotation.drawn_shapes import DrawnShape, labels_of_shapes
from napari_ptsam.errors import InputError
from napari_ptsam.widgets.annotate.object_paint import stroke_under_way
from napari_ptsam.widgets.shared.labels_layers import add_annotation_layer
from napari_ptsam.widgets.shared.layers import layer_axes
from napari_ptsam.widgets.shared.qt_helpers import single_shot
from napari_ptsam.widgets.shared.remedies import in_form

if TYPE_CHECKING:
    from napari.layers import Labels, Shapes

    from napari_ptsam.widgets.annotate.session_model import AnnotatedImage, SessionModel

LATER = 300
"""Milliseconds without a change of the shapes until they are converted."""


@dataclass(eq=False)
class _Conversion:
    """A Shapes layer, the annotation layer that follows it, and the labels written there."""

    image: AnnotatedImage
    shapes: Shapes
    labels: Labels
    written: np.ndarray
    label: int | None


class ShapesAnnotation(QObject):
    """Convert Shapes layers to annotation layers, which follow every change of the shapes.

    Only pixels that are 0 are written, and only pixels that were written and still have their
    label are erased, so that whatever else is painted in the annotation layer stays.
    """

    def __init__(self, session_model: SessionModel) -> None:
        super().__init__(session_model)
        self._session_model = session_model
        self._conversions: list[_Conversion] = []
        self._soon = single_shot(self, LATER)
        self._soon.timeout.connect(self._convert)

    def annotate(self, image: AnnotatedImage, shapes: Shapes) -> None:
        """Annotate an image with the shapes of a layer, in a new annotation layer."""
        model = self._session_model
        # With several classes, all shapes have the one that is selected now.
        chosen = 1 if image.labels is None else max(1, int(image.labels.selected_label))
        label = None if model.scheme.instances else chosen
        try:
            drawn = _drawn(image, shapes, label)
        except InputError as error:
            show_warning(f"{shapes.name}: {in_form(error)}")
            return
        labels = add_annotation_layer(
            model.viewer, image.layer, image.planes, model.scheme, drawn.copy()
        )
        labels.name = f"{shapes.name} as labels"
        written = drawn.reshape(labels.data.shape)
        model.attach(image, labels)
        if image.labels is labels:
            self._conversions.append(_Conversion(image, shapes, labels, written, label))
            shapes.events.set_data.connect(self._changed)

    def _changed(self, event: Any = None) -> None:
        self._soon.start()

    def _convert(self) -> None:
        """Bring the annotation layers up to date."""
        for conversion in list(self._conversions):
            image, labels = conversion.image, conversion.labels
            if (
                image.labels is not labels
                or conversion.shapes not in self._session_model.viewer.layers
            ):
                self._forget(conversion)
            elif stroke_under_way(labels):
                self._soon.start()
            else:
                self._update(conversion)

    def _update(self, conversion: _Conversion) -> None:
        labels, written = conversion.labels, conversion.written
        try:
            drawn = _drawn(conversion.image, conversion.shapes, conversion.label)
        except InputError as error:
            show_warning(f"{conversion.shapes.name}: {in_form(error)}")
            return
        drawn = drawn.reshape(written.shape)
        pixels = np.nonzero(drawn != written)
        free = np.asarray(labels.data)[pixels] == written[pixels]
        pixels = tuple(along[free] for along in pixels)
        conversion.written = written.copy()
        conversion.written[pixels] = drawn[pixels]
        if len(pixels[0]):
            labels.data_setitem(pixels, drawn[pixels])

    def _forget(self, conversion: _Conversion) -> None:
        self._conversions.remove(conversion)
        if all(other.shapes is not conversion.shapes for other in self._conversions):
            conversion.shapes.events.set_data.disconnect(self._changed)

    def close(self) -> None:
        """Stop following the shapes."""
        self._soon.stop()
        for conversion in list(self._conversions):
            self._forget(conversion)


def _drawn(image: AnnotatedImage, shapes: Shapes, label: int | None) -> np.ndarray:
    """Return the labels of a Shapes layer: shape of the image's leading axes, then y and x."""
    axes, planes = layer_axes(image.layer, image.planes), image.planes
    if shapes.ndim != len(axes):
        raise InputError(
            f"the layer has {shapes.ndim} axes, but {planes.name} has {len(axes)}; draw in a Shapes layer "
            "that was added while the image was open."
        )
    order = [axes.index(axis) for axis in (*planes.leading_axes, "Y", "X")]
    drawn = []
    for kind, corners, width in zip(shapes.shape_type, shapes.data, shapes.edge_width, strict=True):
        world = np.array([shapes.data_to_world(corner) for corner in corners])
        there = np.array([image.layer.world_to_data(position) for position in world])
        drawn.append(DrawnShape(kind, there[:, order], float(width)))
    return labels_of_shapes(drawn, (*planes.leading, *planes.shape), label)
