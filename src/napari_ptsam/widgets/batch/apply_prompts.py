"""Prompts applied to an image; everything here runs in a worker, and nothing needs Qt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_ptsam.errors import InputError
from napari_ptsam.inference.channels import for_image
from napari_ptsam.widgets.batch.task import BatchRequest, ImageTask, LayerResult, OpenedPrompt
from napari_ptsam.widgets.shared.channels import IN_BATCH
from napari_ptsam.widgets.shared.layers import blank
from napari_ptsam.widgets.shared.remedies import in_form

if TYPE_CHECKING:
    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.images.normalize import Limits
    from napari_ptsam.inference.segment import Segmenter


@dataclass(frozen=True, eq=False)
class FittedPrompt:
    """A prompt ready for an image."""

    opened: OpenedPrompt
    segmenter: Segmenter
    limits: Limits | None


Plane = tuple[int, "Sequence[np.ndarray] | None", str]
"""Number, results, and what is wrong with it."""


def fitting(
    task: ImageTask, request: BatchRequest, prompts: list[OpenedPrompt], backbone: Backbone
) -> tuple[list[FittedPrompt], dict[str, str]]:
    """Prompts that an image has the channels and values for; why the others do not fit."""
    from napari_ptsam.inference.segment import Segmenter

    planes = task.whole
    # Of a single plane as it is in the whole, as it is for trying; a range is a stack of its own.
    seen = planes if all(stop - start == 1 for _, start, stop in task.parts) else task.planes
    applied, unfit = [], {}
    known: dict[object, Limits | None] = {}
    for opened in prompts:
        try:
            prompt, _ = for_image(opened.prompt, planes, request.channels, IN_BATCH)
            images = prompt.images
            if request.rescale:
                from napari_ptsam.inference.rescaling import rescaled

                prompt = rescaled(prompt, planes.pixel_size)
            sees = (images.normalization, images.channels)
            if sees not in known:
                known[sees] = images.limits(seen)
            segmenter = Segmenter(prompt, backbone, request.settings)
            applied.append(FittedPrompt(opened, segmenter, known[sees]))
        except InputError as error:
            unfit[opened.name] = in_form(error)
    return applied, unfit


def blank_results(task: ImageTask, opened: OpenedPrompt, output: str) -> list[LayerResult]:
    """What becomes the layers of a prompt's result."""
    name = f"{task.layer.name} – {opened.name}"
    if output != "probabilities":
        dtype = np.uint8 if output == "labels" else np.uint32
        return [LayerResult(task, opened, name, blank(task.shape, dtype))]
    classes = opened.prompt.classes
    return [
        LayerResult(
            task, opened, f"{name} – {words}" if len(classes) > 1 else name,
            blank(task.shape, np.float32), number,
        )
        for number, words in enumerate(classes)
    ]  # fmt: skip


def in_memory(task: ImageTask, applied: list[FittedPrompt]) -> Iterator[Plane]:
    """Results plane by plane."""
    from napari_ptsam.inference.shared_embedding import SharedSegmenter

    planes = task.planes
    shared = SharedSegmenter([a.segmenter for a in applied])
    limits = [a.limits for a in applied]
    for number, results in shared.planes(planes, range(len(planes)), limits):
        if isinstance(results, InputError):
            yield number, None, str(results)
        else:
            yield number, results, ""


class Linkers:
    """What lets objects keep their numbers from plane to plane, one for each prompt, if wanted."""

    def __init__(self, task: ImageTask, request: BatchRequest, count: int) -> None:
        from napari_ptsam.inference.linking import StackLinker

        self._planes = task.planes
        wanted = request.link is not None and request.layers
        self._linkers = [StackLinker(task.planes, request.link) for _ in range(count * wanted)]

    def link(
        self, number: int, results: Sequence[np.ndarray] | None
    ) -> Sequence[np.ndarray] | None:
        """Renumber the next plane; one without results counts as a plane without objects."""
        if not self._linkers:
            return results
        nothing = [np.zeros(self._planes.shape, np.uint32)] * len(self._linkers)
        pairs = zip(self._linkers, results or nothing, strict=True)
        linked = [linker.link(number, plane) for linker, plane in pairs]
        return None if results is None else linked
