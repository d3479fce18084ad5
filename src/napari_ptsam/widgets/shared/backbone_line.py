"""The line at the bottom of a dock that tells the backbone, and leads to others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QWidget

from napari_ptsam.widgets.shared.qt_helpers import button, text_label

if TYPE_CHECKING:
    from napari_ptsam.widgets.shared.backbone_service import BackboneService
    from napari_ptsam.widgets.shared.backbones_dialog import BackbonesDialog


class BackboneLine(QWidget):
    """State of the backbone_service, and a button for the dialog."""

    changed = Signal()
    """Other backbones may be here, or another one is in use."""

    def __init__(self, backbone_service: BackboneService) -> None:
        super().__init__()
        self._engine = backbone_service
        self.dialog: BackbonesDialog | None = None
        self.state = text_label(backbone_service.state, "The frozen model behind everything.")
        self.more = button(
            "Backbones…", "Other frozen models: get, verify, choose, remove.", self.open
        )
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.state, 1)
        layout.addWidget(self.more)
        backbone_service.state_changed.connect(self.state.setText)

    def open(self, name: str = "") -> None:
        """Show the dialog, with a backbone of the catalogue selected."""
        if self.dialog is None:
            from napari_ptsam.widgets.shared.backbones_dialog import BackbonesDialog

            self.dialog = BackbonesDialog(self._engine, self)
            self.dialog.changed.connect(self.changed)
            self.dialog.chosen.connect(lambda _: self.changed.emit())
            self.dialog.run.finished.connect(self.changed)
        self.dialog.select(name or self._engine.chosen)
        self.dialog.refresh()
        self.dialog.show()
        self.dialog.raise_()

    def close_down(self, wait: float = 0.0) -> None:
        """End what the dialog does."""
        if self.dialog is not None:
            self.dialog.close_down(wait)
