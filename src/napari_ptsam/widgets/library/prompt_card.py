"""A card that shows the properties of a prompt."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QVBoxLayout, QWidget

from napari_ptsam.prompts.describe import facts
from napari_ptsam.widgets.shared.qt_helpers import Fold, WrappedLabel, text_label

if TYPE_CHECKING:
    from napari_ptsam.prompts.prompt import Prompt

NO_PROMPT = "No prompt yet: open prompt files, or drop them here."
MAX_CLASSES = 12
"""Largest number of classes that the card names."""
SHOWN_FACTS = ("Made from", "Dice", "Pixel size", "Fine detail", "Author", "Notes", "Licence")
DETAILS = ("Training", "Backbone", "Scale", "Channels", "Flips")
"""Facts that are shown when the details are unfolded."""
IN_WORDS = {"Dice": "Agreement (Dice)", "Backbone": "Base model"}
"""What the widgets call these facts."""


class PromptCard(QFrame):
    """Show classes, origin and settings of a prompt, so that a user can judge a file."""

    def __init__(self) -> None:
        super().__init__()
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.title, self.facts = text_label(NO_PROMPT), text_label()
        self.classes = WrappedLabel()
        self.classes.setTextFormat(Qt.TextFormat.RichText)
        self.details = text_label()
        self._details = QWidget()
        column = QVBoxLayout(self._details)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.details)
        self.fold = Fold(
            "Details", "How the prompt was trained, and how it sees images.", self._details
        )
        self.fold.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 4, 6, 4)
        for widget in (self.title, self.classes, self.facts, self.fold, self._details):
            layout.addWidget(widget)

    def show_message(self, message: str = NO_PROMPT) -> None:
        """Show a message in place of a prompt; by default, how to open one."""
        self.title.setText(message)
        self.title.setToolTip("")
        self._set_bold(False)
        self.classes.setText("")
        self.facts.setText("")
        self.details.setText("")
        self.fold.hide()

    def _set_bold(self, bold: bool) -> None:
        font = self.title.font()
        font.setBold(bold)
        self.title.setFont(font)

    def show_prompt(self, prompt: Prompt, path: Path | None) -> None:
        """Show a prompt.

        Parameters
        ----------
        prompt
            The prompt. Its texts may come from anybody, so they are not rendered as HTML.
        path
            The file of the prompt, if there is one.
        """
        self.title.setText("Prompt" if path is None else path.name)
        self.title.setToolTip("" if path is None else escape(str(path)))
        self._set_bold(True)
        classes = list(zip(prompt.classes, prompt.colours, strict=True))
        listed = [
            f'<span style="color: {escape(colour)}">■</span> {escape(name)}'
            for name, colour in classes[:MAX_CLASSES]
        ]
        more = len(classes) - len(listed)
        self.classes.setText(", ".join(listed) + (f" and {more} more" if more else ""))
        known = facts(prompt)
        known["Made from"], _, known["Training"] = known["Made from"].partition("; ")
        for label, names in ((self.facts, SHOWN_FACTS), (self.details, DETAILS)):
            lines = (
                f"{IN_WORDS.get(name, name)}: {known[name]}" for name in names if name in known
            )
            label.setText("\n".join(lines))
        self.fold.show()
