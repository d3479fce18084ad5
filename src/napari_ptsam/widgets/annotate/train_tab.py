"""The third tab: train a prompt, watch the training, judge and save the result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QFileDialog, QProgressBar

from napari_ptsam.annotation.painted_planes import PaintedPlane
from napari_ptsam.errors import InputError, KeptElsewhereError, PtsamError
from napari_ptsam.io.user_folders import home
from napari_ptsam.io.writing import safe_file_name
from napari_ptsam.prompts.backbone import missing_backbone
from napari_ptsam.prompts.describe import fine_detail
from napari_ptsam.prompts.library import put, save_trained
from napari_ptsam.training.verdict import verdict
from napari_ptsam.widgets.annotate.old_or_new import JudgedPrompt, OldOrNew
from napari_ptsam.widgets.annotate.prediction_preview import Preview
from napari_ptsam.widgets.annotate.training_options import Options
from napari_ptsam.widgets.annotate.training_plot import TrainingPlot
from napari_ptsam.widgets.annotate.training_run import (
    FinishedTraining,
    PlaneDice,
    TrainingRequest,
    TrainingRun,
)
from napari_ptsam.widgets.annotate.training_stages import stage_of
from napari_ptsam.widgets.library.library_dialog import LibraryButton
from napari_ptsam.widgets.shared.open_docks import segment_all_images
from napari_ptsam.widgets.shared.qt_helpers import (
    ScrollingColumn,
    button,
    format_duration,
    row,
    show_waiting,
    text_label,
)
from napari_ptsam.widgets.shared.remedies import in_form

if TYPE_CHECKING:
    from napari_ptsam.annotation.plane_records import PlaneRecord
    from napari_ptsam.prompts.prompt import Prompt
    from napari_ptsam.training.settings import Progress
    from napari_ptsam.widgets.annotate.session_model import SessionModel
    from napari_ptsam.widgets.annotate.training_run import Keep

REDRAW = 0.4
"""Seconds between two updates of the progress bar and the plot."""
COLOURS = {"good": "#009E73", "fair": "#E69F00", "poor": "#D55E00", "unsure": "#E69F00"}


class TrainTab(ScrollingColumn):
    """Options of the training, its progress, and its result."""

    new_prompt = Signal(object)
    """A training has ended with a prompt."""
    prompt_chosen = Signal(object)
    """The old prompt is in use although there is a new one, or the user chose one of them."""

    def __init__(self, session_model: SessionModel) -> None:
        super().__init__()
        self._session_model = session_model
        self.options = Options(session_model)
        self.preview = Preview(session_model)
        self.run = TrainingRun(session_model.backbone_service.backbone, session_model)
        self._records: list[PlaneRecord] = []
        self._drawn, self._note = 0.0, ""
        self._add_widgets()
        for signal, slot in (
            (self.run.progressed, self._progress), (self.run.predicted, self.preview.show),
            (self.run.trained, self._trained), (self.run.rated, self._rated),
            (self.run.failed, self._failed), (self.run.finished, self._ended),
            (self.preview.noted, show_warning),
        ):  # fmt: skip
            signal.connect(slot)
        session_model.view_changed.connect(self._viewed)
        session_model.planes_changed.connect(self.refresh)
        self.refresh()

    def _add_widgets(self) -> None:
        self.train = button(
            "Train", "Train a prompt on the annotated planes; you can continue to annotate meanwhile.",
            self.start,
        )  # fmt: skip
        self.train_on = button(
            "Continue training",
            "Continue from the last prompt, with all planes that are annotated now. It takes seconds: "
            "filter and share of fine detail stay. After many new planes, train anew.",
            lambda: self.start(resume=True),
        )
        self.stop = button(
            "Stop", "End the training now, and keep the best prompt so far.", self.end
        )
        self.save = button(
            "Save prompt…", "Save the prompt as a small file, of 10 to 40 KB as a rule, to use and to share.",
            self.save_as,
        )  # fmt: skip
        self.keep = button(
            "Add to library", "Keep the prompt in your library, where all widgets find it.",
            self.add_to_library,
        )  # fmt: skip
        self.library = LibraryButton(self.take)
        self.segment_all = button(
            "Segment all images…", "Open “Batch segment” with this prompt and all open images.",
            lambda: segment_all_images(self._session_model.viewer),
        )  # fmt: skip
        self.bar = QProgressBar()
        self.bar.setToolTip("Progress of the training, and the time that remains.")
        self.bar.hide()
        self.status = text_label()
        self.plot = TrainingPlot()
        self.plot.hide()
        self.judgement = text_label(
            tip="How well the prompt finds what you painted on validation planes."
        )
        self.old_or_new = OldOrNew(self._session_model)
        self.old_or_new.chosen.connect(self._chosen)
        self.shown = QCheckBox("Preview on the plane in view")
        self.shown.setToolTip(
            "Show the prediction in a layer of its own, and update it while the training runs."
        )
        self.shown.setChecked(True)
        self.shown.toggled.connect(self._show_preview)
        self.column.addWidget(self.options)
        # The bar takes the place of the buttons, and texts lie below, so that no button moves.
        begin = row(self.train, self.train_on, self.bar, self.stop, stretch=0)
        begin.setStretch(2, 1)
        self.column.addLayout(begin)
        self.column.addLayout(row(self.save, self.keep, self.library))
        self.column.addLayout(row(self.segment_all))
        self.column.addWidget(self.shown)
        self.column.addWidget(self.status)
        self.column.addWidget(self.judgement)
        self.column.addWidget(self.old_or_new)
        self.column.addWidget(self.plot, 1)
        self.column.addStretch(0)
        self.preview.dismissed.connect(lambda: self.shown.setChecked(False))

    # Start and stop

    def start(self, resume: bool = False) -> None:
        """Start a training on the planes that are annotated now.

        Parameters
        ----------
        resume
            Whether to continue from the last prompt.
        """
        if self.run.running:
            return
        try:
            request = self._request(resume)
        except InputError as error:
            show_warning(in_form(error))
            return
        self._session_model.training = True
        self.old_or_new.withdraw()
        self.plot.clear_lines(request.settings.steps)
        self.plot.show()
        self.judgement.setText("")
        show_waiting(self.bar, "Getting ready…")
        self.status.setText("")
        self._session_model.jobs.cancel("preview")
        self.preview.prepare()
        self.run.view = self.preview.view()
        self.run.start(request)
        self._session_model.touch()
        self.refresh()
        # The focus leaves the hidden button, but not for "Stop", which the space bar would press.
        self.bar.setFocus()

    def _request(self, resume: bool) -> TrainingRequest:
        session_model = self._session_model
        self._records = session_model.counting()
        if not session_model.images:
            raise InputError("Choose an image first, on the tab “Images”.")
        if not self._records:
            raise InputError(
                "No plane is annotated yet: scribble on some."
                if session_model.scheme.sparse
                else "No plane is marked as done yet: paint the objects of one, then press "
                "“Done, next plane”."
            )
        planes = []
        for record in self._records:
            image = session_model.image_of(record.image)
            assert image is not None
            planes.append(
                PaintedPlane(
                    image.planes,
                    record.number,
                    image.label_planes,
                    record.held_out,
                    regions=record.regions,
                )
            )
        settings = self.options.settings()
        if resume:  # the prompt's channels stay, unless the user chose others
            channels = session_model.images[0].chosen
            settings = replace(settings, channels=channels, continuation="quick")
        return TrainingRequest(
            planes, session_model.scheme, settings, session_model.prompt if resume else None
        )

    def end(self) -> None:
        """Ask the training to stop."""
        if self.run.running:
            self.stop.setEnabled(False)
            self.bar.setFormat("Stopping…")
            self.run.stop()

    # During a training

    def _progress(self, progress: Progress) -> None:
        now, self._note = perf_counter(), in_form(progress.note)
        learning = progress.steps - progress.refining_steps
        if progress.phase == "training" and progress.step <= learning:
            self.plot.set_steps(learning)
            self.plot.add(progress.step, progress.loss, progress.held_out_dice)
        last = progress.step == progress.steps
        if (now - self._drawn < REDRAW and not last) or not self.stop.isEnabled():
            return
        self._drawn = now
        stage = stage_of(progress)
        self.bar.setRange(0, stage.steps)
        self.bar.setValue(stage.step)
        time_left = (
            ""
            if progress.seconds_left is None
            else f", {format_duration(progress.seconds_left)} left"
        )
        self.bar.setFormat(f"{stage.text}{time_left}")
        dice = progress.held_out_dice
        agreement = "" if dice is None else f"Agreement with your annotation: {dice:.2f} of 1"
        self.status.setText(" – ".join(filter(None, (agreement, self._note))))
        self.plot.draw()

    def _viewed(self) -> None:
        if self.run.running:
            self.run.view = self.preview.view()

    def _show_preview(self, shown: bool) -> None:
        self.preview.set_shown(shown)
        self._viewed()

    # After a training

    def _trained(self, trained: FinishedTraining) -> None:
        session_model, prompt = self._session_model, trained.new_prompt
        session_model.trained = len(self._records)
        rated: dict[int, float | None] = {}
        for number, record in enumerate(self._records):
            before = session_model.records.get(record.image, record.number)
            session_model.records.hold_out(record.image, record.number, number in trained.held_out)
            rated[number] = before.dice
        judgement = verdict(prompt.origin, trained.stopped, fine_detail(prompt))
        # The note, which says what was tried and left out, moves to the judgement.
        self.status.setText("")
        change = "" if trained.comparison is None else trained.comparison.change
        text = " ".join(part for part in (change, judgement.text, self._note) if part)
        new = JudgedPrompt(prompt, text, judgement.level)
        self.new_prompt.emit(prompt)
        if trained.kept_start is None:
            self._use(new)
        else:
            path = session_model.prompt_path if session_model.prompt is trained.prompt else None
            old = JudgedPrompt(trained.prompt, trained.kept_start.cause, "fair", path, rated)
            self._use(old)
            self.old_or_new.offer(old, new)
            self.prompt_chosen.emit(old.prompt)
        self.plot.draw()
        session_model.touch()

    def _use(self, judged: JudgedPrompt) -> None:
        """Use a prompt of the last training, and show the judgement and the Dice of its planes."""
        session_model = self._session_model
        session_model.prompt, session_model.prompt_path = judged.prompt, judged.path
        for number, record in enumerate(self._records):
            session_model.records.rate(record.image, record.number, judged.dice.get(number))
        self._judge(judged.text, judged.level)

    def _chosen(self, judged: JudgedPrompt) -> None:
        self._use(judged)
        self.prompt_chosen.emit(judged.prompt)
        self._session_model.prompt_changed.emit()
        self._session_model.touch()
        self.refresh()

    def _judge(self, text: str, level: str) -> None:
        self.judgement.setText(text)
        self.judgement.setStyleSheet(f"border-left: 4px solid {COLOURS[level]}; padding-left: 6px;")

    def _rated(self, rated: PlaneDice) -> None:
        if not self.old_or_new.rate(rated.number, rated.dice):
            return
        record = self._records[rated.number]
        self._session_model.records.rate(record.image, record.number, rated.dice)
        self._session_model.touch()

    def _failed(self, message: str) -> None:
        self._judge(message, "poor")

    def _ended(self) -> None:
        self._session_model.training = False
        self.bar.hide()
        self._session_model.prompt_changed.emit()
        self._session_model.touch()
        self.refresh()

    # Saving

    def save_as(self) -> None:
        """Ask for a file, and save the prompt there."""
        chosen, _ = QFileDialog.getSaveFileName(
            self, "Save the prompt", str(home() / self.default_name()), "Prompt files (*.pt)"
        )
        if chosen:
            # The dialog has already asked whether a file may be replaced.
            self.save_to(Path(chosen), overwrite=True)

    def default_name(self) -> str:
        """Return a file name made of the image's name and the classes."""
        layer = self._session_model.images[0].layer.name if self._session_model.images else "prompt"
        name = "-".join([layer, *self._session_model.scheme.classes[:3]])
        return f"{safe_file_name(name, 'prompt', separator='-').lower()}.pt"

    def save_to(self, path: Path, overwrite: bool = False) -> None:
        """Save the prompt in a file."""
        prompt = self._session_model.prompt
        if prompt is None:
            show_warning("There is no prompt to save yet; train one.")
            return
        path = path if path.suffix else path.with_suffix(".pt")
        try:
            if self._session_model.prompt_path is None:
                save_trained(prompt, path, overwrite)
            else:
                prompt.save(path, overwrite)
        except KeptElsewhereError as error:
            self._session_model.prompt_path = error.path
            show_warning(in_form(error))
            self._session_model.touch()
            return
        except PtsamError as error:
            show_warning(in_form(error))
            return
        self._session_model.prompt_path = path
        show_info(
            f"Saved {path.name}, in {path.parent}; anyone who has the file can segment with it."
        )
        self._session_model.touch()

    def add_to_library(self) -> None:
        """Save the prompt in the library, under a name that is not in use there."""
        prompt = self._session_model.prompt
        if prompt is None:
            return
        try:
            path = put(prompt, self.default_name())
        except PtsamError as error:
            show_warning(in_form(error))
            return
        self._session_model.prompt_path = path
        show_info(f"{path.stem} is in your library ({path.parent}).")
        self._session_model.touch()

    def take(self, prompt: Prompt, path: Path) -> None:
        """Use a prompt of the library, to preview it here or to train it further."""
        if self.run.running:
            show_warning("A training is running; stop it first.")
            return
        session_model = self._session_model
        session_model.prompt, session_model.prompt_path, session_model.trained = prompt, path, 0
        self.judgement.setStyleSheet("")
        self.judgement.setText(f"{path.stem}: {', '.join(prompt.classes)}")
        session_model.prompt_changed.emit()
        session_model.touch()
        if message := in_form(missing_backbone(prompt)):
            show_warning(message)
        self.refresh()

    def refresh(self) -> None:
        """Enable the buttons that can be used now."""
        session_model, running = self._session_model, self.run.running
        self.old_or_new.refresh()
        self.train.setVisible(not running)
        self.train.setEnabled(not running)
        self.train.setText("Train" if session_model.prompt is None else "Train anew")
        self.train_on.setEnabled(not running and session_model.prompt is not None)
        self.train_on.setVisible(not running and session_model.prompt is not None)
        self.segment_all.setVisible(session_model.prompt is not None)
        self.stop.setVisible(running)
        self.stop.setEnabled(running)
        for widget in (self.save, self.keep):
            widget.setEnabled(session_model.prompt is not None)
        self.options.setEnabled(not running)

    @property
    def records(self) -> list[PlaneRecord]:
        """Records of the planes of the last training."""
        return self._records

    def close_tab(self, keep: Keep, wait: float = 0.0) -> None:
        """End the training, save its prompt with ``keep``, and remove the preview."""
        self.run.close_and_keep(keep, wait)
        self.library.close_down(wait)
        self.preview.close()
