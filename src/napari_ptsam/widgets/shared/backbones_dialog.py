"""The dialog that downloads, verifies, removes and chooses backbones, and the line that opens it."""

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
    QHBoxLayout,
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
from napari_ptsam.widgets.shared.qt_helpers import Fold, button, not_none, row, text_label
from napari_ptsam.widgets.shared.remedies import in_form
from napari_ptsam.widgets.shared.window_style import adopt_style

if TYPE_CHECKING:
    from qtpy.QtGui import QCloseEvent

    from napari_ptsam.widgets.shared.backbone_service import BackboneService

COLUMNS = ("Base model", "Size", "Downloaded", "Good for")
STATE_TIP = (
    "The base model was trained on millions of images, and training a prompt does not change it."
)
REDRAW_INTERVAL = 0.1
"""Seconds between two updates of the progress bar."""


class BackboneStatus(QWidget):
    """The line at the bottom of a dock: the state of the backbone, and a button for the dialog.

    Parameters
    ----------
    backbone_service
        The service whose state is shown.
    """

    changed = Signal()
    """A backbone was downloaded or removed, or another one was chosen."""

    def __init__(self, backbone_service: BackboneService) -> None:
        super().__init__()
        self._backbone_service = backbone_service
        self.dialog: BackbonesDialog | None = None
        self.state = text_label(backbone_service.state, STATE_TIP)
        self.open_button = button(
            "Base models…",
            "Download, check, choose and remove the models that prompts are made for.",
            self.open,
        )
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.state, 1)
        layout.addWidget(self.open_button)
        backbone_service.state_changed.connect(self._show_state)

    def _show_state(self, state: str) -> None:
        self.state.setText(state)
        self.state.setToolTip(self._backbone_service.advice or STATE_TIP)

    def open(self, name: str = "") -> None:
        """Open the dialog with a backbone selected, by default the chosen one."""
        if self.dialog is None:
            self.dialog = BackbonesDialog(self._backbone_service, self)
            self.dialog.changed.connect(self.changed)
            self.dialog.chosen.connect(lambda _: self.changed.emit())
            self.dialog.run.finished.connect(self.changed)
        self.dialog.select(name or self._backbone_service.chosen)
        self.dialog.refresh()
        self.dialog.show()
        self.dialog.raise_()

    def close_down(self, timeout: float = 0.0) -> None:
        """Stop the work of the dialog, and wait ``timeout`` seconds for its thread."""
        if self.dialog is not None:
            self.dialog.close_down(timeout)


