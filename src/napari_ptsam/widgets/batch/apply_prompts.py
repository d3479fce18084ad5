"""Apply prompts to an image in a worker, without Qt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.errors import InputError
from napari_ptsam.inference.channels import fit_prompt
from napari_ptsam.widgets.batch.task import BatchRequest, ImageTask, LayerResult, OpenedPrompt
from napari_ptsam.widgets.shared.channels import IN_BATCH
from napari_ptsam.widgets.shared.labels_layers import blank
from napari_ptsam.widgets.shared.remedies import in_form

if TYPE_CHECKING:
    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.images.normalize import Limits
    from napari_ptsam.images.planes import Planes
    from napari_ptsam.inference.segment import Segmenter


@dataclass(frozen=True, eq=False)
class FittedPrompt:
    """A prompt that was fitted to an image.

    Attributes
    ----------
    opened
        The prompt as it was opened.
    segmenter
        Segmenter with the prompt, the channels and the scale of the image.
    limits
        Value limits for the normalisation of all planes; None if each plane has its own.
    """

    opened: OpenedPrompt
    segmenter: Segmenter
    limits: Limits | None


PlaneResults = tuple[int, "Sequence[np.ndarray] | None", str]
"""Number of a plane in the part, a result for each prompt, and the problem if there is one."""


def fit_prompts(
    task: ImageTask, request: BatchRequest, prompts: list[OpenedPrompt], backbone: Backbone
) -> tuple[list[FittedPrompt], dict[str, str]]:
    """Fit prompts to the channels and values of an image.

    Returns
    -------
    list of FittedPrompt
        The prompts that can be applied.
    dict of str
        The reason for each of the other prompts, by its name.
    """
    from napari_ptsam.inference.segment import Segmenter

    # A single plane is normalised like the whole image, so that a trial shows what the run will
    # give. A range is treated as a stack of its own.
    is_single_plane = all(stop - start == 1 for _, start, stop in task.parts)
    measured_planes = task.image if is_single_plane else task.planes
    fitted, reasons = [], {}
    known_limits: dict[object, Limits | None] = {}
    for opened in prompts:
        try:
            prompt, _ = fit_prompt(opened.prompt, task.image, request.channels, IN_BATCH)
            images = prompt.images
            if request.rescale:
                from napari_ptsam.inference.rescaling import rescaled

                prompt = rescaled(prompt, task.image.pixel_size)
            key = (images.normalization, images.channels)
            if key not in known_limits:
                known_limits[key] = images.limits(measured_planes)
            segmenter = Segmenter(prompt, backbone, request.settings)
            fitted.append(FittedPrompt(opened, segmenter, known_limits[key]))
        except InputError as error:
            reasons[opened.name] = in_form(error)
    return fitted, reasons


def create_layer_results(task: ImageTask, opened: OpenedPrompt, output: str) -> list[LayerResult]:
    """Return the empty results of a prompt: one of labels, or one of probabilities per class."""
    name = f"{task.layer.name} – {opened.name}"

    def levels(dtype: Any) -> list[Any]:
        return [blank(shape, dtype) for shape in task.level_shapes()]

    if output != "probabilities":
        return [
            LayerResult(task, opened, name, levels(np.uint8 if output == "labels" else np.uint32))
        ]
    classes = opened.prompt.classes
    return [
        LayerResult(
            task, opened, f"{name} – {class_name}" if len(classes) > 1 else name,
            levels(np.float32), class_index,
        )
        for class_index, class_name in enumerate(classes)
    ]  # fmt: skip


def segment_in_memory(planes: Planes, fitted: list[FittedPrompt]) -> Iterator[PlaneResults]:
    """Yield the results of each plane."""
    from napari_ptsam.inference.shared_embedding import SharedSegmenter

    segmenter = SharedSegmenter([prompt.segmenter for prompt in fitted])
    limits = [prompt.limits for prompt in fitted]
    for number, results in segmenter.planes(planes, range(len(planes)), limits):
        if isinstance(results, InputError):
            yield number, None, in_form(results)
        else:
            yield number, results, ""


class Linkers:
    """Link the objects of each prompt from plane to plane, if the request asks for it.

    Parameters
    ----------
    task
        The image.
    request
        Request that says whether and how objects are linked.
    count
        Number of prompts.
    """

    def __init__(self, task: ImageTask, request: BatchRequest, count: int) -> None:
        from napari_ptsam.inference.linking import StackLinker

        self._planes = task.planes
        self._linkers = []
        link = request.link_of(task.planes)
        if link is not None and request.layers:
            self._linkers = [StackLinker(task.planes, link) for _ in range(count)]

    def link(
        self, number: int, results: Sequence[np.ndarray] | None
    ) -> Sequence[np.ndarray] | None:
        """Renumber the objects of the next plane; a plane without results has no objects."""
        if not self._linkers:
            return results
        no_objects = [np.zeros(self._planes.shape, np.uint32)] * len(self._linkers)
        pairs = zip(self._linkers, results or no_objects, strict=True)
        linked = [linker.link(number, plane) for linker, plane in pairs]
        return None if results is None else linked


class ImageMeasurements:
    """Measure the labels of each prompt, plane by plane.

    Parameters
    ----------
    planes
        The image.
    request
        The request, for the kind of result.
    prompts
        The prompts that are applied.
    """

    def __init__(
        self, planes: Planes, request: BatchRequest, prompts: Sequence[FittedPrompt]
    ) -> None:
        from napari_ptsam.inference.measurements import Measurements, kind_of

        self._planes = planes
        self.of_prompts: list[Measurements | None] = []
        kind = kind_of(request.settings.output, request.link_of(planes) is not None, planes)
        if kind is not None:
            self.of_prompts = [
                Measurements(planes, prompt.opened.prompt.classes, kind) for prompt in prompts
            ]

    def measure(self, number: int, results: Sequence[np.ndarray]) -> None:
        """Measure the results of a plane, one for each prompt."""
        if not self.of_prompts:
            return
        pixels = self._planes[number]
        for measurements, labels in zip(self.of_prompts, results, strict=True):
            if measurements is not None:
                measurements.measure(number, labels, pixels)
