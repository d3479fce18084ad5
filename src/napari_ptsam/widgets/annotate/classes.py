"""The list of classes, with their names, colours and labels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari.utils.notifications import show_warning
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_ptsam.errors import InputError
from napari_ptsam.prompts.prompt import default_colours
from napari_ptsam.widgets.shared.labels_layers import BACKGROUND
from napari_ptsam.widgets.shared.qt_helpers import button, colour_icon, plain_tip
from napari_ptsam.widgets.shared.remedies import in_form

if TYPE_CHECKING:
    from napari_ptsam.widgets.annotate.session_model import SessionModel

ROWS = 3
"""Number of classes that are visible without scrolling."""


class ClassList(QWidget):
    """A list to choose the class to paint, and to rename, add and remove classes."""

    def __init__(self, session_model: SessionModel) -> None:
        super().__init__()
        self._session_model, self._filling = session_model, False
        self.list = QListWidget()
        self.list.setToolTip(
            "Classes of objects to find. Click: paint with this label. Double click: rename."
        )
        self.list.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked
            | QAbstractItemView.EditTrigger.EditKeyPressed
        )
        self.list.itemChanged.connect(self._renamed)
        self.list.currentRowChanged.connect(self._selected)
        buttons = QVBoxLayout()
        buttons.setSpacing(2)
        for widget in (
            button("Add", "Add a class.", self._add),
            button("Remove", "Remove the chosen class.", self._remove),
            button("Colour…", "Choose the class's colour.", self._recolour),
        ):
            buttons.addWidget(widget)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.list, 1)
        layout.addLayout(buttons)
        session_model.scheme_changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Fill the list."""
        scheme, chosen = self._session_model.scheme, self.list.currentRow()
        self._filling = True
        self.list.clear()
        if scheme.sparse:
            item = QListWidgetItem(colour_icon(BACKGROUND), "background")
            item.setToolTip(f"Everything else: paint it with label {scheme.background}.")
            self.list.addItem(item)
        for name, colour, value in zip(scheme.classes, scheme.colours, scheme.values, strict=True):
            item = QListWidgetItem(colour_icon(colour), name)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable)
            label = "each object has a label of its own" if scheme.instances else f"label {value}"
            item.setToolTip(plain_tip(f"{name}: {label}."))
            self.list.addItem(item)
        self.list.setCurrentRow(min(max(chosen, 0), self.list.count() - 1))
        height = self.list.sizeHintForRow(0) * ROWS + 2 * self.list.frameWidth()
        self.list.setFixedHeight(max(height, self.minimumSizeHint().height()))
        self._filling = False

    def _number(self) -> int | None:
        """Return the index of the chosen class; None for the background."""
        number = self.list.currentRow() - self._session_model.scheme.sparse
        return number if number >= 0 else None

    def paint_chosen(self) -> None:
        """Paint with the label of the chosen class, or of the first class if it is the background."""
        if self._number() is None:
            self.list.setCurrentRow(int(self._session_model.scheme.sparse))
        self._selected(self.list.currentRow())

    def _selected(self, position: int) -> None:
        """Paint with the label of the chosen class."""
        current, scheme = self._session_model.current(), self._session_model.scheme
        if self._filling or current is None or current[0].labels is None or scheme.instances:
            return
        number = self._number()
        value = scheme.background if number is None else scheme.values[number]
        current[0].labels.selected_label = value

    def _use(self, classes: tuple[str, ...], colours: tuple[str, ...]) -> None:
        try:
            self._session_model.use_scheme(
                replace(self._session_model.scheme, classes=classes, colours=colours)
            )
        except InputError as error:
            show_warning(in_form(error))
            self.refresh()

    def _renamed(self, item: QListWidgetItem) -> None:
        scheme = self._session_model.scheme
        number = self.list.row(item) - scheme.sparse
        if self._filling or number < 0:
            return
        names = [*scheme.classes]
        names[number] = item.text().strip()
        self._use(tuple(names), scheme.colours)

    def _add(self) -> None:
        scheme = self._session_model.scheme
        taken, number = set(scheme.classes), len(scheme.classes) + 1
        while f"class {number}" in taken:
            number += 1
        free = [c for c in default_colours(8) if c not in scheme.colours]
        colour = free[0] if free else default_colours(number)[-1]
        self._use((*scheme.classes, f"class {number}"), (*scheme.colours, colour))
        self.list.setCurrentRow(self.list.count() - 1)

    def _remove(self) -> None:
        number, scheme = self._number(), self._session_model.scheme
        if number is None or len(scheme.classes) == 1:
            show_warning("One class must stay; rename it instead.")
            return
        if any(record.counts.get(scheme.classes[number]) for record in self._session_model.records):
            show_warning(
                f"{scheme.classes[number]} is painted on some planes; erase it there first."
            )
            return
        if number < len(scheme.classes) - 1 and any(
            record.painted for record in self._session_model.records
        ):
            show_warning(
                "Once planes are painted, only the last class can be removed, since labels keep "
                "their meaning."
            )
            return
        self._use(
            tuple(n for i, n in enumerate(scheme.classes) if i != number),
            tuple(c for i, c in enumerate(scheme.colours) if i != number),
        )

    def _recolour(self) -> None:
        number, scheme = self._number(), self._session_model.scheme
        if number is None:
            return
        chosen = QColorDialog.getColor(QColor(scheme.colours[number]), self, "Colour of the class")
        if chosen.isValid():
            colours = [*scheme.colours]
            colours[number] = chosen.name().upper()
            self._use(scheme.classes, tuple(colours))
