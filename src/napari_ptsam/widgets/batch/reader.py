"""A prompt file that is opened like an image: the dock widget "Batch segment" takes it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ptsam.widgets.shared.torch_loading import load_torch

if TYPE_CHECKING:
    import napari

    from napari_ptsam.prompts.prompt import Prompt
    from napari_ptsam.widgets.batch.batch_segment import BatchSegment
    from napari_ptsam.widgets.shared.worker import WorkerEvent

Nothing = list[tuple[None]]
NO_LAYERS: Nothing = [(None,)]
"""What tells napari that a file was read and gives no layer."""
PLUGIN, WIDGET = "napari-ptsam", "Batch segment"


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], Nothing] | None:
    """What reads a path, for napari.

    Parameters
    ----------
    path
        One, or several that are to become one stack; of prompts there is none.
    """
    if not isinstance(path, str) or Path(path).suffix.lower() != ".pt":
        return None
    return read


def read(path: str | list[str]) -> Nothing:
    """Show a prompt file in the dock widget; a worker reads it, as torch takes its time to load.

    A file that is no prompt is told of in a notification: what a reader raises,
    napari shows together with its traceback.

    Parameters
    ----------
    path
        Of the file.

    Returns
    -------
    list of tuple
        `NO_LAYERS`.
    """
    import napari
    from napari.utils.notifications import show_warning

    viewer = napari.current_viewer()
    if viewer is None or not isinstance(path, str):
        show_warning("A prompt is opened in a viewer, one at a time; open an image first.")
        return NO_LAYERS
    from napari_ptsam.widgets.shared.worker import Worker

    file = Path(path)
    worker = Worker(partial(_load, file), partial(_take, viewer, file), f"Reading {file.name}")
    worker.start(announced=True)
    return NO_LAYERS


def _load(path: Path) -> Generator[Prompt, None, None]:
    load_torch()
    from napari_ptsam.prompts.files import load

    yield load(path)


def _take(viewer: napari.Viewer, path: Path, event: WorkerEvent) -> None:
    """Tell what a worker found, in the main thread; nothing comes once the viewer is closed."""
    from napari_ptsam.widgets.shared.failures import Failed, notify
    from napari_ptsam.widgets.shared.worker import Yielded

    if isinstance(event, Failed):
        notify(event)
    elif isinstance(event, Yielded):
        open_dock(viewer).use_prompt(event.value, path)


def open_dock(viewer: napari.Viewer) -> BatchSegment:
    """The dock widget "Batch segment": the one that is open, or a new one."""
    from napari_ptsam.widgets.batch.batch_segment import BatchSegment

    docked = viewer.window.dock_widgets.values()
    open_ones = (w for w in docked if isinstance(w, BatchSegment) and not w._closed)
    widget = next(open_ones, None)
    if widget is None:
        _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, WIDGET)
    dock = widget.parentWidget()
    if dock is not None:  # hidden, or behind another
        dock.show()
        dock.raise_()
    return widget
