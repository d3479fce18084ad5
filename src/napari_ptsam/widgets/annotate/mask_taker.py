"""Take masks of files and of Labels layers as annotation, and ask once if their values are unusual."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtWidgets import QWidget

from napari_ptsam.datasets.mask_reading import MaskPlane, MaskReading, label_values
from napari_ptsam.datasets.object_files import is_object_file
from napari_ptsam.datasets.pairing import open_mask
from napari_ptsam.errors import InputError
from napari_ptsam.widgets.annotate.mask_question import (
    MaskQuestion,
    ReadMasks,
    look_at_layer,
    read_masks,
    reread,
)
from napari_ptsam.widgets.shared.labels_layers import add_annotation_layer
from napari_ptsam.widgets.shared.layers import in_words

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_ptsam.images.planes import Planes
    from napari_ptsam.widgets.annotate.session_model import AnnotatedImage, SessionModel
    from napari_ptsam.widgets.shared.worker import Steps

ASKED = "napari-ptsam values"
"""Key in the metadata of a layer about whose values the user was asked."""


class MaskTaker:
    """Takes masks as annotation.

    Parameters
    ----------
    session_model
        The session.
    parent
        Parent widget of the question.
    """

    def __init__(self, session_model: SessionModel, parent: QWidget) -> None:
        self._session_model, self._parent = session_model, parent
        self.question: MaskQuestion | None = None
        """The question that is open, if any."""

    def open_file(self, image: AnnotatedImage, path: Path) -> None:
        """Annotate an image with a file of masks or of outlined objects, in a layer of its own."""
        scheme = self._session_model.scheme
        classes = None if scheme.instances else scheme.classes
        self._session_model.disk.submit(
            f"annotation {image.id}",
            partial(_read_file, path, image.planes, classes),
            partial(self._file_read, image, path),
        )

    def look_at(self, image: AnnotatedImage) -> None:
        """Ask about the values of the Labels layer that annotates an image, if they are unusual."""
        labels = image.labels
        if labels is None or image.made_here or not self._session_model.scheme.instances:
            return
        if not labels.metadata.get(ASKED):
            self._session_model.disk.submit(
                f"values {image.id}",
                partial(look_at_layer, image.label_planes, image.planes),
                partial(self._layer_read, image, labels),
                on_failure=lambda _: None,  # it is said when the planes are counted
            )

    def close(self) -> None:
        """Close the question without an answer."""
        if self.question is not None:
            self.question.close()

    def _file_read(self, image: AnnotatedImage, path: Path, read: ReadMasks | np.ndarray) -> None:
        if isinstance(read, np.ndarray):
            self._add(image, read)
        elif not read.meaning.assumed:
            self._add(image, read.labels)
        else:
            planes = _planes_of(path, image.planes)
            self._ask(image, path.name, read, planes, lambda: self._add_as_it_is(image, path))

    def _layer_read(self, image: AnnotatedImage, labels: Labels, read: ReadMasks) -> None:
        if read.meaning.assumed and image.labels == labels:
            labels.metadata[ASKED] = True
            self._ask(image, labels.name, read, image.label_planes, lambda: None)

    def _ask(
        self,
        image: AnnotatedImage,
        name: str,
        read: ReadMasks,
        masks: Planes,
        leave: Callable[[], object],
    ) -> None:
        def answered(reading: MaskReading | None) -> None:
            self.question = None
            if reading is None:
                leave()
                return
            self._session_model.disk.submit(
                f"annotation {image.id}",
                partial(reread, masks, image.planes, reading),
                partial(self._reread, image),
            )

        self.close()
        self.question = MaskQuestion(name, read, answered, self._parent)
        self.question.open()

    def _reread(self, image: AnnotatedImage, read: ReadMasks) -> None:
        objects = read.meaning.kind == "instances"
        before = image.labels
        self._add(image, read.labels if objects else (read.labels > 0).astype(np.int32))
        if before is not None:
            before.visible = False

    def _add_as_it_is(self, image: AnnotatedImage, path: Path) -> None:
        self._session_model.disk.submit(
            f"annotation {image.id}",
            partial(_read_values, path, image.planes),
            partial(self._add, image),
        )

    def _add(self, image: AnnotatedImage, masks: np.ndarray) -> None:
        session_model = self._session_model
        if image not in session_model.images:
            return  # the image was removed meanwhile
        labels = add_annotation_layer(
            session_model.viewer, image.layer, image.planes, session_model.scheme, masks
        )
        labels.metadata[ASKED] = True
        session_model.attach(image, labels)


def _planes_of(path: Path, image: Planes, classes: Sequence[str] | None = None) -> Planes:
    """Open the mask of an image, and check its size."""
    mask = open_mask(path, image, classes=classes).in_order_of(image)
    if mask.extent != image.extent:
        raise InputError(
            f"{path.name} has {in_words(mask)[1]}, but {image.name} has {in_words(image)[1]}; choose a "
            "mask of the size of the image."
        )
    return mask


def _read_file(path: Path, image: Planes, classes: Sequence[str] | None) -> Steps:
    """Read the mask of an image: labels, or `ReadMasks` if objects are wanted and masks given."""
    if classes is not None or is_object_file(path):
        yield from _read_values(path, image, classes)
        return
    mask = _planes_of(path, image)
    yield None
    planes = []
    for number in range(len(mask)):
        planes.append(MaskPlane(mask.name_of(number), mask[number], mask.rgb))
        yield None
    yield read_masks(planes, image, MaskReading())


def _read_values(path: Path, image: Planes, classes: Sequence[str] | None = None) -> Steps:
    """Read the values of a mask as they are: integer, shape of the leading axes, then y and x."""
    mask = _planes_of(path, image, classes)
    yield None
    planes = []
    for plane in mask:
        planes.append(label_values(plane, mask.rgb, path.name))
        yield None
    yield np.stack(planes).reshape(*image.leading, *image.shape)
