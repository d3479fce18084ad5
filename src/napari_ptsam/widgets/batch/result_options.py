"""What a segmentation is to give: the kind of result, and how objects are told apart."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtGui import QStandardItemModel
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QLabel,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_ptsam.inference.linking import LinkSettings
from napari_ptsam.inference.result import ResultSettings
from napari_ptsam.widgets.shared.qt_helpers import not_none, row

if TYPE_CHECKING:
    from napari_ptsam.widgets.batch.task import OpenedPrompt

CORES, COMPONENTS = 1, 2
"""Positions in the choice of how objects are told apart."""


class ResultOptions(QWidget):
    """Classes, instances or probabilities; layers, files or both."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.output = QComboBox()
        self.output.setToolTip(
            "Classes: each pixel has the number of its class. Instances: each object has a number "
            "of its own. Probabilities: an image for each class, from 0 to 1."
        )
        for words, value in (
            ("Classes", "labels"), ("Instances", "instances"), ("Probabilities", "probabilities"),
        ):  # fmt: skip
            self.output.addItem(words, value)
        self.where = QComboBox()
        self.where.setToolTip("Layers lie in memory only; files are written plane by plane.")
        for words, value in (("Layers", "layers"), ("Files", "files"), ("Both", "both")):
            self.where.addItem(words, value)
        self.objects = ObjectOptions()
        self.fast = QCheckBox("Faster, less exact")
        self.fast.setToolTip(
            "These prompts look at flipped copies of each tile too, which takes two or four times as "
            "long. Look at the image as it is alone."
        )
        self.fast.toggled.connect(self.changed)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row(QLabel("Result"), self.output, QLabel("as"), self.where, stretch=1))
        layout.addWidget(self.objects)
        layout.addWidget(self.fast)
        self.output.currentIndexChanged.connect(self._choose)
        self.where.currentIndexChanged.connect(self.changed)
        self._choose()

    def _choose(self) -> None:
        self.objects.setVisible(self.output.currentData() == "instances")
        self.changed.emit()

    def fit(self, prompts: list[OpenedPrompt]) -> None:
        """Offer what the prompts can do."""
        self.objects.fit(prompts)
        self.fast.setVisible(any(opened.prompt.flips for opened in prompts))

    @property
    def to_layers(self) -> bool:
        """Whether layers are wanted."""
        return self.where.currentData() != "files"

    @property
    def to_files(self) -> bool:
        """Whether files are wanted."""
        return self.where.currentData() != "layers"

    def settings(self) -> ResultSettings:
        """What each plane becomes."""
        output = self.output.currentData()
        found = self.objects.settings() if output == "instances" else ResultSettings(output)
        return replace(found, flips=not self.fast.isChecked())

    def link(self) -> LinkSettings | None:
        """How planes are linked, if they are."""
        return self.objects.link() if self.output.currentData() == "instances" else None


class ObjectOptions(QWidget):
    """How objects are told apart, cleaned, and followed from plane to plane."""

    def __init__(self) -> None:
        super().__init__()
        self.split = QComboBox()
        for words, value in (
            ("Automatic", "auto"), ("By their cores", "cores"),
            ("Connected pixels", "components"),
        ):  # fmt: skip
            self.split.addItem(words, value)
        self.split.setToolTip(
            "How objects that touch are told apart. By their cores: for prompts trained on masks "
            "that number objects. Connected pixels: what touches is one object. Automatic: by cores "
            "where a prompt knows them."
        )
        self.min_size = QSpinBox()
        self.min_size.setRange(0, 1_000_000)
        self.min_size.setSuffix(" px")
        self.min_size.setToolTip("Objects of fewer pixels are left out; 0 leaves none out.")
        self.fill_holes = QCheckBox("Fill holes")
        self.fill_holes.setToolTip("Background inside of an object becomes part of it.")
        self.remove_border = QCheckBox("Without those at the edge")
        self.remove_border.setToolTip("Objects that touch the edge of the plane are left out.")
        self.linked = QCheckBox("Link planes")
        self.linked.setToolTip(
            "An object keeps its number from plane to plane: 3D objects along z, tracks along time. "
            "Otherwise each plane counts from 1."
        )
        self.threshold = QDoubleSpinBox()
        self.threshold.setRange(0.05, 1.0)
        self.threshold.setSingleStep(0.05)
        self.threshold.setToolTip(
            "Objects on two planes are one if they overlap by this part at least (IoU)."
        )
        self.gap = QSpinBox()
        self.gap.setRange(0, 9)
        self.gap.setToolTip("Planes in between on which an object may be missing.")
        known = LinkSettings()
        self.threshold.setValue(known.threshold)
        self.gap.setValue(known.gap)
        self._link = QWidget()
        link = row(QLabel("IoU from"), self.threshold, QLabel("gap"), self.gap)
        link.addStretch(1)
        self._link.setLayout(link)
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setSpacing(4)
        form.addRow("Touching objects", self.split)
        form.addRow("Smallest object", self.min_size)
        form.addRow(row(self.fill_holes, self.remove_border, stretch=1))
        form.addRow(self.linked)
        form.addRow(self._link)
        self.linked.toggled.connect(self._link.setVisible)
        self._link.hide()

    def fit(self, prompts: list[OpenedPrompt]) -> None:
        """Offer cores only if every prompt knows them."""
        without = [opened.name for opened in prompts if opened.prompt.cores is None]
        model = self.split.model()
        assert isinstance(model, QStandardItemModel)
        item = not_none(model.item(CORES))
        item.setEnabled(not without)
        item.setToolTip(f"{', '.join(without)} knows no cores." if without else "")
        if without and self.split.currentIndex() == CORES:
            self.split.setCurrentIndex(0)

    def settings(self) -> ResultSettings:
        """What each plane becomes."""
        return ResultSettings(
            "instances", self.split.currentData(), self.min_size.value(),
            self.fill_holes.isChecked(), self.remove_border.isChecked(),
        )  # fmt: skip

    def link(self) -> LinkSettings | None:
        """How planes are linked, if they are."""
        if not self.linked.isChecked():
            return None
        return LinkSettings(round(self.threshold.value(), 2), self.gap.value())
