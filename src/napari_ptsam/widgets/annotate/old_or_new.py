"""Choose between the old prompt and a new one that is worse, after a training that continued."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QWidget

from napari_ptsam.widgets.shared.qt_helpers import button, row

if TYPE_CHECKING:
    from pathlib import Path

    from napari_ptsam.prompts.prompt import Prompt
    from napari_ptsam.widgets.annotate.session_model import SessionModel


@dataclass(eq=False)
class JudgedPrompt:
    """A prompt, and what the window shows about it while it is in use.

    Attributes
    ----------
    prompt
        The prompt.
    text, level
        The judgement; see `napari_ptsam.training.verdict.Verdict`.
    path
        File that it was saved in, if any.
    dice
        Its Dice on planes, by their indices in the training.
    """

    prompt: Prompt
    text: str
    level: str
    path: Path | None = None
    dice: dict[int, float | None] = field(default_factory=dict)


class OldOrNew(QWidget):
    """A row of two buttons that decide which prompt is in use; hidden unless there is a choice.

    Parameters
    ----------
    session_model
        The session, whose prompt is one of the two.
    """

    chosen = Signal(object)
    """The user has chosen a `JudgedPrompt`, which is to be used."""

    def __init__(self, session_model: SessionModel) -> None:
        super().__init__()
        self._session_model = session_model
        self._old: JudgedPrompt | None = None
        self._new: JudgedPrompt | None = None
        self.keep_old = button(
            "Keep the old one",
            "Use the prompt that the training started from: preview it, save it and continue from it.",
            lambda: self._choose(self._old),
        )
        self.take_new = button(
            "Take the new one",
            "Use the new prompt all the same: preview it, save it and continue from it.",
            lambda: self._choose(self._new),
        )
        self.setLayout(row(self.keep_old, self.take_new))
        self.hide()

    def offer(self, old: JudgedPrompt, new: JudgedPrompt) -> None:
        """Offer a choice between two prompts; the old one is in use."""
        self._old, self._new = old, new
        self.keep_old.setEnabled(True)
        self.take_new.setEnabled(True)
        self.show()

    def withdraw(self) -> None:
        """Offer no choice any more; the prompt in use stays."""
        self._old = self._new = None
        self.hide()

    def refresh(self) -> None:
        """Withdraw the offer if another prompt is in use by now."""
        if self._in_use is None:
            self.withdraw()

    @property
    def _in_use(self) -> JudgedPrompt | None:
        prompt = self._session_model.prompt
        both = (self._old, self._new)
        return next((each for each in both if each is not None and each.prompt is prompt), None)

    def rate(self, number: int, dice: float) -> bool:
        """Keep the Dice of the new prompt on a plane, and return whether it is the one in use."""
        if self._new is None:
            return True
        self._new.dice[number] = dice
        return self._in_use is self._new

    def _choose(self, judged: JudgedPrompt | None) -> None:
        before = self._in_use
        if judged is None or before is None:
            return
        before.path = self._session_model.prompt_path  # it may have been saved meanwhile
        self.keep_old.setEnabled(judged is self._new)
        self.take_new.setEnabled(judged is self._old)
        self.chosen.emit(judged)
