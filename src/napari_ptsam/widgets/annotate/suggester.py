"""Suggest planes to annotate by comparing their embeddings, and by the doubts of the prompt."""

from __future__ import annotations

from collections.abc import Generator, Hashable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_ptsam.annotation.suggestions import Judge, candidates, pool, suggest, whole_plane
from napari_ptsam.errors import InputError
from napari_ptsam.images.normalize import normalize_plane
from napari_ptsam.inference.channels import fit_prompt
from napari_ptsam.widgets.shared.background_jobs import IDLE, NORMAL, ignore
from napari_ptsam.widgets.shared.channels import IN_IMAGES
from napari_ptsam.widgets.shared.qt_helpers import single_shot

if TYPE_CHECKING:
    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.prompts.prompt import Prompt
    from napari_ptsam.widgets.annotate.session_model import AnnotatedImage, SessionModel


LATER = 500
"""Milliseconds after a suggestion until the plane after it is embedded; the preview comes first."""
PREFETCH = "prepare suggestions"
"""Name of the job for what may be needed later."""
Plane = tuple["AnnotatedImage", int]
"""An image, and the number of a plane in it."""


@dataclass(frozen=True)
class SuggestionProgress:
    """Number of planes that were embedded, and their total number."""

    done: int
    total: int


@dataclass(frozen=True, eq=False)
class Suggestion:
    """A plane that is suggested.

    Attributes
    ----------
    image, number
        Image and number of the plane.
    after
        The plane that would be suggested after it; None if there is none.
    """

    image: AnnotatedImage
    number: int
    after: Plane | None = None


