"""Images segmented in a worker, plane by plane; what is done stays, however it ends."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from threading import Event
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QObject, Signal

from napari_ptsam.errors import InputError, OutputError, PtsamError
from napari_ptsam.widgets.batch.apply_prompts import (
    FittedPrompt,
    Linkers,
    blank_results,
    fitting,
    in_memory,
)
from napari_ptsam.widgets.batch.file_output import ResultFiles, check
from napari_ptsam.widgets.batch.task import (
    BatchRequest,
    ImageTask,
    LayerResult,
    OpenedPrompt,
    Problems,
)
from napari_ptsam.widgets.shared.remedies import in_form
from napari_ptsam.widgets.shared.workers import BackgroundTask

if TYPE_CHECKING:
    import torch

    from napari_ptsam.backbones.encoder import Encoder, ImageEncoder
    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.prompts.prompt import Prompt

WAIT = 0.05
"""Seconds between two looks at whether the run is to end."""
TILE_EVERY = 0.2
"""Seconds between two words about tiles."""


@dataclass(frozen=True, eq=False)
class LayerStarted:
    """A result has its first plane; it is filled on in the thread once it is shown."""

    result: LayerResult
    shown: Event = field(default_factory=Event)


@dataclass(frozen=True, eq=False)
class PlaneSegmented:
    """Plane ``number`` of an image is through; ``done`` of ``total`` planes of the run are."""

    task: ImageTask
    number: int
    done: int
    total: int
    seconds_left: float | None


@dataclass(frozen=True, eq=False)
class ImageFinished:
    """An image is through, or was left; a problem says what could not be segmented."""

    task: ImageTask
    problem: str = ""


@dataclass(frozen=True)
class RunWarning:
    """Something goes another way than asked for, while the run goes on."""

    words: str


class _Ended(Exception):  # noqa: N818, not an error
    """Nobody wants the plane any more."""


class _Stoppable:
    """An `Encoder` that calls a function before each tile, which may raise to stop.

    A large plane has hundreds of tiles; a stop must not wait for all of them.

    Parameters
    ----------
    encoder
        The encoder that computes.
    check
        Called before each tile.
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

    def on(self, device: torch.device, dtype: torch.dtype) -> _Stoppable:
        """Return a copy on another device that stops in the same way."""
        return _Stoppable(self._encoder.on(device, dtype), self._check)

    def with_tokens(self, tokens: Sequence[torch.Tensor]) -> _Stoppable:
        """Return the same encoder with encoder tokens, which stops in the same way."""
        return _Stoppable(self._encoder.with_tokens(tokens), self._check)


