"""The inputs and results of a run of "Batch segment", without Qt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.widgets.batch.plane_features import show_features
from napari_ptsam.widgets.shared.labels_layers import class_colours
from napari_ptsam.widgets.shared.layers import PLUGIN, RESULT, layer_axes, placement
from napari_ptsam.widgets.shared.view import is_shown, layers_in_view

if TYPE_CHECKING:
    import napari
    from napari.layers import Image, Layer

    from napari_ptsam.images.planes import Planes
    from napari_ptsam.inference.linking import LinkSettings
    from napari_ptsam.inference.measurements import Kind, Table
    from napari_ptsam.inference.result import ResultSettings
    from napari_ptsam.prompts.prompt import Prompt

Part = tuple[str, int, int]
"""A range of planes: axis, start, and stop, which is excluded."""
MAX_LISTED = 5
"""Largest number of plane numbers that a message lists."""


@dataclass(frozen=True, eq=False)
class OpenedPrompt:
    """A prompt in the list.

    Attributes
    ----------
    prompt
        The prompt.
    name
        Name for its results.
    path
        The file that it was read from, if any.
    """

    prompt: Prompt
    name: str = "prompt"
    path: Path | None = None


@dataclass(frozen=True)
class FileOptions:
    """The settings for writing results to files.

    Attributes
    ----------
    folder
        The folder of the result files.
    format
        File format; ``auto`` chooses one by the size of the result.
    resume
        Whether an unfinished run is continued.
    overwrite
        Whether existing results are replaced.
    """

    folder: Path
    format: str = "auto"
    resume: bool = True
    overwrite: bool = False


@dataclass(frozen=True, eq=False)
class BatchRequest:
    """A run: images, prompts, and where the results go.

    Attributes
    ----------
    prompts
        Prompts that are applied to each image.
    settings
        Settings of the result.
    tasks
        The images.
    link
        Settings for linking objects from plane to plane; None leaves them unlinked.
    rescale
        Whether images are rescaled to the pixel size of the prompt.
    layers
        Whether results are shown as layers.
    files
        Settings for writing results to files; None if no files are written.
    channels
        Channels that the prompts are shown; None for those of their training.
    """

    prompts: Sequence[OpenedPrompt]
    settings: ResultSettings
    tasks: list[ImageTask]
    link: LinkSettings | None = None
    rescale: bool = False
    layers: bool = True
    files: FileOptions | None = None
    channels: tuple[int, ...] | None = None

    def link_of(self, planes: Planes) -> LinkSettings | None:
        """Return the settings for linking the planes of an image; None if they are not linked."""
        return self.link if planes.is_linkable else None


@dataclass(eq=False)
class LayerResult:
    """The result of one prompt on one image that is shown as a layer.

    Attributes
    ----------
    task
        The image.
    opened
        The prompt.
    name
        Name of the layer.
    levels
        Labels, or probabilities of one class; filled during the run. The first array has the full
        resolution, the others are the further levels of a multiscale image.
    class_index
        Index of the class that the probabilities belong to; None for labels.
    features
        Features of the layer: the measurements, once they are complete.
    layer
        The layer, once it is shown.
    removed
        Whether the user has removed the layer.
    """

    task: ImageTask
    opened: OpenedPrompt
    name: str
    levels: list[Any]
    class_index: int | None = None
    features: Table | None = None
    layer: Layer | None = None
    removed: bool = False

    @property
    def array(self) -> Any:
        """The result in full resolution."""
        return self.levels[0]

    def show(self, viewer: napari.Viewer) -> None:
        """Add the layer to a viewer at the position of the image."""
        from napari.utils.colormaps import Colormap

        active_layer = viewer.layers.selection.active
        placed, prompt = self.task.placement(), self.opened.prompt
        is_multiscale = len(self.levels) > 1
        placed |= {
            "data": self.levels if is_multiscale else self.array, "multiscale": is_multiscale,
            "visible": is_shown(self.task.layer), "metadata": {PLUGIN: RESULT},
        }  # fmt: skip
        if self.class_index is not None:
            colour = prompt.colours[self.class_index]
            self.layer = viewer.add_image(
                name=self.name, contrast_limits=(0, 1), blending="additive",
                colormap=Colormap(["#000000", colour], name=f"to {colour}"), **placed,
            )  # fmt: skip
        else:
            appearance: dict[str, Any] = {}
            if self.array.dtype == np.uint8:  # passed when the layer is made: napari draws once
                names = ["background", *prompt.classes]
                appearance["colormap"] = class_colours(dict(enumerate(prompt.colours, 1)))
                appearance["features"] = {"index": list(range(len(names))), "name": names}
            self.layer = viewer.add_labels(name=self.name, opacity=0.6, **appearance, **placed)
        # The user may be painting in another layer, which stays the active one.
        viewer.layers.selection.active = active_layer
        for shown in layers_in_view(self.task.layer):
            shown.events.visible.connect(self.follow_image)

    def follow_image(self, event: object = None) -> None:
        """Show or hide the layer with its image."""
        if self.layer is not None and not self.removed:
            self.layer.visible = is_shown(self.task.layer)

    def stop_following(self) -> None:
        """Let the layer no longer be shown and hidden with its image."""
        for shown in layers_in_view(self.task.layer):
            shown.events.visible.disconnect(self.follow_image)

    def show_features(self, viewer: napari.Viewer) -> None:
        """Set the features of the layer to the measurements, if these are complete."""
        if self.layer is not None and self.features is not None and not self.removed:
            show_features(viewer, self.layer, self.task.planes, self.features)

    def redraw(self) -> None:
        """Draw what has been written to the array since the layer was shown."""
        if self.layer is not None and not self.removed:
            self.layer.refresh()


class ImageTask:
    """An image to segment, or a part of it.

    Parameters
    ----------
    layer
        The Image layer.
    image
        All planes of the layer.
    parts
        Ranges of planes to segment, each along another axis; by default all planes.
    """

    def __init__(self, layer: Image, image: Planes, parts: Sequence[Part] = ()) -> None:
        self.layer, self.image, self.planes = layer, image, image
        self.parts = tuple(parts)
        for axis, start, stop in parts:
            self.planes = self.planes.part(axis, start, stop)
        self._start = {axis: start for axis, start, _ in parts}
        self._axes = layer_axes(layer, image)
        sizes = dict(zip(self.planes.axes, self.planes.array_shape, strict=True))
        self.shape = tuple(1 if axis == "C" else sizes[axis] for axis in self._axes)
        """Shape of a result: that of the part, with one channel."""
        self._channels = sizes.get("C", 1)
        self.results: list[LayerResult] = []
        self.segmented = 0
        """Number of planes that have been segmented."""
        self.object_count: int | None = None
        """Number of objects that all prompts have found; None if they were not counted."""
        self.kind: Kind = "objects"
        """What the objects are."""
        self.finished = False
        """Whether all planes were processed."""
        self.problem = ""
        """The reason why the image could not be segmented."""
        self.targets: list[Path] = []
        """Paths of the result files, which are written when the image is finished."""
        self.cancelled = False
        """Whether the task is cancelled; may be set at any time."""

    def number_in_image(self, number: int) -> int:
        """Return the number that a plane of the part has in the image."""
        index = [i + self._start.get(axis, 0) for axis, i in self.planes.position(number).items()]
        return int(np.ravel_multi_index(index, self.image.leading)) if index else 0

    def level_shapes(self) -> list[tuple[int, ...]]:
        """Return the shape of a result in each level of the image, full resolution first."""
        shapes = [self.shape]
        y, x = self._axes.index("Y"), self._axes.index("X")
        for level in self.layer.data[1:] if self.layer.multiscale else ():
            size = level.shape[: len(self._axes)]
            if any(
                size[axis] != full
                for axis, full in enumerate(self.image.array_shape[: len(self._axes)])
                if axis not in (y, x)
            ):
                break  # planes are left out in this level
            shape = list(self.shape)
            shape[y], shape[x] = size[y], size[x]
            shapes.append(tuple(shape))
        return shapes

    def write_plane(self, levels: Sequence[Any], number: int, plane: np.ndarray) -> None:
        """Write plane ``number`` of the part into the arrays of a result, one for each level."""
        position = self.planes.position(number)
        index = tuple(slice(None) if axis in "YX" else position.get(axis, 0) for axis in self._axes)
        y, x = self._axes.index("Y"), self._axes.index("X")
        for level in levels:
            small = sampled(plane, (level.shape[y], level.shape[x]))
            level[index] = small if y < x else small.T

    def placement(self) -> dict[str, Any]:
        """Return keywords for a layer that lay it over the segmented part of the image."""
        offset = {self._axes.index(axis): float(start) for axis, start in self._start.items()}
        if "C" not in self._axes:
            return placement(self.layer, offset)
        axis = self._axes.index("C")  # one plane for all channels, as thick as all of them
        keywords = placement(self.layer, {**offset, axis: (self._channels - 1) / 2})
        keywords["scale"][axis] *= self._channels
        return keywords


def sampled(plane: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return a plane in another size, by its nearest pixels."""
    if plane.shape == shape:
        return plane
    rows, columns = (
        ((np.arange(few) + 0.5) * many / few).astype(int)
        for few, many in zip(shape, plane.shape, strict=True)
    )
    return plane[np.ix_(rows, columns)]


@dataclass
class Problems:
    """Planes of an image that could not be segmented, and why.

    Attributes
    ----------
    task
        The image.
    messages
        A message for each number of a plane in the image.
    """

    task: ImageTask
    messages: dict[int, str] = field(default_factory=dict)

    def add(self, number: int, message: str) -> None:
        """Add the problem of a plane, by its number in the part."""
        self.messages[self.task.number_in_image(number)] = message

    def __str__(self) -> str:
        """Return one message about all planes; empty if there are no problems."""
        if not self.messages:
            return ""
        first, *others = self.messages
        message = f"{self.task.image.name_of(first)}: {self.messages[first]}"
        if not others:
            return message
        numbers = ", ".join(map(str, others[:MAX_LISTED])) + "…" * (len(others) > MAX_LISTED)
        return f"{message} {len(others)} more were left out too: {numbers}"
