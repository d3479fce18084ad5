"""Segment one image: a command for scripts and other plugins, and a small form for the menu."""

# magicgui reads the annotations, so they are not postponed here.
from functools import partial
from pathlib import Path
from threading import Event
from typing import Literal

import napari
import numpy as np
from magicgui import magic_factory
from napari.layers import Image
from napari.types import ImageData, LabelsData
from napari.utils.notifications import show_warning

from napari_ptsam.errors import PtsamError
from napari_ptsam.widgets.batch.task import ImageTask, LayerResult, OpenedPrompt
from napari_ptsam.widgets.shared.activity import ActivityBar
from napari_ptsam.widgets.shared.failures import Failed, notify
from napari_ptsam.widgets.shared.layers import planes_by_labels, without_proxy
from napari_ptsam.widgets.shared.preferences import preferences
from napari_ptsam.widgets.shared.remedies import in_form
from napari_ptsam.widgets.shared.torch_loading import load_torch
from napari_ptsam.widgets.shared.worker import Finished, Steps, Worker, WorkerEvent

Output = Literal["labels", "instances"]
TITLE = "Segmenting"


def segment(image: ImageData, prompt: Path, output: Output = "labels") -> LabelsData:
    """Segment an image with a prompt file, and wait for the result.

    This is the command ``napari-ptsam.segment``. Call it in a thread of your own if a window is
    open, since loading PyTorch takes seconds, and large images take minutes.

    Parameters
    ----------
    image
        Pixels of an image: (y, x), (z, y, x) or (t, z, y, x), with channels last.
    prompt
        Path of the prompt file.
    output
        ``"labels"`` for the number of the class of each pixel, ``"instances"`` for a number for
        each object.

    Returns
    -------
    napari.types.LabelsData
        Integers, with the shape of the image without channels.

    Raises
    ------
    PtsamError
        If the prompt or the image cannot be used.
    """
    load_torch()
    from napari_ptsam import api

    labels = api.segment(image, prompt, output=output, device=preferences()["device"])
    return LabelsData(labels)


@magic_factory(
    call_button="Segment",
    image={"label": "Image", "tooltip": "The image layer; all of its planes are segmented."},
    prompt={"label": "Prompt file", "filter": "Prompt files (*.pt)"},
    objects={"label": "Single objects", "tooltip": "Give each object a number of its own."},
)
def segment_image(
    viewer: napari.Viewer, image: Image, prompt: Path | None = None, objects: bool = False
) -> None:
    """Segment an image layer in a thread, and add the result as a Labels layer.

    Parameters
    ----------
    viewer
        The viewer of the layers.
    image
        The image layer.
    prompt
        Path of the prompt file.
    objects
        Whether each object gets a number of its own.
    """
    layer, viewer = without_proxy(image), without_proxy(viewer)
    if layer not in viewer.layers:  # there is none, so the form has none to choose
        show_warning("Open an image first.")
        return
    if prompt is None or not prompt.is_file():
        show_warning("Choose a prompt file, which “Annotate and train” makes.")
        return
    try:
        task = ImageTask(layer, planes_by_labels(layer))
    except PtsamError as error:
        show_warning(in_form(error))
        return
    stop = Event()
    output: Output = "instances" if objects else "labels"
    steps = partial(_segment_steps, task, prompt, output, preferences()["device"], stop)
    bar = ActivityBar(f"{TITLE} {layer.name}")
    bar.show(0, len(task.planes))
    Worker(steps, partial(_on_event, viewer, bar), TITLE, stop.set).start(announced=True)


def _segment_steps(task: ImageTask, path: Path, output: Output, device: str, stop: Event) -> Steps:
    """Segment an image plane by plane; the last value is its result, unless it was stopped."""
    load_torch()
    from napari_ptsam.inference.channels import fit_prompt
    from napari_ptsam.inference.result import ResultSettings
    from napari_ptsam.inference.segment import Segmenter
    from napari_ptsam.inference.shared_embedding import segment_planes
    from napari_ptsam.prompts.backbone import backbone_of
    from napari_ptsam.prompts.files import load

    prompt, _ = fit_prompt(load(path), task.planes)
    segmenter = Segmenter(prompt, backbone_of(prompt, None, device), ResultSettings(output))
    labels = np.zeros(task.shape, segmenter.dtype)
    for number, plane in enumerate(segment_planes(segmenter, task.planes)):
        task.write_plane([labels], number, plane)
        yield number + 1, len(task.planes)
        if stop.is_set():
            return
    name = f"{task.layer.name} – {path.stem}"
    yield LayerResult(task, OpenedPrompt(prompt, path.stem, path), name, [labels])


def _on_event(viewer: napari.Viewer, bar: ActivityBar, event: WorkerEvent) -> None:
    """Count a plane, add the result or notify the user, in the GUI thread."""
    if isinstance(event, Finished):
        bar.close()
    elif isinstance(event, Failed):
        notify(event)
    elif isinstance(event.value, LayerResult):
        event.value.show(viewer)
        event.value.stop_following()
    else:
        bar.show(*event.value)
