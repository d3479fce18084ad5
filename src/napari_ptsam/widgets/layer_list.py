"""The open images, to tick."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QAbstractItemView, QListWidget, QListWidgetItem

from napari_ptsam.errors import InputError, PtsamError
from napari_ptsam.widgets.layers import MOST_AXES, guess_channel_axis, image_planes, in_words

if TYPE_CHECKING:
    import napari

    from napari_ptsam.images.planes import Planes


class LayerList(QListWidget):
    """The open images, each with a tick and how it is read."""

    def __init__(self, viewer: napari.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._shown: list[Image] = []
        self.setToolTip("The open images. Ticked ones are segmented, each into a layer of its own.")
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setMinimumHeight(4 * self.fontMetrics().height())
        self._soon = QTimer(self, singleShot=True, interval=30)
        self._soon.timeout.connect(self.fill)
        events = viewer.layers.events
        self._emitters = (events.inserted, events.removed, events.reordered)
        for emitter in self._emitters:
            emitter.connect(self._later)
        self.fill()

    def _later(self, event: object = None) -> None:
        self._soon.start()

    def ticked(self) -> list[Image]:
        """Images that are ticked and still there."""
        return [
            layer
            for position, layer in enumerate(self._shown)
            if self.item(position).checkState() == Qt.CheckState.Checked
            and layer in self._viewer.layers
        ]

    def tick_first(self, selected: Any) -> None:
        """Tick the selected images, or the topmost."""
        first = [layer for layer in self._shown if layer in selected] or self._shown[-1:]
        for position, layer in enumerate(self._shown):
            if layer in first:
                self.item(position).setCheckState(Qt.CheckState.Checked)

    def fill(self) -> None:
        """List the images anew; ticks stay."""
        ticked, first = self.ticked(), not self._shown
        self._shown = [layer for layer in self._viewer.layers if isinstance(layer, Image)]
        self.clear()
        for layer in self._shown:
            words, exactly = _read_as(layer)
            item = QListWidgetItem(f"{layer.name} – {words}")
            item.setToolTip(exactly)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            checked = layer in ticked or (first and len(self._shown) == 1)
            item.setCheckState(Qt.CheckState.Checked if checked else Qt.CheckState.Unchecked)
            self.addItem(item)

    def close_list(self) -> None:
        """Let go of the viewer."""
        self._soon.stop()
        for emitter in self._emitters:
            emitter.disconnect(self._later)


def planes_of(layer: Image) -> Planes:
    """An Image layer's planes; its axis labels tell which axis holds channels.

    Raises
    ------
    InputError
        If it cannot be segmented.
    """
    axis = guess_channel_axis(layer)
    if axis is None and layer.ndim == MOST_AXES + 1:
        raise InputError(
            f"The layer {layer.name} has {layer.ndim} axes; label the one that holds channels "
            "“channel” (layer.axis_labels)."
        )
    return image_planes(layer, axis)


def _read_as(layer: Image) -> tuple[str, str]:
    """How a layer is understood, in short and exactly."""
    try:
        planes = planes_of(layer)
    except PtsamError as error:
        return "cannot be used", str(error)
    return in_words(planes)
