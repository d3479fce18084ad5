"""Author, notes and licence of a prompt file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QLineEdit,
    QPlainTextEdit,
    QVBoxLayout,
    QWidget,
)

from napari_ptsam.errors import PtsamError
from napari_ptsam.widgets.shared.qt_helpers import text
from napari_ptsam.widgets.shared.remedies import in_form

if TYPE_CHECKING:
    from napari_ptsam.prompts.prompt import Prompt


class TextsDialog(QDialog):
    """Change what a prompt file says about itself.

    Parameters
    ----------
    path, prompt
        The file, and what is in it.
    parent
        The widget that it belongs to.
    """

    def __init__(self, path: Path, prompt: Prompt, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._path, self._prompt = path, prompt
        self.setWindowTitle(f"Describe {path.stem}")
        self.author, self.licence = QLineEdit(prompt.author), QLineEdit(prompt.licence)
        self.notes = QPlainTextEdit(prompt.notes)
        self.licence.setPlaceholderText("for example CC-BY-4.0")
        self.author.setPlaceholderText("who made it, and who to ask")
        self.said = text()
        form = QFormLayout()
        form.addRow("Author", self.author)
        form.addRow("Licence", self.licence)
        form.addRow("Notes", self.notes)
        buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Save | QDialogButtonBox.StandardButton.Cancel
        )
        buttons.accepted.connect(self.save)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(self.said)
        layout.addWidget(buttons)
        self.resize(460, 320)

    def save(self) -> None:
        """Write the file anew, if it can be."""
        try:
            changed = self._prompt.with_text(
                self.notes.toPlainText().strip(), self.licence.text().strip(),
                self.author.text().strip(),
            )  # fmt: skip
            changed.save(self._path, overwrite=True)
        except PtsamError as error:
            self.said.setText(in_form(error))
        else:
            self.accept()
