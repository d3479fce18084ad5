"""Which planes of the ticked images are segmented."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QLabel, QSpinBox, QVBoxLayout, QWidget

from napari_ptsam.errors import InputError
from napari_ptsam.widgets.shared.layers import plane_in_view
from napari_ptsam.widgets.shared.qt_helpers import row

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

    from napari_ptsam.images.planes import Planes
    from napari_ptsam.widgets.batch.task import Part


class PlaneRange(QWidget):
    """All planes, some along the last axis before y and x, or the one in view."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.which = QComboBox()
        self.which.setToolTip(
            "From … to counts as the slider does, from 0, along z (or time, where there is no z). "
            "The plane in view is for trying a prompt."
        )
        for words, value in (
            ("All planes", "all"), ("From … to …", "range"), ("Only the plane in view", "view"),
        ):  # fmt: skip
            self.which.addItem(words, value)
        self.first, self.last = QSpinBox(), QSpinBox()
        self.first.setToolTip("The first plane that is segmented; the slider counts from 0 too.")
        self.last.setToolTip("The last plane that is segmented.")
        self._untouched = True
        self._along, to = QLabel("from"), QLabel("to")
        self._numbers = QWidget()
        numbers = row(self._along, self.first, to, self.last)
        numbers.addStretch(1)
        self._numbers.setLayout(numbers)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row(QLabel("Planes"), self.which, stretch=1))
        layout.addWidget(self._numbers)
        self.which.currentIndexChanged.connect(self._choose)
        self.first.valueChanged.connect(self.last.setMinimum)
        self.last.valueChanged.connect(self._touch)
        self._choose()

    def _choose(self) -> None:
        self._numbers.setVisible(self.which.currentData() == "range")
        self.changed.emit()

    def _touch(self) -> None:
        self._untouched = False

    def fit(self, images: list[Planes]) -> None:
        """Offer the planes that the ticked images have."""
        stacks = [planes for planes in images if planes.leading]
        most = max([planes.leading[-1] for planes in stacks], default=1)
        names = {planes.leading_axes[-1] for planes in stacks}
        self._along.setText(f"along {names.pop()} from" if len(names) == 1 else "from")
        self.first.setMaximum(most - 1)
        self.last.blockSignals(True)
        self.last.setMaximum(most - 1)
        if self._untouched:
            self.last.setValue(most - 1)
        self.last.blockSignals(False)

    def parts(self, viewer: napari.Viewer, layer: Image, planes: Planes) -> tuple[Part, ...]:
        """What is wanted of an image.

        Raises
        ------
        InputError
            If it has no such planes, or none is in view.
        """
        which = self.which.currentData()
        if which == "all" or not planes.leading:
            return ()
        if which == "range":
            axis, size = planes.leading_axes[-1], planes.leading[-1]
            first, last = self.first.value(), self.last.value()
            if first >= size:
                raise InputError(
                    f"{planes.name} has no planes from {first} to {last}: it has 0 to {size - 1} "
                    f"along {axis}."
                )
            return () if (first, last + 1) == (0, size) else ((axis, first, min(last + 1, size)),)
        number = plane_in_view(viewer, layer, planes)
        if number is None:
            raise InputError(
                f"No plane of {layer.name} is in view; move the sliders to one, in the 2D view."
            )
        return tuple((axis, at, at + 1) for axis, at in planes.position(number).items())
