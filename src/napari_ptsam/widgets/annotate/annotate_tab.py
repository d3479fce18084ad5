"""The second tab: choose a way to annotate, the classes, and the plane to annotate next."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari.utils.notifications import show_info, show_warning
from qtpy.QtWidgets import QMessageBox, QProgressBar, QRadioButton

from napari_ptsam.annotation.plane_records import WANTED
from napari_ptsam.errors import InputError
from napari_ptsam.widgets.annotate.classes import ClassList
from napari_ptsam.widgets.annotate.click_tool import ClickTool
from napari_ptsam.widgets.annotate.object_tools import ObjectTools
from napari_ptsam.widgets.annotate.planes_table import PlanesTable
from napari_ptsam.widgets.annotate.prediction_taker import PredictionTaker
from napari_ptsam.widgets.annotate.suggester import Suggester, Suggestion, SuggestionProgress
from napari_ptsam.widgets.annotate.tool_row import ToolRow
from napari_ptsam.widgets.shared.qt_helpers import (
    ScrollingColumn,
    button,
    row,
    single_shot,
    text_label,
)
from napari_ptsam.widgets.shared.remedies import in_form

if TYPE_CHECKING:
    from napari_ptsam.widgets.annotate.session_model import AnnotatedImage, SessionModel

DENSE = (
    "Paint every object on a plane, then mark it as done: what is not painted is background. "
    "Each object may have its own label."
)
SPARSE = (
    "Paint a few strokes: the background with label {background}, each class with its own label. "
    "The rest counts as not annotated."
)
EMPTY = (
    "Nothing is annotated on {plane}: it counts as a plane without objects. If that is wrong, untick "
    "Done in the table. "
)
"""Note on a plane that is marked as done without paint."""
EMPTY_OR_NOT = "Nothing is annotated on this plane, but the preview finds objects on it."

AS_SCRIBBLES = (
    "With scribbles, label {background} stands for the background: painted objects that have this label "
    "would become background, and what is not painted would be ignored. Switch to scribbles?"
)
AS_OBJECTS = (
    "With whole objects, each label stands for an object, also the strokes on the background, and what "
    "is not painted would be background. Switch to whole objects?"
)


class AnnotateTab(ScrollingColumn):
    """Annotation scheme, classes, tools, and the table of annotated planes."""

    def __init__(self, session_model: SessionModel) -> None:
        super().__init__()
        self._session_model = session_model
        self.click_tool, self.suggester = ClickTool(session_model), Suggester(session_model)
        self.taker = PredictionTaker(session_model)
        self._note = ""
        """What the last step to another plane has done; shown until the plane is annotated."""
        self._done_later = single_shot(self, 100)
        self._done_later.timeout.connect(self.done_and_next)
        self._add_scheme()
        self._add_tools()
        self.table = PlanesTable(session_model)
        self.column.addWidget(self.table, 1)
        self.click_tool.state_changed.connect(self._show_state)
        self.click_tool.answered.connect(self._forget_note)
        self.tools.state_changed.connect(self._show_state)
        session_model.view_changed.connect(self._forget_note)
        self.taker.state_changed.connect(self._state.setText)
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
        self.take = button(
            "Take the prediction",
            "Put what the prompt predicts on the plane in view into the annotation, to correct it "
            "there. What is painted already stays. Ctrl+Z undoes it in one step.",
            self.take_prediction,
        )
        self._counter = QProgressBar()
        self._counter.setToolTip(
            f"Number of planes that a training would use. About {WANTED} make a good prompt; a few show "
            "whether it works at all."
        )
        self.column.addWidget(self.add)
        self.column.addWidget(self.tool_row)
        self.column.addLayout(row(self.suggest, self.take, stretch=1))
        self.column.addLayout(row(self.done, self._counter, stretch=1))
        self._state = text_label(lines=2)
        self.column.addWidget(self._state)

    # Scheme

    def _choose_scheme(self, dense: bool) -> None:
        scheme = self._session_model.scheme
        if scheme.sparse == (not dense):
            return
        if any(record.painted for record in self._session_model.records):
            meaning = AS_OBJECTS if dense else AS_SCRIBBLES.format(background=scheme.background)
            yes, no = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.Cancel
            answer = QMessageBox.question(
                self, "Planes are annotated already", meaning, yes | no, no
            )
            if answer != yes:
                self._show_scheme()
                return
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
        if self.taker.running:
            self._done_later.start()  # once the prediction is in the annotation
            return
        self._note = ""
        if not self._session_model.scheme.sparse:
            if not self._is_painted(image, number) and not self._empty_is_meant(image, number):
                return
            self._session_model.records.mark(image.id, number, True)
            self._session_model.touch()
        if not self.suggester.running:
            self.suggest_plane()

    def take_prediction(self) -> None:
        """Put the prediction for the plane in view into its annotation layer, as one undo step."""
        current = self._session_model.current()
        if current is not None and current[0].labels is None:
            self.add_layers()
        self.taker.take()

    def _is_painted(self, image: AnnotatedImage, number: int) -> bool:
        """Return whether a plane has paint, also if that was not counted yet."""
        record = self._session_model.records.get(image.id, number)
        return record.painted or bool(image.label_planes[number].any())

    def _empty_is_meant(self, image: AnnotatedImage, number: int) -> bool:
        """Return whether a plane without paint is to count as one without objects."""
        preview = self.taker.preview
        shown = None if preview is None else preview.prediction_of(image, number)
        if shown is None or not shown.any():
            self._note = EMPTY.format(plane=_plane(image, number))
            return True
        asked = QMessageBox(
            QMessageBox.Icon.Question, "Plane without annotation", EMPTY_OR_NOT, parent=self
        )
        asked.setInformativeText("Without annotation, it counts as a plane without objects.")
        take = asked.addButton("Take the prediction", QMessageBox.ButtonRole.AcceptRole)
        empty = asked.addButton("No objects here", QMessageBox.ButtonRole.DestructiveRole)
        asked.addButton(QMessageBox.StandardButton.Cancel)
        asked.exec()
        if asked.clickedButton() is take:
            self.take_prediction()
        return asked.clickedButton() is empty

    def _show_progress(self, progress: SuggestionProgress) -> None:
        self._state.setText(f"Comparing the planes: {progress.done} of {progress.total}…")

    def _go(self, suggestion: Suggestion) -> None:
        self._show_idle()
        if suggestion.image not in self._session_model.images:  # removed meanwhile
            return
        note = self._note
        self._session_model.show_plane(suggestion.image, suggestion.number)
        self._note = f"{note}Next: {_plane(suggestion.image, suggestion.number)}. "
        self._show_state("")

    def _nothing_left(self, message: str) -> None:
        self._show_idle()
        self._show_state(message)
        show_info(message)

    def _not_suggested(self, message: str) -> None:
        self._show_idle()
        self._show_state(message)

    def _show_idle(self) -> None:
        self.suggest.setText("Suggest a plane")
        self._state.setText("")

    def _show_state(self, state: str) -> None:
        """Show what the user can do now, after the note on the last step."""
        self._state.setText(f"{self._note}{state}".rstrip())

    def _forget_note(self) -> None:
        self._note = ""

    # State

    def refresh(self) -> None:
        """Show how many planes are annotated, and enable the buttons that can be used."""
        session_model, now = self._session_model, self._session_model.situation()
        self._counter.setRange(0, max(now.wanted, now.counting, 1))
        self._counter.setValue(now.counting)
        planes = "plane" if now.wanted == 1 else "planes"
        self._counter.setFormat(f"{now.counting} of {now.wanted} {planes} annotated")
        missing = now.images > now.annotation_layers
        self.add.setEnabled(missing)
        self.add.setVisible(missing or not now.images)
        self.done.setText("Next plane" if session_model.scheme.sparse else "Done, next plane")
        self.done.setEnabled(now.annotation_layers > 0)

    def close_tab(self) -> None:
        """Disconnect from the viewer."""
        self._done_later.stop()
        self.tools.close()
        self.click_tool.close()
        self.taker.close()
        self.suggester.stop()


def _plane(image: AnnotatedImage, number: int) -> str:
    """Return the name of a plane: its position in the image, if it is one of several."""
    index = image.index(number)
    return f"{'plane ' + ', '.join(map(str, index)) + ' of ' if index else ''}{image.layer.name}"
