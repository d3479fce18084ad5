"""File > Open Sample: a stack made by code, and real nuclei that are downloaded once.

Neither is there at once, so that a sample opened in a running napari is made in a worker, which
adds the layers when they are there; until then napari gets `NO_LAYERS`. Where no event loop runs,
that is in a script before ``napari.run()`` or in a notebook's cell, nobody could wait for a
worker: ``viewer.open_sample("napari-ptsam", "bbbc039")`` itself waits, returns the layers, and
raises what goes wrong.
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
Steps = Generator[object, None, list[LayerData]]
"""Yields between its steps, and returns the layers."""

BUNDLED, NUCLEI = "sample cells", "BBBC039 nuclei"

NO_LAYERS: list[LayerData] = [(np.zeros((0, 1, 1), np.uint8), {"channel_axis": 0}, "image")]
"""What a sample command returns when there is nothing to add yet. napari takes an empty list or
``None`` for a failure, but it splits this image into as many layers as it has channels: none."""

_running: dict[tuple[str, int], Worker] = {}
"""The worker that opens a sample in a viewer, by title and the viewer's id."""


def make_bundled_sample() -> list[LayerData]:
    """A stack of cells and debris, the first 16 planes annotated.

    Returns
    -------
    list of tuple
        An image and a labels layer, both uint16 of shape (40, 512, 512), axes
        (z, y, x), in micrometers; or `NO_LAYERS` if a worker adds them.
    """
    return _open(BUNDLED, _making)


def open_bbbc039() -> list[LayerData]:
    """Real nuclei: 20 images, and a hidden layer with the ground truth.

    Returns
    -------
    list of tuple
        An image and a labels layer, both uint16 of shape (20, 520, 696), axes
        (image, y, x), y and x in micrometers; or `NO_LAYERS` if a worker adds them.

    Raises
    ------
    DownloadError
        If they cannot be downloaded, where no worker does it.
    """
    files = bbbc039.remote_files()
    notice = ""
    if not bbbc039.is_fetched():
        size = sum(file.size for file in files) / 1e6
        notice = f"Downloading {NUCLEI} ({size:.0f} MB); the layers appear when they are there."
    return _open(NUCLEI, _downloading, total=len(files), notice=notice)


def _making() -> Steps:
    sample = make_sample()
    yield None
    annotations = np.zeros_like(sample.instances)
    annotations[:ANNOTATED] = sample.annotated[1]
    where = {
        "scale": (SPACING, PIXEL_SIZE, PIXEL_SIZE),
        "units": ("micrometer",) * 3,
        "axis_labels": ("z", "y", "x"),
    }
    # A copy: the sample is made only once, and must stay as it is when its layer is edited.
    return [
        (sample.images.copy(), {"name": BUNDLED, **where}, "image"),
        (annotations, {"name": f"{BUNDLED} annotations", **where}, "labels"),
    ]


def _downloading() -> Steps:
    paths = yield from bbbc039.fetching()
    nuclei = bbbc039.read_nuclei(paths)
    where = {
        "scale": (1.0, bbbc039.PIXEL_SIZE, bbbc039.PIXEL_SIZE),
        "units": ("pixel", "micrometer", "micrometer"),
        "axis_labels": ("image", "y", "x"),
        "metadata": {"origin": bbbc039.origin()},
    }
    # A few dying nuclei are so bright that all others would be black beside them.
    limits = np.percentile(nuclei.images[:, ::2, ::2], (0.5, 99.5)).tolist()
    return [
        (nuclei.images, {"name": NUCLEI, "contrast_limits": limits, **where}, "image"),
        (nuclei.instances, {"name": f"{NUCLEI} ground truth", "visible": False, **where}, "labels"),
    ]


def _open(
    title: str, steps: Callable[[], Steps], total: int = 0, notice: str = ""
) -> list[LayerData]:
    """Have a worker open a sample, or wait for it where no event loop runs.

    Parameters
    ----------
    title
        What the sample is called.
    steps
        Makes the layers; yields between steps.
    total
        Number of steps; 0: not known.
    notice
        What the user is told when a worker starts.
    """
    import napari
    from napari.utils import progress
    from napari.utils.notifications import show_info
    from qtpy.QtCore import QThread

    viewer = napari.current_viewer()
    thread = QThread.currentThread()
    if viewer is None or thread is None or not thread.loopLevel():
        return _wait(title, steps, total)
    key = title, id(viewer)
    if key in _running:
        show_info(f"{title} is being opened already; the layers appear when they are there.")
        return NO_LAYERS
    from napari_ptsam.widgets.shared.worker import Worker

    bar = progress(total=total, desc=title)
    _running[key] = worker = Worker(steps, partial(_take, key, viewer, bar), title)
    worker.start(announced=True)
    if notice:
        show_info(notice)
    return NO_LAYERS


def _wait(title: str, steps: Callable[[], Steps], total: int) -> list[LayerData]:
    """Go through the steps here and now, with a bar in the terminal if there are many."""
    from napari.utils import progress

    running = steps()
    with progress(total=total, desc=title) if total else nullcontext() as bar:
        while True:
            try:
                next(running)
            except StopIteration as end:
                return end.value
            if bar is not None:
                bar.update()


def _take(key: tuple[str, int], viewer: napari.Viewer, bar: Any, event: WorkerEvent) -> None:
    """Tell what a worker does, in the main thread."""
    from napari_ptsam.widgets.shared.failures import Failed, notify
    from napari_ptsam.widgets.shared.worker import Finished

    if isinstance(event, Finished):
        del _running[key]
        bar.close()
        if event.value is not None:
            _show(viewer, event.value)
    elif isinstance(event, Failed):
        notify(event)
    elif bar.total:
        bar.increment_with_overflow()


def _show(viewer: napari.Viewer, layers: list[LayerData]) -> None:
    """Add what a worker made."""
    from napari.layers import Layer

    alone = not viewer.layers
    added = [viewer.add_layer(Layer.create(*layer)) for layer in layers]
    viewer.layers.selection.active = [layer for layer in added if layer.visible][-1]
    if alone:  # napari shows the plane in the middle, which nobody annotated
        viewer.dims.set_current_step(0, 0)
