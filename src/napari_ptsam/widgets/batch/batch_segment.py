"""The dock widget "Batch segment": apply prompt files to open images, into layers or files."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_warning
from qtpy.QtGui import QDragEnterEvent, QDropEvent, QShowEvent
from qtpy.QtWidgets import QCheckBox, QProgressBar, QVBoxLayout

from napari_ptsam.backbones.catalogue import catalogue
from napari_ptsam.errors import InputError, PtsamError
from napari_ptsam.prompts.backbone import missing_backbone
from napari_ptsam.widgets.batch.closing_sentence import closing_sentence, short_sentence
from napari_ptsam.widgets.batch.compatibility import compatibility_warnings
from napari_ptsam.widgets.batch.file_options import FileOptionsForm
from napari_ptsam.widgets.batch.layer_list import ImagePicker, planes_of
from napari_ptsam.widgets.batch.plane_range import PlaneRange
from napari_ptsam.widgets.batch.prompt_list import PromptList, dropped_prompts, load_prompt
from napari_ptsam.widgets.batch.result_options import ResultOptions
from napari_ptsam.widgets.batch.segmentation_run import (
    BatchRun,
    ImageFinished,
    LayerStarted,
    PlaneSegmented,
)
from napari_ptsam.widgets.batch.task import BatchRequest, ImageTask, LayerResult
from napari_ptsam.widgets.shared.backbone_service import shared_backbone_service
from napari_ptsam.widgets.shared.backbones_dialog import BackboneStatus
from napari_ptsam.widgets.shared.background_jobs import BackgroundJobs
from napari_ptsam.widgets.shared.channels import ChannelsChoice
from napari_ptsam.widgets.shared.closable_dock import ClosableDock
from napari_ptsam.widgets.shared.layers import without_proxy
from napari_ptsam.widgets.shared.open_docks import (
    ANNOTATE,
    BATCH,
    TrainedPrompt,
    open_dock,
    trained_prompt,
)
from napari_ptsam.widgets.shared.preferences import preferences
from napari_ptsam.widgets.shared.qt_helpers import (
    ScrollingColumn,
    button,
    format_duration,
    row,
    separator,
    show_waiting,
    text_label,
    warning_label,
)
from napari_ptsam.widgets.shared.remedies import in_form
from napari_ptsam.widgets.shared.view import plane_in_view
from napari_ptsam.widgets.shared.window_style import wrapped

if TYPE_CHECKING:
    import napari
    from napari.layers import Layer

    from napari_ptsam.images.planes import Planes
    from napari_ptsam.prompts.prompt import Prompt


class BatchSegment(ClosableDock):
    """Open prompt files, tick images, and segment them.

    Parameters
    ----------
    napari_viewer
        The viewer, which napari passes.
    """

    TITLE = BATCH

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer = without_proxy(napari_viewer)
        self.jobs = BackgroundJobs(self)
        stored = preferences()
        self.backbone_service = shared_backbone_service(
            napari_viewer, str(stored["device"]), str(stored["backbone"])
        )
        self.run = BatchRun(self.backbone_service.backbone_of, self)
        self._request: BatchRequest | None = None
        self._start_time, self._failure = 0.0, ""
        self._shown: list[LayerResult] = []
        """Results whose layers are shown and hidden with their images."""
        self._build()
        self.layers.tick_first(napari_viewer.layers.selection)
        for signal, slot in (
            (self.run.layer_started, self._on_layer_started),
            (self.run.plane_segmented, self._on_plane_segmented),
            (self.run.image_finished, self._on_image_finished),
            (self.run.warned, show_warning), (self.run.failed, self._on_failed),
            (self.run.tile_started, self._on_tile_started), (self.run.finished, self._on_finished),
            (self.backbone.changed, self.refresh),
            (self.prompts.changed, self.refresh), (self.images.changed, self.refresh),
            (self.results.changed, self.refresh), (self.channels.changed, self.refresh),
        ):  # fmt: skip
            signal.connect(slot)
        napari_viewer.layers.events.removed.connect(self._on_layer_removed)
        self.setAcceptDrops(True)
        self.refresh()

    def _build(self) -> None:
        scroll_area = ScrollingColumn()
        column = scroll_area.column
        self.prompts = PromptList(self.open_prompt, self.use_prompt)
        self.images = ImagePicker(self.viewer)
        self.layers = self.images.list
        self.planes, self.results, self.files = PlaneRange(), ResultOptions(), FileOptionsForm()
        self.channels = ChannelsChoice()
        self.warnings = warning_label("Why the prompts may not suit the ticked images.")
        self.missing_backbones = warning_label("Why a prompt cannot be applied yet.")
        self.rescale = QCheckBox("Rescale to the prompt's pixel size")
        self.rescale.setToolTip(
            "Cut these images into tiles of another size, so that objects appear as large as in "
            "training."
        )
        self.start_button = button("Run", "Apply the prompts to the ticked images.", self.start)
        self.stop_button = button("Stop", "Stop the run; finished planes are kept.", self.stop)
        self.bar = QProgressBar()
        self.bar.setToolTip("The progress of the run, and the time that is left.")
        self.bar.hide()
        self.status = text_label(
            tip="The progress of a large plane, and the result of the last run.", lines=1
        )
        self.backbone = BackboneStatus(self.backbone_service)
        self.get_backbone = button(
            "Download the base model…", "Open the dialog to download it.", self._get_backbone
        )
        self._missing_name = ""
        self.use_trained = button(
            "Use the trained prompt", "Take the prompt that you have just trained.",
            self._take_trained,
        )  # fmt: skip
        self.annotate = button(
            "Annotate and train…", "Train a prompt of your own in the other form.",
            lambda: open_dock(self.viewer, ANNOTATE),
        )  # fmt: skip
        column.addWidget(self.prompts)
        column.addLayout(row(self.use_trained, self.annotate))
        column.addWidget(self.missing_backbones)
        column.addLayout(row(self.get_backbone))
        column.addWidget(separator())
        column.addWidget(text_label("Tick the images to segment: planes, stacks or time series."))
        column.addWidget(self.images, 1)
        column.addWidget(self.planes)
        column.addWidget(self.channels)
        column.addWidget(self.warnings)
        column.addWidget(self.rescale)
        column.addWidget(separator())
        column.addWidget(self.results)
        column.addWidget(self.files)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(scroll_area, 1)
        for widget in (self.backbone, self.status):
            layout.addWidget(widget)
        # The bar takes the place of the button, so that nothing moves when a run starts.
        last = row(self.start_button, self.bar, self.stop_button, stretch=0)
        last.setStretch(1, 1)
        layout.addLayout(last)

    # Prompts

    def open_prompt(self, path: Path) -> None:
        """Read a prompt file in the background, and add the prompt to the list."""
        add = partial(self.use_prompt, path=path)
        self.jobs.submit(f"prompt {path}", partial(load_prompt, path), add)

    def use_prompt(self, prompt: Prompt, path: Path | None = None) -> None:
        """Add a prompt to the list; a run that is under way keeps its own prompts."""
        if not self.prompts.opened:
            self.results.suggest_objects(prompt.markers is not None)
        self.prompts.add(prompt, path)
        self.backbone_service.load()

    def take_over(self, trained: TrainedPrompt) -> None:
        """Add the prompt of "Annotate and train", in place of the last one from there."""
        self.results.suggest_objects(trained.objects)
        self.prompts.take_over(trained)
        self.backbone_service.load()

    def _take_trained(self) -> None:
        trained = trained_prompt(self.viewer)
        if trained is not None:
            self.take_over(trained)

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802, Qt's name
        """Offer the prompt that was trained meanwhile."""
        super().showEvent(event)
        self._offer_prompts()

    def _offer_prompts(self) -> None:
        """Without a prompt, offer the one that was just trained, and to train one."""
        none_yet = not self.prompts.opened
        self.use_trained.setVisible(none_yet and trained_prompt(self.viewer) is not None)
        self.annotate.setVisible(none_yet)

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:  # noqa: N802, Qt's name
        """Accept prompt files; leave all other files to napari."""
        if event is not None and dropped_prompts(event.mimeData()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:  # noqa: N802, Qt's name
        """Open the dropped prompt files."""
        paths = [] if event is None else dropped_prompts(event.mimeData())
        if event is not None and paths:
            event.acceptProposedAction()
        for path in paths:
            self.open_prompt(path)

    def _show_missing_backbones(self) -> None:
        """Report backbones that are not on this computer before a run is started."""
        prompts = [opened.prompt for opened in self.prompts.opened]
        missing = {
            message: prompt for prompt in prompts if (message := in_form(missing_backbone(prompt)))
        }
        self.missing_backbones.setText("\n".join(missing))
        names = [prompt.weights for prompt in missing.values() if prompt.weights in catalogue()]
        self._missing_name = names[0] if names else ""
        self.get_backbone.setText(f"Download {self._missing_name}…")
        self.get_backbone.setVisible(bool(names))

    def _get_backbone(self) -> None:
        self.backbone.open(self._missing_name)

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
        self._request, self._start_time, self._failure = request, perf_counter(), ""
        self.status.setText("")
        show_waiting(self.bar, "Preparing…")
        self.run.start(request)
        self.refresh()
        # The focus leaves the hidden button, but not for "Stop", which the space bar would press.
        self.bar.setFocus()

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
                parts = self.planes.parts(self.viewer, layer, planes)
                tasks.append(ImageTask(layer, planes, parts))
            except PtsamError as error:
                problems.append(in_form(error))
        if not tasks:
            raise InputError("\n".join(problems))
        for problem in problems:
            show_warning(problem)
        rescale = self.rescale.isVisibleTo(self) and self.rescale.isChecked()
        return BatchRequest(
            prompts, self.results.settings(), tasks, self.results.link(), rescale,
            self.results.to_layers, files, self.channels.channels(),
        )  # fmt: skip

    def stop(self) -> None:
        """Stop the run; finished planes are kept."""
        if self.run.running:
            self.stop_button.setEnabled(False)
            self.bar.setFormat("Stopping…")
            self.run.stop()

    # During the run

    def _on_layer_started(self, started: LayerStarted) -> None:
        result = started.result
        if not (result.removed or result.task.cancelled):
            result.show(self.viewer)
            self._shown.append(result)

    def _on_plane_segmented(self, plane: PlaneSegmented) -> None:
        task = plane.task
        if task.results and not task.cancelled:
            is_in_view = (
                len(task.planes) == 1
                or plane_in_view(self.viewer, task.layer, task.image) == plane.number
            )
            if is_in_view:
                self._redraw(task)
        if self.run.stopping:
            return
        self.bar.setRange(0, plane.total)
        self.bar.setValue(plane.done)
        left = plane.seconds_left
        time_left = "" if left is None else f", {format_duration(left)} left"
        self.bar.setFormat(f"Plane %v of %m{time_left}")

    @staticmethod
    def _redraw(task: ImageTask) -> None:
        for result in task.results:
            result.redraw()

    def _on_tile_started(self, done: int, total: int) -> None:
        if self.run.running and not self.run.stopping and not self._closed:
            self.status.setText(f"Tile {done + 1} of {total} of the current plane.")

    def _on_image_finished(self, finished: ImageFinished) -> None:
        if finished.problem:
            show_warning(finished.problem)
        if not finished.task.cancelled:
            # A 3D view or a section along z is not redrawn for each plane.
            self._redraw(finished.task)
            for result in finished.task.results:
                result.show_features(self.viewer)

    def _on_failed(self, sentence: str) -> None:
        self._failure = sentence

    def _on_finished(self) -> None:
        self.bar.hide()
        self.refresh()
        request, self._request = self._request, None
        if request is None:
            return
        sentence = closing_sentence(
            request, perf_counter() - self._start_time, self.run.stopping, self._failure
        )
        self.status.setText(short_sentence(request, sentence))
        self.status.setToolTip(wrapped(sentence))

    def _on_layer_removed(self, event: Any) -> None:
        """Cancel the tasks of a removed image, or of one whose results are all removed."""
        self._stop_following(event.value)
        if self._request is None:
            return
        writes_files = self._request.files is not None
        for task in self._request.tasks:
            for result in task.results:
                result.removed |= event.value is result.layer
            all_removed = bool(task.results) and all(result.removed for result in task.results)
            if event.value is task.layer or (all_removed and not writes_files):
                task.cancelled = True

    def _stop_following(self, layer: Layer | None = None) -> None:
        """Let results no longer follow their images: those of a layer, or all."""
        for result in list(self._shown):
            if layer is None or layer is result.layer or layer is result.task.layer:
                result.stop_following()
                self._shown.remove(result)

    def refresh(self) -> None:
        """Update what can be changed, and the warnings."""
        running = self.run.running
        self.start_button.setEnabled(not running)
        self.start_button.setVisible(not running)
        self.stop_button.setEnabled(running)
        for widget in (
            self.images, self.planes, self.channels, self.results, self.files, self.rescale,
        ):  # fmt: skip
            widget.setEnabled(not running)
        self.files.setVisible(self.results.to_files)
        self._show_missing_backbones()
        self._offer_prompts()
        self.results.fit(self.prompts.opened)
        images = []
        for layer in self.layers.ticked():
            try:
                images.append(planes_of(layer))
            except PtsamError:  # shown in the list, and when the run is started
                continue
        self.planes.fit(images)
        self.results.objects.offer_link(images)
        self._show_warnings(images)

    def _show_warnings(self, images: list[Planes]) -> None:
        """Show why the prompts may not suit the images, and the options that can help."""
        prompts = self.prompts.opened
        self.channels.setVisible(
            any(planes.channels > 1 for planes in images)
            or any(opened.prompt.images.channels is not None for opened in prompts)
        )
        try:
            warnings, other_scale = compatibility_warnings(
                prompts, images, self.channels.channels()
            )
            self.rescale.setVisible(other_scale)
        except InputError as error:
            warnings = [in_form(error)]
        self.warnings.setText("\n".join(warnings))

    # End

    def _end_work(self, timeout: float) -> None:
        """Stop all work and disconnect from the viewer."""
        self.viewer.layers.events.removed.disconnect(self._on_layer_removed)
        self._stop_following()
        self.layers.disconnect_viewer()
        self.backbone.close_down(timeout)
        self.prompts.library.close_down(timeout)
        self.run.close(timeout)
        self.jobs.close(timeout)
        self.backbone_service.release(timeout)
