"""The form of the result settings: the kind of result, its objects, and where it goes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtGui import QStandardItemModel
from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QLabel, QVBoxLayout, QWidget

from napari_ptsam.inference.linking import LinkSettings
from napari_ptsam.inference.result import ResultSettings
from napari_ptsam.widgets.shared.qt_helpers import not_none, plain_tip, row
from napari_ptsam.widgets.shared.setting_rows import add_rows, editors_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_ptsam.images.planes import Planes
    from napari_ptsam.widgets.batch.task import OpenedPrompt


LINK_TIP = (
    "Let an object keep its number from plane to plane: 3D objects along z, tracks along "
    "time. Otherwise each plane counts from 1. Images of a folder are not linked."
)
NO_LINK_TIP = (
    "The ticked images are independent of each other, like those of a folder, so that objects have "
    "no number in common. If they are a z stack or a time series, type Z or T in place of the "
    "letter I or P into the field Axes."
)


class ResultOptions(QWidget):
    """The form of a result: its kind, and whether it is shown as layers, written to files or both."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.output = not_none(editors_of(ResultSettings, self, ["output"])["output"].choice)
        self.where = QComboBox()
        self.where.setToolTip("Layers are kept in memory only; files are written plane by plane.")
        for words, value in (("Layers", "layers"), ("Files", "files"), ("Both", "both")):
            self.where.addItem(words, value)
        self.objects = ObjectOptions()
        self.fast = QCheckBox("Faster, less exact")
        self.fast.setToolTip(
            "These prompts average over flipped copies of each tile, which takes two or four times "
            "as long. Tick this to use the tiles as they are only."
        )
        self.fast.toggled.connect(self.changed)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row(QLabel("Result"), self.output, QLabel("as"), self.where, stretch=1))
        layout.addWidget(self.objects)
        layout.addWidget(self.fast)
        self._chosen_by_user = False
        self.output.activated.connect(self._on_user_choice)
        self.output.currentIndexChanged.connect(self._choose)
        self.where.currentIndexChanged.connect(self.changed)
        self._choose()

    def _choose(self) -> None:
        self.objects.setVisible(self.output.currentData() == "instances")
        self.changed.emit()

    def _on_user_choice(self) -> None:
        self._chosen_by_user = True

    def suggest_objects(self, objects: bool) -> None:
        """Choose single objects or areas, unless the user has chosen a result."""
        if not self._chosen_by_user:
            self.output.setCurrentIndex(self.output.findData("instances" if objects else "labels"))

    def fit(self, prompts: list[OpenedPrompt]) -> None:
        """Offer only the results that the prompts can give."""
        self.objects.fit(prompts)
        self.fast.setVisible(any(opened.prompt.flips for opened in prompts))

    @property
    def to_layers(self) -> bool:
        """Whether the result is to be shown as layers."""
        return self.where.currentData() != "files"

    @property
    def to_files(self) -> bool:
        """Whether the result is to be written to files."""
        return self.where.currentData() != "layers"

    def settings(self) -> ResultSettings:
        """Return the settings of the result."""
        output = self.output.currentData()
        chosen = self.objects.settings() if output == "instances" else ResultSettings(output)
        return replace(chosen, flips=not self.fast.isChecked())

    def link(self) -> LinkSettings | None:
        """Return how planes are linked; None if they are not."""
        return self.objects.link() if self.output.currentData() == "instances" else None


class ObjectOptions(QWidget):
    """The form of the objects: how they are separated, cleaned and linked."""

    def __init__(self) -> None:
        super().__init__()
        self._cleaning = editors_of(
            ResultSettings, self, ["split", "min_size", "fill_holes", "remove_border"]
        )
        self._linking = editors_of(LinkSettings, self, ["threshold", "gap"])
        self.split = not_none(self._cleaning["split"].choice)
        self.min_size = not_none(self._cleaning["min_size"].number)
        self.fill_holes = not_none(self._cleaning["fill_holes"].flag)
        self.remove_border = not_none(self._cleaning["remove_border"].flag)
        self.threshold = not_none(self._linking["threshold"].number)
        self.gap = not_none(self._linking["gap"].number)
        self.linked = QCheckBox("Same number across z or t")
        self._link = QWidget()
        link = row(QLabel("Overlap from"), self.threshold, QLabel("gap"), self.gap)
        link.addStretch(1)
        self._link.setLayout(link)
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setSpacing(4)
        add_rows(form, self._cleaning["split"])
        add_rows(form, self._cleaning["min_size"])
        form.addRow(row(self.fill_holes, self.remove_border, stretch=1))
        form.addRow(self.linked)
        form.addRow(self._link)
        self.linked.toggled.connect(self._link.setVisible)
        self._link.hide()
        self.offer_link([])

    def offer_link(self, images: Sequence[Planes]) -> None:
        """Offer to link planes, unless the images are independent of each other, as in a folder."""
        is_offered = not images or any(planes.is_linkable for planes in images)
        self.linked.setEnabled(is_offered)
        self.linked.setToolTip(LINK_TIP if is_offered else NO_LINK_TIP)
        self._link.setVisible(self.linked.isChecked() and is_offered)

    def fit(self, prompts: list[OpenedPrompt]) -> None:
        """Offer to separate by markers only if every prompt has them."""
        without = [opened.name for opened in prompts if opened.prompt.markers is None]
        model, markers = self.split.model(), self.split.findData("markers")
        assert isinstance(model, QStandardItemModel)
        item = not_none(model.item(markers))
        item.setEnabled(not without)
        item.setToolTip(plain_tip(f"{', '.join(without)} knows no markers.") if without else "")
        if without and self.split.currentIndex() == markers:
            self.split.setCurrentIndex(self.split.findData("auto"))

    def settings(self) -> ResultSettings:
        """Return the settings of the result."""
        values = {name: editor.value for name, editor in self._cleaning.items()}
        return ResultSettings("instances", **values)

    def link(self) -> LinkSettings | None:
        """Return how planes are linked; None if they are not."""
        if not (self.linked.isChecked() and self.linked.isEnabled()):
            return None
        return LinkSettings(**{name: editor.value for name, editor in self._linking.items()})
