"""The question what the values of a mask mean, with a picture of the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QLabel,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)

from napari_ptsam.datasets.mask_meaning import Meaning
from napari_ptsam.datasets.mask_reading import MaskPlane, MaskReading, interpret
from napari_ptsam.errors import InputError, PtsamError
from napari_ptsam.images.overlay import overlay
from napari_ptsam.prompts.prompt import default_colours
from napari_ptsam.widgets.shared.qt_helpers import not_none, text_label
from napari_ptsam.widgets.shared.remedies import in_form

if TYPE_CHECKING:
    from napari_ptsam.images.planes import Planes
    from napari_ptsam.widgets.shared.worker import Steps

PICTURE = 320
"""Longest side of the picture, in pixels of the screen."""
MOST_VALUES = 12
"""Number of values to choose the background from."""
SAMPLE = 8
"""Number of planes of a layer that are looked at, before anything is asked."""


@dataclass(frozen=True, eq=False)
class ReadMasks:
    """Masks as read, and how they are understood.

    Attributes
    ----------
    planes
        The planes.
    labels
        Their labels: integer, shape of the leading axes, then y and x.
    meaning
        How their values are read.
    shown
        Number of the plane that is shown in the question.
    image
        Pixels of that plane of the image.
    """

    planes: Sequence[MaskPlane]
    labels: np.ndarray
    meaning: Meaning
    shown: int
    image: np.ndarray


def read_masks(
    masks: Sequence[MaskPlane], image: Planes, reading: MaskReading, numbers: Sequence[int] = ()
) -> ReadMasks:
    """Interpret masks; run this in a worker.

    Parameters
    ----------
    masks
        Planes of the mask.
    image
        The image.
    reading
        How the values are interpreted.
    numbers
        Numbers of the image's planes that the masks are of; all by default.

    Raises
    ------
    InputError
        If the masks cannot be interpreted.
    """
    labelled, meaning = interpret(masks, reading)
    for plane in labelled:
        if plane.valid is not None and reading.unlabelled is None:
            raise InputError(
                f"The mask {masks[plane.number].name} holds NaN, which annotations cannot; save it "
                "with 0 for the background and whole numbers for objects."
            )
    labels = np.stack([plane.values for plane in labelled])
    shown = int(np.argmax([np.count_nonzero(plane) for plane in labels]))
    pixels = image[numbers[shown] if numbers else shown]
    if not numbers:
        labels = labels.reshape(*image.leading, *image.shape)
    return ReadMasks(masks, labels, meaning, shown, pixels)


def look_at_layer(layer: Planes, image: Planes) -> Steps:
    """Read some planes of a Labels layer, and yield how they are understood.

    Yields
    ------
    ReadMasks or None
        None after each plane; at the end the masks, or nothing if they cannot be interpreted.
    """
    count = min(SAMPLE, len(layer))
    numbers = sorted({round(at) for at in np.linspace(0, len(layer) - 1, count)})
    masks = []
    for number in numbers:
        masks.append(MaskPlane(layer.name_of(number), layer[number]))
        yield None
    try:
        yield read_masks(masks, image, MaskReading(), numbers)
    except PtsamError:
        return  # what cannot be used is said when the planes are counted


def reread(masks: Planes, image: Planes, reading: MaskReading) -> Steps:
    """Read all planes of a mask in another way, and yield a `ReadMasks`."""
    planes = []
    for number in range(len(masks)):
        planes.append(MaskPlane(masks.name_of(number), masks[number], masks.rgb))
        yield None
    yield read_masks(planes, image, reading)


class MaskQuestion(QDialog):
    """Ask how the values of a mask are meant.

    Parameters
    ----------
    name
        Name of the mask.
    masks
        The masks, and what is suggested.
    answered
        Called with the reading that is chosen, or None if the values stay as they are.
    parent
        Parent widget.
    """

    def __init__(
        self,
        name: str,
        masks: ReadMasks,
        answered: Callable[[MaskReading | None], object],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("What do the values mean?")
        self._masks, self._answered = masks, answered
        self.suggested = QRadioButton(_suggestion(masks.meaning))
        self.objects = QRadioButton("Each value is an object")
        self.as_they_are = QRadioButton("Leave the values as they are")
        self.suggested.setChecked(True)
        self.background = QComboBox()
        self.background.setToolTip("The value of pixels that are no object.")
        for value in self._values():
            self.background.addItem(f"{value:g}", int(value))
        at = self.background.findData(int(masks.meaning.background))
        self.background.setCurrentIndex(max(at, 0))
        self.picture = QLabel()
        self.picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.picture.setMinimumSize(PICTURE, PICTURE)
        buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel
        )
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        form = QFormLayout()
        form.addRow("Background", self.background)
        column = QVBoxLayout(self)
        column.addWidget(text_label(f"{name}: {masks.meaning.assumed}", lines=2))
        for choice in (self.suggested, self.objects, self.as_they_are):
            column.addWidget(choice)
            choice.toggled.connect(self._show)
        column.addLayout(form)
        column.addWidget(self.picture, 1)
        column.addWidget(buttons)
        self.background.currentIndexChanged.connect(self._show)
        self.accepted.connect(lambda: answered(self.reading()))
        self.rejected.connect(lambda: answered(None))
        self._show()

    def reading(self) -> MaskReading | None:
        """Return the reading that is chosen; None if the values stay as they are."""
        if self.as_they_are.isChecked():
            return None
        background = self.background.currentData()
        return MaskReading(background=background, instances=self.objects.isChecked())

    def _values(self) -> list[float]:
        """Return values that may be the background: the suggested one, and the most frequent ones."""
        plane = self._masks.planes[self._masks.shown].pixels
        values, counts = np.unique(plane if plane.ndim == 2 else np.zeros(1), return_counts=True)
        common = values[np.argsort(-counts, kind="stable")][:MOST_VALUES].tolist()
        return sorted({float(self._masks.meaning.background), *common})

    def _show(self) -> None:
        """Show how the plane is read."""
        reading = self.reading()
        self.background.setEnabled(reading is not None)
        plane = self._masks.planes[self._masks.shown]
        labels = plane.pixels
        try:
            if reading is not None:
                labelled, meaning = interpret([plane], reading)
                labels = labelled[0].values
                labels = labels if meaning.kind == "instances" else labels > 0
        except PtsamError as error:
            self.picture.setText(in_form(error))
            return
        if labels.ndim == 3:
            labels = labels.max(-1)
        drawn = _picture(self._masks.image, labels)
        image = QImage(
            drawn.tobytes(), drawn.shape[1], drawn.shape[0], 3 * drawn.shape[1],
            QImage.Format.Format_RGB888,
        )  # fmt: skip
        self.picture.setPixmap(
            not_none(QPixmap.fromImage(image)).scaled(
                PICTURE, PICTURE, Qt.AspectRatioMode.KeepAspectRatio
            )
        )


def _suggestion(meaning: Meaning) -> str:
    if meaning.kind == "classes":
        return "One foreground of all classes"
    return "One foreground" if meaning.kind == "foreground" else "Objects, as suggested"


def _picture(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return a small picture of labels over their plane: uint8, shape (y, x, 3)."""
    step = max(1, max(labels.shape) // (2 * PICTURE))
    image, labels = image[::step, ::step], labels[::step, ::step]
    grey = image.astype(np.float32)
    grey = grey if grey.ndim == 2 else grey.mean(-1)
    low, high = np.nanpercentile(grey, (1, 99.8))
    grey = np.clip((grey - low) / max(high - low, 1e-9), 0, 1)
    colours = default_colours(7)
    numbers = np.where(labels > 0, (labels.astype(np.int64) - 1) % len(colours) + 1, 0)
    return overlay(np.repeat(grey[..., None], 3, -1), numbers, colours)
