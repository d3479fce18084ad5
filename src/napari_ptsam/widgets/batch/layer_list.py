"""The list of open images, where the user ticks images and sets how each is read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from napari.layers import Image
from napari.utils.notifications import show_warning
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_ptsam.errors import InputError, PtsamError
from napari_ptsam.widgets.shared.combined_channels import combine_channels
from napari_ptsam.widgets.shared.layers import (
    TooManyAxesError,
    image_layers,
    image_planes,
    planes_by_labels,
    without_channels,
)
from napari_ptsam.widgets.shared.qt_helpers import button, not_none, plain_tip, row, single_shot
from napari_ptsam.widgets.shared.remedies import in_form

if TYPE_CHECKING:
    import napari
    from napari.layers import Layer

    from napari_ptsam.images.planes import Planes

AXES = "napari-ptsam axes"
"""Key in a layer's metadata for the axes that the user has typed."""
WATCHED_PROPERTIES = ("name", "data", "scale", "units", "axis_labels")
"""Properties of a layer that the list shows, or that change how the layer is read."""
MIN_ROWS, MAX_ROWS = 4, 8
"""Number of rows that are visible without scrolling."""


class ImagePicker(QWidget):
    """The list of images, buttons to tick all or none, and the axes of the selected image.

    Parameters
    ----------
    viewer
        The viewer with the images.
    """

    changed = Signal()
    """An image was ticked or unticked, or is read in another way."""

    def __init__(self, viewer: napari.Viewer) -> None:
        super().__init__()
        self.list = LayerList(viewer)
        self.axes = QLineEdit()
        self.axes.setToolTip(
            "How the selected image is read: one letter per axis, in order. Y and X are the axes of "
            "a plane, C is the channel axis, I counts independent images, and all others (T, Z, …) "
            "count planes."
        )
        self.axes.setMaxLength(12)
        self.axes.editingFinished.connect(self._apply_axes)
        self.all = button("All", "Tick all images.", lambda: self.list.tick_all(True))
        self.none = button("None", "Untick all images.", lambda: self.list.tick_all(False))
        self.combine = button(
            "Combine channels",
            "Make one image of the two or three ticked images, which are its channels.",
            self.list.combine,
        )
        self.list.changed.connect(self.changed)
        self.list.currentRowChanged.connect(self._show_axes)
        self.list.itemDoubleClicked.connect(lambda item: self.axes.setFocus())
        label = QLabel("Axes")
        label.setBuddy(self.axes)
        self.axes.setFixedWidth(self.fontMetrics().horizontalAdvance("M" * 7))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.list, 1)
        layout.addLayout(
            row(self.all, self.none, self.combine, QLabel(), label, self.axes, stretch=3)
        )
        self._show_axes()

    def _show_axes(self, index: int = 0) -> None:
        layer = self.list.selected()
        self.axes.setEnabled(layer is not None)
        self.axes.setText("" if layer is None else _axes_of(layer))

    def _apply_axes(self) -> None:
        layer, axes = self.list.selected(), self.axes.text().strip().upper()
        if layer is None or axes == _axes_of(layer):
            return
        try:
            if not (axes.isascii() and axes.isalpha()) or "S" in axes:
                raise InputError(
                    f"The axes of {layer.name} are letters, one for each axis (for instance ZCYX), "
                    f"not {axes!r}."
                )
            image_planes(layer, axes=axes)
        except InputError as error:
            self.axes.setText(_axes_of(layer))
            show_warning(in_form(error))
            return
        layer.metadata[AXES] = axes
        self.list.refresh()


