"""The part of the form that says where and how results are written to files."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QCheckBox, QComboBox, QFileDialog, QFormLayout, QLineEdit, QWidget

from napari_ptsam.batch.formats import FORMATS, choices
from napari_ptsam.errors import InputError
from napari_ptsam.io.user_folders import home
from napari_ptsam.widgets.batch.task import FileOptions
from napari_ptsam.widgets.shared.qt_helpers import button, row


class FileOptionsForm(QWidget):
    """Folder and format of the result files, and what happens to existing files."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = QLineEdit()
        self.folder.setPlaceholderText("choose a folder")
        self.folder.setToolTip("The folder for the results; each image gets a file of its own.")
        self.choose_button = button("Choose…", "Choose the folder for the results.", self._choose)
        self.format = QComboBox()
        for name, title in choices().items():
            self.format.addItem(title, name)
        hints = [format.hint for format in FORMATS.values() if format.hint]
        self.format.setToolTip(
            " ".join((*hints, "Automatic: a TIFF, and OME-Zarr for large results."))
        )
        self.resume = QCheckBox("Resume an unfinished run")
        self.resume.setChecked(True)
        self.resume.setToolTip("Planes that an earlier run has written are not segmented again.")
        self.overwrite = QCheckBox("Replace existing results")
        self.overwrite.setToolTip("If not ticked, images that have a result already are skipped.")
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setSpacing(4)
        form.addRow("Folder", row(self.folder, self.choose_button, stretch=0))
        form.addRow("Format", self.format)
        form.addRow(self.resume)
        form.addRow(self.overwrite)

    def _choose(self) -> None:
        folder = QFileDialog.getExistingDirectory(
            self, "Folder for results", self.folder.text() or str(home())
        )
        if folder:
            self.folder.setText(folder)

    def options(self) -> FileOptions:
        """Return the chosen options.

        Raises
        ------
        InputError
            If no folder is chosen.
        """
        folder = self.folder.text().strip()
        if not folder:
            raise InputError("Choose a folder for the files first.")
        return FileOptions(
            Path(folder).expanduser(), self.format.currentData(),
            self.resume.isChecked(), self.overwrite.isChecked(),
        )  # fmt: skip
