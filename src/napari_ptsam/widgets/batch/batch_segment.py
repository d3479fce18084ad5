"""The dock widget "Batch segment": prompt files and open images to layers or files."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_warning
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QCheckBox, QProgressBar, QVBoxLayout

from napari_ptsam.backbones.catalogue import catalogue
from napari_ptsam.errors import InputError, PtsamError
from napari_ptsam.prompts.backbone import missing_backbone
from napari_ptsam.widgets.batch.compatibility import cautions
from napari_ptsam.widgets.batch.file_options import FileForm
from napari_ptsam.widgets.batch.layer_list import ImagePicker, planes_of
from napari_ptsam.widgets.batch.plane_range import PlaneRange
from napari_ptsam.widgets.batch.prompt_list import PromptList, dropped_prompts
from napari_ptsam.widgets.batch.result_options import ResultOptions
from napari_ptsam.widgets.batch.segmentation_run import (
    BatchRun,
    ImageFinished,
    LayerStarted,
    PlaneSegmented,
)
from napari_ptsam.widgets.batch.task import BatchRequest, ImageTask
from napari_ptsam.widgets.shared.backbone_line import BackboneLine
from napari_ptsam.widgets.shared.backbone_service import shared_engine
from napari_ptsam.widgets.shared.channels import ChannelsChoice
from napari_ptsam.widgets.shared.closable_dock import DockWidget
from napari_ptsam.widgets.shared.layers import add_result, plane_in_view
from napari_ptsam.widgets.shared.preferences import preferences
from napari_ptsam.widgets.shared.qt_helpers import Scrolling, button, in_time, line, row, text
from napari_ptsam.widgets.shared.remedies import in_form
from napari_ptsam.widgets.shared.torch_loading import load_torch
from napari_ptsam.widgets.shared.workers import Jobs

if TYPE_CHECKING:
    import napari

    from napari_ptsam.images.planes import Planes
    from napari_ptsam.prompts.prompt import Prompt
    from napari_ptsam.widgets.shared.workers import Steps


class BatchSegment(DockWidget):
    """Open prompt files, tick images, run.

    Parameters
    ----------
    napari_viewer
        Given by napari.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.jobs = Jobs(self)
        liked = preferences()
        self.backbone_service = shared_engine(
            napari_viewer, str(liked["device"]), str(liked["backbone"])
        )
        self.run = BatchRun(self.backbone_service.backbone_of, self)
        self._request: BatchRequest | None = None
        self._begin, self._failure = 0.0, ""
        self._build()
        self.layers.tick_first(napari_viewer.layers.selection)
        for signal, slot in (
            (self.run.begun, self._begun), (self.run.stepped, self._stepped),
            (self.run.left, self._left), (self.run.warned, show_warning),
            (self.run.failed, self._failed),
            (self.run.tiled, self._tiled), (self.run.ended, self._ended),
            (self.backbone.changed, self.refresh),
            (self.prompts.changed, self.refresh), (self.images.changed, self.refresh),
            (self.results.changed, self.refresh), (self.channels.changed, self.refresh),
        ):  # fmt: skip
            signal.connect(slot)
        napari_viewer.layers.events.removed.connect(self._removed)
        self.setAcceptDrops(True)
        self.refresh()

    def _build(self) -> None:
        scrolling = Scrolling()
        column = scrolling.column
        self.prompts = PromptList(self.open_prompt, self.use_prompt)
        self.images = ImagePicker(self.viewer)
        self.layers = self.images.list
        self.planes, self.results, self.files = PlaneRange(), ResultOptions(), FileForm()
        self.channels = ChannelsChoice()
        self.cautions = text(tip="What speaks against the prompts for the ticked images.")
        self.cautions.setStyleSheet("color: #D55E00;")
        self.lacks = text(tip="Why a prompt cannot be applied yet.")
        self.lacks.setStyleSheet("color: #D55E00;")
        self.rescale = QCheckBox("Rescale to the prompt's pixel size")
        self.rescale.setToolTip(
            "Look at these images in tiles of another size, so that objects appear as large as "
            "they did in training."
        )
        self.start_button = button("Run", "Apply the prompts to the ticked images.", self.start)
        self.stop_button = button("Stop", "End now; the planes that are done stay.", self.stop)
        self.bar = QProgressBar()
        self.bar.setToolTip("How far the run is, and how long it still takes.")
        self.bar.hide()
        self.status = text(tip="How far a large plane is, and what came of the last run.")
        self.backbone = BackboneLine(self.backbone_service)
        self.get_backbone = button(
            "Get the backbone…", "Download what the prompt works with.", self._get_backbone
        )
        self._missing = ""
        column.addWidget(self.prompts)
        column.addWidget(self.lacks)
        column.addLayout(row(self.get_backbone))
        column.addWidget(line())
        column.addWidget(text("Tick the images to segment: planes, stacks or time series."))
        column.addWidget(self.images, 1)
        column.addWidget(self.planes)
        column.addWidget(self.channels)
        column.addWidget(self.cautions)
        column.addWidget(self.rescale)
        column.addWidget(line())
        column.addWidget(self.results)
        column.addWidget(self.files)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(scrolling, 1)
        layout.addLayout(row(self.start_button, self.stop_button, stretch=0))
        for widget in (self.bar, self.status, self.backbone):
            layout.addWidget(widget)

    # Prompts

    def open_prompt(self, path: Path) -> None:
        """Read a prompt file in the background, and list it."""
        show = partial(self.use_prompt, path=path)
        self.jobs.submit(f"prompt {path}", partial(_load, path), show)

    def use_prompt(self, prompt: Prompt, path: Path | None = None) -> None:
        """List a prompt; a run under way goes on with its own."""
        self.prompts.add(prompt, path)
        self.backbone_service.load()

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:  # noqa: N802, Qt's name
        """Prompt files may be dropped; all else is left to napari."""
        if event is not None and dropped_prompts(event.mimeData()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:  # noqa: N802, Qt's name
        """Open what was dropped."""
        paths = [] if event is None else dropped_prompts(event.mimeData())
        if event is not None and paths:
            event.acceptProposedAction()
        for path in paths:
            self.open_prompt(path)

    def _show_missing(self) -> None:
        """Notice a backbone that is not here before anything runs."""
        prompts = [opened.prompt for opened in self.prompts.opened]
        missing = {
            words: prompt for prompt in prompts if (words := in_form(missing_backbone(prompt)))
        }
        self.lacks.setText("\n".join(missing))
        names = [prompt.weights for prompt in missing.values() if prompt.weights in catalogue()]
        self._missing = names[0] if names else ""
        self.get_backbone.setText(f"Get {self._missing}…")
        self.get_backbone.setVisible(bool(names))

    def _get_backbone(self) -> None:
        self.backbone.open(self._missing)

    # Start and stop

    def start(self) -> None:
        """Apply the prompts to the ticked images."""
        if self.run.running:
            return
        try:
            request = self._make_request()
        except PtsamError as error:
            show_warning(in_form(error))
            return
        self._request, self._begin, self._failure = request, perf_counter(), ""
        self.status.setText("")
        self.bar.setRange(0, 0)
        self.bar.setFormat("Getting ready…")
        self.bar.show()
        self.run.start(request)
        self.refresh()
        self.stop_button.setFocus()

    def _make_request(self) -> BatchRequest:
        prompts = list(self.prompts.opened)
        if not prompts:
            raise InputError("There is no prompt yet; open a prompt file first.")
        ticked = self.layers.ticked()
        if not ticked:
            raise InputError("No image is ticked; tick the images to segment.")
        files = self.files.options() if self.results.to_files else None
        tasks, problems = [], []
        for layer in ticked:
            try:
                planes = planes_of(layer)
                tasks.append(
                    ImageTask(layer, planes, self.planes.parts(self.viewer, layer, planes))
                )
            except PtsamError as error:
                problems.append(in_form(error))
        if not tasks:
            raise InputError("\n".join(problems))
        for words in problems:
            show_warning(words)
        rescale = self.rescale.isVisibleTo(self) and self.rescale.isChecked()
        return BatchRequest(
            prompts, self.results.settings(), tasks, self.results.link(), rescale,
            self.results.to_layers, files, self.channels.chosen(),
        )  # fmt: skip

    def stop(self) -> None:
        """End the run; what is done stays."""
        if self.run.running:
            self.stop_button.setEnabled(False)
            self.bar.setFormat("Stopping…")
            self.run.stop()

    # While it runs

    def _begun(self, begun: LayerStarted) -> None:
        result = begun.result
        if not (result.dropped or result.task.dropped):
            add_result(self.viewer, result)

    def _stepped(self, step: PlaneSegmented) -> None:
        task = step.task
        if task.results and not task.dropped:
            whole = len(task.planes) > 1
            shown = plane_in_view(self.viewer, task.layer, task.whole) if whole else step.number
            if shown == step.number:
                _redraw(task)
        if self.run.stopping:
            return
        self.bar.setRange(0, step.total)
        self.bar.setValue(step.done)
        self.bar.setFormat(f"Plane %v of %m, {in_time(step.seconds_left)} left")

    def _tiled(self, done: int, total: int) -> None:
        if self.run.running and not self.run.stopping and not self._closed:
            self.status.setText(f"Tile {done + 1} of {total} of the plane under way.")

    def _left(self, left: ImageFinished) -> None:
        if left.problem:
            show_warning(left.problem)
        if not left.task.dropped:
            _redraw(left.task)  # a volume or a cut along z, which does not follow plane by plane

    def _failed(self, sentence: str) -> None:
        self._failure = sentence

    def _ended(self) -> None:
        self.bar.hide()
        self.refresh()
        request, self._request = self._request, None
        if request is None:
            return
        count = sum(bool(task.done) for task in request.tasks)
        images = f"{count or 'no'} image{'s' * (count != 1)} segmented"
        how = "Done"
        if self._failure or self.run.stopping:
            how = f"{'Failed' if self._failure else 'Stopped'}, what was done is kept"
        where = f" The files are in {request.files.folder}." if request.files and count else ""
        self.status.setText(f"{how}: {images} in {in_time(perf_counter() - self._begin)}.{where}")

    def _removed(self, event: Any) -> None:
        request = self._request
        if request is None:
            return
        for task in request.tasks:
            for result in task.results:
                result.dropped |= event.value is result.layer
            unseen = bool(task.results) and all(result.dropped for result in task.results)
            if event.value is task.layer or (unseen and request.files is None):
                task.dropped = True

    def refresh(self) -> None:
        """Show what can be done, and what speaks against it."""
        running = self.run.running
        self.start_button.setEnabled(not running)
        self.stop_button.setVisible(running)
        self.stop_button.setEnabled(running)
        for widget in (
            self.images, self.planes, self.channels, self.results, self.files, self.rescale,
        ):  # fmt: skip
            widget.setEnabled(not running)
        self.files.setVisible(self.results.to_files)
        self._show_missing()
        self.results.fit(self.prompts.opened)
        images = []
        for layer in self.layers.ticked():
            try:
                images.append(planes_of(layer))
            except PtsamError:  # told in the list, and when it is to be segmented
                continue
        self.planes.fit(images)
        words, other_scale = self._cautions(images)
        self.cautions.setText("\n".join(words))
        self.rescale.setVisible(other_scale)

    def _cautions(self, images: list[Planes]) -> tuple[list[str], bool]:
        """What speaks against the prompts; the channels can be chosen wherever there are several."""
        prompts = [opened.prompt for opened in self.prompts.opened]
        self.channels.setVisible(
            any(planes.channels > 1 for planes in images)
            or any(prompt.images.channels is not None for prompt in prompts)
        )
        try:
            return cautions(self.prompts.opened, images, self.channels.chosen())
        except InputError as error:
            return [in_form(error)], self.rescale.isVisibleTo(self)

    # End

    def _end_work(self, wait: float) -> None:
        """Leave what is done, and let go of the viewer."""
        self.viewer.layers.events.removed.disconnect(self._removed)
        self.layers.close_list()
        self.backbone.close_down(wait)
        self.prompts.library.close_down(wait)
        self.run.close(wait)
        self.jobs.close(wait)
        self.backbone_service.release(wait)


def _load(path: Path) -> Steps:
    load_torch()
    from napari_ptsam.prompts.files import load

    yield load(path)


def _redraw(task: ImageTask) -> None:
    for result in task.results:
        if result.layer is not None and not result.dropped:
            result.layer.refresh()
