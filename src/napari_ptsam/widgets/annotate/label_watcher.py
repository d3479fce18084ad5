"""Notices what is painted, counts it, and has it saved; all off the GUI's thread."""

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
"""Milliseconds: painting is looked at when it pauses for the first, or after the second."""
RECENT = 16
"""Planes painted on last; an undo may reach back to them."""


@dataclass(frozen=True, eq=False)
class PlaneUpdate:
    """What was found on one plane of an annotation.

    Attributes
    ----------
    image, number
        Which plane.
    counts
        Pixels a class; None where the labels make no sense, which ``problem`` explains.
    changed
        Whether it is different from when it was looked at last.
    first
        Whether it is part of the first look at a layer.
    """

    image: AnnotatedImage
    number: int
    counts: dict[str, int] | None
    changed: bool
    first: bool
    problem: str = ""


class LabelWatcher(QObject):
    """Watches the annotation layers of a session_model.

    napari tells of strokes, but not of undoing them; so the planes painted on
    last are looked at again whenever a layer is redrawn.
    """

    updated = Signal(object)
    """A plane was looked at (`PlaneUpdate`)."""

    def __init__(self, session_model: SessionModel) -> None:
        super().__init__(session_model)
        self._session_model, self._closed = session_model, False
        self._suspicious: dict[tuple[int, int], AnnotatedImage] = {}
        self._recent: deque[tuple[AnnotatedImage, int]] = deque(maxlen=RECENT)
        self._digests: dict[int, dict[int, int]] = {}
        """By image and plane; those of an image are filled in the thread, and looked up by plane only."""
        self._connected: dict[int, tuple[Any, list[tuple[Any, Any]]]] = {}
        self._quiet = single_shot(self, QUIET)
        self._longest = single_shot(self, LONGEST)
        for timer in (self._quiet, self._longest):
            timer.timeout.connect(self.look)
        session_model.labels_attached.connect(self._attach)

    def _attach(self, image: AnnotatedImage) -> None:
        self._detach(image)
        self._digests[image.id] = {}  # a look under way fills the former one
        # What was to be looked at was on other labels.
        self._suspicious = {w: s for w, s in self._suspicious.items() if s is not image}
        self._recent = deque((one for one in self._recent if one[0] is not image), RECENT)
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
        self._look_at_all(image)

    def _detach(self, image: AnnotatedImage) -> None:
        _, handlers = self._connected.pop(image.id, (None, []))
        for emitter, handler in handlers:
            emitter.disconnect(handler)

    def _painted(self, image: AnnotatedImage, event: Any) -> None:
        touched = _planes_of(event.value, image)
        if touched is None:  # a napari that tells it otherwise
            current = self._session_model.current()
            touched = {current[1]} if current is not None and current[0] is image else set()
        for number in touched:
            self._suspect(image, number)
            if (image, number) in self._recent:
                self._recent.remove((image, number))
            self._recent.append((image, number))

    def _redrawn(self, image: AnnotatedImage, event: Any) -> None:
        for painted, number in self._recent:
            if painted is image:
                self._suspect(image, number)

    def _replaced(self, image: AnnotatedImage, event: Any) -> None:
        try:
            _ = image.label_planes
        except InputError as error:
            self.updated.emit(PlaneUpdate(image, 0, None, False, True, in_form(error)))
            self._session_model.attach(image, None)
            return
        self._look_at_all(image)

    def _suspect(self, image: AnnotatedImage, number: int) -> None:
        self._suspicious[image.id, number] = image
        self._quiet.start()
        if not self._longest.isActive():
            self._longest.start()

    def look(self) -> None:
        """Look now at what may have changed."""
        self._quiet.stop()
        self._longest.stop()
        planes = [(image, number) for (_, number), image in self._suspicious.items()]
        self._suspicious = {}
        for image in {image for image, _ in planes}:
            self._submit(image, [n for own, n in planes if own is image], first=False)

    def recount(self) -> None:
        """Count again what is annotated: the classes have changed."""
        for image in self._session_model.images:
            if image.labels is not None:
                numbers = [e.number for e in self._session_model.records if e.image == image.id]
                self._submit(image, numbers, first=False)

    def _look_at_all(self, image: AnnotatedImage) -> None:
        self._submit(image, range(len(image.planes)), first=True)

    def _submit(self, image: AnnotatedImage, numbers: Iterable[int], first: bool) -> None:
        if self._closed:
            return
        try:
            planes = image.label_planes
        except InputError as error:
            self.updated.emit(PlaneUpdate(image, 0, None, False, first, in_form(error)))
            return
        digests = self._digests.setdefault(image.id, {})
        steps = partial(
            self._steps, image, planes, list(numbers), self._session_model.scheme, first, digests
        )
        show = partial(self._tell, image.labels)
        self._session_model.disk.submit(f"look {image.id} {first}", steps, show, replace=first)

    def _tell(self, labels: Any, update: PlaneUpdate) -> None:
        """Tell what was seen, unless the layer is no longer the annotation, or nobody listens."""
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
                yield PlaneUpdate(image, number, scheme.counts(labels), changed, first)
            except InputError as error:
                where = f"{image.planes.name}, plane {number}: " if planes.leading else ""
                yield PlaneUpdate(image, number, None, changed, first, where + in_form(error))

    def painted_lately(self) -> set[tuple[AnnotatedImage, int]]:
        """Planes that may have been painted on since they were looked at."""
        suspicious = {(image, number) for (_, number), image in self._suspicious.items()}
        return {plane for plane in suspicious.union(self._recent) if plane[0].labels is not None}

    def close(self) -> None:
        """Watch nothing any more; what a look under way still finds is not told."""
        self._closed = True
        self._quiet.stop()
        self._longest.stop()
        for image_id in list(self._connected):
            _, handlers = self._connected.pop(image_id)
            for emitter, handler in handlers:
                emitter.disconnect(handler)


def _planes_of(atoms: Iterable[Any], image: AnnotatedImage) -> set[int] | None:
    """Numbers of the planes that a stroke has touched; None if the stroke does not tell."""
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