class BackbonesDialog(QDialog):
    """Download, verify, remove and choose backbones.

    Parameters
    ----------
    backbone_service
        The service that loads the chosen backbone.
    parent
        The widget that opens the dialog.
    """

    chosen = Signal(str)
    """Name of the backbone, or path of the checkpoint, that new prompts are trained with."""
    changed = Signal()
    """A backbone was downloaded or removed."""

    def __init__(self, backbone_service: BackboneService, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._backbone_service, self._files = backbone_service, BackboneFiles()
        self._entries = list(catalogue().values())
        self._last_redraw = 0.0
        self.run = BackboneRun(self)
        self.setWindowTitle("Base models")
        self._build()
        self.run.progressed.connect(self._show_progress)
        self.run.succeeded.connect(self.message.setText)
        self.run.failed.connect(self.message.setText)
        self.run.finished.connect(self._on_finished)
        backbone_service.recommendation_changed.connect(self.refresh)
        backbone_service.recommend()
        self.refresh()
        self.table.selectRow(0)
        self.resize(900, 600)
        adopt_style(self)

    def _build(self) -> None:
        self._build_table()
        self.details, self.message = text_label(), text_label()
        for label in (self.details, self.message):
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.download = button("Download", "Download it from its authors' server.", self.start)
        self.cancel = button("Cancel", "Stop the download; the next one resumes it.", self.run.stop)
        self.verify = button(
            "Verify", "Compare the file with the hash that its authors published.", self._verify
        )
        self.remove = button("Remove…", "Delete the file from this computer.", self._remove)
        self.folder = button(
            "Open folder",
            "Open the folder of the base models, where you can also put files yourself.",
            self._open_folder,
        )
        self.use = button("Use for new prompts", "Train new prompts with this one.", self._use)
        self.use_file = button(
            "Use my own file…", "Choose a checkpoint of SAM's architecture, such as a fine-tuned one.",
            self._use_file,
        )  # fmt: skip
        self.bar = QProgressBar()
        self.bar.hide()
        layout = QVBoxLayout(self)
        layout.addWidget(
            text_label("A prompt works only with the base model that it was trained with.")
        )
        layout.addWidget(self.table, 1)
        layout.addWidget(self.details)
        layout.addLayout(row(self.download, self.cancel, self.verify, self.remove, self.folder))
        layout.addLayout(row(self.use, self.use_file))
        layout.addWidget(self.bar)
        layout.addWidget(self.message)
        layout.addWidget(self._network_settings())

    def _build_table(self) -> None:
        self.table = QTableWidget(len(self._entries), len(COLUMNS))
        self.table.setHorizontalHeaderLabels(COLUMNS)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setTextElideMode(Qt.TextElideMode.ElideRight)
        not_none(self.table.verticalHeader()).hide()
        header = not_none(self.table.horizontalHeader())
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(len(COLUMNS) - 1, QHeaderView.ResizeMode.Stretch)
        self.table.itemSelectionChanged.connect(self._show_selected)

    def _network_settings(self) -> QWidget:
        """Return the fields for mirror and proxy, which are folded at first."""
        stored, widget = preferences(), QWidget()
        self.mirror = QLineEdit(str(stored["mirror"]))
        self.proxy = QLineEdit(str(stored["proxy"]))
        self.mirror.setPlaceholderText(
            "address of a folder with the files, for instance your lab's"
        )
        self.proxy.setPlaceholderText("for example http://proxy.lab:8080")
        form = QFormLayout()
        form.setContentsMargins(12, 0, 0, 0)
        form.addRow("Mirror", self.mirror)
        form.addRow("Proxy", self.proxy)
        for field, name in ((self.mirror, "mirror"), (self.proxy, "proxy")):
            field.editingFinished.connect(
                lambda field=field, name=name: remember(name, field.text().strip())
            )
        fields = QWidget()
        fields.setLayout(form)
        fold = Fold("Behind a firewall", "How to reach the internet from this computer.", fields)
        column = QVBoxLayout(widget)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(fold)
        column.addWidget(fields)
        return widget

    # The selected backbone

    @property
    def entry(self) -> CatalogueEntry:
        """The selected backbone."""
        return self._entries[max(0, self.table.currentRow())]

    def select(self, name: str) -> None:
        """Select a backbone by its name in the catalogue."""
        names = [entry.name for entry in self._entries]
        if name in names:
            self.table.selectRow(names.index(name))

    def refresh(self) -> None:
        """Show which backbones are on this computer now."""
        for index, entry in enumerate(self._entries):
            if entry.embedded:
                state = "with the plugin"
            else:
                state = "yes" if self._files.exists_locally(entry) else "no"
            in_use = entry.name == self._backbone_service.chosen
            recommended = entry.name == self._backbone_service.recommended
            name = entry.name + " (in use)" * in_use + " – recommended here" * recommended
            for column, text in enumerate((name, entry.megabytes, state, entry.good_for)):
                item = QTableWidgetItem(text)
                item.setToolTip(text)
                font = self.table.font()  # an item's own font has another size
                font.setBold(in_use)
                item.setFont(font)
                self.table.setItem(index, column, item)
        if not self.run.running:
            self.bar.hide()
        self._show_selected()

    def _show_selected(self) -> None:
        entry, running = self.entry, self.run.running
        exists_locally = self._files.exists_locally(entry)
        lines = [f"{entry.title}. Licence: {entry.licence}. {entry.source}"]
        if not entry.embedded:
            lines.append(
                f"{self._files.path(entry)}" if exists_locally else self._files.by_hand(entry)
            )
        self.details.setText("\n".join(lines))
        self.download.setEnabled(not (exists_locally or running))
        has_part = not entry.embedded and self._files.part(entry).exists()
        self.download.setText("Resume download" if has_part and not running else "Download")
        self.cancel.setEnabled(running)
        for widget in (self.verify, self.remove):
            widget.setEnabled(exists_locally and not entry.embedded and not running)
        self.use.setEnabled(exists_locally and entry.name != self._backbone_service.chosen)

    def _on_finished(self) -> None:
        self.bar.hide()
        self.refresh()

    # Actions

    def start(self) -> None:
        """Download the selected backbone."""
        if not self.run.running:
            network = Network(self.mirror.text().strip(), self.proxy.text().strip())
            self._start(BackboneRequest(self.entry, network))

    def _verify(self) -> None:
        self._start(BackboneRequest(self.entry))

    def _start(self, request: BackboneRequest) -> None:
        self.message.setText("")
        self.bar.setRange(0, 0)
        self.bar.setFormat(request.entry.name)
        self.bar.show()
        self.run.start(request)
        self._show_selected()

    def _show_progress(self, done: int, total: int) -> None:
        now = perf_counter()
        if now - self._last_redraw < REDRAW_INTERVAL and done < total:
            return
        self._last_redraw = now
        self.bar.setRange(0, 1000 if total else 0)  # a number of bytes may exceed Qt's int
        self.bar.setValue(int(1000 * done / total) if total else 0)
        name = self.run.request.entry.name if self.run.request else ""
        self.bar.setFormat(f"{name}: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB")

    def _remove(self) -> None:
        entry = self.entry
        answer = QMessageBox.question(
            self, "Remove a base model", f"Delete {self._files.path(entry)} ({entry.megabytes})?"
        )
        if answer != QMessageBox.StandardButton.Yes:
            return
        try:
            self._files.remove(entry)
        except PtsamError as error:
            self.message.setText(in_form(error))
        else:
            self.message.setText(f"{entry.name} was removed.")
            self.changed.emit()
        self.refresh()

    def _open_folder(self) -> None:
        folder = self._files.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self.message.setText(f"The folder {folder} cannot be created ({error.strerror}).")
            return
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))

    def _use(self) -> None:
        self._choose(self.entry.name)

    def _use_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "Choose a checkpoint", str(Path.home()),
            "Checkpoints (*.pt *.pth *.bin *.safetensors);;All files (*)",
        )  # fmt: skip
        if path:
            self._choose(path)

    def _choose(self, backbone: str) -> None:
        remember("backbone", backbone)
        self._backbone_service.use(self._backbone_service.device, backbone)
        self.message.setText(f"New prompts will be trained with {Path(backbone).name}.")
        self.chosen.emit(backbone)
        self.refresh()

    def close_down(self, timeout: float = 0.0) -> None:
        """Stop the run, wait ``timeout`` seconds for its thread, and close the dialog."""
        self.run.close(timeout)
        self.close()

    def closeEvent(self, event: QCloseEvent | None) -> None:  # noqa: N802, Qt's name
        """Emit `changed`, since a download continues in the background."""
        self.changed.emit()
        super().closeEvent(event)
