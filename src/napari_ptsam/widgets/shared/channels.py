"""Choose the channels that prompts are shown."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLabel, QLineEdit, QWidget

from napari_ptsam.errors import InputError
from napari_ptsam.widgets.shared.qt_helpers import row

IN_BATCH, IN_IMAGES = "“Channels”: {}", "tab “Images”, “use”: {}"
"""How messages refer to the choice of channels in "Batch segment" and in "Annotate and train"."""


class ChannelsChoice(QWidget):
    """A field for the channels that prompts are shown, if not those of their training."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.numbers = QLineEdit()
        self.numbers.setToolTip(
            "Numbers of the channels that the prompts are shown, counted from 0, for instance 0 "
            "or 0,2; as many as in training. Leave empty for the channels of the training."
        )
        self.numbers.setPlaceholderText("as in training")
        label = QLabel("Channels")
        label.setBuddy(self.numbers)
        self.setLayout(row(label, self.numbers, stretch=1))
        self.numbers.editingFinished.connect(self.changed)

    def channels(self) -> tuple[int, ...] | None:
        """Return the chosen channels; None for those of the training.

        Raises
        ------
        InputError
            If the text is not a list of numbers.
        """
        if not self.isVisibleTo(self.parentWidget()):
            return None
        return parse_channels(self.numbers.text())


def parse_channels(text: str) -> tuple[int, ...] | None:
    """Parse channel numbers such as ``0,2``; return None for an empty text.

    Raises
    ------
    InputError
        If the text is not a list of numbers.
    """
    if not text.strip():
        return None
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise InputError(
            f"“{text}” is not a list of channels; write numbers such as 0,2."
        ) from None
