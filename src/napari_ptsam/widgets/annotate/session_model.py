"""The state of a session, which the tabs of the widget show: images, annotations, the prompt."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_ptsam.annotation.guide import Situation
from napari_ptsam.annotation.plane_records import PlaneRecord, PlaneRecords
from napari_ptsam.annotation.scheme import Scheme
from napari_ptsam.errors import InputError
from napari_ptsam.images.planes import Planes
from napari_ptsam.widgets.shared.backbone_service import BackboneService
from napari_ptsam.widgets.shared.background_jobs import BackgroundJobs
from napari_ptsam.widgets.shared.labels_layers import add_annotation_layer, style_labels
from napari_ptsam.widgets.shared.layers import PLUGIN, image_planes, labels_planes
from napari_ptsam.widgets.shared.qt_helpers import single_shot
from napari_ptsam.widgets.shared.view import (
    go_to_plane,
    is_shown,
    plane_in_view,
    show_image,
    zoom_to,
)

if TYPE_CHECKING:
    import napari
    from napari.layers import Image, Labels

    from napari_ptsam.prompts.prompt import Prompt

_ids = count()


@dataclass(eq=False)
class AnnotatedImage:
    """An Image layer with the Labels layer that annotates it.

    Attributes
    ----------
    layer
        The Image layer.
    planes
        Planes of the layer.
    channel_axis
        Axis of the layer that holds channels; None if there is none.
    channels
        Channels that the model is shown; None for all.
    labels
        Labels layer with the annotation; None if there is none yet.
    made_here
        Whether the widget made that layer, as opposed to a layer of the user with
        labels.
    id
        Number that identifies the image in this process.
    """

    layer: Image
    planes: Planes
    channel_axis: int | None = None
    channels: tuple[int, ...] | None = None
    labels: Labels | None = None
    made_here: bool = False
    id: int = field(default_factory=lambda: next(_ids))

    @property
    def chosen(self) -> tuple[int, ...] | None:
        """Channels that the user chose; None if they are the default."""
        return None if self.channels == _default_channels(self.planes) else self.channels

    @property
    def label_planes(self) -> Planes:
        """Planes of the annotation layer."""
        if self.labels is None:
            raise InputError(f"{self.planes.name} has no annotation layer yet; add one.")
        return labels_planes(self.labels, self.planes)

    def index(self, number: int) -> tuple[int, ...]:
        """Return the position of a plane on the leading axes."""
        return tuple(self.planes.position(number).values())


class SessionModel(QObject):
    """The state of a session in a napari viewer.

    Parameters
    ----------
    viewer
        The viewer.
    settings
        Device, preset and settings of the training, as JSON values.
    backbone_service
        Service that provides backbones; it is released when the model is closed.
    parent
        Parent object in Qt.

    Attributes
    ----------
    jobs, disk
        Queues for work with the backbone, and for work with files, which must not
        wait for the former.
    records
        Records of the annotated planes.
    scheme
        Classes and the meaning of the labels.
    images
        Images in use.
    prompt
        The last trained or chosen prompt, if any.
    prompt_path
        File that it was saved in, if any.
    trained
        Number of planes of the training that gave it, or that it was kept after; 0 if it
        was not trained here.
    training
        Whether a training is running.
    """

    images_changed = Signal()
    scheme_changed = Signal()
    planes_changed = Signal()
    """The records of some planes have changed. Emitted once for many changes."""
    labels_leaving = Signal(object)
    """An `AnnotatedImage` is about to lose its annotation layer. Its records are still there."""
    labels_attached = Signal(object)
    """An `AnnotatedImage` has a new annotation layer, or none any more."""
    prompt_changed = Signal()
    settings_changed = Signal()
    view_changed = Signal()

    def __init__(
        self,
        viewer: napari.Viewer,
        settings: dict[str, Any],
        backbone_service: BackboneService,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self.viewer, self.settings = viewer, settings
        self.jobs, self.disk = BackgroundJobs(self), BackgroundJobs(self)
        self.backbone_service = backbone_service
        self.records, self.scheme = PlaneRecords(), Scheme()
        self.images: list[AnnotatedImage] = []
        self._unused: list[AnnotatedImage] = []
        self.prompt: Prompt | None = None
        self.prompt_path: Path | None = None
        self.trained = 0
        self.training = False
        self._soon = single_shot(self, 50)
        self._soon.timeout.connect(self.planes_changed)
        viewer.dims.events.current_step.connect(self._viewed)
        viewer.layers.events.removed.connect(self._removed)

    # Images

    def use_images(self, layers: list[Image]) -> None:
        """Use these layers. Annotations of other layers are kept in case they are used again.

        Raises
        ------
        InputError
            If a layer cannot be used. Nothing has changed then.
        """
        known = {id(image.layer): image for image in self.known}
        images = [known.get(id(layer)) or self._new_image(layer) for layer in layers]
        self._unused = [image for image in known.values() if image not in images]
        self.images = images
        self.records.use([image.id for image in images])
        self.images_changed.emit()
        self.touch()

    def _new_image(self, layer: Image) -> AnnotatedImage:
        from napari_ptsam.widgets.shared.layers import guess_channel_axis

        axis = guess_channel_axis(layer)
        planes = image_planes(layer, axis)
        return AnnotatedImage(layer, planes, axis, _default_channels(planes))

    def use_channels(
        self, image: AnnotatedImage, axis: int | None, channels: tuple[int, ...] | None
    ) -> None:
        """Set the channel axis of an image, and the channels that the model is shown.

        Raises
        ------
        InputError
            If the layer cannot be read with this channel axis.
        """
        if axis != image.channel_axis:
            planes = image_planes(image.layer, axis)
            if image.labels is not None:
                labels_planes(image.labels, planes)
            self.labels_leaving.emit(image)
            image.planes, image.channel_axis = planes, axis
            self.records.forget(image.id)
            self.labels_attached.emit(image)
        image.channels = channels or _default_channels(image.planes)
        self.images_changed.emit()

    @property
    def channels(self) -> tuple[int, ...] | None:
        """Channels that the model is shown, which are those of the first image."""
        return self.images[0].channels if self.images else None

    def image_of(self, image_id: object) -> AnnotatedImage | None:
        """Return the image in use with this identifier; None if it is not in use."""
        return next((image for image in self.images if image.id == image_id), None)

    @property
    def known(self) -> list[AnnotatedImage]:
        """Images that are in use, and those that were in use before."""
        return [*self.images, *self._unused]

    # Annotation

    def attach(self, image: AnnotatedImage, labels: Labels | None) -> None:
        """Use a Labels layer as the annotation of an image.

        Raises
        ------
        InputError
            If the layer does not fit the image.
        """
        if labels is image.labels:
            return
        if labels is not None:
            labels_planes(labels, image.planes)
        self.labels_leaving.emit(image)
        self.records.forget(image.id)
        image.labels = labels
        image.made_here = False if labels is None else PLUGIN in labels.metadata
        self.labels_attached.emit(image)
        self.images_changed.emit()
        self.touch()

    def add_annotation_layers(self) -> list[Labels]:
        """Add an annotation layer to every image without one, and return the new layers."""
        # All layers are added first: a thread that starts in between disturbs napari's colormaps.
        added = [
            (image, add_annotation_layer(self.viewer, image.layer, image.planes, self.scheme))
            for image in self.images
            if image.labels is None
        ]
        for image, labels in added:
            self.attach(image, labels)
        return [labels for _, labels in added]

    def use_scheme(self, scheme: Scheme) -> None:
        """Change the classes or the meaning of the labels."""
        if scheme == self.scheme:
            return
        self.scheme = scheme
        for image in self.images:
            if image.labels is not None and image.made_here:
                style_labels(image.labels, scheme)
        self.scheme_changed.emit()
        self.touch()

    def counting(self) -> list[PlaneRecord]:
        """Return the records of the planes that a training would use."""
        return self.records.counting(self.scheme.sparse)

    def touch(self) -> None:
        """Emit `planes_changed` soon, once for all changes until then."""
        self._soon.start()

    # View

    def current(self) -> tuple[AnnotatedImage, int] | None:
        """Return image and number of the plane in view, of the active or the topmost layer."""
        if not self.images:
            return None
        active = self.viewer.layers.selection.active
        order = {id(layer): position for position, layer in enumerate(self.viewer.layers)}
        ranked = sorted(
            self.images,
            key=lambda image: (
                active is not None and active in (image.layer, image.labels),
                is_shown(image.layer),
                order.get(id(image.layer), -1),
            ),
            reverse=True,
        )
        for image in ranked:
            number = plane_in_view(self.viewer, image.layer, image.planes)
            if number is not None:
                return image, number
        return None

    def show_plane(self, image: AnnotatedImage, number: int) -> None:
        """Show a plane, and select its annotation layer for painting."""
        before = self.current()
        go_to_plane(self.viewer, image.layer, image.planes, number)
        for other in self.images if len(self.images) > 1 else ():
            show_image(other.layer, other is image)
            if other.labels is not None:
                other.labels.visible = other is image
        if before is not None and before[0] is not image:
            zoom_to(self.viewer, image.layer)
        if image.labels is not None:
            self.viewer.layers.selection.active = image.labels
        self.view_changed.emit()

    def _viewed(self, event: object = None) -> None:
        self.view_changed.emit()

    def situation(self) -> Situation:
        """Return the state of the session as the guide needs it."""
        return Situation(
            images=len(self.images),
            annotation_layers=sum(image.labels is not None for image in self.images),
            planes=sum(len(image.planes) for image in self.images),
            painted=sum(record.painted for record in self.records),
            counting=len(self.counting()),
            sparse=self.scheme.sparse,
            training=self.training,
            trained=self.trained,
            saved=self.prompt is None or self.prompt_path is not None,
        )

    # Removal and end

    def _removed(self, event: Any) -> None:
        layer = event.value
        for image in self.known:
            if image.labels is layer:
                self.attach(image, None)
            elif image.layer is layer:
                self.labels_leaving.emit(image)
                self.records.forget(image.id)
        if any(layer is image.layer for image in self.images):
            self.use_images([image.layer for image in self.images if image.layer is not layer])
        self._unused = [image for image in self._unused if image.layer is not layer]

    def close(self, wait: float = 0.0) -> None:
        """Disconnect from the viewer and end all work, waiting at most this many seconds."""
        self._soon.stop()
        self.viewer.dims.events.current_step.disconnect(self._viewed)
        self.viewer.layers.events.removed.disconnect(self._removed)
        self.jobs.close(wait)
        self.disk.close(wait)
        self.backbone_service.release(wait)


def _default_channels(planes: Planes) -> tuple[int, ...] | None:
    """Return the first three of more than three channels, or None for all channels."""
    return (0, 1, 2) if planes.channels > 3 and not planes.rgb else None
