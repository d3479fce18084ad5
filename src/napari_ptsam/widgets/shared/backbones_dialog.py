"""Which backbones there are, which are here, and how to get more."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QFileDialog,
    QFormLayout,
    QHeaderView,
    QLineEdit,
    QMessageBox,
    QProgressBar,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_ptsam.backbones.catalogue import CatalogueEntry, catalogue
from napari_ptsam.backbones.downloads import Network
from napari_ptsam.backbones.files import BackboneFiles
from napari_ptsam.errors import PtsamError
from napari_ptsam.widgets.shared.backbone_run import BackboneRequest, BackboneRun
from napari_ptsam.widgets.shared.preferences import preferences, remember
from napari_ptsam.widgets.shared.qt_helpers import Fold, button, present, row, text
from napari_ptsam.widgets.shared.remedies import in_form

if TYPE_CHECKING:
    from qtpy.QtGui import QCloseEvent

    from napari_ptsam.widgets.shared.backbone_service import BackboneService

COLUMNS = ("Backbone", "Size", "Here", "Good for")
REDRAW = 0.1
"""Seconds between two updates of the bar."""


class BackbonesDialog(QDialog):
    """Download, verify, remove, choose.

    Parameters
    ----------
    backbone_service
        What uses the one that is chosen.
    parent
        The widget that it belongs to.
    """

    chosen = Signal(str)
    """A backbone of the catalogue, or the path of a checkpoint, is to be used for new prompts."""
    changed = Signal()
    """A backbone has come or gone."""

    def __init__(self, backbone_service: BackboneService, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._engine, self._files = backbone_service, BackboneFiles()
        self._entries = list(catalogue().values())
        self._drawn = 0.0
        self.run = BackboneRun(self)
        self.setWindowTitle("Backbones")
        self._build()
        self.run.progressed.connect(self._progress)
        self.run.done.connect(self.said.setText)
        self.run.failed.connect(self._failed)
        self.run.ended.connect(self.refresh)
        backbone_service.advised.connect(self.refresh)
        backbone_service.advise()
        self.refresh()
        self.table.selectRow(0)
        self.resize(900, 600)

    def _build(self) -> None:
        self.table = QTableWidget(len(self._entries), len(COLUMNS))
        self.table.setHorizontalHeaderLabels(COLUMNS)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setTextElideMode(Qt.TextElideMode.ElideRight)
        present(self.table.verticalHeader()).hide()
        header = present(self.table.horizontalHeader())
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(len(COLUMNS) - 1, QHeaderView.ResizeMode.Stretch)
        self.table.itemSelectionChanged.connect(self._selected)
        self.facts, self.said = text(), text()
        for label in (self.facts, self.said):
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.download = button("Download", "Get it from its makers' server.", self.start)
        self.cancel = button(
            "Cancel", "End the download; the next one goes on from there.", self.run.stop
        )
        self.verify = button(
            "Verify", "Compare the file with the hash that its makers published.", self._verify
        )
        self.remove = button("Remove…", "Delete it from this machine.", self._remove)
        self.folder = button(
            "Open folder", "Where backbones are kept; files can be put there by hand.", self._open
        )
        self.use = button("Use for new prompts", "Train with it from now on.", self._use)
        self.own = button(
            "Use my own file…", "A checkpoint of SAM's architecture, such as a fine-tuned one.",
            self._use_own,
        )  # fmt: skip
        self.bar = QProgressBar()
        self.bar.hide()
        layout = QVBoxLayout(self)
        layout.addWidget(text("A prompt works with the backbone that it was trained with."))
        layout.addWidget(self.table, 1)
        layout.addWidget(self.facts)
        layout.addLayout(row(self.download, self.cancel, self.verify, self.remove, self.folder))
        layout.addLayout(row(self.use, self.own))
        layout.addWidget(self.bar)
        layout.addWidget(self.said)
        layout.addWidget(self._network())

    def _network(self) -> QWidget:
        """Mirror and proxy, folded away."""
        liked, part = preferences(), QWidget()
        self.mirror, self.proxy = QLineEdit(str(liked["mirror"])), QLineEdit(str(liked["proxy"]))
        self.mirror.setPlaceholderText("address of a folder with the files, such as your lab's")
        self.proxy.setPlaceholderText("for example http://proxy.lab:8080")
        form = QFormLayout()
        form.setContentsMargins(12, 0, 0, 0)
        form.addRow("Mirror", self.mirror)
        form.addRow("Proxy", self.proxy)
        for box, name in ((self.mirror, "mirror"), (self.proxy, "proxy")):
            box.editingFinished.connect(
                lambda box=box, name=name: remember(name, box.text().strip())
            )
        fields = QWidget()
        fields.setLayout(form)
        toggle = Fold("Behind a firewall", "How to reach the internet from here.", fields)
        column = QVBoxLayout(part)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(toggle)
        column.addWidget(fields)
        return part

    # What is selected

    @property
    def entry(self) -> CatalogueEntry:
        """The backbone that is selected."""
        return self._entries[max(0, self.table.currentRow())]

    def select(self, name: str) -> None:
        """Select a backbone by name."""
        names = [entry.name for entry in self._entries]
        if name in names:
            self.table.selectRow(names.index(name))

    def refresh(self) -> None:
        """Show what is here now."""
        for number, entry in enumerate(self._entries):
            here = self._files.is_here(entry)
            state = "with the plugin" if entry.embedded else "yes" if here else "no"
            used = entry.name == self._engine.chosen
            advised = entry.name == self._engine.advice
            name = entry.name + " (in use)" * used + " – recommended here" * advised
            for column, words in enumerate((name, entry.megabytes, state, entry.good_for)):
                item = QTableWidgetItem(words)
                item.setToolTip(words)
                font = item.font()
                font.setBold(used)
                item.setFont(font)
                self.table.setItem(number, column, item)
        if not self.run.running:
            self.bar.hide()
        self._selected()

    def _selected(self) -> None:
        entry, running = self.entry, self.run.running
        here = self._files.is_here(entry)
        rows = [f"{entry.title}. Licence: {entry.licence}. {entry.source}"]
        if not entry.embedded:
            rows.append(f"{self._files.path(entry)}" if here else self._files.by_hand(entry))
        self.facts.setText("\n".join(rows))
        self.download.setEnabled(not (here or running))
        started = not entry.embedded and self._files.part(entry).exists()
        self.download.setText("Go on downloading" if started and not running else "Download")
        self.cancel.setEnabled(running)
        for widget in (self.verify, self.remove):
            widget.setEnabled(here and not entry.embedded and not running)
        self.use.setEnabled(here and entry.name != self._engine.chosen)

    # What can be done

    def start(self) -> None:
        """Download the selected backbone."""
        if not self.run.running:
            self._begin(
                BackboneRequest(
                    self.entry, Network(self.mirror.text().strip(), self.proxy.text().strip())
                )
            )

    def _verify(self) -> None:
        self._begin(BackboneRequest(self.entry))

    def _begin(self, wanted: BackboneRequest) -> None:
        self.said.setText("")
        self.bar.setRange(0, 0)
        self.bar.setFormat(wanted.entry.name)
        self.bar.show()
        self.run.start(wanted)
        self._selected()

    def _progress(self, done: int, total: int) -> None:
        now = perf_counter()
        if now - self._drawn < REDRAW and done < total:
            return
        self._drawn = now
        self.bar.setRange(0, 1000 if total else 0)  # bytes may be more than Qt can count
        self.bar.setValue(int(1000 * done / total) if total else 0)
        name = self.run.wanted.entry.name if self.run.wanted else ""
        self.bar.setFormat(f"{name}: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB")

    def _failed(self, message: str) -> None:
        self.said.setText(message)

    def _remove(self) -> None:
        entry = self.entry
        answer = QMessageBox.question(
            self, "Remove a backbone", f"Delete {self._files.path(entry)} ({entry.megabytes})?"
        )
        if answer != QMessageBox.StandardButton.Yes:
            return
        try:
            self._files.remove(entry)
        except PtsamError as error:
            self.said.setText(in_form(error))
        else:
            self.said.setText(f"{entry.name} was removed.")
            self.changed.emit()
        self.refresh()

    def _open(self) -> None:
        try:
            self._files.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self.said.setText(f"{self._files.folder} cannot be made ({error.strerror}).")
            return
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._files.folder)))

    def _use(self) -> None:
        self._choose(self.entry.name)

    def _use_own(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(
            self, "Choose a checkpoint", str(Path.home()),
            "Checkpoints (*.pt *.pth *.bin *.safetensors);;All files (*)",
        )  # fmt: skip
        if chosen:
            self._choose(chosen)

    def _choose(self, backbone: str) -> None:
        remember("backbone", backbone)
        self._engine.use(self._engine.device, backbone)
        self.said.setText(f"New prompts are trained with {Path(backbone).name}.")
        self.chosen.emit(backbone)
        self.refresh()

    def close_down(self, wait: float = 0.0) -> None:
        """End what is going on; for when the widget goes away."""
        self.run.close(wait)
        self.close()

    def closeEvent(self, event: QCloseEvent | None) -> None:  # noqa: N802, Qt's name
        """A download goes on behind; whoever is told of changes looks anew."""
        self.changed.emit()
        super().closeEvent(event)
