"""The dialog for the prompt library, and the button that opens it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QFile, QMimeData, QUrl
from qtpy.QtGui import QClipboard, QDesktopServices, QGuiApplication
from qtpy.QtWidgets import (
    QDialog,
    QFileDialog,
    QInputDialog,
    QMessageBox,
    QPushButton,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from napari_ptsam.errors import PtsamError
from napari_ptsam.io.user_folders import home
from napari_ptsam.io.writing import safe_file_name
from napari_ptsam.prompts.library import LibraryFolders, LibraryItem, duplicate, put, rename
from napari_ptsam.widgets.library.description_dialog import DescriptionDialog
from napari_ptsam.widgets.library.library_list import LibraryList
from napari_ptsam.widgets.library.prompt_card import PromptCard
from napari_ptsam.widgets.shared.qt_helpers import button, not_none, plain_tip, row, text_label
from napari_ptsam.widgets.shared.remedies import in_form
from napari_ptsam.widgets.shared.torch_loading import load_torch
from napari_ptsam.widgets.shared.window_style import adopt_style
from napari_ptsam.widgets.shared.worker import Steps

if TYPE_CHECKING:
    from qtpy.QtGui import QCloseEvent, QShowEvent

    from napari_ptsam.prompts.prompt import Prompt

LOADING = "Reading the prompts…"
EMPTY = "No prompts yet. Save one here after a training, paste a line of text, or add a folder of prompts."


class LibraryButton(QPushButton):
    """A button that opens the library.

    Parameters
    ----------
    on_use
        Called with a prompt and its file when the user chooses one.
    """

    def __init__(self, on_use: Callable[[Prompt, Path], object]) -> None:
        super().__init__("Library…")
        self._on_use = on_use
        self.dialog: LibraryDialog | None = None
        self.setToolTip("Look at, choose and share your prompts and those of your lab.")
        self.setAutoDefault(True)
        self.clicked.connect(self.open)

    def open(self) -> None:
        """Open the library."""
        if self.dialog is None:
            self.dialog = LibraryDialog(self._on_use, self.window())
        self.dialog.show()
        self.dialog.raise_()

    def close_down(self, timeout: float = 0.0) -> None:
        """Close the library, and wait ``timeout`` seconds for its thread."""
        if self.dialog is not None:
            self.dialog.close_down(timeout)
            self.dialog.deleteLater()
            self.dialog = None


class LibraryDialog(QDialog):
    """Search, show, choose, rename, describe, copy and delete prompts.

    Parameters
    ----------
    on_use
        Called with a prompt and its file when the user chooses one.
    parent
        The widget that opens the dialog.
    folders
        The folders of the library; the user's by default.
    """

    def __init__(
        self, on_use: Callable[[Prompt, Path], object], parent: QWidget | None = None,
        folders: LibraryFolders | None = None,
    ) -> None:  # fmt: skip
        super().__init__(parent)
        self._on_use, self.folders = on_use, folders or LibraryFolders()
        self.library_list = LibraryList(self.folders)
        self.setWindowTitle("Prompt library")
        self._build()
        self.library_list.selected.connect(self._show_selected)
        self.library_list.chosen.connect(self._use)
        self.library_list.refreshed.connect(self._show_selected)
        self.library_list.failed.connect(self.message.setText)
        self._show_selected()
        self.resize(820, 560)
        adopt_style(self)

    def _build(self) -> None:
        self.card, self.message = PromptCard(), text_label()
        self.use = button("Use", "Take this prompt into the form.", self._use)
        self.describe = button("Describe…", "Edit author, notes and licence.", self._describe)
        self.copy_text = button(
            "Copy as text",
            "Copy the prompt as one line for a chat or a lab book; it can be pasted here.",
            self._copy_text,
        )
        self.copy_file = button(
            "Copy file", "Copy the file, to paste it into an email or a folder.", self._copy_file
        )
        self.rename = button("Rename…", "Give the file another name.", self._rename)
        self.duplicate = button("Duplicate", "Copy the file under another name.", self._duplicate)
        self.delete = button("Delete", "Move the file to the bin.", self._delete)
        self.reveal = button("Show in folder", "Open the folder of the file.", self._reveal)
        self.paste = button(
            "Paste text",
            "Add a prompt that was copied as a line of text (ptsam1:…).",
            self.paste_text,
        )
        self.add_folder = button(
            "Add folder…",
            "List the prompts of another folder too, for instance on a network share.",
            self._add_folder,
        )
        self.remove_folder = button(
            "Remove folder…",
            "List the prompts of a folder no longer; its files are kept.",
            self._remove_folder,
        )
        side = QWidget()
        column = QVBoxLayout(side)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.card)
        for pair in ((self.use, self.describe), (self.copy_text, self.copy_file),
                     (self.rename, self.duplicate), (self.delete, self.reveal)):  # fmt: skip
            column.addLayout(row(*pair))
        column.addWidget(self.message)
        column.addStretch(1)
        splitter = QSplitter()
        splitter.addWidget(self.library_list)
        splitter.addWidget(side)
        splitter.setSizes([470, 350])
        splitter.setChildrenCollapsible(False)
        layout = QVBoxLayout(self)
        layout.addWidget(splitter, 1)
        layout.addLayout(row(self.paste, self.add_folder, self.remove_folder))

    # The selected prompt

    @property
    def entry(self) -> LibraryItem | None:
        """The selected prompt file."""
        return self.library_list.entry

    def _readable(self) -> tuple[Path, Prompt] | None:
        """Return the selected file and its prompt; None if there is none that can be read."""
        entry = self.entry
        return None if entry is None or entry.prompt is None else (entry.path, entry.prompt)

    def _show_selected(self) -> None:
        entry = self.entry
        if entry is None and not self.library_list.loaded:
            self.card.show_message(LOADING)
        elif entry is None:
            has_prompts = self.library_list.list.count() > 0
            self.card.show_message("No prompt matches the search." if has_prompts else EMPTY)
        elif entry.prompt is None:
            self.card.show_message(in_form(entry.problem))
        else:
            self.card.show_prompt(entry.prompt, entry.path)
        self.remove_folder.setEnabled(len(self.folders.folders) > 1)
        for widget in (self.use, self.describe, self.copy_text):
            widget.setEnabled(self._readable() is not None)
        for widget in (self.copy_file, self.rename, self.duplicate, self.delete, self.reveal):
            widget.setEnabled(entry is not None)

    # Actions

    def _show_outcome(self, action: Callable[[], str]) -> None:
        """Run a short action, show the message that it returns, and refresh the list."""
        try:
            self.message.setText(action())
        except PtsamError as error:
            self.message.setText(in_form(error))
        self.library_list.refresh()

    def _use(self) -> None:
        if (readable := self._readable()) is not None:
            path, prompt = readable
            self._on_use(prompt, path)
            self.message.setText(f"{path.stem} was added.")

    def _describe(self) -> None:
        if (readable := self._readable()) is not None:
            dialog = DescriptionDialog(*readable, self)
            dialog.finished.connect(lambda _: self.library_list.refresh())
            dialog.open()

    def _copy_text(self) -> None:
        if (readable := self._readable()) is not None:
            self._show_outcome(partial(_copy_as_text, readable[1]))

    def _copy_file(self) -> None:
        if (entry := self.entry) is not None:
            data = QMimeData()
            data.setUrls([QUrl.fromLocalFile(str(entry.path))])
            data.setText(str(entry.path))
            _clipboard().setMimeData(data)
            self.message.setText(f"{entry.path.name} is on the clipboard.")

    def paste_text(self) -> None:
        """Add the prompt whose line of text is on the clipboard."""
        self.library_list.jobs.submit(
            "paste", partial(_save_text, _clipboard().text(), self.folders.folders[0]),
            self._on_pasted, self.message.setText,
        )  # fmt: skip

    def _on_pasted(self, path: Path) -> None:
        self._show_path(f"{path.name} was added.", path)
        self.library_list.refresh()

    def _show_path(self, sentence: str, path: Path) -> None:
        """Show a sentence, with the whole path in the tooltip."""
        self.message.setText(sentence)
        self.message.setToolTip(plain_tip(str(path)))

    def _rename(self) -> None:
        if (entry := self.entry) is None:
            return
        name, accepted = QInputDialog.getText(
            self, "Rename a prompt", "New name:", text=entry.path.stem
        )
        if accepted:
            self._show_outcome(
                lambda: f"The prompt was renamed to {rename(entry.path, name).stem}."
            )

    def _duplicate(self) -> None:
        if (entry := self.entry) is not None:
            self._show_outcome(lambda: f"The copy is {duplicate(entry.path).name}.")

    def _delete(self) -> None:
        if (entry := self.entry) is None:
            return
        moved = QFile.moveToTrash(str(entry.path))  # only a bool in some bindings of Qt
        if moved[0] if isinstance(moved, tuple) else moved:
            self.message.setText(f"{entry.path.name} is in the bin.")
        else:
            question = f"{entry.path} cannot be moved to the bin. Delete it permanently?"
            answer = QMessageBox.question(self, "Delete a prompt", question)
            if answer != QMessageBox.StandardButton.Yes:
                return
            try:
                entry.path.unlink()
                self.message.setText(f"{entry.path.name} was deleted.")
            except OSError as error:
                self.message.setText(f"{entry.path} cannot be deleted ({error.strerror}).")
        self.library_list.refresh()

    def _reveal(self) -> None:
        if (entry := self.entry) is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(entry.path.parent)))

    # Folders

    def _add_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Add a folder of prompts", str(home()))
        if folder:
            self._change_folders(lambda: self.folders.add(Path(folder)))

    def _remove_folder(self) -> None:
        removable = [str(folder) for folder in self.folders.folders[1:]]
        folder, accepted = QInputDialog.getItem(
            self, "Remove a folder", "Folder to remove from the library:", removable, editable=False
        )
        if accepted:
            self._change_folders(lambda: self.folders.remove(Path(folder)))

    def _change_folders(self, change: Callable[[], None]) -> None:
        try:
            change()
        except PtsamError as error:
            self.message.setText(in_form(error))
        self.library_list.reload_folders()

    # Open and close

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802, Qt's name
        """Refresh the list as long as the dialog is open."""
        super().showEvent(event)
        self.library_list.follow(True)

    def closeEvent(self, event: QCloseEvent | None) -> None:  # noqa: N802, Qt's name
        """Stop refreshing the list."""
        self.library_list.follow(False)
        super().closeEvent(event)

    def close_down(self, timeout: float = 0.0) -> None:
        """Close the dialog, and wait ``timeout`` seconds for its thread."""
        self.library_list.close_down(timeout)
        self.close()


def _copy_as_text(prompt: Prompt) -> str:
    """Copy a prompt to the clipboard as text, and return a message about it."""
    from napari_ptsam.prompts.text import to_text

    line = to_text(prompt)
    _clipboard().setText(line)
    without_markers = " Markers are left out." if prompt.markers is not None else ""
    return f"{len(line):,} characters are on the clipboard.{without_markers}"


def _save_text(line: str, folder: Path) -> Steps:
    """Save the prompt in a line of text to a folder, named after its classes, in a worker."""
    load_torch()
    from napari_ptsam.prompts.text import from_text

    prompt = from_text(line)
    name = safe_file_name("-".join(prompt.classes), "prompt", longest=60)
    yield put(prompt, name, folder)


def _clipboard() -> QClipboard:
    return not_none(QGuiApplication.clipboard())
