"""The open images, to tick, and how each is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
from napari_ptsam.widgets.shared.layers import MOST_AXES, guess_channel_axis, image_planes
from napari_ptsam.widgets.shared.qt_helpers import button, present, row, single_shot
from napari_ptsam.widgets.shared.remedies import in_form

if TYPE_CHECKING:
    import napari

    from napari_ptsam.images.planes import Planes

AXES = "napari-ptsam axes"
"""Where a layer's metadata remembers its axes, as they were typed."""
WATCHED = ("name", "data", "scale", "units", "axis_labels")
"""Properties of a layer that are shown in the list, or part of how the layer is read."""
FEWEST, MOST = 4, 8
"""Rows that the list has room for."""


class ImagePicker(QWidget):
    """The list of images, buttons to tick all or none, and the axes of the selected one."""

    changed = Signal()
    """Another image is ticked, or one is read otherwise."""

    def __init__(self, viewer: napari.Viewer) -> None:
        super().__init__()
        self.list = LayerList(viewer)
        self.axes = QLineEdit()
        self.axes.setToolTip(
            "How the selected image is read: a letter for each axis, in their order. Y and X are "
            "those of a plane, C holds channels, all others (T, Z, …) count planes."
        )
        self.axes.setMaxLength(12)
        self.axes.editingFinished.connect(self._use_axes)
        self.all = button("All", "Tick all images.", lambda: self.list.tick_all(True))
        self.none = button("None", "Tick no image.", lambda: self.list.tick_all(False))
        self.list.changed.connect(self.changed)
        self.list.currentRowChanged.connect(self._show_axes)
        self.list.itemDoubleClicked.connect(lambda item: self.axes.setFocus())
        label = QLabel("Axes")
        label.setBuddy(self.axes)
        self.axes.setFixedWidth(self.fontMetrics().horizontalAdvance("M" * 7))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.list, 1)
        layout.addLayout(row(self.all, self.none, QLabel(), label, self.axes, stretch=2))
        self._show_axes()

    def _show_axes(self, position: int = 0) -> None:
        layer = self.list.selected()
        self.axes.setEnabled(layer is not None)
        self.axes.setText("" if layer is None else _axes_of(layer))

    def _use_axes(self) -> None:
        layer, typed = self.list.selected(), self.axes.text().strip().upper()
        if layer is None or typed == _axes_of(layer):
            return
        try:
            if not (typed.isascii() and typed.isalpha()) or "S" in typed:
                raise InputError(
                    f"The axes of {layer.name} are letters, one for each axis (for instance ZCYX), "
                    f"not {typed!r}."
                )
            image_planes(layer, axes=typed)
        except InputError as error:
            self.axes.setText(_axes_of(layer))
            show_warning(in_form(error))
            return
        layer.metadata[AXES] = typed
        self.list.fill()