class LayerList(QListWidget):
    """The open images, each with a check box and a summary of how it is read.

    Parameters
    ----------
    viewer
        The viewer with the images.
    """

    changed = Signal()
    """An image was ticked or unticked, or the list was refreshed."""

    def __init__(self, viewer: napari.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._layers: list[Image] = []
        self.setToolTip(
            "The open images and how they are read. Ticked images are segmented. "
            "Double-click an image to change its axes."
        )
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setMinimumHeight(MIN_ROWS * self.fontMetrics().height())
        self._delayed_refresh = single_shot(self, 30)
        self._delayed_refresh.timeout.connect(self.refresh)
        self.itemChanged.connect(lambda item: self.changed.emit())
        events = viewer.layers.events
        self._emitters = (events.inserted, events.removed, events.reordered)
        for emitter in self._emitters:
            emitter.connect(self._refresh_soon)
        self.refresh()

    def sizeHint(self) -> QSize:  # noqa: N802, Qt's name
        """Return a size as high as the images in the list, within limits."""
        rows = min(max(self.count(), MIN_ROWS), MAX_ROWS)
        row_height = max(self.sizeHintForRow(0), self.fontMetrics().height())
        return QSize(super().sizeHint().width(), rows * row_height + 2 * self.frameWidth() + 4)

    def _refresh_soon(self, event: object = None) -> None:
        self._delayed_refresh.start()

    def selected(self) -> Image | None:
        """Return the selected image."""
        index = self.currentRow()
        return self._layers[index] if 0 <= index < len(self._layers) else None

    def ticked(self) -> list[Image]:
        """Return the ticked images that are still in the viewer."""
        return [
            layer
            for index, layer in enumerate(self._layers)
            if not_none(self.item(index)).checkState() == Qt.CheckState.Checked
            and layer in self._viewer.layers
        ]

    def combine(self) -> None:
        """Make one image of the ticked ones, which are its channels, and tick it instead."""
        try:
            combined = combine_channels(self._viewer, self.ticked())
        except InputError as error:
            show_warning(in_form(error))
            return
        self.refresh()
        self._tick([combined])

    def tick_all(self, ticked: bool) -> None:
        """Tick all images, or none. Channels that are combined belong to one image."""
        self._tick(without_channels(self._layers) if ticked else [])

    def tick_first(self, selection: Iterable[Layer]) -> None:
        """Tick the images among the selected layers, or else the topmost image."""
        selected = list(selection)
        self._tick([layer for layer in self._layers if layer in selected] or self._layers[-1:])

    def _tick(self, layers: list[Image]) -> None:
        self.blockSignals(True)
        for index, layer in enumerate(self._layers):
            ticked = any(layer is other for other in layers)
            state = Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked
            not_none(self.item(index)).setCheckState(state)
        self.blockSignals(False)
        not_none(self.viewport()).update()
        self.changed.emit()

    def refresh(self) -> None:
        """List the images of the viewer; ticks and the selection are kept."""
        ticked, selected, was_empty = self.ticked(), self.selected(), not self._layers
        self.blockSignals(True)
        self._watch_layers(False)
        self._layers = image_layers(self._viewer)
        self._watch_layers(True)
        self.clear()
        for layer in self._layers:
            summary, details = describe_layer(layer)
            item = QListWidgetItem(f"{layer.name} – {summary}")
            item.setToolTip(plain_tip(details))
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            is_only_image = was_empty and len(self._layers) == 1
            state = (
                Qt.CheckState.Checked
                if layer in ticked or is_only_image
                else Qt.CheckState.Unchecked
            )
            item.setCheckState(state)
            self.addItem(item)
        indices = [index for index, layer in enumerate(self._layers) if layer is selected]
        self.setCurrentRow(indices[0] if indices else min(0, len(self._layers) - 1))
        self.blockSignals(False)
        self.updateGeometry()
        self.currentRowChanged.emit(self.currentRow())
        self.changed.emit()

    def _watch_layers(self, watch: bool) -> None:
        """Connect to the properties that the list shows, or disconnect from them."""
        for layer in self._layers:
            for name in WATCHED_PROPERTIES:
                emitter = getattr(layer.events, name, None)  # older versions of napari lack some
                if emitter is not None:
                    (emitter.connect if watch else emitter.disconnect)(self._refresh_soon)

    def disconnect_viewer(self) -> None:
        """Disconnect from the viewer and its layers."""
        self._delayed_refresh.stop()
        self._watch_layers(False)
        for emitter in self._emitters:
            emitter.disconnect(self._refresh_soon)


def planes_of(layer: Image) -> Planes:
    """Return the planes of an Image layer, by the axes that were typed or by its axis labels.

    Raises
    ------
    InputError
        If the layer cannot be segmented.
    """
    typed_axes = layer.metadata.get(AXES)
    if isinstance(typed_axes, str):
        try:
            return image_planes(layer, axes=typed_axes)
        except InputError:  # the data were replaced since the axes were typed
            pass
    try:
        return planes_by_labels(layer)
    except TooManyAxesError as error:
        raise InputError(
            f"The layer {layer.name} has {layer.ndim} axes; type a letter for each into the field "
            "Axes (for instance TPZYX)."
        ) from error


def _axes_of(layer: Image) -> str:
    try:
        return planes_of(layer).data_axes
    except PtsamError:
        return ""


def describe_layer(layer: Image) -> tuple[str, str]:
    """Return a summary and a detailed description of how a layer is read."""
    try:
        planes = planes_of(layer)
    except PtsamError as error:
        return "cannot be used", in_form(error)
    sizes = dict(zip(planes.axes, planes.array_shape, strict=True))
    axes = planes.data_axes
    summary = f"{axes} {' x '.join(str(sizes[axis]) for axis in axes)}" + ", RGB" * planes.rgb
    count = "1 plane" if len(planes) == 1 else f"{len(planes)} planes"
    channels = f", {planes.channels} channels" * (planes.channels > 1 and not planes.rgb)
    return summary, f"{summary}: {count}{channels}, {planes.dtype}"
