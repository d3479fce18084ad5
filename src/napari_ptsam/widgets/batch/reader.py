"""napari's reader for prompt files, which opens them in the dock widget "Batch segment"."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import napari

    from napari_ptsam.widgets.shared.worker import WorkerEvent

NoLayers = list[tuple[None]]
NO_LAYERS: NoLayers = [(None,)]
"""The return value by which napari knows that a file was read and adds no layer."""


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], NoLayers] | None:
    """Return the reader for a path, or None if it is not a prompt file.

    Parameters
    ----------
    path
        A path, or the paths of files to be read as one stack, which prompts cannot be.
    """
    if not isinstance(path, str) or Path(path).suffix.lower() != ".pt":
        return None
    return read


def read(path: str | list[str]) -> NoLayers:
    """Open a prompt file in the dock widget.

    A worker reads the file, because torch takes seconds to load. If it is not a prompt,
    the user is notified; an exception here would be shown with its traceback.

    Parameters
    ----------
    path
        Path of the file.

    Returns
    -------
    list of tuple
        `NO_LAYERS`.
    """
    import napari
    from napari.utils.notifications import show_warning

    viewer = napari.current_viewer()
    if viewer is None or not isinstance(path, str):
        show_warning("Prompts are opened one at a time, in a viewer; open an image first.")
        return NO_LAYERS
    from napari_ptsam.widgets.batch.prompt_list import load_prompt
    from napari_ptsam.widgets.shared.worker import Worker

    file = Path(path)
    on_event = partial(_on_event, viewer, file)
    Worker(partial(load_prompt, file), on_event, f"Reading {file.name}").start(announced=True)
    return NO_LAYERS


def _on_event(viewer: napari.Viewer, path: Path, event: WorkerEvent) -> None:
    """Use the prompt, or notify the user, in the GUI thread."""
    from napari_ptsam.widgets.shared.failures import Failed, notify
    from napari_ptsam.widgets.shared.open_docks import BATCH, open_dock
    from napari_ptsam.widgets.shared.worker import Yielded

    if isinstance(event, Failed):
        notify(event)
    elif isinstance(event, Yielded):
        open_dock(viewer, BATCH).use_prompt(event.value, path)