class Suggester(QObject):
    """Embed the planes of all images, and suggest the one that adds most to the annotated ones.

    If there is a prompt, it decodes these embeddings to find out where it is unsure. While the user
    corrects a suggested plane, the plane after it is embedded for the preview.
    """

    progressed = Signal(object)
    suggested = Signal(object)
    nothing_left = Signal(str)
    failed = Signal(str)

    def __init__(self, session_model: SessionModel) -> None:
        super().__init__(session_model)
        self._session_model = session_model
        self._features: dict[Hashable, np.ndarray] = {}
        self._judge: Judge | None = None
        """The judge of the last prompt."""
        self._after: tuple[Plane, Prompt] | None = None
        self._later = single_shot(self, LATER)
        self._later.timeout.connect(self._embed_next)
        session_model.prompt_changed.connect(self._prepare)

    @property
    def running(self) -> bool:
        """Whether planes are being embedded for a suggestion."""
        return self._session_model.jobs.has("suggest")

    def suggest(self) -> None:
        """Start looking for a plane. The signal `suggested` reports the result."""
        planes, annotated = self._planes()
        if len(planes) == len(annotated):
            self.nothing_left.emit(self._all_annotated())
            return
        steps = partial(self._steps, planes, annotated, self._session_model.prompt)
        self._later.stop()
        self._session_model.jobs.cancel(PREFETCH)
        self._session_model.jobs.submit(
            "suggest", steps, self._show, self.failed.emit, priority=NORMAL
        )

    def stop(self) -> None:
        """Stop looking for a plane."""
        self._session_model.jobs.cancel("suggest")

    def _planes(self) -> tuple[list[Plane], list[int]]:
        """Return the planes to compare, and the positions of the annotated ones among them."""
        planes: list[Plane] = [
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
        return planes, [planes.index(plane) for plane in annotated]

    def _all_annotated(self) -> str:
        """Return why there is nothing to suggest."""
        records = list(self._session_model.records)
        waiting = 0 if self._session_model.scheme.sparse else sum(not r.done for r in records)
        if waiting:
            planes = "1 plane is" if waiting == 1 else f"{waiting} planes are"
            return f"Every plane has paint, but {planes} not marked as done yet; see the table."
        if sum(len(image.planes) for image in self._session_model.images) > len(records):
            return "All planes that are compared are annotated; go to another one with the sliders."
        count = "The only plane is" if len(records) == 1 else f"All {len(records)} planes are"
        return f"{count} annotated; to annotate more, add images on the tab “Images”."

    # In the thread

    def _steps(
        self, planes: list[Plane], annotated: list[int], prompt: Prompt | None
    ) -> Generator[object, None, None]:
        backbone = self._session_model.backbone_service.backbone()
        judge = self._judge_of(prompt, backbone)
        known = {planes[number] for number in annotated}
        usable = yield from self._measure(planes, backbone, judge, known)
        usable_annotated = [number for number, plane in enumerate(usable) if plane in known]
        if len(usable) == len(usable_annotated):
            raise InputError(
                "The planes that are not annotated cannot be read; check the files that they come from."
            )
        keys = [_key(plane, backbone) for plane in usable]
        features = np.stack([self._features[key] for key in keys])
        doubts = None
        if judge is not None:
            doubts = np.array([judge.doubts.get(key, np.nan) for key in keys])
        best = suggest(features, usable_annotated, 2, doubts)
        yield Suggestion(*usable[best[0]], *(usable[number] for number in best[1:]))

    def _measure(
        self, planes: list[Plane], backbone: Backbone, judge: Judge | None, annotated: set[Plane]
    ) -> Generator[SuggestionProgress, None, list[Plane]]:
        """Embed planes and judge those that are not annotated, where that was not done before.

        Returns
        -------
        list of Plane
            The planes that can be used.
        """
        usable: list[Plane] = []
        for done, plane in enumerate(planes, start=1):
            key, (image, number) = _key(plane, backbone), plane
            judges = judge is not None and plane not in annotated and key not in judge.doubts
            if key not in self._features or judges:
                try:
                    pixels = normalize_plane(image.planes[number], image.channels, image.planes.rgb)
                except InputError:  # planes that cannot be trained on are not suggested
                    continue
                tile = whole_plane(pixels)
                if key not in self._features:
                    self._features[key] = pool(backbone.encoder([tile])[0])
                if judge is not None and judges:
                    judge.doubts[key] = judge.doubt(tile, image.planes.shape)
                yield SuggestionProgress(done, len(planes))
            usable.append(plane)
        return usable

    def _judge_of(self, prompt: Prompt | None, backbone: Backbone) -> Judge | None:
        """Return a judge of planes; None if the prompt cannot be one, or takes too long."""
        if prompt is None or not prompt.belongs_to(backbone.name, backbone.signature):
            return None
        if prompt.encoder_tokens and backbone.device.type == "cpu":
            return None  # it needs embeddings of its own, half a second each
        if self._judge is None or self._judge.prompt is not prompt:
            self._judge = Judge(prompt, backbone)
        return self._judge

    def _prepare_steps(self, planes: list[Plane], prompt: Prompt) -> Generator[object, None, None]:
        backbone = self._session_model.backbone_service.backbone()
        judge = self._judge_of(prompt, backbone)
        if judge is not None:
            embedded = [plane for plane in planes if _key(plane, backbone) in self._features]
            for _ in self._measure(embedded, backbone, judge, set()):
                yield None

    def _embed_steps(self, plane: Plane, prompt: Prompt) -> Generator[object, None, None]:
        """Embed a plane as the preview needs it; the embeddings stay in the cache."""
        yield None
        backbone = self._session_model.backbone_service.backbone_of(prompt)
        from napari_ptsam.inference.preview import PlanePreview
        from napari_ptsam.inference.segment import Segmenter

        (image, number) = plane
        fitting, _ = fit_prompt(prompt, image.planes, image.chosen, IN_IMAGES)
        yield from PlanePreview.of(Segmenter(fitting, backbone), image.planes, number).embed()

    # In the GUI thread

    def _prepare(self) -> None:
        """Judge the planes that are embedded already, while nothing else is to be done."""
        prompt, known = self._session_model.prompt, self._judge
        if prompt is not None and self._features and (known is None or known.prompt is not prompt):
            planes, annotated = self._planes()
            free = [plane for number, plane in enumerate(planes) if number not in annotated]
            steps = partial(self._prepare_steps, free, prompt)
            self._session_model.jobs.submit(PREFETCH, steps, on_failure=ignore, priority=IDLE)

    def _show(self, result: object) -> None:
        if isinstance(result, SuggestionProgress):
            self.progressed.emit(result)
            return
        assert isinstance(result, Suggestion)
        self.suggested.emit(result)
        prompt = self._session_model.prompt
        if prompt is not None and result.after is not None:
            self._after = result.after, prompt
            self._later.start()

    def _embed_next(self) -> None:
        if self._after is not None:
            steps = partial(self._embed_steps, *self._after)
            self._session_model.jobs.submit(PREFETCH, steps, on_failure=ignore, priority=IDLE)


def _key(plane: Plane, backbone: Backbone) -> Hashable:
    """Return what the features of a plane depend on."""
    image, number = plane
    return image.id, number, image.channels, backbone.signature
