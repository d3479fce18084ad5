"""The library: prompts of the user and of the lab, to look at, choose and pass on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QFile, QMimeData, QUrl
from qtpy.QtGui import QDesktopServices, QGuiApplication
from qtpy.QtWidgets import (
    QDialog,
    QFileDialog,
    QInputDialog,
    QMessageBox,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from napari_ptsam.errors import PtsamError
from napari_ptsam.prompts.library import LibraryFolders, LibraryItem, duplicate, put, rename
from napari_ptsam.widgets.library.library_list import LibraryList
from napari_ptsam.widgets.library.library_texts import TextsDialog
from napari_ptsam.widgets.library.prompt_card import PromptCard
from napari_ptsam.widgets.shared.qt_helpers import button, row, text
from napari_ptsam.widgets.shared.remedies import in_form
from napari_ptsam.widgets.shared.torch_loading import load_torch
from napari_ptsam.widgets.shared.workers import Steps

if TYPE_CHECKING:
    from qtpy.QtGui import QCloseEvent, QShowEvent

    from napari_ptsam.prompts.prompt import Prompt


class LibraryDialog(QDialog):
    """Search, look, choose; rename, duplicate, delete, describe, pass on.

    Parameters
    ----------
    use
        Called with a prompt and its file when the user chooses one.
    parent
        The widget that it belongs to.
    folders
        Where to look; the user's by default.
    """

    def __init__(
        self, use: Callable[[Prompt, Path], object], parent: QWidget | None = None,
        folders: LibraryFolders | None = None,
    ) -> None:  # fmt: skip
        super().__init__(parent)
        self._use_prompt, self.folders = use, folders or LibraryFolders()
        self.shelf = LibraryList(self.folders)
        self.setWindowTitle("Prompt library")
        self._build()
        self.shelf.selected.connect(self._selected)
        self.shelf.chosen.connect(self._use)
        self.shelf.listed.connect(self._selected)
        self.shelf.failed.connect(self.said.setText)
        self.resize(820, 560)

    def _build(self) -> None:
        self.card, self.said = PromptCard(), text()
        self.use = button("Use", "Take this prompt into the form.", self._use)
        self.texts = button("Describe…", "Change its author, notes and licence.", self._describe)
        self.copy_text = button(
            "Copy as text",
            "One line for a chat or a lab book; it can be pasted here.",
            self._copy_text,
        )
        self.copy_file = button(
            "Copy file", "Copy the file, to paste it into a mail or a folder.", self._copy_file
        )
        self.rename = button("Rename…", "Give the file another name.", self._rename)
        self.duplicate = button("Duplicate", "Copy it under another name.", self._duplicate)
        self.delete = button("Delete", "Move the file to the bin.", self._delete)
        self.reveal = button("Show in folder", "Open the folder that it is in.", self._reveal)
        self.paste = button(
            "Paste text",
            "Add the prompt whose line of text (ptsam1:…) was copied.",
            self.paste_text,
        )
        self.add_folder = button(
            "Add folder…",
            "Look for prompts there too, such as on a network share.",
            self._add_folder,
        )
        self.drop_folder = button(
            "Remove folder…", "Look there no more; its files stay.", self._drop_folder
        )
        side = QWidget()
        column = QVBoxLayout(side)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.card)
        for pair in ((self.use, self.texts), (self.copy_text, self.copy_file),
                     (self.rename, self.duplicate), (self.delete, self.reveal)):  # fmt: skip
            column.addLayout(row(*pair))
        column.addWidget(self.said)
        column.addStretch(1)
        parts = QSplitter()
        parts.addWidget(self.shelf)
        parts.addWidget(side)
        parts.setSizes([470, 350])
        parts.setChildrenCollapsible(False)
        layout = QVBoxLayout(self)
        layout.addWidget(parts, 1)
        layout.addLayout(row(self.paste, self.add_folder, self.drop_folder))

    # What is there

    @property
    def entry(self) -> LibraryItem | None:
        """The prompt file that is selected."""
        return self.shelf.entry

    def _selected(self, *_: Any) -> None:
        entry = self.entry
        if entry is None or entry.prompt is None:
            self.card.show_none()
            words = "No prompts yet. Save one here after a training, paste a line of text, or add a folder."
            if self.shelf.list.count():
                words = "Nothing matches the search."
            self.card.title.setText(words if entry is None else in_form(entry.problem))
        else:
            self.card.show_prompt(entry.prompt, entry.path)
        readable = entry is not None and entry.prompt is not None
        self.drop_folder.setEnabled(len(self.folders.folders) > 1)
        for widget in (self.use, self.texts, self.copy_text):
            widget.setEnabled(readable)
        for widget in (self.copy_file, self.rename, self.duplicate, self.delete, self.reveal):
            widget.setEnabled(entry is not None)

    # What can be done with it

    def _do(self, work: Callable[[], str]) -> None:
        """Do something short, and say what came of it."""
        try:
            self.said.setText(work())
        except PtsamError as error:
            self.said.setText(in_form(error))
        self.shelf.look()

    def _use(self) -> None:
        if (entry := self.entry) is not None and entry.prompt is not None:
            self._use_prompt(entry.prompt, entry.path)
            self.said.setText(f"{entry.path.stem} is in the form now.")

    def _describe(self) -> None:
        if (entry := self.entry) is not None and entry.prompt is not None:
            dialog = TextsDialog(entry.path, entry.prompt, self)
            dialog.finished.connect(lambda _: self.shelf.look())
            dialog.open()

    def _copy_text(self) -> None:
        from napari_ptsam.prompts.text import to_text

        if (entry := self.entry) is None or entry.prompt is None:
            return
        prompt = entry.prompt

        def work() -> str:
            line = to_text(prompt)
            _clipboard().setText(line)
            without = " Cores are left out." if prompt.cores is not None else ""
            return f"{len(line):,} characters are on the clipboard.{without}"

        self._do(work)

    def _copy_file(self) -> None:
        if (entry := self.entry) is not None:
            data = QMimeData()
            data.setUrls([QUrl.fromLocalFile(str(entry.path))])
            data.setText(str(entry.path))
            _clipboard().setMimeData(data)
            self.said.setText(f"{entry.path.name} is on the clipboard.")

    def paste_text(self) -> None:
        """Add the prompt whose line of text is on the clipboard."""
        self.shelf.jobs.submit(
            "paste", partial(_pasted, _clipboard().text(), self.folders.folders[0]), self._added,
            self.said.setText,
        )  # fmt: skip

    def _added(self, path: Path) -> None:
        self.said.setText(f"{path.name} was added to {path.parent}.")
        self.shelf.look()

    def _rename(self) -> None:
        if (entry := self.entry) is None:
            return
        name, agreed = QInputDialog.getText(
            self, "Rename a prompt", "New name:", text=entry.path.stem
        )
        if agreed:
            self._do(lambda: f"It is called {rename(entry.path, name).stem} now.")

    def _duplicate(self) -> None:
        if (entry := self.entry) is not None:
            self._do(lambda: f"The copy is {duplicate(entry.path).name}.")

    def _delete(self) -> None:
        if (entry := self.entry) is None:
            return
        moved = QFile.moveToTrash(str(entry.path))  # a bool alone in some bindings
        if moved[0] if isinstance(moved, tuple) else moved:
            self.said.setText(f"{entry.path.name} is in the bin.")
        else:
            words = f"{entry.path} cannot be moved to a bin. Delete it for good?"
            if (
                QMessageBox.question(self, "Delete a prompt", words)
                != QMessageBox.StandardButton.Yes
            ):
                return
            try:
                entry.path.unlink()
                self.said.setText(f"{entry.path.name} was deleted.")
            except OSError as error:
                self.said.setText(f"{entry.path} cannot be deleted ({error.strerror}).")
        self.shelf.look()

    def _reveal(self) -> None:
        if (entry := self.entry) is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(entry.path.parent)))

    # Folders

    def _add_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "A folder of prompts", str(Path.home()))
        if chosen:
            self._with_folders(lambda: self.folders.add(Path(chosen)))

    def _drop_folder(self) -> None:
        added = [str(folder) for folder in self.folders.folders[1:]]
        chosen, agreed = QInputDialog.getItem(
            self, "Remove a folder", "Look no more in:", added, editable=False
        )
        if agreed:
            self._with_folders(lambda: self.folders.remove(Path(chosen)))

    def _with_folders(self, change: Callable[[], None]) -> None:
        try:
            change()
        except PtsamError as error:
            self.said.setText(in_form(error))
        self.shelf.use_folders()

    # Begin and end

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802, Qt's name
        """Look at once, and now and then."""
        super().showEvent(event)
        self.shelf.follow(True)

    def closeEvent(self, event: QCloseEvent | None) -> None:  # noqa: N802, Qt's name
        """Look no more."""
        self.shelf.follow(False)
        super().closeEvent(event)

    def close_down(self, wait: float = 0.0) -> None:
        """End what is going on; for when the widget goes away."""
        self.shelf.close_down(wait)
        self.close()


def _pasted(line: str, folder: Path) -> Steps:
    load_torch()
    from napari_ptsam.prompts.text import from_text

    prompt = from_text(line)
    name = "".join(c if c.isalnum() or c in " -_()" else "_" for c in "-".join(prompt.classes))
    yield put(prompt, name[:60].strip() or "prompt", folder)


def _clipboard() -> Any:
    return QGuiApplication.clipboard()
