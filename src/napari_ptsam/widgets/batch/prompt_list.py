"""The list of prompts to apply, with a card for the selected one."""

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

from napari_ptsam.io.user_folders import home
from napari_ptsam.widgets.batch.task import OpenedPrompt
from napari_ptsam.widgets.library.library_dialog import LibraryButton
from napari_ptsam.widgets.library.prompt_card import PromptCard
from napari_ptsam.widgets.shared.qt_helpers import button, colour_icon, plain_tip, row
from napari_ptsam.widgets.shared.torch_loading import load_torch

if TYPE_CHECKING:
    from napari_ptsam.prompts.prompt import Prompt
    from napari_ptsam.widgets.shared.open_docks import TrainedPrompt
    from napari_ptsam.widgets.shared.worker import Steps

MAX_ROWS = 3
"""Largest number of rows that are visible without scrolling."""


class PromptList(QWidget):
    """The prompts, all of which are applied; each file is listed once.

    Parameters
    ----------
    open_file
        Called with each file that the user chooses.
    use_prompt
        Called with each prompt that the user chooses in the library, and with its file.
    """

    changed = Signal()

    def __init__(
        self, open_file: Callable[[Path], object], use_prompt: Callable[[Prompt, Path], object]
    ) -> None:
        super().__init__()
        self._open_file = open_file
        self.library = LibraryButton(use_prompt)
        self.opened: list[OpenedPrompt] = []
        self._taken_over: OpenedPrompt | None = None
        self.open = button(
            "Open files…",
            "Choose one or more .pt files. You can also drop them onto this form.",
            self._choose_files,
        )
        self.remove_button = button(
            "Remove", "Remove the selected prompt from the list (Delete).", self.remove
        )
        self.list = _ListWithDelete()
        self.list.delete_pressed.connect(self.remove)
        self.list.setToolTip(
            "All prompts in this list are applied. The card shows the selected one."
        )
        self.list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.list.currentRowChanged.connect(self._show_card)
        self.card = PromptCard()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row(self.open, self.library, self.remove_button, stretch=0))
        layout.addWidget(self.list)
        layout.addWidget(self.card)
        self._update_height()

    def add(self, prompt: Prompt, path: Path | None = None, name: str = "prompt") -> None:
        """Add a prompt and show its card; it replaces a prompt from the same file.

        Parameters
        ----------
        prompt
            The prompt.
        path
            Its file, if it has one.
        name
            Its name if it has no file.
        """
        if path is not None:
            path = path.absolute()
        paths = [opened.path for opened in self.opened]
        if path is not None and path in paths:
            index = paths.index(path)
            self.opened[index] = OpenedPrompt(prompt, self.opened[index].name, path)
        else:
            index = len(self.opened)
            name = self._unique_name(name if path is None else path.stem)
            self.opened.append(OpenedPrompt(prompt, name, path))
            item = QListWidgetItem(colour_icon(prompt.colours[0]), name)
            item.setToolTip("" if path is None else plain_tip(str(path)))
            self.list.addItem(item)
        self._update_height()
        if self.list.currentRow() == index:
            self._show_card(index)
        self.list.setCurrentRow(index)
        self.changed.emit()

    def take_over(self, trained: TrainedPrompt) -> None:
        """Add the prompt of "Annotate and train"; the last one from there is removed."""
        if self._taken_over in self.opened:
            index = self.opened.index(self._taken_over)
            del self.opened[index]
            self.list.takeItem(index)
        self.add(trained.prompt, trained.path, trained.name)
        self._taken_over = self.opened[self.list.currentRow()]

    def _unique_name(self, stem: str) -> str:
        """Return a name that no other prompt has, since results are named after prompts."""
        names = {opened.name for opened in self.opened}
        numbered = (f"{stem} ({number})" for number in range(2, len(names) + 3))
        return stem if stem not in names else next(name for name in numbered if name not in names)

    def remove(self) -> None:
        """Remove the selected prompt from the list."""
        index = self.list.currentRow()
        if 0 <= index < len(self.opened) and self.isEnabled():
            del self.opened[index]
            self.list.takeItem(index)
            self._show_card(self.list.currentRow())
            self._update_height()
            self.changed.emit()

    def _show_card(self, index: int) -> None:
        if 0 <= index < len(self.opened):
            opened = self.opened[index]
            self.card.show_prompt(opened.prompt, opened.path)
        else:
            self.card.show_message()

    def _update_height(self) -> None:
        """Make the list as high as its prompts, up to `MAX_ROWS`."""
        count = len(self.opened)
        self.list.setVisible(count > 0)
        self.remove_button.setEnabled(count > 0)
        row_height = max(self.list.sizeHintForRow(0), self.fontMetrics().height())
        rows = min(max(count, 1), MAX_ROWS)
        self.list.setFixedHeight(rows * row_height + 2 * self.list.frameWidth() + 4)

    def _choose_files(self) -> None:
        paths = [opened.path for opened in self.opened if opened.path is not None]
        folder = paths[-1].parent if paths else home()
        chosen, _ = QFileDialog.getOpenFileNames(
            self, "Open prompt files", str(folder), "Prompt files (*.pt)"
        )
        for path in chosen:
            self._open_file(Path(path))


class _ListWithDelete(QListWidget):
    """A list with a signal for the key Delete."""

    delete_pressed = Signal()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802, Qt's name
        """Emit `delete_pressed` for the key Delete; handle other keys as usual."""
        if event is not None and event.matches(QKeySequence.StandardKey.Delete):
            self.delete_pressed.emit()
        else:
            super().keyPressEvent(event)


def dropped_prompts(data: QMimeData | None) -> list[Path]:
    """Return the dropped files if all of them are prompt files by their name, else none."""
    urls = data.urls() if data is not None else []
    paths = [Path(url.toLocalFile()) for url in urls if url.isLocalFile()]
    only_prompts = len(paths) == len(urls) and all(path.suffix.lower() == ".pt" for path in paths)
    return paths if only_prompts else []


def load_prompt(path: Path) -> Steps:
    """Load a prompt file in a worker, and yield the prompt."""
    load_torch()
    from napari_ptsam.prompts.files import load

    yield load(path)
