"""Follow the mouse on the canvas, and the mode of the active layer that decides what a click does."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from qtpy.QtCore import QObject, Signal

if TYPE_CHECKING:
    import napari

    from napari_ptsam.widgets.annotate.session_model import AnnotatedImage

DRAG = 4
"""Largest movement of the mouse during a click, in pixels of the screen."""
PAN = "pan_zoom"
"""Mode of a layer in which napari does nothing on a click."""
VIEW_3D = (
    "Clicks need the 2D view: switch back with the 2D/3D button below the layer list (Ctrl+Y)."
)
NO_PLANE = (
    "No plane of the chosen images is in view; go to one with the sliders, with y and x as the axes "
    "on the screen."
)


class Band(Protocol):
    """Something that is drawn over the canvas while the mouse is dragged."""

    def stretch(self, event: Any) -> None:
        """Extend it to the position of the mouse."""

    def hide(self) -> None:
        """Remove it."""


def follow(viewer: napari.Viewer, event: Any, band: Band | None) -> Generator[None, None, bool]:
    """Follow the mouse from pressing its button to releasing it.

    A callback of napari uses it with ``yield from``. While there is a band, the
    view does not move with the mouse.

    Returns
    -------
    bool
        Whether the mouse was dragged.
    """
    start = np.array(event.pos)
    camera = getattr(viewer, "scene", viewer).camera  # of the viewer itself before napari 0.9
    panned = camera.mouse_pan
    if band is not None:
        camera.mouse_pan = False
    try:
        yield
        while event.type == "mouse_move":
            if band is not None:
                band.stretch(event)
            yield
    finally:
        if band is not None:
            band.hide()
            camera.mouse_pan = panned
    return bool(np.abs(np.array(event.pos) - start).max() > DRAG)


def in_plane(image: AnnotatedImage, position: Any) -> tuple[float, float]:
    """Return a position in world coordinates as (y, x) in pixels of the image's planes."""
    y, x = np.asarray(image.layer.world_to_data(position))[-2:]
    return float(y), float(x)


def pixel_at(image: AnnotatedImage, at: tuple[float, float]) -> tuple[int, int] | None:
    """Return the pixel at (y, x) of a plane; None if it lies beside the plane."""
    rows, columns = image.planes.shape
    pixel = round(at[0]), round(at[1])
    return pixel if 0 <= pixel[0] < rows and 0 <= pixel[1] < columns else None


def no_plane_message(viewer: napari.Viewer) -> str:
    """Say why no plane of an image is in view."""
    return VIEW_3D if viewer.dims.ndisplay == 3 else NO_PLANE


class ActiveMode(QObject):
    """Watch the mode of the active layer, which is that of napari's tools."""

    layer_chosen = Signal(str)
    """Another layer is active. The mode of the former one is given; empty without one."""
    mode_chosen = Signal()
    """The mode of the active layer has changed."""
    label_chosen = Signal()
    """The selected label of the active Labels layer has changed."""

    def __init__(self, viewer: napari.Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._layer: Any = None
        viewer.layers.selection.events.active.connect(self._chosen)
        self._use(viewer.layers.selection.active)

    @property
    def mode(self) -> str:
        """Mode of the active layer."""
        return str(getattr(self._viewer.layers.selection.active, "mode", PAN))

    def close(self) -> None:
        """Stop watching."""
        self._viewer.layers.selection.events.active.disconnect(self._chosen)
        self._use(None)

    def _use(self, layer: Any) -> None:
        for before, connect in ((self._layer, False), (layer, True)):
            for name, handler in (("mode", self._changed), ("selected_label", self._relabelled)):
                emitter = getattr(getattr(before, "events", None), name, None)
                if emitter is not None:
                    (emitter.connect if connect else emitter.disconnect)(handler)
        self._layer = layer

    def _chosen(self, event: object = None) -> None:
        before = str(getattr(self._layer, "mode", ""))
        self._use(self._viewer.layers.selection.active)
        self.layer_chosen.emit(before)

    def _changed(self, event: object = None) -> None:
        self.mode_chosen.emit()

    def _relabelled(self, event: object = None) -> None:
        self.label_chosen.emit()
