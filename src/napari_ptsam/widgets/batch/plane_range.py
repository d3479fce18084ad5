"""The part of the form that chooses which planes of the ticked images are segmented."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QLabel, QSpinBox, QVBoxLayout, QWidget

from napari_ptsam.errors import InputError
from napari_ptsam.images.axes import INDEPENDENT
from napari_ptsam.widgets.shared.qt_helpers import row
from napari_ptsam.widgets.shared.view import plane_in_view

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

    from napari_ptsam.images.planes import Planes
    from napari_ptsam.widgets.batch.task import Part


class PlaneRange(QWidget):
    """All planes, a range along the last axis that counts several planes, or the plane in view."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.which = QComboBox()
        self.which.setToolTip(
            "A range counts from 0, like the slider, along z (or along time if there is no z). "
            "Choose the plane in view to try a prompt."
        )
        for label, value in (
            ("All planes", "all"), ("From … to …", "range"), ("Only the plane in view", "view"),
        ):  # fmt: skip
            self.which.addItem(label, value)
        self.first, self.last = QSpinBox(), QSpinBox()
        self.first.setToolTip("The first plane to segment, counted from 0 like the slider.")
        self.last.setToolTip("The last plane to segment.")
        self._last_changed_by_user = False
        self._first_label = QLabel("from")
        self._range = QWidget()
        range_row = row(self._first_label, self.first, QLabel("to"), self.last)
        range_row.addStretch(1)
        self._range.setLayout(range_row)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row(QLabel("Planes"), self.which, stretch=1))
        layout.addWidget(self._range)
        self.which.currentIndexChanged.connect(self._show_range)
        self.first.valueChanged.connect(self.last.setMinimum)
        self.last.valueChanged.connect(self._on_last_changed)
        self._show_range()

    def _show_range(self) -> None:
        self._range.setVisible(self.which.currentData() == "range")
        self.changed.emit()

    def _on_last_changed(self) -> None:
        self._last_changed_by_user = True

    def fit(self, images: list[Planes]) -> None:
        """Limit the range to the planes of the ticked images."""
        stacks = [planes for planes in images if planes.stack_axis]
        most_planes = max([planes.stack_length for planes in stacks], default=1)
        axes = {planes.stack_axis for planes in stacks}
        axis = axes.pop() if len(axes) == 1 else ""
        text = f"{INDEPENDENT[axis]}s from" if axis in INDEPENDENT else f"along {axis} from"
        self._first_label.setText(text if axis else "from")
        self.first.setMaximum(most_planes - 1)
        self.last.blockSignals(True)
        self.last.setMaximum(most_planes - 1)
        if not self._last_changed_by_user:
            self.last.setValue(most_planes - 1)
        self.last.blockSignals(False)

    def parts(self, viewer: napari.Viewer, layer: Image, planes: Planes) -> tuple[Part, ...]:
        """Return the chosen ranges of an image's planes; an empty tuple means all planes.

        Raises
        ------
        InputError
            If the image has no such planes, or none of them is in view.
        """
        which = self.which.currentData()
        if which == "all" or not planes.stack_axis:
            return ()
        if which == "range":
            axis, size = planes.stack_axis, planes.stack_length
            first, last = self.first.value(), self.last.value()
            if first >= size:
                raise InputError(
                    f"{planes.name} has no planes {first} to {last}: it has 0 to {size - 1} "
                    f"along {axis}."
                )
            return () if (first, last + 1) == (0, size) else ((axis, first, min(last + 1, size)),)
        number = plane_in_view(viewer, layer, planes)
        if number is None:
            raise InputError(
                f"No plane of {layer.name} is in view; move the sliders to one, in the 2D view."
            )
        return tuple((axis, index, index + 1) for axis, index in planes.position(number).items())
