"""Images segmented in a worker, plane by plane; what is done stays, however it ends."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from threading import Event
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, Signal

from napari_ptsam.errors import InputError, PtsamError
from napari_ptsam.images.normalize import select_channels
from napari_ptsam.widgets.layers import blank, placement
from napari_ptsam.widgets.workers import give_memory_back, step_back, wait_for

if TYPE_CHECKING:
    import torch
    from napari.layers import Image

    from napari_ptsam.images.planes import Planes
    from napari_ptsam.prompts.prompt import Prompt
    from napari_ptsam.sam.backbones import Backbone
    from napari_ptsam.sam.encoder import Encoder
    from napari_ptsam.segmenting.result import Output
    from napari_ptsam.segmenting.segment import Segmenter

WAIT = 0.05
"""Seconds between two looks at whether the run is to end."""
LISTED = 5
"""Numbers of planes that a message lists, at most."""


class Task:
    """An image to segment: all of its planes, or one.

    Parameters
    ----------
    layer
        The Image layer.
    planes
        Its planes.
    number
        The only plane that is wanted.
    """

    def __init__(self, layer: Image, planes: Planes, number: int | None = None) -> None:
        self.layer, self.planes = layer, planes
        self.numbers: Sequence[int] = range(len(planes)) if number is None else (number,)
        self.labels: Labels | None = None
        """The layer with the result, once there is one."""
        self.dropped = False
        """Whether it is not wanted any more; may be set at any time."""
        self._only = None if number is None else self._leading(number)
        sizes = dict(zip(planes.axes, planes.array_shape, strict=True))
        self._axes = [axis for axis in planes.axes if axis != "S"]
        fixed = {"C": 1} if self._only is None else {"C": 1, **dict.fromkeys(self._only, 1)}
        self.shape = tuple(fixed.get(axis, sizes[axis]) for axis in self._axes)
        """Of the result: like the image, with one channel."""
        self._channels = sizes.get("C", 1)

    def _leading(self, number: int) -> dict[str, int]:
        leading = self.planes.leading
        index = np.unravel_index(number, leading) if leading else ()
        return dict(zip(self.planes.leading_axes, map(int, index), strict=True))

    def at(self, number: int) -> tuple[int | slice, ...]:
        """Where a plane lies in the result."""
        index = self._leading(number)
        if self._only is not None:
            index = dict.fromkeys(index, 0)
        return tuple(slice(None) if axis in "YX" else index.get(axis, 0) for axis in self._axes)

    def where(self) -> dict[str, Any]:
        """What lets the result lie where the image does."""
        offset = {self._axes.index(axis): float(at) for axis, at in (self._only or {}).items()}
        if "C" not in self._axes:
            return placement(self.layer, offset)
        axis = self._axes.index("C")  # one plane for all channels, as thick as they are together
        found = placement(self.layer, {**offset, axis: (self._channels - 1) / 2})
        found["scale"][axis] *= self._channels
        return found


@dataclass(frozen=True, eq=False)
class Request:
    """What to segment, and with what."""

    prompt: Prompt
    output: Output
    tasks: list[Task]


@dataclass(frozen=True, eq=False)
class Begun:
    """An image has its first plane; ``result`` is filled on in the thread once it is shown."""

    task: Task
    result: Any
    shown: Event = field(default_factory=Event)


@dataclass(frozen=True, eq=False)
class Step:
    """Plane ``number`` of a task is through; ``done`` of ``total`` planes of the run are."""

    task: Task
    number: int
    done: int
    total: int
    seconds_left: float | None


@dataclass(frozen=True, eq=False)
class Left:
    """An image is through, or was left; a problem says what could not be segmented."""

    task: Task
    problem: str = ""


class _Ended(Exception):  # noqa: N818, not an error
    """Nobody wants the plane any more."""


class _Stoppable:
    """An image encoder that ends between two tiles: a large plane has hundreds."""

    def __init__(self, encoder: Encoder, check: Callable[[], None]) -> None:
        self._encoder, self._check = encoder, check
        self.device, self.dtype = encoder.device, encoder.dtype

    def __call__(self, tiles: Sequence[np.ndarray], *options: torch.dtype) -> torch.Tensor:
        self._check()
        return self._encoder(tiles, *options)


class BatchRun(QObject):
    """One run at a time.

    Parameters
    ----------
    backbone
        Gives the backbone; called in the thread.
    """

    begun = Signal(object)
    stepped = Signal(object)
    left = Signal(object)
    failed = Signal(str)
    ended = Signal()

    def __init__(self, backbone: Callable[[], Backbone], parent: QObject) -> None:
        super().__init__(parent)
        self._backbone = backbone
        self._worker: Any = None
        self._stop = Event()
        self._closed = False
        self._task: Task | None = None
        self._done = self._total = 0
        self._begin = 0.0

    @property
    def running(self) -> bool:
        """Whether a run is under way."""
        return self._worker is not None

    @property
    def stopping(self) -> bool:
        """Whether the run was told to end."""
        return self._stop.is_set()

    def start(self, request: Request) -> None:
        """Segment."""
        self._stop.clear()
        self._worker = create_worker(self._steps, request, _start_thread=False)
        self._worker.yielded.connect(self._take)
        self._worker.finished.connect(self._finished)
        self._worker.start()

    def stop(self) -> None:
        """End soon; the planes that are done stay."""
        self._stop.set()

    def close(self, wait: float = 0.0) -> None:
        """End soon, tell nobody, and wait so many seconds for the thread to end."""
        self._closed = True
        self.stop()
        wait_for(self._worker, wait)

    def _take(self, result: object) -> None:
        if self._closed:
            return
        signals = {Begun: self.begun, Step: self.stepped, Left: self.left, str: self.failed}
        signals[type(result)].emit(result)
        if isinstance(result, Begun):
            result.shown.set()

    def _finished(self) -> None:
        self._worker = None
        if not self._closed:
            self.ended.emit()

    # In the thread

    def _steps(self, request: Request) -> Generator[object, None, None]:
        step_back()
        try:
            yield from self._segment(request)
        except PtsamError as error:
            yield str(error)
        finally:
            self._task = None
            give_memory_back()

    def _check(self) -> None:
        if self._stop.is_set() or (self._task is not None and self._task.dropped):
            raise _Ended

    def _segment(self, request: Request) -> Generator[object, None, None]:
        backbone = self._backbone()
        from napari_ptsam.segmenting.segment import Segmenter

        stoppable = replace(backbone, encoder=_Stoppable(backbone.encoder, self._check))
        segmenter = Segmenter(request.prompt, stoppable, request.output)
        # napari compiles what it draws such labels with; the window would wait for it.
        Labels(np.zeros((1, 8, 8), segmenter.dtype))
        self._done, self._total = 0, sum(len(task.numbers) for task in request.tasks)
        self._begin = perf_counter()
        for task in request.tasks:
            before, self._task = self._done, task
            try:
                yield from self._image(task, segmenter)
            except _Ended:
                yield Left(task)
            except PtsamError as error:
                yield Left(task, f"{task.planes.name}: {error}")
            if self._stop.is_set():
                return
            self._total -= len(task.numbers) - (self._done - before)  # of an image that was left

    def _image(self, task: Task, segmenter: Segmenter) -> Generator[object, None, None]:
        planes, images = task.planes, segmenter.prompt.images
        # What is wrong with all planes is told before the first one.
        select_channels(np.empty((1, 1, planes.channels)), images.channels, planes.rgb)
        self._check()
        limits = images.limits(planes)
        result: Any = None
        problems: dict[int, str] = {}
        for number in task.numbers:
            self._check()
            try:
                labels = segmenter.plane(planes[number], planes.rgb, limits)
            except InputError as error:
                problems[number] = str(error)
            else:
                if result is None:
                    result = blank(task.shape, segmenter.dtype)
                    result[task.at(number)] = labels
                    begun = Begun(task, result)
                    yield begun
                    # napari takes four times as long to add a layer beside work that goes on.
                    while not begun.shown.wait(WAIT):
                        self._check()
                else:
                    result[task.at(number)] = labels
            self._done += 1
            yield Step(task, number, self._done, self._total, self._seconds_left())
        yield Left(task, _sentence(planes, problems))

    def _seconds_left(self) -> float:
        return (perf_counter() - self._begin) / self._done * (self._total - self._done)


def _sentence(planes: Planes, problems: dict[int, str]) -> str:
    """One message about all planes of an image that could not be segmented."""
    if not problems:
        return ""
    first, *others = problems
    where = f"{planes.name}, plane {first}" if len(planes) > 1 else planes.name
    if not others:
        return f"{where}: {problems[first]}"
    numbers = ", ".join(map(str, others[:LISTED])) + "…" * (len(others) > LISTED)
    return f"{where}: {problems[first]} {len(others)} more were left out too: {numbers}"
