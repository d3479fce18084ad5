"""File > Open Sample: generated cells, and real nuclei that are downloaded once.

In a running napari, a worker makes the sample and adds its layers later; the command itself
returns `NO_LAYERS`. Where no event loop runs, that is in a script before ``napari.run()`` or in a
notebook's cell, ``viewer.open_sample("napari-ptsam", "bbbc039")`` waits, returns the layers, and
raises errors itself.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.datasets import bbbc039
from napari_ptsam.datasets.sample import ANNOTATED, PIXEL_SIZE, SPACING, make_sample

if TYPE_CHECKING:
    import napari

    from napari_ptsam.widgets.shared.worker import Worker, WorkerEvent

LayerData = tuple[np.ndarray, dict[str, Any], str]
SampleSteps = Generator[object, None, list[LayerData]]
"""A generator that yields between its steps and returns the layers."""

BUNDLED, NUCLEI = "sample cells", "BBBC039 nuclei"

NO_LAYERS: list[LayerData] = [(np.zeros((0, 1, 1), np.uint8), {"channel_axis": 0}, "image")]
"""The return value of a sample command that has no layers yet. napari reports an empty list or
``None`` as a failure, but it splits this image into as many layers as it has channels: none."""

_running: dict[tuple[str, int], Worker] = {}
"""Workers that open a sample in a viewer, by the sample's title and the viewer's id."""


def make_bundled_sample() -> list[LayerData]:
    """Return a stack of cells and debris of which the first 16 planes are annotated.

    Returns
    -------
    list of tuple
        An image and a labels layer, both uint16 of shape (40, 512, 512), axes
        (z, y, x), in micrometers; or `NO_LAYERS` if a worker adds them.
    """
    return _open(BUNDLED, _make_cells)


def open_bbbc039() -> list[LayerData]:
    """Return 20 images of real nuclei, with their ground truth in a hidden layer.

    Returns
    -------
    list of tuple
        An image and a labels layer, both uint16 of shape (20, 520, 696), axes
        (image, y, x), y and x in micrometers; or `NO_LAYERS` if a worker adds them.

    Raises
    ------
    DownloadError
        If the download fails; in a running napari, the user is notified instead.
    """
    files = bbbc039.remote_files()
    notice = ""
    if not bbbc039.is_fetched():
        size = sum(file.size for file in files) / 1e6
        notice = f"Downloading {NUCLEI} ({size:.0f} MB); the layers are added when they are ready."
    return _open(NUCLEI, _download_nuclei, total=len(files), notice=notice)


def _make_cells() -> SampleSteps:
    sample = make_sample()
    yield None
    annotations = np.zeros_like(sample.instances)
    annotations[:ANNOTATED] = sample.annotated[1]
    axes = {
        "scale": (SPACING, PIXEL_SIZE, PIXEL_SIZE),
        "units": ("micrometer",) * 3,
        "axis_labels": ("z", "y", "x"),
    }
    # A copy, because the sample is cached and must not change when its layer is edited.
    return [
        (sample.images.copy(), {"name": BUNDLED, **axes}, "image"),
        (annotations, {"name": f"{BUNDLED} annotations", **axes}, "labels"),
    ]


def _download_nuclei() -> SampleSteps:
    paths = yield from bbbc039.fetching()
    nuclei = bbbc039.read_nuclei(paths)
    axes = {
        "scale": (1.0, bbbc039.PIXEL_SIZE, bbbc039.PIXEL_SIZE),
        "units": ("pixel", "micrometer", "micrometer"),
        "axis_labels": ("image", "y", "x"),
        "metadata": {"origin": bbbc039.origin()},
    }
    # A few dying nuclei are so bright that the others would be black beside them.
    limits = np.percentile(nuclei.images[:, ::2, ::2], (0.5, 99.5)).tolist()
    return [
        (nuclei.images, {"name": NUCLEI, "contrast_limits": limits, **axes}, "image"),
        (nuclei.instances, {"name": f"{NUCLEI} ground truth", "visible": False, **axes}, "labels"),
    ]


def _open(
    title: str, steps: Callable[[], SampleSteps], total: int = 0, notice: str = ""
) -> list[LayerData]:
    """Start a worker that opens a sample, or wait for the sample where no event loop runs.

    Parameters
    ----------
    title
        Name of the sample.
    steps
        Returns the generator that makes the layers.
    total
        Number of steps; 0 if it is not known.
    notice
        Message for the user when the worker starts.
    """
    import napari
    from napari.utils import progress
    from napari.utils.notifications import show_info
    from qtpy.QtCore import QThread

    viewer = napari.current_viewer()
    thread = QThread.currentThread()
    if viewer is None or thread is None or not thread.loopLevel():
        return _run_steps(title, steps, total)
    key = title, id(viewer)
    if key in _running:
        show_info(f"{title} is already being opened; its layers are added when they are ready.")
        return NO_LAYERS
    from napari_ptsam.widgets.shared.worker import Worker

    bar = progress(total=total, desc=title)
    on_event = partial(_on_event, key, viewer, bar, notice)
    _running[key] = worker = Worker(steps, on_event, title)
    worker.start(announced=True)
    if notice:
        show_info(notice)
    return NO_LAYERS


def _run_steps(title: str, steps: Callable[[], SampleSteps], total: int) -> list[LayerData]:
    """Run the steps in this thread, with a progress bar in the terminal if there are several."""
    from napari.utils import progress

    generator = steps()
    with progress(total=total, desc=title) if total else nullcontext() as bar:
        while True:
            try:
                next(generator)
            except StopIteration as end:
                return end.value
            if bar is not None:
                bar.update()


def _on_event(
    key: tuple[str, int], viewer: napari.Viewer, bar: Any, notice: str, event: WorkerEvent
) -> None:
    """Show an event of a worker, in the GUI thread."""
    from napari_ptsam.widgets.shared.failures import Failed, notify
    from napari_ptsam.widgets.shared.worker import Finished

    if isinstance(event, (Failed, Finished)) and notice:
        _withdraw(notice)
    if isinstance(event, Finished):
        del _running[key]
        bar.close()
        if event.value is not None:
            _add_layers(viewer, event.value)
    elif isinstance(event, Failed):
        notify(event)
    elif bar.total:
        bar.increment_with_overflow()


def _withdraw(notice: str) -> None:
    """Close the message that a download has begun, which napari shows again after later ones."""
    from qtpy.QtWidgets import QApplication

    for widget in QApplication.allWidgets():
        label: Any = getattr(widget, "message", None)
        is_message = type(widget).__name__ == "NapariQtNotification"
        if is_message and label is not None and label.text() == notice:
            widget.close()


def _add_layers(viewer: napari.Viewer, layers: list[LayerData]) -> None:
    from napari.layers import Layer

    was_empty = not viewer.layers
    added = [viewer.add_layer(Layer.create(*layer)) for layer in layers]
    viewer.layers.selection.active = [layer for layer in added if layer.visible][-1]
    if was_empty:  # napari shows the plane in the middle, which is not annotated
        viewer.dims.set_current_step(0, 0)
