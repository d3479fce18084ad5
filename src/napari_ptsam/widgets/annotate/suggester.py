"""Suggest planes to annotate by comparing their embeddings."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_ptsam.annotation.suggestions import candidates, pool, suggest
from napari_ptsam.errors import InputError
from napari_ptsam.images.normalize import normalize_plane
from napari_ptsam.images.tiling import Tile, cut
from napari_ptsam.widgets.shared.background_jobs import NORMAL

if TYPE_CHECKING:
    from napari_ptsam.widgets.annotate.session_model import AnnotatedImage, SessionModel


@dataclass(frozen=True)
class SuggestionProgress:
    """Number of planes that were embedded, and their total number."""

    done: int
    total: int


@dataclass(frozen=True, eq=False)
class Suggestion:
    """A plane that is suggested."""

    image: AnnotatedImage
    number: int


class Suggester(QObject):
    """Embed the planes of all images, and suggest the one that adds most to the annotated ones."""

    progressed = Signal(object)
    suggested = Signal(object)
    nothing_left = Signal(str)
    failed = Signal(str)

    def __init__(self, session_model: SessionModel) -> None:
        super().__init__(session_model)
        self._session_model = session_model
        self._features: dict[tuple[int, int, tuple[int, ...] | None], np.ndarray] = {}

    @property
    def running(self) -> bool:
        """Whether planes are being embedded for a suggestion."""
        return self._session_model.jobs.has("suggest")

    def suggest(self) -> None:
        """Start looking for a plane. The signal `suggested` reports the result."""
        planes = [
            (image, number)
            for image in self._session_model.images
            for number in candidates(len(image.planes))
        ]
        annotated = [
            (image, record.number)
            for record in self._session_model.records
            if (image := self._session_model.image_of(record.image)) is not None
        ]
        planes += [plane for plane in annotated if plane not in planes]
        if len(planes) == len(annotated):
            self.nothing_left.emit("All planes are annotated already.")
            return
        steps = partial(self._steps, planes, [planes.index(plane) for plane in annotated])
        self._session_model.jobs.submit(
            "suggest", steps, self._show, self.failed.emit, priority=NORMAL
        )

    def stop(self) -> None:
        """Stop looking for a plane."""
        self._session_model.jobs.cancel("suggest")

    def _steps(
        self, planes: list[tuple[AnnotatedImage, int]], annotated: list[int]
    ) -> Generator[object, None, None]:
        backbone = self._session_model.backbone_service.backbone()
        features: list[np.ndarray] = []
        usable: list[tuple[AnnotatedImage, int]] = []
        usable_annotated: list[int] = []
        for done, (image, number) in enumerate(planes, start=1):
            key = image.id, number, image.channels
            if key not in self._features:
                try:
                    pixels = normalize_plane(image.planes[number], image.channels, image.planes.rgb)
                except InputError:  # planes that cannot be trained on are not suggested
                    continue
                whole = Tile(0, 0, max(image.planes.shape))
                self._features[key] = pool(backbone.encoder([cut(pixels, whole)])[0])
                yield SuggestionProgress(done, len(planes))
            if done - 1 in annotated:
                usable_annotated.append(len(usable))
            usable.append((image, number))
            features.append(self._features[key])
        if len(usable) == len(usable_annotated):
            raise InputError(
                "The planes that are not annotated hold NaN or infinite pixels; replace them (for "
                "instance by 0)."
            )
        best = suggest(np.stack(features), usable_annotated)
        yield Suggestion(*usable[best[0]])

    def _show(self, result: object) -> None:
        (self.progressed if isinstance(result, SuggestionProgress) else self.suggested).emit(result)
