"""The form of the training settings: preset, device, and the advanced settings."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QSize, Qt, Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QVBoxLayout, QWidget

from napari_ptsam.images.normalize import Normalization
from napari_ptsam.io.declaration import settings_of
from napari_ptsam.training.presets import DEFAULT_PRESET, PRESET_HELP, PRESETS, training_settings
from napari_ptsam.training.settings import TrainingSettings
from napari_ptsam.widgets.shared.qt_helpers import Fold
from napari_ptsam.widgets.shared.setting_rows import TIP_WIDTH, add_rows, editors_of, tip_of

if TYPE_CHECKING:
    from napari_ptsam.widgets.annotate.session_model import SessionModel

DEVICES = {"auto": "auto", "cpu": "CPU", "cuda": "NVIDIA GPU", "mps": "Apple GPU"}
NORMALIZATIONS = {"plane": "each plane by itself", "stack": "the whole stack alike"}


class Options(QWidget):
    """The form of the settings of the next training.

    The session model holds the settings. The rows of the advanced settings are made from
    the declaration of `TrainingSettings`.
    """

    changed = Signal()

    def __init__(self, session_model: SessionModel) -> None:
        super().__init__()
        self._session_model, self._filling = session_model, False
        self.preset, self.device = QComboBox(), QComboBox()
        for number, name in enumerate(PRESETS):
            self.preset.addItem(name, name)
            self.preset.setItemData(number, PRESET_HELP[name], Qt.ItemDataRole.ToolTipRole)
        for name, words in DEVICES.items():
            self.device.addItem(words, name)
        helps = "\n".join(f"{name}: {text}" for name, text in PRESET_HELP.items())
        self.preset.setToolTip(f"How thoroughly to train.\n{helps}")
        self.device.setToolTip(
            textwrap.fill(
                "The device to train on. “auto” takes a GPU if there is one; the line at the bottom "
                "shows which device is used.",
                TIP_WIDTH,
            )
        )
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Preset", self.preset)
        form.addRow("Device", self.device)
        self.editors = editors_of(TrainingSettings, self)
        self.normalization = QComboBox()
        self._advanced = self._make_advanced()
        self._toggle = Fold(
            "Advanced", "Settings that you need only when the result is poor.", self._advanced
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addWidget(self._toggle)
        layout.addWidget(self._advanced)
        self.show_settings()
        self.preset.activated.connect(self._choose_preset)
        self.device.activated.connect(self._store)
        self.normalization.activated.connect(self._store)
        for editor in self.editors.values():
            editor.changed.connect(self._store)

    def _make_advanced(self) -> QWidget:
        part = QWidget()
        form = QFormLayout(part)
        form.setContentsMargins(12, 0, 0, 0)
        for name, setting in settings_of(TrainingSettings).items():
            if name in self.editors:
                add_rows(form, self.editors[name])
            elif name == "normalization":  # the form offers only its mode
                for mode, words in NORMALIZATIONS.items():
                    self.normalization.addItem(words, mode)
                self.normalization.setToolTip(tip_of(setting))
                form.addRow(setting.title, self.normalization)
        return part

    def changeEvent(self, event: QEvent | None) -> None:  # noqa: N802, Qt's name
        """Fold the settings while a training runs, to leave the space to its plot."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.EnabledChange:
            self._toggle.unfold(self._toggle.isChecked() and self.isEnabled())

    def minimumSizeHint(self) -> QSize:  # noqa: N802, Qt's name
        """Return the width of the unfolded form, so that folding does not resize the dock."""
        hint = super().minimumSizeHint()
        return hint.expandedTo(QSize(self._advanced.minimumSizeHint().width(), 0))

    def show_settings(self) -> None:
        """Show the settings that the session model holds."""
        self._filling = True
        settings = self._session_model.settings
        known = training_settings(settings)
        _choose(self.preset, settings.get("preset") or DEFAULT_PRESET)
        _choose(self.device, settings.get("device") or "auto")
        _choose(self.normalization, known.normalization.mode)
        for name, editor in self.editors.items():
            editor.show_value(getattr(known, name))
        self._enable()
        self._filling = False

    def _enable(self) -> None:
        """Enable the field for the time if the training depends on it."""
        ((_, minutes),) = self.editors["minutes"].rows
        minutes.setEnabled(self.editors["encoder_tokens"].value == "auto")

    def _choose_preset(self, position: int = 0) -> None:
        preset = self.preset.currentData()
        self._session_model.settings |= dict.fromkeys(PRESETS[preset]) | {"preset": preset}
        self.show_settings()
        self._emit_changed()

    def _store(self, value: Any = None) -> None:
        if self._filling:
            return
        limits = Normalization()
        self._session_model.settings |= {
            "device": self.device.currentData(),
            "normalization": {
                "mode": self.normalization.currentData(), "low": limits.low, "high": limits.high,
            },
            **{name: editor.value for name, editor in self.editors.items()},
        }  # fmt: skip
        self._enable()
        self._emit_changed()

    def _emit_changed(self) -> None:
        self._session_model.backbone_service.use(self.device.currentData())
        self._session_model.settings_changed.emit()
        self.changed.emit()

    def settings(self) -> TrainingSettings:
        """Return the settings of the next training.

        Raises
        ------
        InputError
            If a value cannot be used.
        """
        channels = self._session_model.channels
        return training_settings(
            self._session_model.settings
            | {"channels": None if channels is None else list(channels)}
        )


def _choose(box: QComboBox, data: str) -> None:
    box.setCurrentIndex(max(0, box.findData(data)))
