"""What a run of "Batch segment" works on and makes; nothing here needs Qt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.widgets.shared.layers import placement

if TYPE_CHECKING:
    from napari.layers import Image, Layer

    from napari_ptsam.images.planes import Planes
    from napari_ptsam.inference.linking import LinkSettings
    from napari_ptsam.inference.result import ResultSettings
    from napari_ptsam.prompts.prompt import Prompt

Part = tuple[str, int, int]
"""An axis, and from where up to, not including, where on it."""
LISTED = 5
"""Numbers of planes that a message lists, at most."""


@dataclass(frozen=True, eq=False)
class OpenedPrompt:
    """A prompt with the name that results get, and the file that it came from."""

    prompt: Prompt
    name: str = "prompt"
    path: Path | None = None


@dataclass(frozen=True)
class FileOptions:
    """Where results are written, and how."""

    folder: Path
    format: str = "auto"
    resume: bool = True
    overwrite: bool = False


@dataclass(frozen=True, eq=False)
class BatchRequest:
    """What to segment, with what, and into what."""

    prompts: Sequence[OpenedPrompt]
    settings: ResultSettings
    tasks: list[ImageTask]
    link: LinkSettings | None = None
    rescale: bool = False
    layers: bool = True
    files: FileOptions | None = None
    channels: tuple[int, ...] | None = None


@dataclass(eq=False)
class LayerResult:
    """An array that is shown as a layer; of probabilities there is one for each class."""

    task: ImageTask
    opened: OpenedPrompt
    name: str
    array: Any
    number: int | None = None
    """Of the class, for probabilities."""
    layer: Layer | None = None
    dropped: bool = False


class ImageTask:
    """An image to segment, or a part of it.

    Parameters
    ----------
    layer
        The Image layer.
    whole
        Its planes.
    parts
        What is wanted of them.
    """

    def __init__(self, layer: Image, whole: Planes, parts: Sequence[Part] = ()) -> None:
        self.layer, self.whole, self.planes = layer, whole, whole
        self.parts = tuple(parts)
        for axis, start, stop in parts:
            self.planes = self.planes.part(axis, start, stop)
        self._start = {axis: start for axis, start, _ in parts}
        self._axes = whole.data_axes
        sizes = dict(zip(self.planes.axes, self.planes.array_shape, strict=True))
        self.shape = tuple(1 if axis == "C" else sizes[axis] for axis in self._axes)
        """Of the result: like the part, with one channel."""
        self._channels = sizes.get("C", 1)
        self.results: list[LayerResult] = []
        self.done = 0
        """Planes that are segmented."""
        self.dropped = False
        """Whether it is not wanted any more; may be set at any time."""

    def number_in_whole(self, number: int) -> int:
        """Number that a plane of the part has in the image."""
        index = [at + self._start.get(axis, 0) for axis, at in self.planes.position(number).items()]
        return int(np.ravel_multi_index(index, self.whole.leading)) if index else 0

    def put(self, array: Any, number: int, plane: np.ndarray) -> None:
        """Write a plane of the part to where it lies in a result."""
        index = self.planes.position(number)
        where = tuple(slice(None) if axis in "YX" else index.get(axis, 0) for axis in self._axes)
        array[where] = plane if self._axes.index("Y") < self._axes.index("X") else plane.T

    def where(self) -> dict[str, Any]:
        """What lets the result lie where the image does."""
        offset = {self._axes.index(axis): float(at) for axis, at in self._start.items()}
        if "C" not in self._axes:
            return placement(self.layer, offset)
        axis = self._axes.index("C")  # one plane for all channels, as thick as they are together
        found = placement(self.layer, {**offset, axis: (self._channels - 1) / 2})
        found["scale"][axis] *= self._channels
        return found


@dataclass
class Problems:
    """Planes of an image that could not be segmented, and why."""

    task: ImageTask
    found: dict[int, str] = field(default_factory=dict)

    def add(self, number: int, words: str) -> None:
        """Note a plane of the part."""
        self.found[self.task.number_in_whole(number)] = words

    def __str__(self) -> str:
        """One message about all of them; empty if there are none."""
        if not self.found:
            return ""
        planes = self.task.whole
        first, *others = self.found
        where = planes.name_of(first)
        words = self.found[first]
        if not others:
            return f"{where}: {words}"
        numbers = ", ".join(map(str, others[:LISTED])) + "…" * (len(others) > LISTED)
        return f"{where}: {words} {len(others)} more were left out too: {numbers}"