class BatchRun(BackgroundTask):
    """Prompts applied to images.

    Parameters
    ----------
    backbone
        Gives the backbone of a prompt; called in the thread.
    """

    title = "Segmenting"

    begun = Signal(object)
    stepped = Signal(object)
    left = Signal(object)
    warned = Signal(str)
    tiled = Signal(int, int)
    """Tiles of the plane under way that are through, and all of them."""

    def __init__(self, backbone: Callable[[Prompt], Backbone], parent: QObject) -> None:
        super().__init__(parent)
        self._backbone = backbone
        self._task: ImageTask | None = None
        self._done = self._total = self._tile = self._tiles = 0
        self._begin = self._told = 0.0

    def _show(self, result: object) -> None:
        if isinstance(result, RunWarning):
            self.warned.emit(result.words)
            return
        signals = {LayerStarted: self.begun, PlaneSegmented: self.stepped, ImageFinished: self.left}
        signals[type(result)].emit(result)
        if isinstance(result, LayerStarted):
            result.shown.set()

    # In the thread

    def _check(self) -> None:
        if self._stop.is_set() or (self._task is not None and self._task.dropped):
            raise _Ended

    def _next_tile(self) -> None:
        self._check()
        now = perf_counter()
        if self._tiles > 1 and now > self._told + TILE_EVERY and not self._closed:
            self._told = now
            self.tiled.emit(self._tile, self._tiles)
        self._tile += 1

    def _work(self, request: BatchRequest) -> Generator[object, None, None]:
        try:
            yield from self._segment(request)
        except _Ended:
            return
        finally:
            self._task = None

    def _segment(self, request: BatchRequest) -> Generator[object, None, None]:
        if request.files is not None:
            check(request.files)
        from napari_ptsam.backbones.embedding_cache import sparing_disk  # torch

        backbone = sparing_disk(self._backbone(request.prompts[0].prompt))
        backbone = replace(backbone, encoder=_Stoppable(backbone.encoder, self._next_tile))
        prompts = []
        for opened in request.prompts:
            own = opened.prompt
            if own.belongs_to(backbone.name, backbone.signature):
                prompts.append(opened)
            else:
                yield RunWarning(
                    f"{opened.name} was left out: it belongs to the backbone {own.backbone_name}, and "
                    f"{request.prompts[0].name} to {backbone.weights}. Apply them one after the other."
                )
        if request.layers and request.settings.output != "probabilities":
            # napari compiles what it draws such labels with; the window would wait for it.
            Labels(np.zeros((1, 8, 8), request.settings.dtype))
        self._done, self._total = 0, sum(len(task.planes) for task in request.tasks)
        self._begin = perf_counter()
        unwritten: list[str] = []
        for task in request.tasks:
            before, self._task = self._done, task
            try:
                yield from self._image(task, request, prompts, backbone)
            except _Ended:
                yield ImageFinished(task)
            except OutputError as error:
                unwritten.append(in_form(error))
                yield ImageFinished(task)
            except PtsamError as error:
                yield ImageFinished(task, f"{task.whole.name}: {in_form(error)}")
            if self._stop.is_set():
                break
            self._total -= len(task.planes) - (self._done - before)  # of an image that was left
        if unwritten:
            more = len(unwritten) - 1
            others = f" {more} more image{'s' * (more > 1)} could not be written either."
            yield RunWarning(unwritten[0] + others * (more > 0))

    def _image(
        self,
        task: ImageTask,
        request: BatchRequest,
        prompts: list[OpenedPrompt],
        backbone: Backbone,
    ) -> Generator[object, None, None]:
        self._check()
        applied, unfit = fitting(task, request, prompts, backbone)
        if not applied:
            raise InputError(next(iter(unfit.values())))
        for name, words in unfit.items():
            yield RunWarning(f"{task.whole.name}: {words} The prompt {name} was not applied to it.")
        tilings = {a.segmenter.prompt.images for a in applied}
        self._tiles = sum(len(images.tiling.tiles(task.planes.shape)) for images in tilings)
        problems = Problems(task)
        written: ResultFiles | None = None
        if request.files is not None:
            written = ResultFiles(task, request, [(a.opened, a.segmenter) for a in applied])
        linkers = Linkers(task, request, len(applied))
        for number, results, problem in written or in_memory(task, applied):
            results = linkers.link(number, results)
            task.done += not problem
            if problem:
                problems.add(number, problem)
            elif results is not None and request.layers:
                yield from self._fill(task, request, applied, number, results)
            self._done, self._tile = self._done + 1, 0
            yield PlaneSegmented(
                task, task.number_in_whole(number), self._done, self._total, self._seconds_left()
            )
            self._check()
        if written is not None and written.skipped and request.layers:
            for number, results in written.read_back():
                yield from self._fill(task, request, applied, number, results)
        yield ImageFinished(task, str(problems))

    def _fill(
        self, task: ImageTask, request: BatchRequest, applied: list[FittedPrompt],
        number: int, planes: Sequence[np.ndarray],
    ) -> Generator[object, None, None]:  # fmt: skip
        """Put a plane into the layers; the first one makes them."""
        new = not task.results
        if new:
            task.results = [
                result
                for a in applied
                for result in blank_results(task, a.opened, request.settings.output)
            ]
        channels = [part for plane in planes for part in (plane if plane.ndim == 3 else [plane])]
        for result, plane in zip(task.results, channels, strict=True):
            if not result.dropped:
                task.put(result.array, number, plane)
        for result in task.results if new else ():
            begun = LayerStarted(result)
            yield begun
            # napari takes four times as long to add a layer beside work that goes on.
            while not begun.shown.wait(WAIT):
                self._check()

    def _seconds_left(self) -> float:
        return (perf_counter() - self._begin) / self._done * (self._total - self._done)
