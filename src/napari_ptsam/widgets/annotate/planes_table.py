"""The table of annotated planes, with their use and the Dice of the prompt on each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from napari_ptsam.widgets.shared.qt_helpers import not_none, plain_tip

if TYPE_CHECKING:
    from napari_ptsam.annotation.plane_records import PlaneRecord
    from napari_ptsam.widgets.annotate.session_model import SessionModel

COLUMNS = ("Image", "Plane", "Objects", "Done", "Validation", "Agrees")
IMAGE, PLANE, ANNOTATED, DONE, VALIDATION, DICE = range(6)
BOXES = (
    "QTableView::indicator:unchecked { border: 1px solid #868e99; border-radius: 2px;"
    " width: 12px; height: 12px; }"
    "QHeaderView::section { padding: 2px 0; }"
)
"""Style of check boxes, since those of napari's themes are invisible when empty, and of titles, for
which there is little room."""
TIPS = (
    "The image.",
    "The plane in it; click on a row to go there.",
    "Annotated objects; where labels stand for classes, the annotated pixels of each class.",
    "Everything on the plane is painted, and the rest is background: a plane without paint has no "
    "objects. Only planes that are done are trained on.",
    "Not trained on, but kept to measure how good the prompt is. Chosen for you; tick to change.",
    "How well the last prompt finds what you painted here: 1 is perfect, 0 is nothing.",
)


class PlanesTable(QTableWidget):
    """A table with one row for each annotated plane; a click on a row shows the plane."""

    def __init__(self, session_model: SessionModel) -> None:
        super().__init__(0, len(COLUMNS))
        self._session_model, self._filling = session_model, False
        self._records: list[PlaneRecord] = []
        self.setHorizontalHeaderLabels(list(COLUMNS))
        for column, tip in enumerate(TIPS):
            not_none(self.horizontalHeaderItem(column)).setToolTip(tip)
        self.setToolTip("The planes that you have annotated; click on one to go there.")
        self.setStyleSheet(BOXES)
        not_none(self.verticalHeader()).hide()
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTabKeyNavigation(False)
        header = not_none(self.horizontalHeader())
        header.setMinimumSectionSize(24)
        for column in range(len(COLUMNS)):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        for column in (IMAGE, ANNOTATED):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Stretch)
        self.setWordWrap(False)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.itemChanged.connect(self._ticked)
        self.cellClicked.connect(self._go)
        self.cellActivated.connect(self._go)
        session_model.planes_changed.connect(self.refresh)
        session_model.images_changed.connect(self.refresh)

    def sizeHint(self) -> QSize:  # noqa: N802, Qt's name
        """Return a height that fits a laptop; the layout adds the space that remains."""
        return self.minimumSizeHint()

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Return a size for the header and three rows."""
        return QSize(
            200, not_none(self.horizontalHeader()).height() + 3 * self.fontMetrics().height() + 24
        )

    def refresh(self) -> None:
        """Fill the rows that have changed."""
        records, session_model = list(self._session_model.records), self._session_model
        self._filling = True
        several = len(session_model.images) > 1
        self.setColumnHidden(IMAGE, not several)
        self.setColumnHidden(DONE, session_model.scheme.sparse)
        self.setColumnHidden(DICE, not any(record.dice is not None for record in records))
        annotated = "Objects" if session_model.scheme.instances else "Pixels"
        not_none(self.horizontalHeaderItem(ANNOTATED)).setText(annotated)
        self.setRowCount(len(records))
        for position, record in enumerate(records):
            same = position < len(self._records) and self._records[position] == record
            if not same or self.item(position, PLANE) is None:
                self._fill(position, record)
        self._records = records
        self._filling = False

    def _fill(self, position: int, record: PlaneRecord) -> None:
        image = self._session_model.image_of(record.image)
        assert image is not None
        index = image.index(record.number)
        self._put(position, IMAGE, image.layer.name)
        self._put(position, PLANE, ", ".join(map(str, index)) if index else "–")
        counts = ", ".join(
            f"{count:,}" if len(record.counts) == 1 else f"{name} {_short(count)}"
            for name, count in record.counts.items()
        )
        counts = counts or "0"
        shown, tip = counts, "annotated pixels"
        if record.objects is not None:
            shown, tip = f"{record.objects:,}", f"{counts} pixels"
        if record.regions:
            shown += f" in {_regions(record)}"
            tip += "; nothing outside of the yellow frames counts"
        self._put(position, ANNOTATED, shown, tip)
        self._check(position, DONE, record.done)
        self._check(position, VALIDATION, bool(record.held_out))
        self._put(position, DICE, "" if record.dice is None else f"{record.dice:.2f}")

    def _put(self, position: int, column: int, content: str, tip: str = "") -> None:
        item = QTableWidgetItem(content)
        item.setToolTip(plain_tip(f"{content} ({tip})" if tip else content))
        self.setItem(position, column, item)

    def _check(self, position: int, column: int, checked: bool) -> None:
        item = QTableWidgetItem()
        item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
        item.setCheckState(Qt.CheckState.Checked if checked else Qt.CheckState.Unchecked)
        item.setToolTip(TIPS[column])
        self.setItem(position, column, item)

    def _ticked(self, item: QTableWidgetItem) -> None:
        if self._filling or item.row() >= len(self._records):
            return
        record, checked = self._records[item.row()], item.checkState() == Qt.CheckState.Checked
        if item.column() == DONE:
            self._session_model.records.mark(record.image, record.number, checked)
        elif item.column() == VALIDATION:
            self._session_model.records.hold_out(record.image, record.number, checked)
        self._session_model.touch()

    def _go(self, position: int, column: int) -> None:
        if column in (DONE, VALIDATION) or position >= len(self._records):
            return
        record = self._records[position]
        image = self._session_model.image_of(record.image)
        if image is not None:
            self._session_model.show_plane(image, record.number)


def _regions(record: PlaneRecord) -> str:
    count = len(record.regions)
    return f"{count} region{'s' * (count != 1)}"


def _short(count: int) -> str:
    """Return a number in short form, such as 950, 2.8k or 1.2M."""
    for unit, size in (("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.1f}{unit}" if count < 10 * size else f"{count // size}{unit}"
    return str(count)
