"""Find and open the docks of the plugin, one of each in a viewer, and pass prompts between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_ptsam.widgets.shared.closable_dock import ClosableDock

if TYPE_CHECKING:
    from pathlib import Path

    import napari

    from napari_ptsam.prompts.prompt import Prompt

PLUGIN = "napari-ptsam"
ANNOTATE, BATCH = "Annotate and train", "Batch segment"


@dataclass(frozen=True, eq=False)
class TrainedPrompt:
    """The prompt in use in "Annotate and train".

    Attributes
    ----------
    prompt
        The prompt.
    path
        The file that it was saved in, if any.
    name
        Name for its results.
    objects
        Whether it was trained on objects that have labels of their own.
    """

    prompt: Prompt
    path: Path | None
    name: str
    objects: bool


def find_dock(viewer: napari.Viewer, title: str) -> Any:
    """Return the dock widget of that title in a viewer, however it was opened; None if there is none."""
    docked = viewer.window.dock_widgets.values()
    found = (w for w in docked if isinstance(w, ClosableDock) and title == w.TITLE)
    return next((widget for widget in found if not widget.closed), None)


def open_dock(viewer: napari.Viewer, title: str) -> Any:
    """Return the dock widget of that title in a viewer, in front; open it if there is none."""
    widget = find_dock(viewer, title)
    if widget is None:
        widget = _add_dock(viewer, title)
    dock = widget.parentWidget()
    if dock is not None:  # the dock may be hidden, or behind another one
        dock.show()
        dock.raise_()
    return widget


def _add_dock(viewer: napari.Viewer, title: str) -> Any:
    """Open a dock under the name that napari's menu gives it, so that the menu finds it again."""
    from npe2 import PluginManager

    manager = PluginManager.instance()
    contribution = next(
        widget
        for widget in manager.iter_widgets()
        if widget.plugin_name == PLUGIN and widget.display_name == title
    )
    widget = contribution.get_callable()(viewer)
    name = f"{title} ({manager.get_manifest(PLUGIN).display_name})"
    viewer.window.add_dock_widget(widget, name=name)
    return widget


def trained_prompt(viewer: napari.Viewer) -> TrainedPrompt | None:
    """Return the prompt in use in "Annotate and train"; None if there is none."""
    widget = find_dock(viewer, ANNOTATE)
    if widget is None or widget.session_model.prompt is None:
        return None
    model, name = widget.session_model, widget.train.default_name().removesuffix(".pt")
    objects = model.scheme.instances or model.prompt.markers is not None
    return TrainedPrompt(model.prompt, model.prompt_path, name, objects)


def segment_all_images(viewer: napari.Viewer) -> None:
    """Open "Batch segment" with the prompt in use in "Annotate and train", for all images."""
    trained = trained_prompt(viewer)
    if trained is not None:
        find_dock(viewer, ANNOTATE).train.preview.hide()  # it would lie over the results
        batch = open_dock(viewer, BATCH)
        batch.take_over(trained)
        batch.layers.tick_all(True)
