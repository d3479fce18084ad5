"""Rows of forms, made from declared settings."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QFormLayout, QSpinBox, QWidget

from napari_ptsam.io.declaration import Setting, settings_of

TIP_WIDTH = 80
"""Number of characters in a line of a tooltip."""
MOST = 2**31 - 1
"""Largest number that Qt's spin boxes take."""
NUMBER = ""
"""Data of the choice that enables the field for a number."""


def tip_of(setting: Setting) -> str:
    """Return the tooltip of a setting: its description, with the choices in the words of the form."""
    choices = setting.shown.choices
    text = re.sub(r"`(.+?)`", lambda m: f"“{choices.get(m[1], m[1])}”", setting.description)
    return textwrap.fill(text, TIP_WIDTH)


class SettingEditor(QObject):
    """The widgets that edit a setting.

    Attributes
    ----------
    rows
        Label and widget of each row: one, or two for a setting that is either a choice or
        a number.
    changed
        Emitted when the user has changed the value.
    """

    changed = Signal()

    def __init__(self, setting: Setting, parent: QWidget) -> None:
        super().__init__(parent)
        self.setting = setting
        self.flag = QCheckBox(setting.title) if setting.kind is bool else None
        self.choice = _choice(setting) if setting.words else None
        offers_number = not setting.words or NUMBER in _choices(setting)
        self.number = _number(setting) if offers_number and self.flag is None else None
        parts = [part for part in (self.flag, self.choice, self.number) if part is not None]
        for part in parts:
            part.setToolTip(tip_of(setting))
        labels = ["" if self.flag else setting.title, setting.shown.number_title]
        self.rows: list[tuple[str, QWidget]] = list(zip(labels, parts, strict=False))
        if self.flag is not None:
            self.flag.toggled.connect(self.changed)
        if self.choice is not None:
            self.choice.currentIndexChanged.connect(self._on_chosen)
        if self.number is not None:
            self.number.valueChanged.connect(self.changed)
        self.show_value(setting.default)

    def _on_chosen(self) -> None:
        if self.choice is not None and self.number is not None:
            self.number.setEnabled(self.choice.currentData() == NUMBER)
        self.changed.emit()

    @property
    def value(self) -> Any:
        """The value that the widgets show."""
        if self.flag is not None:
            return self.flag.isChecked()
        if self.choice is not None and self.choice.currentData() != NUMBER:
            word = self.choice.currentData()
            return word if word in self.setting.words else int(word)
        assert self.number is not None
        if isinstance(self.number, QSpinBox):
            return self.number.value()
        digits = self.setting.shown.decimals + 2  # the factor may add two
        return round(self.number.value() / self.setting.shown.factor, digits)

    def show_value(self, value: Any) -> None:
        """Show a value."""
        if self.flag is not None:
            self.flag.setChecked(value)
            return
        if self.choice is not None:
            data = str(value)
            if value not in self.setting.words and self.number is not None:
                data = NUMBER
            if self.choice.findData(data) < 0:  # a value from a session or the command line
                self.choice.addItem(data, data)
            self.choice.setCurrentIndex(self.choice.findData(data))
        if self.number is not None and value not in self.setting.words:
            self.number.setValue(value if self.setting.kind is int else value * self.factor)
        if self.number is not None and self.choice is not None:
            self.number.setEnabled(self.choice.currentData() == NUMBER)

    @property
    def factor(self) -> float:
        """The factor by which the shown number is larger than the value."""
        return self.setting.shown.factor


def _choices(setting: Setting) -> Mapping[str, str]:
    """Return the values to choose from, and the words for them."""
    number = {} if setting.kind is None else {NUMBER: "a number"}
    return setting.shown.choices or {**{word: word for word in setting.words}, **number}


def _choice(setting: Setting) -> QComboBox:
    box = QComboBox()
    for value, words in _choices(setting).items():
        box.addItem(words, value)
    return box


def _number(setting: Setting) -> QSpinBox | QDoubleSpinBox:
    shown, bounds = setting.shown, setting.bounds
    smallest = 1 if setting.kind is int else 10**-shown.decimals
    low = bounds.get("minimum", bounds.get("exclusiveMinimum", 0) + smallest)
    high = bounds.get("maximum", bounds.get("exclusiveMaximum", MOST))
    high = min(MOST, high if shown.most is None else shown.most)
    box: QSpinBox | QDoubleSpinBox
    if setting.kind is int:
        box = QSpinBox()
        box.setRange(int(low), int(high))
        box.setSingleStep(int(shown.step))
        box.setValue(int(shown.begin))
    else:
        box = QDoubleSpinBox()
        box.setDecimals(shown.decimals)
        box.setRange(low * shown.factor, high * shown.factor)
        box.setSingleStep(shown.step)
    box.setSuffix(shown.suffix)
    return box


def editors_of(
    settings_class: type, parent: QWidget, names: Iterable[str] | None = None
) -> Mapping[str, SettingEditor]:
    """Return an editor for each setting of a class that has a row, or for those named."""
    settings = settings_of(settings_class)
    if names is None:
        names = [name for name, setting in settings.items() if setting.shown.row]
    return {name: SettingEditor(settings[name], parent) for name in names}


def add_rows(form: QFormLayout, editor: SettingEditor) -> None:
    """Add the rows of a setting to a form."""
    for label, widget in editor.rows:
        form.addRow(label, widget)
