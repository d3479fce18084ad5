"""The second tab: choose a way to annotate, the classes, and the plane to annotate next."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari.utils.notifications import show_info, show_warning
from qtpy.QtWidgets import QProgressBar, QRadioButton

from napari_ptsam.annotation.plane_records import WANTED
from napari_ptsam.errors import InputError
from napari_ptsam.widgets.annotate.classes import ClassList
from napari_ptsam.widgets.annotate.click_tool import ClickTool
from napari_ptsam.widgets.annotate.object_tools import ObjectTools
from napari_ptsam.widgets.annotate.planes_table import PlanesTable
from napari_ptsam.widgets.annotate.suggester import Suggester, Suggestion, SuggestionProgress
from napari_ptsam.widgets.annotate.tool_row import ToolRow
from napari_ptsam.widgets.shared.qt_helpers import ScrollingColumn, button, row, text_label
from napari_ptsam.widgets.shared.remedies import in_form

if TYPE_CHECKING:
    from napari_ptsam.widgets.annotate.session_model import SessionModel

DENSE = (
    "Paint every object on a plane, then mark it as done: what is not painted is background. "
    "Each object may have its own label."
)
SPARSE = (
    "Paint a few strokes: the background with label {background}, each class with its own label. "
    "The rest counts as not annotated."
)


class AnnotateTab(ScrollingColumn):
    """Annotation scheme, classes, tools, and the table of annotated planes."""

    def __init__(self, session_model: SessionModel) -> None:
        super().__init__()
        self._session_model = session_model
        self.click_tool, self.suggester = ClickTool(session_model), Suggester(session_model)
        self._add_scheme()
        self._add_tools()
        self._counter = QProgressBar()
        self._counter.setToolTip(
            f"Number of planes that a training would use. About {WANTED} make a good prompt; a few show "
            "whether it works at all."
        )
        self._counter.setRange(0, WANTED)
        self.column.addWidget(self._counter)
        self.table = PlanesTable(session_model)
        self.column.addWidget(self.table, 1)
        self.click_tool.state_changed.connect(self._state.setText)
        self.tools.state_changed.connect(self._state.setText)
        self.suggester.progressed.connect(self._show_progress)
        self.suggester.suggested.connect(self._go)
        self.suggester.nothing_left.connect(self._nothing_left)
        self.suggester.failed.connect(self._not_suggested)
        session_model.planes_changed.connect(self.refresh)
        session_model.images_changed.connect(self.refresh)
        session_model.scheme_changed.connect(self._show_scheme)
        session_model.view_changed.connect(self.refresh)
        self.refresh()

    def _add_scheme(self) -> None:
        self.dense = QRadioButton("Whole objects")
        self.sparse = QRadioButton("Scribbles")
        self.dense.setToolTip(DENSE)
        self.sparse.setToolTip(SPARSE.format(background=1))
        self.dense.setChecked(True)
        self._explained = text_label()
        self.dense.toggled.connect(self._choose_scheme)
        self.column.addLayout(row(self.dense, self.sparse, stretch=1))
        self.column.addWidget(self._explained)
        self.classes = ClassList(self._session_model)
        self.column.addWidget(self.classes)
        self._show_scheme()

    def _add_tools(self) -> None:
        self.add = button(
            "Add annotation layer",
            "Add an empty Labels layer that fits the image, to paint on with napari's brush.",
            self.add_layers,
        )
        self.tools = ObjectTools(self._session_model, self.click_tool, self.add_layers)
        self.tool_row = ToolRow(self.tools)
        self.click = self.tool_row.buttons["click"]
        self.suggest = button(
            "Suggest a plane",
            "Go to the plane that adds most to those annotated already. The first time, all planes "
            "are compared, which takes about half a second each.",
            self.suggest_plane,
        )
        self.done = button(
            "Done, next plane",
            "Everything on this plane is painted: use it, and go to the plane that adds most.",
            self.done_and_next,
        )
        self.column.addWidget(self.add)
        self.column.addWidget(self.tool_row)
        self.column.addLayout(row(self.suggest, self.done, stretch=1))
        self._state = text_label()
        self.column.addWidget(self._state)

    # Scheme

    def _choose_scheme(self, dense: bool) -> None:
        scheme = self._session_model.scheme
        if scheme.sparse == (not dense):
            return
        if any(record.painted for record in self._session_model.records):
            show_warning(
                "The labels that are painted already have another meaning now: check the planes in the "
                "table before you train."
            )
        self._session_model.use_scheme(replace(scheme, sparse=not dense))

    def _show_scheme(self) -> None:
        scheme = self._session_model.scheme
        (self.sparse if scheme.sparse else self.dense).setChecked(True)
        self._explained.setText(
            SPARSE.format(background=scheme.background) if scheme.sparse else DENSE
        )

    # Tools

    def add_layers(self) -> None:
        """Add missing annotation layers, and select the one in view for painting."""
        if not self._session_model.images:
            show_warning("Choose an image first, on the tab “Images”.")
            return
        try:
            added = self._session_model.add_annotation_layers()
        except InputError as error:
            show_warning(in_form(error))
            return
        if not added:
            show_info("Each image has an annotation layer already.")
        current = self._session_model.current()
        if current is not None and current[0].labels is not None:
            self._session_model.viewer.layers.selection.active = current[0].labels
            self.classes.paint_chosen()
        self.refresh()

    def suggest_plane(self) -> None:
        """Start looking for the plane that adds most to the annotated ones, or stop the search."""
        if self.suggester.running:
            self.suggester.stop()
            self._show_idle()
            return
        if not self._session_model.images:
            show_warning("Choose an image first, on the tab “Images”.")
            return
        self.suggest.setText("Stop looking")
        self._state.setText("Comparing the planes…")
        self.suggester.suggest()

    def done_and_next(self) -> None:
        """Mark the plane in view as done, and suggest the next one."""
        current = self._session_model.current()
        if current is None or current[0].labels is None:
            show_warning("Show a plane of an image with an annotation layer.")
            return
        image, number = current
        if not self._session_model.scheme.sparse:
            self._session_model.records.mark(image.id, number, True)
            self._session_model.touch()
        if not self.suggester.running:
            self.suggest_plane()

    def _show_progress(self, progress: SuggestionProgress) -> None:
        self._state.setText(f"Comparing the planes: {progress.done} of {progress.total}…")

    def _go(self, suggestion: Suggestion) -> None:
        self._show_idle()
        if suggestion.image not in self._session_model.images:  # removed meanwhile
            return
        self._session_model.show_plane(suggestion.image, suggestion.number)
        index = suggestion.image.index(suggestion.number)
        where = f"Plane {', '.join(map(str, index))} of " if index else ""
        self._state.setText(f"Next: {where}{suggestion.image.layer.name}.")

    def _nothing_left(self, message: str) -> None:
        self._show_idle()
        show_info(message)

    def _not_suggested(self, message: str) -> None:
        self._show_idle()
        self._state.setText(message)

    def _show_idle(self) -> None:
        self.suggest.setText("Suggest a plane")
        self._state.setText("")

    # State

    def refresh(self) -> None:
        """Show how many planes are annotated, and enable the buttons that can be used."""
        session_model, now = self._session_model, self._session_model.situation()
        self._counter.setMaximum(max(WANTED, now.counting))
        self._counter.setValue(now.counting)
        self._counter.setFormat(f"{now.counting} of {WANTED} planes annotated")
        self.add.setEnabled(now.images > now.annotation_layers)
        self.done.setText("Next plane" if session_model.scheme.sparse else "Done, next plane")
        self.done.setEnabled(now.annotation_layers > 0)

    def close_tab(self) -> None:
        """Disconnect from the viewer."""
        self.tools.close()
        self.click_tool.close()
        self.suggester.stop()
