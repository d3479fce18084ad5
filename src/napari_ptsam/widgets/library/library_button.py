"""A button that opens the prompt library."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QPushButton

if TYPE_CHECKING:
    from napari_ptsam.prompts.prompt import Prompt
    from napari_ptsam.widgets.library.library_dialog import LibraryDialog


class LibraryButton(QPushButton):
    """Makes the dialog when it is first asked for.

    Parameters
    ----------
    use
        Called with a prompt and its file when the user chooses one.
    """

    def __init__(self, use: Callable[[Prompt, Path], object]) -> None:
        super().__init__("Library…")
        self._use = use
        self.dialog: LibraryDialog | None = None
        self.setToolTip("Prompts of yours and of your lab: look, choose, pass on.")
        self.setAutoDefault(True)
        self.clicked.connect(self.open)

    def open(self) -> None:
        """Show the library."""
        if self.dialog is None:
            from napari_ptsam.widgets.library.library_dialog import LibraryDialog

            self.dialog = LibraryDialog(self._use, self.window())
        self.dialog.show()
        self.dialog.raise_()

    def close_down(self, wait: float = 0.0) -> None:
        """End what the dialog does."""
        if self.dialog is not None:
            self.dialog.close_down(wait)
            self.dialog.deleteLater()
            self.dialog = None
