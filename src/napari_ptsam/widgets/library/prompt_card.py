"""What a prompt is, on a card."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QVBoxLayout

from napari_ptsam.prompts.describe import facts
from napari_ptsam.widgets.shared.qt_helpers import WrappedLabel, text_label

if TYPE_CHECKING:
    from napari_ptsam.prompts.prompt import Prompt

NO_PROMPT = "No prompt yet: open prompt files, or drop them here."
MOST_CLASSES = 12
"""That the card names."""
SHOWN = (
    "Made from", "Dice", "Backbone", "Scale", "Channels", "Pixel size", "Flips", "Author", "Notes", "Licence"
)  # fmt: skip


class PromptCard(QFrame):
    """What a prompt is, for who was sent the file."""

    def __init__(self) -> None:
        super().__init__()
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.title, self.facts = text_label(NO_PROMPT), text_label()
        self.classes = WrappedLabel()
        self.classes.setTextFormat(Qt.TextFormat.RichText)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 4, 6, 4)
        for label in (self.title, self.classes, self.facts):
            layout.addWidget(label)

    def show_none(self) -> None:
        """Say how to come by a prompt."""
        self.title.setText(NO_PROMPT)
        self.title.setToolTip("")
        self._embolden(False)
        self.classes.setText("")
        self.facts.setText("")

    def _embolden(self, bold: bool) -> None:
        font = self.title.font()
        font.setBold(bold)
        self.title.setFont(font)

    def show_prompt(self, prompt: Prompt, path: Path | None) -> None:
        """Show a prompt; its texts may be anybody's, so that none is taken for HTML."""
        self.title.setText("Prompt" if path is None else path.name)
        self.title.setToolTip("" if path is None else escape(str(path)))
        self._embolden(True)
        pairs = list(zip(prompt.classes, prompt.colours, strict=True))
        listed = [
            f'<span style="color: {escape(colour)}">■</span> {escape(name)}'
            for name, colour in pairs[:MOST_CLASSES]
        ]
        more = len(pairs) - len(listed)
        self.classes.setText(", ".join(listed) + (f" and {more} more" if more else ""))
        known = facts(prompt)
        rows = [f"{name}: {known[name]}" for name in SHOWN if name in known]
        self.facts.setText("\n".join(rows))
