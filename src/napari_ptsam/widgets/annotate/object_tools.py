"""The tools that edit objects: erase, merge and split; and the choice among all tools."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QObject, Signal

from napari_ptsam.annotation.accepting import unused_labels
from napari_ptsam.annotation.object_edits import (
    Change,
    labels_along,
    merge,
    object_pixels,
    split,
)
from napari_ptsam.annotation.scheme import IGNORED
from napari_ptsam.errors import InputError
from napari_ptsam.widgets.annotate.box_band import BoxBand, StrokeBand
from napari_ptsam.widgets.annotate.click_tool import READY, ClickTool, paintable
from napari_ptsam.widgets.annotate.mouse import (
    PAN,
    follow,
    in_plane,
    no_plane_message,
    pixel_at,
)
from napari_ptsam.widgets.annotate.object_paint import (
    plane_positions,
    stroke_under_way,
    unused_label,
)
from napari_ptsam.widgets.annotate.region_layer import RegionLayers
from napari_ptsam.widgets.shared.remedies import in_form

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_ptsam.widgets.annotate.session_model import AnnotatedImage, SessionModel

EDITS = {
    "erase": "Click on an object to erase it.",
    "merge": "Click on two objects, or drag from one over others.",
    "split": "Drag a stroke across an object.",
    "region": "Drag a box in which you annotate everything.",
}
"""Tools of this module, and what the user is told to do."""
MODES = {"brush": "paint", "eraser": "erase", "ignore": "paint"}
"""Tools of napari, and the mode of a Labels layer in which they are active."""

NOTHING_HERE = "Nothing is annotated here; click on an object."
SECOND = "Now click on the object to merge with the one of label {label}."
SAME_OBJECT = "This is the same object; click on another one to merge with it."
ONE_OBJECT = "The stroke lies on one object only; drag it over all objects to merge."
NOT_CROSSED = "The stroke crosses no object; drag it from one side of an object to the other."
OBJECTS_ONLY = (
    "Objects have no labels of their own here, since each class has one label; separate them with "
    "the eraser, or fill the gap with the brush."
)
CANNOT_PAINT = (
    "The annotation layer is hidden or locked; show it and unlock it in the layer list to paint."
)
PAINT_IGNORED = "Paint over objects that are unsure or cut off."
SCRIBBLES_IGNORE = "With scribbles, everything without a label is ignored anyway."
TOO_FEW_LABELS = (
    "The annotation layer {name} holds {dtype}, which has no label for ignored pixels; convert it to "
    "uint16 (right click on the layer, Convert data type)."
)
LABEL_IN_USE = f"An object has the label {IGNORED}, which ignored pixels would get; give it another label first."
CLASS_LABELS = "Each class has one label here; choose a class in the list, or add one."


class ObjectTools(QObject):
    """Choose a tool, and edit objects of the annotation layer with the mouse.

    Each edit changes only the objects that it touches, and is one step of the
    layer's undo history. A tool works while the active layer is in napari's
    mode pan/zoom.

    Parameters
    ----------
    session_model
        State of the session.
    click_tool
        Tool for clicks, boxes and missed parts.
    add_layers
        Called if a tool is chosen and there is no annotation layer yet.
    """

    state_changed = Signal(str)
    """What the user can do with the chosen tool; empty without a tool."""
    tool_changed = Signal()
    """Another tool is chosen, or napari's mode has changed."""

    def __init__(
        self, session_model: SessionModel, click_tool: ClickTool, add_layers: Callable[[], None]
    ) -> None:
        super().__init__(session_model)
        self._session_model, self.click_tool = session_model, click_tool
        self._add_layers = add_layers
        self._own = ""
        self.regions = RegionLayers(session_model)
        self._label_before = 1
        self._first: tuple[AnnotatedImage, int, int] | None = None
        self._mode = click_tool.mode
        self._mode.layer_chosen.connect(self._napari_changed)
        self._mode.mode_chosen.connect(self._napari_changed)
        self._mode.label_chosen.connect(self.tool_changed)
        session_model.view_changed.connect(self._forget_first)

    # The choice

    @property
    def tool(self) -> str:
        """Name of the tool that the mouse has now; empty if it only moves the view."""
        if self._mode.mode == PAN:
            return self._own
        active = self._session_model.viewer.layers.selection.active
        # Two proxies of a plugin's viewer may stand for one layer: they are equal, not the same.
        labels = next((labels for labels in self._annotations() if labels == active), None)
        if labels is None:
            return ""
        if self._mode.mode == MODES["ignore"] and self._ignores(labels):
            return "ignore"
        return next((tool for tool, mode in MODES.items() if mode == self._mode.mode), "")

    def _ignores(self, labels: Labels) -> bool:
        """Return whether the brush paints pixels that are ignored."""
        ignored = self._session_model.scheme.ignored
        return bool(ignored) and labels.selected_label == ignored

    def toggle(self, tool: str) -> None:
        """Choose a tool, or put it away if it is chosen."""
        self.choose("" if tool == self.tool else tool)

    def choose(self, tool: str) -> None:
        """Choose a tool by its name in the tool table; an empty name puts the tool away."""
        labels = self._annotation_in_view() if tool else None
        if tool and labels is None:
            self.tool_changed.emit()
            return
        if tool == "new":
            self._new_label()
            return
        if tool == "ignore" and labels is not None and not self._can_ignore(labels):
            self.tool_changed.emit()
            return
        for annotation in self._annotations():
            if self._ignores(annotation) and tool != "ignore":
                annotation.selected_label = self._label_before
        if labels is not None:
            self._session_model.viewer.layers.selection.active = labels
        self._use_own("" if tool in MODES else tool)
        mode = MODES.get(tool, PAN)
        if labels is None:
            labels = self._session_model.viewer.layers.selection.active
        if labels is not None and labels in self._annotations():
            labels.mode = mode
            if tool == "ignore" and not self._ignores(labels):
                self._label_before = labels.selected_label
                labels.selected_label = self._session_model.scheme.ignored
        if tool not in READY:  # otherwise the click tool reports that the plane is being prepared
            self.state_changed.emit(EDITS.get(tool, PAINT_IGNORED if tool == "ignore" else ""))
        if tool in MODES and self.tool != tool:
            show_warning(CANNOT_PAINT)
        self.tool_changed.emit()

    def _use_own(self, tool: str) -> None:
        before, self._own = self._own, tool
        self._forget_first()
        self.click_tool.use_gesture(tool if tool in READY else "click")
        self.click_tool.activate(tool in READY)
        callbacks = self._session_model.viewer.mouse_drag_callbacks
        if (before in EDITS) != (tool in EDITS):
            (callbacks.append if tool in EDITS else callbacks.remove)(self._dragged)

    def _napari_changed(self, mode_before: str = "") -> None:
        """Put a tool away that would take over again while Space is held down with napari's tool."""
        if self._mode.mode != PAN and self._own not in ("", "click"):
            self._use_own("")
            self.state_changed.emit("")
        self.tool_changed.emit()

    def _annotations(self) -> list[Labels]:
        return [image.labels for image in self._session_model.images if image.labels is not None]

    def _annotation_in_view(self) -> Labels | None:
        """Return the annotation layer of the plane in view, after adding it if it is missing."""
        session_model = self._session_model
        if not session_model.situation().annotation_layers:
            self._add_layers()
        current = session_model.current()
        found = current[0].labels if current is not None else None
        return found if found is not None else next(iter(self._annotations()), None)

    def _can_ignore(self, labels: Labels) -> bool:
        """Give the scheme a label for ignored pixels; tell the user if that is impossible."""
        session_model = self._session_model
        scheme = session_model.scheme
        if scheme.sparse:
            show_info(SCRIBBLES_IGNORE)
            return False
        if np.iinfo(labels.dtype).max < IGNORED:
            show_warning(TOO_FEW_LABELS.format(name=labels.name, dtype=labels.dtype))
            return False
        if not scheme.ignored:
            if self._uses(IGNORED):
                show_warning(LABEL_IN_USE)
                return False
            session_model.use_scheme(replace(scheme, ignored=IGNORED))
        return True

    def _uses(self, label: int) -> bool:
        """Return whether a label is painted on a plane already."""
        painted = [
            (self._session_model.image_of(record.image), record.number)
            for record in self._session_model.records
            if record.painted
        ]
        return any(
            (np.asarray(image.label_planes[number]) == label).any()
            for image, number in painted
            if image is not None and image.labels is not None
        )

    def _new_label(self) -> None:
        """Paint with a label that is not used on the plane in view."""
        if not self._session_model.scheme.instances:
            show_info(CLASS_LABELS)
            self.tool_changed.emit()
            return
        current = self._session_model.current()
        if current is None:
            show_warning(no_plane_message(self._session_model.viewer))
            self.tool_changed.emit()
            return
        labels = current[0].labels
        try:
            plane = np.asarray(current[0].label_planes[current[1]])
            label = unused_label(plane, self._session_model.scheme.ignored)
        except InputError as error:
            show_warning(in_form(error))
            return
        self.choose("brush")
        if labels is not None:
            labels.selected_label = label
            self.state_changed.emit(f"Paint an object; it gets label {label}.")

    def toggle_annotation(self) -> None:
        """Hide or show the annotation of the image in view."""
        current = self._session_model.current()
        if current is not None and current[0].labels is not None:
            current[0].labels.visible = not current[0].labels.visible

    # The mouse

    def _dragged(self, viewer: Any, event: Any) -> Generator[None, None, None]:
        """Handle the mouse from pressing a button to releasing it, as a callback of napari."""
        if getattr(event, "button", 1) not in (1, None) or self._mode.mode != PAN:
            return
        current, begin = self._session_model.current(), event.position
        band: BoxBand | StrokeBand | None = None
        if current is not None and self._own == "region":
            band = BoxBand(current[0].layer, event)
        elif current is not None and self._begins_stroke(*current, begin):
            band = StrokeBand(event)
        moved = yield from follow(viewer, event, band)
        if current is None:
            if not moved:
                show_warning(no_plane_message(viewer))
            return
        image, number = current
        if self._own == "region":
            at = in_plane(image, begin)
            if moved:
                self.regions.add(image, number, at, in_plane(image, event.position))
            else:
                self.regions.remove(image, number, at)
            return
        labels = image.labels
        if (moved and band is None) or paintable(image) is None or labels is None:
            return
        if stroke_under_way(labels):
            return
        if moved and isinstance(band, StrokeBand):
            points = [in_plane(image, position) for position in band.positions]
            if self._own == "split":
                self.split(image, number, points)
            else:
                self.merge_along(image, number, points)
        elif self._own == "split":
            show_info(NOT_CROSSED)
        else:
            at = in_plane(image, begin)
            (self.erase if self._own == "erase" else self.merge)(image, number, at)

    def _begins_stroke(self, image: AnnotatedImage, number: int, position: Any) -> bool:
        """Return whether dragging the mouse from here draws a stroke, and does not move the view."""
        if self._own == "split" or image.labels is None:
            return self._own == "split"
        return self._own == "merge" and self._label_at(image, number, in_plane(image, position)) > 0

    @staticmethod
    def _label_at(image: AnnotatedImage, number: int, at: tuple[float, float]) -> int:
        """Return the label at (y, x) of a plane; 0 beside the plane."""
        pixel = pixel_at(image, at)
        if pixel is None or image.labels is None:
            return 0
        place = plane_positions(image, number, np.array(pixel[:1]), np.array(pixel[1:]))
        return int(np.asarray(image.labels.data[place])[0])

    # Edits

    def erase(self, image: AnnotatedImage, number: int, at: tuple[float, float]) -> None:
        """Erase the object at (y, x) of a plane: its label or, with classes, the connected part."""
        label, scheme = self._label_at(image, number, at), self._session_model.scheme
        if not label:
            show_info(NOTHING_HERE)
            return
        plane, pixel = np.asarray(image.label_planes[number]), pixel_at(image, at)
        assert pixel is not None, "there is a label at this pixel"
        whole = scheme.instances and label != scheme.ignored
        rows, columns = object_pixels(plane, pixel, whole)
        self._write(image, number, Change(rows, columns, np.zeros(len(rows), np.int64)))

    def merge(self, image: AnnotatedImage, number: int, at: tuple[float, float]) -> None:
        """Merge the object at (y, x) of a plane with the one clicked on before, or wait for another."""
        if not self._for_objects():
            return
        label = self._label_at(image, number, at)
        first = self._first
        if label in (0, self._session_model.scheme.ignored):
            show_info(NOTHING_HERE)
        elif first is None or first[:2] != (image, number):
            self._first = image, number, label
            self.state_changed.emit(SECOND.format(label=label))
        elif label == first[2]:
            show_info(SAME_OBJECT)
        else:
            self._forget_first()
            self._write(image, number, merge(self._plane(image, number), [first[2], label]))

    def merge_along(
        self, image: AnnotatedImage, number: int, points: list[tuple[float, float]]
    ) -> None:
        """Merge all objects under a stroke, given by (y, x) in pixels of the plane."""
        if not self._for_objects():
            return
        plane = self._plane(image, number)
        met = labels_along(plane, points)
        self._forget_first()
        if len(met) < 2:
            show_info(ONE_OBJECT)
            return
        self._write(image, number, merge(plane, met))

    def split(self, image: AnnotatedImage, number: int, points: list[tuple[float, float]]) -> None:
        """Split the objects that a stroke crosses, given by (y, x) in pixels of the plane."""
        if not self._for_objects():
            return
        plane = self._plane(image, number)
        try:
            change = split(plane, points, self._unused(plane))
        except InputError as error:
            show_warning(in_form(error))
            return
        if change is None:
            show_info(NOT_CROSSED)
            return
        self._write(image, number, change)

    def _unused(self, plane: np.ndarray) -> Generator[int, None, None]:
        """Generate labels that no object of a plane has."""
        for number in count(1):
            yield int(unused_labels(plane, number, self._session_model.scheme.ignored)[-1])

    def _for_objects(self) -> bool:
        """Return whether objects have labels of their own; otherwise tell the user."""
        if not self._session_model.scheme.instances:
            show_info(OBJECTS_ONLY)
        return self._session_model.scheme.instances

    def _forget_first(self) -> None:
        if self._first is not None:
            self._first = None
            self.state_changed.emit(EDITS.get(self._own, ""))

    def _plane(self, image: AnnotatedImage, number: int) -> np.ndarray:
        """Return the labels of the objects on a plane."""
        labels = np.asarray(image.label_planes[number])
        return self._session_model.scheme.without_ignored(labels)

    @staticmethod
    def _write(image: AnnotatedImage, number: int, change: Change) -> None:
        """Write new labels as one step of the layer's history."""
        labels = image.labels
        if labels is None:
            return
        with labels.block_history():
            for label in np.unique(change.labels).tolist():
                of_label = change.labels == label
                where = plane_positions(
                    image, number, change.rows[of_label], change.columns[of_label]
                )
                labels.data_setitem(where, label)

    def close(self) -> None:
        """Put the tool away."""
        self._use_own("")
        self.regions.close()
