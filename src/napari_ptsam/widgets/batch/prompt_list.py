"""The prompts that are applied, and a card for the selected one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QMimeData, Qt, Signal
from qtpy.QtGui import QKeyEvent, QKeySequence
from qtpy.QtWidgets import (
    QFileDialog,
    QListWidget,
    QListWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_ptsam.widgets.batch.task import OpenedPrompt
from napari_ptsam.widgets.library.library_dialog import LibraryButton
from napari_ptsam.widgets.library.prompt_card import PromptCard
from napari_ptsam.widgets.shared.qt_helpers import button, colour_icon, row

if TYPE_CHECKING:
    from napari_ptsam.prompts.prompt import Prompt

ROWS = 3
"""That the list shows at a time, at most."""


class PromptList(QWidget):
    """Prompts, each once; all of them are applied.

    Parameters
    ----------
    open_file
        Called with each file that the user chooses.
    use
        Called with each prompt of the library, and its file, that the user chooses.
    """

    changed = Signal()

    def __init__(
        self, open_file: Callable[[Path], object], use: Callable[[Prompt, Path], object]
    ) -> None:
        super().__init__()
        self._open_file = open_file
        self.library = LibraryButton(use)
        self.opened: list[OpenedPrompt] = []
        self.open = button(
            "Open files…",
            "Choose one or more .pt files; or drop them onto this form.",
            self._choose,
        )
        self.remove_button = button(
            "Remove", "Take the selected prompt off the list (Delete).", self.remove
        )
        self.list = _List()
        self.list.remove.connect(self.remove)
        self.list.setToolTip(
            "All prompts listed here are applied; the card shows the selected one."
        )
        self.list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.list.currentRowChanged.connect(self._show_card)
        self.card = PromptCard()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row(self.open, self.library, self.remove_button, stretch=0))
        layout.addWidget(self.list)
        layout.addWidget(self.card)
        self._fit()

    def add(self, prompt: Prompt, path: Path | None = None) -> None:
        """List a prompt and show its card; one from the same file is replaced."""
        if path is not None:
            path = path.absolute()
        known = [n for n, o in enumerate(self.opened) if path is not None and o.path == path]
        if known:
            position = known[0]
            self.opened[position] = OpenedPrompt(prompt, self.opened[position].name, path)
        else:
            position = len(self.opened)
            stem = "prompt" if path is None else path.stem
            self.opened.append(OpenedPrompt(prompt, self._free(stem), path))
            item = QListWidgetItem(colour_icon(prompt.colours[0]), self.opened[-1].name)
            item.setToolTip("" if path is None else str(path).replace("<", "&lt;"))
            self.list.addItem(item)
        self._fit()
        if self.list.currentRow() == position:
            self._show_card(position)
        self.list.setCurrentRow(position)
        self.changed.emit()

    def _free(self, stem: str) -> str:
        """A name that no other prompt has: results are called by it."""
        names = {opened.name for opened in self.opened}
        numbered = (f"{stem} ({n})" for n in range(2, len(names) + 3))
        return stem if stem not in names else next(n for n in numbered if n not in names)

    def remove(self) -> None:
        """Take the selected prompt off the list."""
        position = self.list.currentRow()
        if 0 <= position < len(self.opened) and self.isEnabled():
            del self.opened[position]
            self.list.takeItem(position)
            self._show_card(self.list.currentRow())
            self._fit()
            self.changed.emit()

    def _show_card(self, position: int) -> None:
        if 0 <= position < len(self.opened):
            opened = self.opened[position]
            self.card.show_prompt(opened.prompt, opened.path)
        else:
            self.card.show_message()

    def _fit(self) -> None:
        """As high as what is listed."""
        count = len(self.opened)
        self.list.setVisible(count > 0)
        self.remove_button.setEnabled(count > 0)
        height = max(self.list.sizeHintForRow(0), self.fontMetrics().height())
        self.list.setFixedHeight(min(max(count, 1), ROWS) * height + 2 * self.list.frameWidth() + 4)

    def _choose(self) -> None:
        paths = [opened.path for opened in self.opened if opened.path is not None]
        folder = paths[-1].parent if paths else Path.home()
        chosen, _ = QFileDialog.getOpenFileNames(
            self, "Open prompt files", str(folder), "Prompt files (*.pt)"
        )
        for path in chosen:
            self._open_file(Path(path))


class _List(QListWidget):
    """A list that tells when the key Delete is pressed."""

    remove = Signal()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802, Qt's name
        """Delete, or what all lists know."""
        if event is not None and event.matches(QKeySequence.StandardKey.Delete):
            self.remove.emit()
        else:
            super().keyPressEvent(event)


def dropped_prompts(data: QMimeData | None) -> list[Path]:
    """The files that are dropped, if all of them may be prompts."""
    urls = data.urls() if data is not None else []
    paths = [Path(url.toLocalFile()) for url in urls if url.isLocalFile()]
    every = len(paths) == len(urls) and all(path.suffix.lower() == ".pt" for path in paths)
    return paths if every else []
