"""The dialog for author, notes and licence of a prompt file."""

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
from napari_ptsam.widgets.shared.qt_helpers import text_label
from napari_ptsam.widgets.shared.remedies import in_form
from napari_ptsam.widgets.shared.window_style import adopt_style

if TYPE_CHECKING:
    from napari_ptsam.prompts.prompt import Prompt


class DescriptionDialog(QDialog):
    """Edit author, notes and licence of a prompt file.

    Parameters
    ----------
    path
        The prompt file.
    prompt
        The prompt in the file.
    parent
        The widget that opens the dialog.
    """

    def __init__(self, path: Path, prompt: Prompt, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._path, self._prompt = path, prompt
        self.setWindowTitle(f"Describe {path.stem}")
        self.author, self.licence = QLineEdit(prompt.author), QLineEdit(prompt.licence)
        self.notes = QPlainTextEdit(prompt.notes)
        self.licence.setPlaceholderText("for example CC-BY-4.0")
        self.author.setPlaceholderText("author and contact")
        self.message = text_label()
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
        layout.addWidget(self.message)
        layout.addWidget(buttons)
        self.resize(460, 320)
        adopt_style(self)

    def save(self) -> None:
        """Save the file and close the dialog; show the reason if that fails."""
        try:
            prompt = self._prompt.with_text(
                self.notes.toPlainText().strip(), self.licence.text().strip(),
                self.author.text().strip(),
            )  # fmt: skip
            prompt.save(self._path, overwrite=True)
        except PtsamError as error:
            self.message.setText(in_form(error))
        else:
            self.accept()
