"""Choose the channel axis of an image, and the channels that the prompt is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.utils.notifications import show_warning
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QLabel, QLineEdit, QWidget

from napari_ptsam.errors import InputError
from napari_ptsam.images.channels import MOST_SHOWN, channels_of
from napari_ptsam.widgets.shared.channels import parse_channels
from napari_ptsam.widgets.shared.layer_axes import MOST_AXES
from napari_ptsam.widgets.shared.qt_helpers import row
from napari_ptsam.widgets.shared.remedies import in_form

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_ptsam.widgets.annotate.session_model import AnnotatedImage, SessionModel

MAX_CHANNELS = 8
"""Largest length of a first axis that may hold channels."""
NO_CHANNELS = {"z", "depth", "slice", "t", "time", "frame", "image"}
"""Labels of a first axis that holds no channels."""


class ChannelsRow(QWidget):
    """The channels of one image; hidden if the image cannot have several.

    Parameters
    ----------
    session_model
        The session model, which stores the chosen channels.
    """

    usable = Signal(object)
    """An Image layer had too many axes, and the user has now chosen its channel axis."""

    def __init__(self, session_model: SessionModel) -> None:
        super().__init__()
        self._session_model = session_model
        self._layer: Image | None = None
        self._image: AnnotatedImage | None = None
        self.axis, self.numbers = QComboBox(), QLineEdit()
        self.axis.setToolTip("The axis of the layer that holds channels, if there is one.")
        self.numbers.setToolTip(
            "Numbers of up to three channels that the prompt is shown, counted from 0, "
            "for instance 0,2. Leave empty for all channels."
        )
        self.numbers.setPlaceholderText("all")
        self.setLayout(
            row(QLabel("Channels on axis"), self.axis, QLabel("use"), self.numbers, stretch=3)
        )
        self.axis.activated.connect(self._apply)
        self.numbers.editingFinished.connect(self._apply)
        self.hide()

    def show_layer(self, layer: Image | None, image: AnnotatedImage | None) -> None:
        """Show the channels of a layer.

        Parameters
        ----------
        layer
            The selected Image layer.
        image
            The annotated image of the layer; None if the layer is not in use.
        """
        self._layer, self._image = layer, image
        may_have_channels = layer is not None and (
            layer.ndim > MOST_AXES
            if image is None
            else image.planes.channels > 1
            or (
                layer.ndim > 2
                and layer.data.shape[0] <= MAX_CHANNELS
                and str(layer.axis_labels[0]).lower() not in NO_CHANNELS
            )
        )
        self.setVisible(may_have_channels)
        if layer is None or not may_have_channels:
            return
        self.axis.clear()
        self.axis.addItem("none", None)
        for axis in range(layer.ndim - 2):
            self.axis.addItem(f"{layer.axis_labels[axis]} ({layer.data.shape[axis]})", axis)
            if image is not None and axis == image.channel_axis:
                self.axis.setCurrentIndex(axis + 1)
        self.axis.setEnabled(layer.ndim > 2)
        self.numbers.setEnabled(image is not None and image.planes.channels > 1)
        channels = None if image is None else image.channels
        self.numbers.setText("" if channels is None else ",".join(map(str, channels)))

    def _apply(self, index: int = 0) -> None:
        image, layer = self._image, self._layer
        if image is None:
            if layer is not None:
                self._label_channel_axis(layer)
            return
        try:
            channels = parse_channels(self.numbers.text())
            available = channels_of(image.planes)
            if channels is not None and not (
                available.has(channels) and len(channels) <= MOST_SHOWN
            ):
                raise InputError(
                    f"Choose up to three channels from 0 to {available.count - 1}, "
                    f"not “{self.numbers.text()}”."
                )
            axis = self.axis.currentData()
            # Channel numbers of one axis mean nothing on another axis.
            self._session_model.use_channels(
                image, axis, channels if axis == image.channel_axis else None
            )
        except InputError as error:
            show_warning(in_form(error))
        self.show_layer(layer, image)

    def _label_channel_axis(self, layer: Image) -> None:
        """Label the chosen axis as channels, which makes a layer with too many axes usable."""
        axis = self.axis.currentData()
        if axis is None:
            return
        labels = [*layer.axis_labels]
        labels[axis] = "channel"
        layer.axis_labels = labels
        self.usable.emit(layer)
