"""Which axis of an image holds channels, and which of them the prompt is to see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.utils.notifications import show_warning
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QLabel, QLineEdit, QWidget

from napari_ptsam.errors import InputError
from napari_ptsam.images.channels import MOST_SHOWN, channels_of
from napari_ptsam.widgets.shared.layers import MOST_AXES
from napari_ptsam.widgets.shared.qt_helpers import row
from napari_ptsam.widgets.shared.remedies import in_form

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_ptsam.widgets.annotate.session_model import AnnotatedImage, SessionModel

IN_BATCH, IN_IMAGES = "“Channels”: {}", "tab “Images”, “use”: {}"
"""What messages call the choice of channels, in either widget."""

FEW = 8
"""Positions on a first axis that may well be channels."""


class ChannelsRow(QWidget):
    """The channels of one image; hidden where it can have none."""

    usable = Signal(object)
    """An Image layer whose axes were too many, until one was named as that of the channels."""

    def __init__(self, session_model: SessionModel) -> None:
        super().__init__()
        self._studio = session_model
        self._layer: Image | None = None
        self._source: AnnotatedImage | None = None
        self.axis, self.numbers = QComboBox(), QLineEdit()
        self.axis.setToolTip("The axis of the layer that holds channels, if any.")
        self.numbers.setToolTip(
            "Numbers of up to three channels that the prompt is to see, the first one being 0, "
            "for instance 0,2. Empty: all."
        )
        self.numbers.setPlaceholderText("all")
        self.setLayout(
            row(QLabel("Channels on axis"), self.axis, QLabel("use"), self.numbers, stretch=3)
        )
        self.axis.activated.connect(self._use)
        self.numbers.editingFinished.connect(self._use)
        self.hide()

    def show_layer(self, layer: Image | None, source: AnnotatedImage | None) -> None:
        """Show the channels of a layer; ``source`` is what is made of it, if it is in use."""
        self._layer, self._source = layer, source
        several = layer is not None and (
            layer.ndim > MOST_AXES
            if source is None
            else source.planes.channels > 1 or (layer.ndim > 2 and layer.data.shape[0] <= FEW)
        )
        self.setVisible(several)
        if layer is None or not several:
            return
        self.axis.clear()
        self.axis.addItem("none", None)
        for axis in range(layer.ndim - 2):
            self.axis.addItem(f"{layer.axis_labels[axis]} ({layer.data.shape[axis]})", axis)
            if source is not None and axis == source.channel_axis:
                self.axis.setCurrentIndex(axis + 1)
        self.axis.setEnabled(layer.ndim > 2)
        self.numbers.setEnabled(source is not None and source.planes.channels > 1)
        chosen = None if source is None else source.channels
        self.numbers.setText("" if chosen is None else ",".join(map(str, chosen)))

    def _use(self, position: int = 0) -> None:
        source, layer = self._source, self._layer
        if source is None:
            if layer is not None:
                self._name_channels(layer)
            return
        try:
            channels = numbers_in(self.numbers.text())
            own = channels_of(source.planes)
            if channels is not None and not (own.has(channels) and len(channels) <= MOST_SHOWN):
                raise InputError(
                    f"Choose up to three channels from 0 to {own.count - 1}, not “{self.numbers.text()}”."
                )
            axis = self.axis.currentData()
            self._studio.use_channels(
                source, axis, channels if axis == source.channel_axis else None
            )
        except InputError as error:
            show_warning(in_form(error))
        self.show_layer(layer, source)

    def _name_channels(self, layer: Image) -> None:
        """Make a layer of too many axes usable: its label tells which axis holds channels."""
        axis = self.axis.currentData()
        if axis is None:
            return
        names = [*layer.axis_labels]
        names[axis] = "channel"
        layer.axis_labels = names
        self.usable.emit(layer)


class ChannelsChoice(QWidget):
    """Which channels of images prompts are shown, if not those that they were trained on."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.numbers = QLineEdit()
        self.numbers.setToolTip(
            "Numbers of the channels that the prompts are shown, the first one being 0, for "
            "instance 0 or 0,2: as many as in training. Empty: those of the training."
        )
        self.numbers.setPlaceholderText("as in training")
        label = QLabel("Channels")
        label.setBuddy(self.numbers)
        self.setLayout(row(label, self.numbers, stretch=1))
        self.numbers.editingFinished.connect(self.changed)

    def chosen(self) -> tuple[int, ...] | None:
        """Return what was chosen, if anything.

        Raises
        ------
        InputError
            If that is no list of numbers.
        """
        return numbers_in(self.numbers.text()) if self.isVisibleTo(self.parentWidget()) else None


def numbers_in(words: str) -> tuple[int, ...] | None:
    """Numbers of channels as they are typed; None for nothing.

    Raises
    ------
    InputError
        If they are no numbers.
    """
    if not words.strip():
        return None
    try:
        return tuple(int(word) for word in words.split(","))
    except ValueError:
        raise InputError(f"“{words}” are no channels; write numbers such as 0,2.") from None
