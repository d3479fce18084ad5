"""Segment images in a worker, plane by plane; finished planes are kept, however the run ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from threading import Event
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QObject, Signal

from napari_ptsam.errors import InputError, OutputError, PtsamError
from napari_ptsam.images.recent_planes import RecentPlanes
from napari_ptsam.inference.measurements import layer_features
from napari_ptsam.widgets.batch.apply_prompts import (
    FittedPrompt,
    ImageMeasurements,
    Linkers,
    create_layer_results,
    fit_prompts,
    segment_in_memory,
)
from napari_ptsam.widgets.batch.file_output import ResultFiles, check_folder
from napari_ptsam.widgets.batch.task import (
    BatchRequest,
    ImageTask,
    LayerResult,
    OpenedPrompt,
    Problems,
)
from napari_ptsam.widgets.shared.background_task import BackgroundTask
from napari_ptsam.widgets.shared.remedies import in_form
from napari_ptsam.widgets.shared.worker import Steps

if TYPE_CHECKING:
    import torch

    from napari_ptsam.backbones.early_features import EarlyFeatures
    from napari_ptsam.backbones.encoder import Encoder, ImageEncoder
    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.prompts.prompt import Prompt

STOP_CHECK_INTERVAL = 0.05
"""Seconds between two checks for a stop while the run waits."""
TILE_REPORT_INTERVAL = 0.2
"""Seconds between two reports of tiles."""


@dataclass(frozen=True, eq=False)
class LayerStarted:
    """A result has its first plane and can be shown.

    Attributes
    ----------
    result
        The result; the thread fills its other planes once it is shown.
    shown
        Set when the layer is shown.
    """

    result: LayerResult
    shown: Event = field(default_factory=Event)


@dataclass(frozen=True, eq=False)
class PlaneSegmented:
    """A plane has been segmented.

    Attributes
    ----------
    task
        The image.
    number
        Number of the plane in the image.
    done, total
        Planes of the run that are finished, and all planes of the run.
    seconds_left
        Estimated seconds until the end of the run.
    """

    task: ImageTask
    number: int
    done: int
    total: int
    seconds_left: float | None


@dataclass(frozen=True, eq=False)
class ImageFinished:
    """An image is finished or was skipped.

    Attributes
    ----------
    task
        The image.
    problem
        Says what could not be segmented, if anything.
    """

    task: ImageTask
    problem: str = ""


@dataclass(frozen=True)
class RunWarning:
    """The run continues, but not as requested."""

    message: str


class _Cancelled(Exception):  # noqa: N818, not an error
    """The run was stopped, or the image or all its results were removed."""


class _StoppableEncoder:
    """An `Encoder` that calls a function before each batch of tiles, which may raise to stop.

    A large plane has hundreds of tiles, and a stop must not wait for all of them.

    Parameters
    ----------
    encoder
        The encoder that computes the embeddings.
    check
        Called before each batch of tiles.
    """

    def __init__(self, encoder: Encoder, check: Callable[[], None]) -> None:
        self._encoder, self._check = encoder, check
        self.device, self.dtype, self.tokens = encoder.device, encoder.dtype, encoder.tokens

    @property
    def plain(self) -> ImageEncoder:
        """The encoder without a cache and without stops."""
        return self._encoder.plain

    def __call__(
        self, tiles: Sequence[np.ndarray], dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        """Embed tiles; see `napari_ptsam.backbones.encoder.ImageEncoder`."""
        self._check()
        return self._encoder(tiles) if dtype is None else self._encoder(tiles, dtype)

    def with_early(
        self, tiles: Sequence[np.ndarray], dtype: torch.dtype | None = None
    ) -> tuple[torch.Tensor, EarlyFeatures]:
        """Embed tiles and compute early features; see `ImageEncoder.with_early`."""
        self._check()
        encode = self._encoder.with_early
        return encode(tiles) if dtype is None else encode(tiles, dtype)

    def on(self, device: torch.device, dtype: torch.dtype) -> _StoppableEncoder:
        """Return a copy on another device that stops in the same way."""
        return _StoppableEncoder(self._encoder.on(device, dtype), self._check)

    def with_tokens(self, tokens: Sequence[torch.Tensor]) -> _StoppableEncoder:
        """Return the same encoder with encoder tokens, which stops in the same way."""
        return _StoppableEncoder(self._encoder.with_tokens(tokens), self._check)


class BatchRun(BackgroundTask):
    """Apply prompts to images.

    Parameters
    ----------
    backbone_of
        Returns the backbone of a prompt; called in the thread.
    parent
        The owner of the run in Qt.
    """

    title = "Segmenting"

    layer_started = Signal(object)
    plane_segmented = Signal(object)
    image_finished = Signal(object)
    warned = Signal(str)
    tile_started = Signal(int, int)
    """Finished tiles of the current plane, and the number of its tiles."""

    def __init__(self, backbone_of: Callable[[Prompt], Backbone], parent: QObject) -> None:
        super().__init__(parent)
        self._backbone_of = backbone_of
        self._task: ImageTask | None = None
        self._done = self._total = self._tile = self._tiles = 0
        self._computed = 0
        self._start_time = self._last_tile_report = 0.0

    def _show(self, result: object) -> None:
        if isinstance(result, RunWarning):
            self.warned.emit(result.message)
        elif isinstance(result, PlaneSegmented):
            self._activity.show(result.done, result.total)
            self.plane_segmented.emit(result)
        elif isinstance(result, ImageFinished):
            self.image_finished.emit(result)
        elif isinstance(result, LayerStarted):
            self.layer_started.emit(result)
            result.shown.set()

    # In the thread

    def _check_cancelled(self) -> None:
        if self._stop.is_set() or (self._task is not None and self._task.cancelled):
            raise _Cancelled

    def _on_tile(self) -> None:
        self._check_cancelled()
        now = perf_counter()
        is_due = now > self._last_tile_report + TILE_REPORT_INTERVAL
        if self._tiles > 1 and is_due and not self._closed:
            self._last_tile_report = now
            self.tile_started.emit(self._tile, self._tiles)
        self._tile += 1

    def _work(self, request: BatchRequest) -> Steps:
        try:
            yield from self._segment(request)
        except _Cancelled:
            return
        finally:
            self._task = None

    def _segment(self, request: BatchRequest) -> Steps:
        if request.files is not None:
            check_folder(request.files.folder)
        from napari_ptsam.backbones.embedding_cache import sparing_disk  # loads torch

        backbone = sparing_disk(self._backbone_of(request.prompts[0].prompt))
        backbone = replace(backbone, encoder=_StoppableEncoder(backbone.encoder, self._on_tile))
        prompts = []
        for opened in request.prompts:
            prompt = opened.prompt
            if prompt.belongs_to(backbone.name, backbone.signature):
                prompts.append(opened)
            else:
                yield RunWarning(
                    f"{opened.name} was left out: it needs the base model {prompt.backbone_name}, but "
                    f"{request.prompts[0].name} needs {backbone.weights}. Apply them in separate runs."
                )
        if request.layers and request.settings.output != "probabilities":
            # napari compiles its drawing code for such labels here rather than in the GUI thread.
            Labels(np.zeros((1, 8, 8), request.settings.dtype))
        self._done, self._total = 0, sum(len(task.planes) for task in request.tasks)
        self._computed = 0
        self._start_time = perf_counter()
        write_errors: list[str] = []
        for task in request.tasks:
            done_before, self._task = self._done, task
            try:
                yield from self._segment_image(task, request, prompts, backbone)
            except _Cancelled:
                yield ImageFinished(task)
            except OutputError as error:
                task.problem = in_form(error)
                write_errors.append(task.problem)
                yield ImageFinished(task)
            except PtsamError as error:
                task.problem = f"{task.image.name}: {in_form(error)}"
                yield ImageFinished(task, task.problem)
            if self._stop.is_set():
                break
            skipped_planes = len(task.planes) - (self._done - done_before)
            self._total -= skipped_planes
        if write_errors:
            more = len(write_errors) - 1
            others = f" {more} more image{'s' * (more > 1)} could not be written either."
            yield RunWarning(write_errors[0] + others * (more > 0))

    def _segment_image(
        self,
        task: ImageTask,
        request: BatchRequest,
        prompts: list[OpenedPrompt],
        backbone: Backbone,
    ) -> Steps:
        self._check_cancelled()
        fitted, reasons = fit_prompts(task, request, prompts, backbone)
        if not fitted:
            raise InputError(next(iter(reasons.values())))
        for name, reason in reasons.items():
            yield RunWarning(
                f"{task.image.name}: {reason} The prompt {name} was not applied to it."
            )
        tilings = {prompt.segmenter.prompt.images for prompt in fitted}
        self._tiles = sum(len(images.tiling.tiles(task.planes.shape)) for images in tilings)
        problems = Problems(task)
        files: ResultFiles | None = None
        if request.files is not None:
            segmenters = [(prompt.opened, prompt.segmenter) for prompt in fitted]
            files = ResultFiles(task, request, segmenters)
        linkers = Linkers(task, request, len(fitted))
        planes = RecentPlanes(task.planes)  # read once, although they are segmented and measured
        measurements = ImageMeasurements(planes, request, fitted)
        try:
            for number, results, problem in files or segment_in_memory(planes, fitted):
                results = linkers.link(number, results)
                task.segmented += not problem
                if problem:
                    problems.add(number, problem)
                elif results is not None and request.layers:
                    if files is None:  # otherwise the run into files measures
                        measurements.measure(number, results)
                    yield from self._fill_layers(task, request, fitted, number, results)
                self._count_plane(is_new=bool(problem) or results is not None)
                yield PlaneSegmented(
                    task, task.number_in_image(number), self._done, self._total,
                    self._seconds_left(),
                )  # fmt: skip
                self._check_cancelled()
            if files is not None and files.has_skipped and request.layers:
                for number, results in files.read_planes():
                    yield from self._fill_layers(task, request, fitted, number, results)
            task.finished = True
        finally:
            if files is not None:
                measurements.of_prompts = [
                    files.written[number].measurements for number in sorted(files.written)
                ]
            _conclude(task, request, measurements)
        yield ImageFinished(task, str(problems))

    def _count_plane(self, is_new: bool) -> None:
        """Count a plane; those of an earlier run do not count for the time that is left."""
        self._done, self._tile = self._done + 1, 0
        self._computed += is_new
        if not self._computed:
            self._start_time = perf_counter()

    def _fill_layers(
        self, task: ImageTask, request: BatchRequest, fitted: list[FittedPrompt],
        number: int, results: Sequence[np.ndarray],
    ) -> Steps:  # fmt: skip
        """Write the results of a plane into the layers, which are made for the first plane."""
        is_first = not task.results
        if is_first:
            task.results = [
                layer_result
                for prompt in fitted
                for layer_result in create_layer_results(
                    task, prompt.opened, request.settings.output
                )
            ]
        planes = [
            plane for result in results for plane in (result if result.ndim == 3 else [result])
        ]
        for layer_result, plane in zip(task.results, planes, strict=True):
            if not layer_result.removed:
                task.write_plane(layer_result.levels, number, plane)
        for layer_result in task.results if is_first else ():
            started = LayerStarted(layer_result)
            yield started
            # Wait, since adding a layer takes four times as long while this thread computes.
            while not started.shown.wait(STOP_CHECK_INTERVAL):
                self._check_cancelled()

    def _seconds_left(self) -> float | None:
        if not self._computed:
            return None
        seconds_per_plane = (perf_counter() - self._start_time) / self._computed
        return seconds_per_plane * (self._total - self._done)


def _conclude(task: ImageTask, request: BatchRequest, measurements: ImageMeasurements) -> None:
    """Count the objects of an image, and prepare the features of its layers."""
    known = [each for each in measurements.of_prompts if each is not None]
    if request.settings.output == "instances" and known:
        task.object_count = sum(each.object_count for each in known)
        task.kind = known[0].kind
    if len(known) == len(task.results):  # one layer for each prompt
        for result, each in zip(task.results, known, strict=True):
            result.features = layer_features(each)