class LayerList(QListWidget):
    """The open images, each with a tick and how it is read."""

    changed = Signal()

    def __init__(self, viewer: napari.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._shown: list[Image] = []
        self.setToolTip(
            "The open images and how they are read. Ticked ones are segmented. "
            "Double-click one to change its axes."
        )
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setMinimumHeight(FEWEST * self.fontMetrics().height())
        self._soon = single_shot(self, 30)
        self._soon.timeout.connect(self.fill)
        self.itemChanged.connect(lambda item: self.changed.emit())
        events = viewer.layers.events
        self._emitters = (events.inserted, events.removed, events.reordered)
        for emitter in self._emitters:
            emitter.connect(self._later)
        self.fill()

    def sizeHint(self) -> QSize:  # noqa: N802, Qt's name
        """As high as what is listed, within limits."""
        rows = min(max(self.count(), FEWEST), MOST)
        row = max(self.sizeHintForRow(0), self.fontMetrics().height())
        return QSize(super().sizeHint().width(), rows * row + 2 * self.frameWidth() + 4)

    def _later(self, event: object = None) -> None:
        self._soon.start()

    def selected(self) -> Image | None:
        """The image whose row is selected."""
        position = self.currentRow()
        return self._shown[position] if 0 <= position < len(self._shown) else None

    def ticked(self) -> list[Image]:
        """Images that are ticked and still there."""
        return [
            layer
            for position, layer in enumerate(self._shown)
            if present(self.item(position)).checkState() == Qt.CheckState.Checked
            and layer in self._viewer.layers
        ]

    def tick_all(self, ticked: bool) -> None:
        """Tick all images, or none."""
        self._tick(self._shown if ticked else [])

    def tick_first(self, selected: Any) -> None:
        """Tick the selected images, or the topmost."""
        self._tick([layer for layer in self._shown if layer in selected] or self._shown[-1:])

    def _tick(self, layers: list[Image]) -> None:
        self.blockSignals(True)
        for position, layer in enumerate(self._shown):
            wanted = any(layer is other for other in layers)
            state = Qt.CheckState.Checked if wanted else Qt.CheckState.Unchecked
            present(self.item(position)).setCheckState(state)
        self.blockSignals(False)
        present(self.viewport()).update()
        self.changed.emit()

    def fill(self) -> None:
        """List the images anew; ticks and the selection stay."""
        ticked, selected, first = self.ticked(), self.selected(), not self._shown
        self.blockSignals(True)
        self._listen(False)
        self._shown = [layer for layer in self._viewer.layers if isinstance(layer, Image)]
        self._listen(True)
        self.clear()
        for layer in self._shown:
            words, exactly = read_as(layer)
            item = QListWidgetItem(f"{layer.name} – {words}")
            item.setToolTip(exactly)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            checked = layer in ticked or (first and len(self._shown) == 1)
            item.setCheckState(Qt.CheckState.Checked if checked else Qt.CheckState.Unchecked)
            self.addItem(item)
        kept = [n for n, layer in enumerate(self._shown) if layer is selected]
        self.setCurrentRow(kept[0] if kept else min(0, len(self._shown) - 1))
        self.blockSignals(False)
        self.updateGeometry()
        self.currentRowChanged.emit(self.currentRow())
        self.changed.emit()

    def _listen(self, on: bool) -> None:
        """Watch what changes how a layer is listed and read, or stop watching it."""
        for layer in self._shown:
            for name in WATCHED:
                emitter = getattr(layer.events, name, None)  # axis labels and units are young
                if emitter is not None:
                    (emitter.connect if on else emitter.disconnect)(self._later)

    def close_list(self) -> None:
        """Let go of the viewer."""
        self._soon.stop()
        self._listen(False)
        for emitter in self._emitters:
            emitter.disconnect(self._later)


def planes_of(layer: Image) -> Planes:
    """An Image layer's planes, as its axes were typed, or else as they are labelled.

    Raises
    ------
    InputError
        If it cannot be segmented.
    """
    typed = layer.metadata.get(AXES)
    if isinstance(typed, str):
        try:
            return image_planes(layer, axes=typed)
        except InputError:  # its data were replaced by others
            pass
    axis = guess_channel_axis(layer)
    if not 2 <= layer.ndim - (axis is not None) <= MOST_AXES:
        raise InputError(
            f"The layer {layer.name} has {layer.ndim} axes; type a letter for each into the field "
            "Axes (for instance TPZYX)."
        )
    return image_planes(layer, axis)


def _axes_of(layer: Image) -> str:
    try:
        return planes_of(layer).data_axes
    except PtsamError:
        return ""


def read_as(layer: Image) -> tuple[str, str]:
    """How a layer is understood, in short and exactly."""
    try:
        planes = planes_of(layer)
    except PtsamError as error:
        return "cannot be used", in_form(error)
    sizes = dict(zip(planes.axes, planes.array_shape, strict=True))
    axes = planes.data_axes
    short = f"{axes} {' x '.join(str(sizes[axis]) for axis in axes)}" + ", RGB" * planes.rgb
    count = "1 plane" if len(planes) == 1 else f"{len(planes)} planes"
    channels = f", {planes.channels} channels" * (planes.channels > 1 and not planes.rgb)
    return short, f"{short}: {count}{channels}, {planes.dtype}"
