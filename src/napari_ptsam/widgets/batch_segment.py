"""The dock widget "Batch segment": a prompt file and open images to Labels layers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from napari.utils.notifications import show_warning
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QLabel,
    QProgressBar,
    QVBoxLayout,
)

from napari_ptsam.errors import InputError, PtsamError
from napari_ptsam.widgets.batch_run import BatchRun, Begun, Left, Request, Step, Task
from napari_ptsam.widgets.dock import DockWidget
from napari_ptsam.widgets.engine import Engine
from napari_ptsam.widgets.layer_list import LayerList, planes_of
from napari_ptsam.widgets.layers import (
    class_colours,
    plane_in_view,
)
from napari_ptsam.widgets.loading import load_torch
from napari_ptsam.widgets.parts import Scrolling, button, in_time, row, text
from napari_ptsam.widgets.preferences import preferences
from napari_ptsam.widgets.prompt_card import PromptCard
from napari_ptsam.widgets.workers import Jobs

if TYPE_CHECKING:
    import napari

    from napari_ptsam.prompts.prompt import Prompt
    from napari_ptsam.widgets.workers import Steps


class BatchSegment(DockWidget):
    """Open a prompt file, tick images, run.

    Parameters
    ----------
    napari_viewer
        Given by napari.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.jobs = Jobs(self)
        self.engine = Engine(self.jobs, str(preferences()["device"]), self)
        self.run = BatchRun(self.engine.backbone, self)
        self.prompt: Prompt | None = None
        self.prompt_path: Path | None = None
        self._request: Request | None = None
        self._name = ""
        self._begin = 0.0
        self._build()
        self.layers.tick_first(napari_viewer.layers.selection)
        for signal, slot in (
            (self.run.begun, self._begun), (self.run.stepped, self._stepped),
            (self.run.left, self._left), (self.run.failed, show_warning),
            (self.run.ended, self._ended), (self.engine.state_changed, self.backbone.setText),
        ):  # fmt: skip
            signal.connect(slot)
        napari_viewer.layers.events.removed.connect(self._removed)
        self.setAcceptDrops(True)
        self.refresh()

    def _build(self) -> None:
        scrolling = Scrolling()
        column = scrolling.column
        self.open = button(
            "Open a prompt file…", "Choose a .pt file; or drop one onto this form.", self._choose
        )
        self.card = PromptCard()
        self.layers = LayerList(self.viewer)
        self.output = QComboBox()
        self.output.setToolTip(
            "Classes: each pixel has the number of its class. Instances: each connected object "
            "has a number of its own, on each plane from 1."
        )
        self.output.addItem("Classes", "labels")
        self.output.addItem("Instances", "instances")
        self.in_view = QCheckBox("Only the plane in view")
        self.in_view.setToolTip("To try a prompt before whole stacks are segmented.")
        self.start_button = button("Run", "Segment the ticked images.", self.start)
        self.stop_button = button("Stop", "End now; the planes that are done stay.", self.stop)
        self.bar = QProgressBar()
        self.bar.setToolTip("How far the run is, and how long it still takes.")
        self.bar.hide()
        self.status = text(tip="What came of the last run.")
        column.addLayout(row(self.open, stretch=0))
        column.addWidget(self.card)
        column.addWidget(text("Tick the images to segment: planes, stacks or time series."))
        column.addWidget(self.layers, 1)
        column.addLayout(row(QLabel("Result"), self.output, stretch=1))
        column.addWidget(self.in_view)
        column.addLayout(row(self.start_button, self.stop_button, stretch=0))
        column.addWidget(self.bar)
        column.addWidget(self.status)
        self.backbone = text(self.engine.state, "The frozen model behind everything.")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(scrolling, 1)
        layout.addWidget(self.backbone)

    # The prompt

    def _choose(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(
            self, "Open a prompt file", str(Path.home()), "Prompt files (*.pt)"
        )
        if chosen:
            self.open_prompt(Path(chosen))

    def open_prompt(self, path: Path) -> None:
        """Read a prompt file in the background, and use it."""
        self.jobs.submit(
            "prompt", partial(_load, path), partial(self.use_prompt, path=path), show_warning
        )

    def use_prompt(self, prompt: Prompt, path: Path | None = None) -> None:
        """Segment with a prompt from now on; a run under way goes on with its own."""
        self.prompt, self.prompt_path = prompt, path
        self.card.show_prompt(prompt, path)
        self.engine.load()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802, Qt's name
        """A prompt file may be dropped; all else is left to napari."""
        if _dropped(event) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802, Qt's name
        """Open what was dropped."""
        path = _dropped(event)
        if path is not None:
            event.acceptProposedAction()
            self.open_prompt(path)

    # Start and stop

    def start(self) -> None:
        """Segment the ticked images."""
        if self.run.running:
            return
        try:
            request = self._make_request()
        except InputError as error:
            show_warning(str(error))
            return
        self._request, self._begin = request, perf_counter()
        self._name = "prompt" if self.prompt_path is None else self.prompt_path.stem
        self.status.setText("")
        self.bar.setRange(0, 0)
        self.bar.setFormat("Getting ready…")
        self.bar.show()
        self.run.start(request)
        self.refresh()
        self.stop_button.setFocus()

    def _make_request(self) -> Request:
        if self.prompt is None:
            raise InputError("There is no prompt yet; open a prompt file first.")
        ticked = self.layers.ticked()
        if not ticked:
            raise InputError("No image is ticked; tick the images to segment.")
        tasks = []
        for layer in ticked:
            try:
                tasks.append(self._task(layer))
            except PtsamError as error:
                show_warning(str(error))
        if not tasks:
            raise InputError("Nothing can be segmented; tick another image.")
        return Request(self.prompt, self.output.currentData(), tasks)

    def _task(self, layer: Image) -> Task:
        planes = planes_of(layer)
        if not self.in_view.isChecked():
            return Task(layer, planes)
        number = plane_in_view(self.viewer, layer, planes)
        if number is None:
            raise InputError(
                f"No plane of {layer.name} is in view; move the sliders to one, in the 2D view."
            )
        return Task(layer, planes, number)

    def stop(self) -> None:
        """End the run; what is done stays."""
        if self.run.running:
            self.stop_button.setEnabled(False)
            self.bar.setFormat("Stopping…")
            self.run.stop()

    # While it runs

    def _begun(self, begun: Begun) -> None:
        task, request = begun.task, self._request
        if task.dropped or request is None:
            return
        viewer = self.viewer
        active = viewer.layers.selection.active
        task.labels = viewer.add_labels(
            begun.result, name=f"{task.layer.name} – {self._name}", opacity=0.6, **task.where()
        )
        if request.output == "labels":
            task.labels.colormap = class_colours(dict(enumerate(request.prompt.colours, 1)))
            names = ["background", *request.prompt.classes]
            task.labels.features = {"index": list(range(len(names))), "name": names}
        # Whoever paints meanwhile goes on where they were.
        viewer.layers.selection.active = active

    def _stepped(self, step: Step) -> None:
        task = step.task
        if task.labels is not None and not task.dropped:
            whole = len(task.numbers) > 1
            shown = plane_in_view(self.viewer, task.layer, task.planes) if whole else step.number
            if shown == step.number:
                task.labels.refresh()
        if self.run.stopping:
            return
        self.bar.setRange(0, step.total)
        self.bar.setValue(step.done)
        self.bar.setFormat(f"Plane %v of %m, {in_time(step.seconds_left)} left")

    def _left(self, left: Left) -> None:
        if left.problem:
            show_warning(left.problem)
        labels = left.task.labels
        if labels is not None and not left.task.dropped:
            labels.refresh()  # a volume or a cut along z, which does not follow plane by plane

    def _ended(self) -> None:
        self.bar.hide()
        tasks, self._request = self._request.tasks if self._request else [], None
        count = sum(task.labels is not None for task in tasks)
        images = f"{count or 'no'} image{'s' * (count != 1)} segmented"
        stopped = "Stopped, what was done is kept" if self.run.stopping else "Done"
        self.status.setText(f"{stopped}: {images} in {in_time(perf_counter() - self._begin)}.")
        self.refresh()

    def _removed(self, event: Any) -> None:
        for task in self._request.tasks if self._request else []:
            if event.value in (task.layer, task.labels):
                task.dropped = True

    def refresh(self) -> None:
        """Show what can be done."""
        running = self.run.running
        self.start_button.setEnabled(not running)
        self.stop_button.setVisible(running)
        self.stop_button.setEnabled(running)
        for widget in (self.layers, self.output, self.in_view):
            widget.setEnabled(not running)

    # End

    def _end_work(self, wait: float) -> None:
        """Leave what is done, and let go of the viewer."""
        self.viewer.layers.events.removed.disconnect(self._removed)
        self.layers.close_list()
        self.run.close(wait)
        self.jobs.close(wait)
        self.engine.close()


def _load(path: Path) -> Steps:
    load_torch()
    from napari_ptsam.prompts.files import load

    yield load(path)


def _dropped(event: QDragEnterEvent | QDropEvent) -> Path | None:
    """The one prompt file that is dropped, if it is one."""
    data = event.mimeData()
    urls = data.urls() if data is not None else []
    if len(urls) != 1 or not urls[0].isLocalFile():
        return None
    path = Path(urls[0].toLocalFile())
    return path if path.suffix.lower() == ".pt" else None
