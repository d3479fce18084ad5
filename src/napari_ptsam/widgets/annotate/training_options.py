"""How to train: preset, device, and what is folded away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QSize, Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_ptsam.training.presets import PRESETS, training_settings
from napari_ptsam.training.settings import TrainingSettings
from napari_ptsam.widgets.shared.qt_helpers import Fold

if TYPE_CHECKING:
    from napari_ptsam.widgets.annotate.session_model import SessionModel

PRESET_TIP = {
    "quick": "A first impression in well under a minute.",
    "normal": "Good for most images; about a minute on a laptop.",
    "thorough": "For difficult images: tunes the image encoder too; five to ten minutes on a laptop.",
}
DEVICES = {"auto": "auto", "cpu": "CPU", "cuda": "NVIDIA GPU", "mps": "Apple GPU"}
TILES = {"auto": "from the objects' size", "whole": "whole planes"}
ENCODER = {"auto": "if the time allows", "0": "none", "8": "8 a layer"}
VALUES = {
    "plane": "each plane by itself",
    "stack": "alike in the whole stack",
}


class Options(QWidget):
    """The settings of the next training; they live in the session_model's settings."""

    changed = Signal()

    def __init__(self, session_model: SessionModel) -> None:
        super().__init__()
        self._studio, self._filling = session_model, False
        self.preset, self.device = QComboBox(), QComboBox()
        for name in PRESETS:
            self.preset.addItem(name, name)
            self.preset.setItemData(
                self.preset.count() - 1, PRESET_TIP[name], Qt.ItemDataRole.ToolTipRole
            )
        for name, words in DEVICES.items():
            self.device.addItem(words, name)
        self.preset.setToolTip(
            "How long to train. " + " ".join(f"{n}: {t}" for n, t in PRESET_TIP.items())
        )
        self.device.setToolTip(
            "Where to train. “auto” takes a GPU if there is one; the line at the bottom tells which."
        )
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Preset", self.preset)
        form.addRow("Device", self.device)
        self._advanced = self._make_advanced()
        self._toggle = Fold(
            "Advanced", "Settings that you need only when the result is poor.", self._advanced
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addWidget(self._toggle)
        layout.addWidget(self._advanced)
        self.preset.activated.connect(self._choose_preset)
        for box in (self.device, self.tile, self.values, self.encoder):
            box.activated.connect(self._store)
        for spin in (
            self.steps, self.embeddings, self.tile_side, self.held_out, self.seed, self.minutes,
        ):  # fmt: skip
            spin.valueChanged.connect(self._store)
        self.show_settings()

    def _make_advanced(self) -> QWidget:
        part = QWidget()
        form = QFormLayout(part)
        form.setContentsMargins(12, 0, 0, 0)
        self.steps, self.embeddings = QSpinBox(), QSpinBox()
        self.tile_side, self.seed, self.held_out = QSpinBox(), QSpinBox(), QDoubleSpinBox()
        self.tile, self.values, self.encoder = QComboBox(), QComboBox(), QComboBox()
        self.minutes = QDoubleSpinBox()
        self.minutes.setRange(0, 1000)
        self.minutes.setDecimals(1)
        self.minutes.setSuffix(" min")
        self.steps.setRange(1, 20000)
        self.steps.setSingleStep(50)
        self.embeddings.setRange(1, 4000)
        self.tile_side.setRange(16, 16384)
        self.tile_side.setSuffix(" px")
        self.seed.setRange(0, 2**31 - 1)
        self.held_out.setRange(0, 50)
        self.held_out.setDecimals(0)
        self.held_out.setSuffix(" %")
        for box, choices in (
            (self.tile, TILES | {"side": "tiles of"}), (self.values, VALUES), (self.encoder, ENCODER),
        ):  # fmt: skip
            for name, words in choices.items():
                box.addItem(words, name)
        rows = (
            ("Steps", self.steps, "Steps of the optimiser; more take longer."),
            ("Tiles", self.embeddings, "Tiles to learn from, flipped and turned ones included; "
             "each takes about half a second on a laptop."),
            ("Encoder tokens", self.encoder, "Tokens for the image encoder too: often better labels, "
             "but training takes several times as long. They are kept unless they harm."),
            ("Time", self.minutes, "How long a training with encoder tokens may take, where they are "
             "tuned “if the time allows”."),
            ("Scale", self.tile, "Small objects want small tiles, large ones whole planes."),
            ("Tile side", self.tile_side, "Side of a tile, for the scale “tiles of”."),
            ("Brightness", self.values, "What counts as dark and as bright: the percentiles of each plane, or of the whole stack."),
            ("Held out", self.held_out, "Part of the planes that measures instead of training."),
            ("Seed", self.seed, "The same seed gives the same prompt on the same computer."),
        )  # fmt: skip
        for name, widget, tip in rows:
            widget.setToolTip(tip)
            form.addRow(name, widget)
        return part

    def changeEvent(self, event: QEvent | None) -> None:  # noqa: N802, Qt's name
        """Leave the room to the plot while a training runs: nothing can be changed then."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.EnabledChange:
            self._toggle.unfold(self._toggle.isChecked() and self.isEnabled())

    def minimumSizeHint(self) -> QSize:  # noqa: N802, Qt's name
        """As wide as when it is unfolded, so that the dock stays as it is."""
        hint = super().minimumSizeHint()
        return hint.expandedTo(QSize(self._advanced.minimumSizeHint().width(), 0))

    def show_settings(self) -> None:
        """Show what the session_model's settings say."""
        self._filling = True
        settings = self._studio.settings
        known = training_settings(settings)
        _choose(self.preset, settings.get("preset") or "normal")
        _choose(self.device, settings.get("device") or "auto")
        self.steps.setValue(known.steps)
        self.embeddings.setValue(known.embeddings)
        self.seed.setValue(known.seed)
        self.held_out.setValue(100 * known.held_out)
        count = str(known.encoder_tokens)
        if self.encoder.findData(count) < 0:  # of a session, or the command line
            self.encoder.addItem(f"{count} a layer", count)
        _choose(self.encoder, count)
        self.minutes.setValue(known.minutes)
        self.minutes.setEnabled(known.encoder_tokens == "auto")
        tiled = known.tile not in TILES
        _choose(self.tile, "side" if tiled else str(known.tile))
        self.tile_side.setValue(int(known.tile) if tiled else 512)
        self.tile_side.setEnabled(tiled)
        _choose(self.values, known.normalization.mode)
        self._filling = False

    def _choose_preset(self, position: int = 0) -> None:
        self._studio.settings |= {
            "preset": self.preset.currentData(), "steps": None, "embeddings": None, "minutes": None,
        }  # fmt: skip
        self.show_settings()
        self._tell()

    def _store(self, value: Any = None) -> None:
        if self._filling:
            return
        tile, encoder = self.tile.currentData(), self.encoder.currentData()
        low, high = (
            training_settings({}).normalization.low,
            training_settings({}).normalization.high,
        )
        self._studio.settings |= {
            "device": self.device.currentData(),
            "steps": self.steps.value(),
            "embeddings": self.embeddings.value(),
            "seed": self.seed.value(),
            "held_out": self.held_out.value() / 100,
            "encoder_tokens": encoder if encoder == "auto" else int(encoder),
            "minutes": self.minutes.value(),
            "tile": self.tile_side.value() if tile == "side" else tile,
            "normalization": {"mode": self.values.currentData(), "low": low, "high": high},
        }
        self.tile_side.setEnabled(tile == "side")
        self.minutes.setEnabled(encoder == "auto")
        self._tell()

    def _tell(self) -> None:
        self._studio.backbone_service.use(self.device.currentData())
        self._studio.settings_changed.emit()
        self.changed.emit()

    def settings(self) -> TrainingSettings:
        """For the next training.

        Raises
        ------
        InputError
            If a value makes no sense.
        """
        channels = self._studio.channels
        return training_settings(
            self._studio.settings | {"channels": None if channels is None else list(channels)}
        )


def _choose(box: QComboBox, data: str) -> None:
    box.setCurrentIndex(max(0, box.findData(data)))
