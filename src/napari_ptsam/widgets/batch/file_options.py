"""Where results are written, and how."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QCheckBox, QComboBox, QFileDialog, QFormLayout, QLineEdit, QWidget

from napari_ptsam.batch.formats import FORMATS, choices
from napari_ptsam.errors import InputError
from napari_ptsam.widgets.batch.task import FileOptions
from napari_ptsam.widgets.shared.qt_helpers import button, row


class FileForm(QWidget):
    """Folder, format, and what becomes of files that are there already."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = QLineEdit()
        self.folder.setPlaceholderText("choose a folder")
        self.folder.setToolTip("The folder that results are written into, a file for each image.")
        self.choose_button = button("Choose…", "Choose the folder for results.", self._choose)
        self.format = QComboBox()
        for name, title in choices().items():
            self.format.addItem(title, name)
        hints = [format.hint for format in FORMATS.values() if format.hint]
        self.format.setToolTip(
            " ".join((*hints, "Automatic: a TIFF, and OME-Zarr for large results."))
        )
        self.resume = QCheckBox("Go on with an unfinished run")
        self.resume.setChecked(True)
        self.resume.setToolTip("Planes that an earlier run has written already are not done again.")
        self.overwrite = QCheckBox("Replace results that are there")
        self.overwrite.setToolTip("Otherwise an image whose result is there already is left.")
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setSpacing(4)
        form.addRow("Folder", row(self.folder, self.choose_button, stretch=0))
        form.addRow("Format", self.format)
        form.addRow(self.resume)
        form.addRow(self.overwrite)

    def _choose(self) -> None:
        chosen = QFileDialog.getExistingDirectory(
            self, "Folder for results", self.folder.text() or str(Path.home())
        )
        if chosen:
            self.folder.setText(chosen)

    def options(self) -> FileOptions:
        """What is chosen.

        Raises
        ------
        InputError
            If there is no folder yet.
        """
        folder = self.folder.text().strip()
        if not folder:
            raise InputError("Choose a folder for the files first.")
        return FileOptions(
            Path(folder).expanduser(), self.format.currentData(),
            self.resume.isChecked(), self.overwrite.isChecked(),
        )  # fmt: skip
