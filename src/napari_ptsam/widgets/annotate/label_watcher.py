"""Detect which planes are painted on, and count their labels outside of the GUI thread."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_ptsam.errors import InputError
from napari_ptsam.widgets.shared.qt_helpers import single_shot
from napari_ptsam.widgets.shared.remedies import in_form

if TYPE_CHECKING:
    from napari_ptsam.annotation.scheme import Scheme
    from napari_ptsam.images.planes import Planes
    from napari_ptsam.widgets.annotate.session_model import AnnotatedImage, SessionModel
    from napari_ptsam.widgets.shared.worker import Steps

QUIET, LONGEST = 400, 1500
"""Milliseconds: planes are read when painting pauses for the first, or at most after the second."""
RECENT = 16
"""Number of recently painted planes that an undo may change."""


@dataclass(frozen=True, eq=False)
class PlaneUpdate:
    """The labels on one plane, as they were just read from its layer.

    A `~napari_ptsam.annotation.plane_records.PlaneRecord` holds the state of a
    plane; an update reports a change of it.

    Attributes
    ----------
    image, number
        Image and number of the plane.
    counts
        Number of pixels of each class; None if the labels cannot be used.
    objects
        Number of objects; None if labels stand for classes, or cannot be used.
    changed
        Whether the labels differ from those read before.
    first
        Whether the whole layer is being read because it is new.
    problem
        Reason why the labels cannot be used; empty if they can.
    """

    image: AnnotatedImage
    number: int
    counts: dict[str, int] | None
    objects: int | None
    changed: bool
    first: bool
    problem: str = ""


class LabelWatcher(QObject):
    """Watch the annotation layers of the session model.

    napari emits an event for a stroke, but not for undoing it. Therefore the
    most recently painted planes are read again whenever their layer is redrawn.
    """

    updated = Signal(object)
    """A plane was read (`PlaneUpdate`)."""

    def __init__(self, session_model: SessionModel) -> None:
        super().__init__(session_model)
        self._session_model, self._closed = session_model, False
        self._pending: dict[tuple[int, int], AnnotatedImage] = {}
        self._recent: deque[tuple[AnnotatedImage, int]] = deque(maxlen=RECENT)
        self._digests: dict[int, dict[int, int]] = {}
        """Checksum of the labels of each plane, by image identifier and number."""
        self._connected: dict[int, tuple[Any, list[tuple[Any, Any]]]] = {}
        self._quiet = single_shot(self, QUIET)
        self._longest = single_shot(self, LONGEST)
        for timer in (self._quiet, self._longest):
            timer.timeout.connect(self.read_pending)
        session_model.labels_attached.connect(self._attach)

    def _attach(self, image: AnnotatedImage) -> None:
        self._detach(image)
        self._digests[image.id] = {}  # a task that is still running fills the old one
        # Pending planes refer to the old layer.
        self._pending = {key: other for key, other in self._pending.items() if other is not image}
        self._recent = deque((plane for plane in self._recent if plane[0] is not image), RECENT)
        labels = image.labels
        if labels is None:
            return
        handlers = [
            (labels.events.paint, partial(self._painted, image)),
            (labels.events.set_data, partial(self._redrawn, image)),
            (labels.events.data, partial(self._replaced, image)),
        ]
        for emitter, handler in handlers:
            emitter.connect(handler)
        self._connected[image.id] = labels, handlers
        self._read_all(image)

    def _detach(self, image: AnnotatedImage) -> None:
        _, handlers = self._connected.pop(image.id, (None, []))
        for emitter, handler in handlers:
            emitter.disconnect(handler)

    def _painted(self, image: AnnotatedImage, event: Any) -> None:
        touched = _planes_of_stroke(event.value, image)
        if touched is None:  # the event of this napari has another form
            current = self._session_model.current()
            touched = {current[1]} if current is not None and current[0] is image else set()
        for number in touched:
            self._add_pending(image, number)
            if (image, number) in self._recent:
                self._recent.remove((image, number))
            self._recent.append((image, number))

    def _redrawn(self, image: AnnotatedImage, event: Any) -> None:
        for painted, number in self._recent:
            if painted is image:
                self._add_pending(image, number)

    def _replaced(self, image: AnnotatedImage, event: Any) -> None:
        try:
            _ = image.label_planes
        except InputError as error:
            self.updated.emit(PlaneUpdate(image, 0, None, None, False, True, in_form(error)))
            self._session_model.attach(image, None)
            return
        self._read_all(image)

    def _add_pending(self, image: AnnotatedImage, number: int) -> None:
        self._pending[image.id, number] = image
        self._quiet.start()
        if not self._longest.isActive():
            self._longest.start()

    def read_pending(self) -> None:
        """Read the planes that may have changed now."""
        self._quiet.stop()
        self._longest.stop()
        planes = [(image, number) for (_, number), image in self._pending.items()]
        self._pending = {}
        for image in {image for image, _ in planes}:
            self._submit(image, [n for other, n in planes if other is image], first=False)

    def recount(self) -> None:
        """Count the labels of all annotated planes again, after the classes have changed."""
        for image in self._session_model.images:
            if image.labels is not None:
                records = self._session_model.records
                numbers = [record.number for record in records if record.image == image.id]
                self._submit(image, numbers, first=False)

    def _read_all(self, image: AnnotatedImage) -> None:
        self._submit(image, range(len(image.planes)), first=True)

    def _submit(self, image: AnnotatedImage, numbers: Iterable[int], first: bool) -> None:
        if self._closed:
            return
        try:
            planes = image.label_planes
        except InputError as error:
            self.updated.emit(PlaneUpdate(image, 0, None, None, False, first, in_form(error)))
            return
        digests = self._digests.setdefault(image.id, {})
        steps = partial(
            self._steps, image, planes, list(numbers), self._session_model.scheme, first, digests
        )
        show = partial(self._report, image.labels)
        self._session_model.disk.submit(f"labels {image.id} {first}", steps, show, replace=first)

    def _report(self, labels: Any, update: PlaneUpdate) -> None:
        """Emit an update, unless the layer is no longer the annotation."""
        if update.image.labels is labels and not self._closed:
            self.updated.emit(update)

    def _steps(
        self, image: AnnotatedImage, planes: Planes, numbers: list[int], scheme: Scheme, first: bool,
        digests: dict[int, int],
    ) -> Steps:  # fmt: skip
        for number in numbers:
            changed = False
            try:
                labels = planes[number]
                digest = zlib.crc32(np.ascontiguousarray(labels).data) if labels.any() else 0
                changed = digests.get(number, 0) != digest
                digests[number] = digest
                if first and not digest:
                    yield None
                    continue
                counts, objects = scheme.counts(labels), scheme.object_count(labels)
                yield PlaneUpdate(image, number, counts, objects, changed, first)
            except InputError as error:
                where = f"{image.planes.name}, plane {number}: " if planes.leading else ""
                yield PlaneUpdate(image, number, None, None, changed, first, where + in_form(error))

    def recently_painted(self) -> set[tuple[AnnotatedImage, int]]:
        """Return the planes that may have been painted on since they were read."""
        pending = {(image, number) for (_, number), image in self._pending.items()}
        return {plane for plane in pending.union(self._recent) if plane[0].labels is not None}

    def close(self) -> None:
        """Stop watching. Tasks that are still running emit nothing any more."""
        self._closed = True
        self._quiet.stop()
        self._longest.stop()
        for image_id in list(self._connected):
            _, handlers = self._connected.pop(image_id)
            for emitter, handler in handlers:
                emitter.disconnect(handler)


def _planes_of_stroke(atoms: Iterable[Any], image: AnnotatedImage) -> set[int] | None:
    """Return the numbers of the planes that a stroke changed; None if the event does not say."""
    leading, planes = image.planes.leading, image.label_planes
    if not leading:
        return {0}
    touched: set[int] = set()
    for atom in atoms:
        key = getattr(atom, "slice_key", None)
        key = atom[0] if key is None and isinstance(atom, tuple) else key
        if key is None:
            return None
        along = [
            range(*at.indices(size)) if isinstance(at, slice) else np.unique(at)
            for at, size, axis in zip(key, planes.array_shape, planes.axes, strict=True)
            if axis in planes.leading_axes
        ]
        grid = np.stack(np.meshgrid(*along, indexing="ij"), -1).reshape(-1, len(leading))
        touched |= {int(n) for n in np.ravel_multi_index(tuple(grid.T.astype(int)), leading)}
    return touched
