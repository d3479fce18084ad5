"""The dock widget "Annotate and train": from open layers to a prompt file."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QFileDialog, QFrame, QTabWidget, QVBoxLayout

from napari_ptsam.annotation.guide import next_step
from napari_ptsam.widgets.annotate.annotate_tab import AnnotateTab
from napari_ptsam.widgets.annotate.autosave import Autosave
from napari_ptsam.widgets.annotate.images_tab import ImagesTab
from napari_ptsam.widgets.annotate.label_watcher import LabelWatcher, PlaneUpdate
from napari_ptsam.widgets.annotate.session_model import SessionModel
from napari_ptsam.widgets.annotate.session_restore import SessionRestore, listed
from napari_ptsam.widgets.annotate.shortcuts import Shortcuts
from napari_ptsam.widgets.annotate.tool_table import TOOLS, with_key
from napari_ptsam.widgets.annotate.train_tab import TrainTab
from napari_ptsam.widgets.shared.backbone_service import shared_backbone_service
from napari_ptsam.widgets.shared.backbones_dialog import BackboneStatus
from napari_ptsam.widgets.shared.background_jobs import ignore
from napari_ptsam.widgets.shared.closable_dock import ClosableDock
from napari_ptsam.widgets.shared.labels_layers import warm_up
from napari_ptsam.widgets.shared.layers import without_proxy
from napari_ptsam.widgets.shared.open_docks import ANNOTATE
from napari_ptsam.widgets.shared.preferences import preferences, remember
from napari_ptsam.widgets.shared.qt_helpers import button, plain_tip, row, text_label

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari

    from napari_ptsam.widgets.annotate.session_model import AnnotatedImage
    from napari_ptsam.widgets.shared.worker import Steps

PLACES = ("images", "annotate", "train")
SAVED_TIP = "Your annotations are saved in a folder while you work."
LOAD_AFTER = 300
"""Milliseconds until the backbone is loaded, so that the form is shown first."""


class AnnotateAndTrain(ClosableDock):
    """Choose images, annotate about 16 planes, train, save a prompt file.

    Parameters
    ----------
    napari_viewer
        The viewer; napari passes it.
    """

    TITLE = ANNOTATE

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        napari_viewer = without_proxy(napari_viewer)
        liked = preferences()
        settings = {name: liked[name] for name in ("device", "preset")}
        backbone_service = shared_backbone_service(
            napari_viewer, str(liked["device"]), str(liked["backbone"])
        )
        self.session_model = SessionModel(napari_viewer, settings, backbone_service, self)
        self.label_watcher = LabelWatcher(self.session_model)
        root = str(liked["session_folder"])
        self.autosave = Autosave(self.session_model, Path(root) if root else None)
        self.session_restore = SessionRestore(self.session_model, self.autosave)
        self.annotate = AnnotateTab(self.session_model)
        self.train = TrainTab(self.session_model)
        self.annotate.taker.preview = self.train.preview
        self.images = ImagesTab(self.session_model)
        self._build()
        self._connect()
        self._bind_keys(napari_viewer)
        self._guide()
        QTimer.singleShot(LOAD_AFTER, self._load)

    def _build(self) -> None:
        self.tabs = QTabWidget()
        for tab, name, tip in (
            (self.images, "1 Images", "Which images to learn from."),
            (self.annotate, "2 Annotate", "Show the model what you are looking for."),
            (self.train, "3 Train", "Make the prompt, judge it, save it."),
        ):
            self.tabs.addTab(tab, name)
            self.tabs.setTabToolTip(self.tabs.count() - 1, tip)
        self.hint = text_label(tip="What to do next.", lines=2)
        font = self.hint.font()
        font.setBold(True)
        self.hint.setFont(font)
        self._go_button = button(
            "Go",
            "Go to the tab where the next step is done. An annotation layer is added if there is none.",
            self._go,
        )
        self.backbone = BackboneStatus(self.session_model.backbone_service)
        self.saved = text_label("Nothing to save yet.", SAVED_TIP)
        self.offer = QFrame()
        self.offer.setFrameShape(QFrame.Shape.StyledPanel)
        self._offered: Path | None = None
        self._offer_text = text_label()
        offer = QVBoxLayout(self.offer)
        offer.setContentsMargins(4, 4, 4, 4)
        offer.addWidget(self._offer_text)
        self.restore_button = button(
            "Restore it", "Restore the annotations of that session.", self._accept
        )
        self.new_session_button = button(
            "New session",
            "Start a new session. The files of the other one stay where they are.",
            self._decline,
        )
        offer.addLayout(row(self.restore_button, self.new_session_button, stretch=0))
        self.offer.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.setSpacing(4)
        layout.addWidget(self.offer)
        layout.addLayout(row(self.hint, self._go_button, stretch=0))
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.backbone)
        layout.addWidget(self.saved)

    def _connect(self) -> None:
        session_model = self.session_model
        for signal in (session_model.planes_changed, session_model.images_changed, session_model.scheme_changed,
                       session_model.prompt_changed):  # fmt: skip
            signal.connect(self._guide)
        self.tabs.currentChanged.connect(self._guide)
        self.backbone.changed.connect(self.train.refresh)
        session_model.scheme_changed.connect(self.label_watcher.recount)
        session_model.settings_changed.connect(self._remember)
        self.label_watcher.updated.connect(self._updated)
        self.train.new_prompt.connect(self.autosave.keep_prompt)
        self.train.prompt_chosen.connect(self.autosave.use_prompt)
        self.autosave.state_changed.connect(self._show_saved)
        self.session_restore.unfinished_found.connect(self._offer)
        self.session_restore.opened.connect(self._opened)
        self.images.open_session.connect(self._choose_session)
        self.images.choose_root.connect(self._choose_root)
        self._wrong: dict[int, set[int]] = {}
        """Numbers of the planes whose labels cannot be used, by image identifier."""
        session_model.labels_attached.connect(lambda image: self._wrong.pop(image.id, None))

    def _bind_keys(self, viewer: napari.Viewer) -> None:
        """Bind the keys of the tool table, and name them in tooltips."""
        tab, tools, preview = self.annotate, self.annotate.tools, self.train.preview
        handlers: dict[str, Callable[[], object]] = {
            tool.name: partial(tools.toggle, tool.name) for tool in TOOLS
        }
        handlers |= {
            "outline": tab.click_tool.show_other_outline, "suggest": tab.suggest_plane,
            "done": tab.done.click, "take": tab.take_prediction, "annotation": tools.toggle_annotation,
            "prediction": partial(self._with_preview, preview.toggle_visible),
            "contour": partial(self._with_preview, preview.toggle_outlines),
        }  # fmt: skip
        self.shortcuts = Shortcuts(viewer, self, handlers)
        keys = self.shortcuts.keys
        tab.tool_row.show_keys(keys)
        tab.tool_row.card.clicked.connect(self.shortcuts.show_card)
        buttons = {
            "suggest": tab.suggest, "done": tab.done, "take": tab.take, "prediction": self.train.shown,
        }  # fmt: skip
        for name, widget in buttons.items():
            widget.setToolTip(with_key(widget.toolTip(), keys.get(name, "")))

    def _with_preview(self, act: Callable[[], None]) -> None:
        """Do something with the layer of the prediction, or say that there is none."""
        if self.train.preview.present:
            act()
        else:
            show_info("There is no prediction to show yet; train first, or choose a prompt.")

    def _load(self) -> None:
        if not self._closed:
            self.session_model.images_changed.connect(self._load_backbone)
            self._load_backbone()
            self.session_restore.find_unfinished()

    def _load_backbone(self) -> None:
        """Load the base model once there is an image; until then it would only fill the memory."""
        if self.session_model.images:
            self.session_model.images_changed.disconnect(self._load_backbone)
            self.session_model.disk.submit("warm up", _warm_up, on_failure=ignore)
            self.session_model.backbone_service.load()

    # Updates, saving and the guide

    def _updated(self, update: PlaneUpdate) -> None:
        session_model = self.session_model
        wrong = self._wrong.setdefault(update.image.id, set())
        if update.counts is None:
            if not wrong:  # otherwise the user knows; one message is enough for a whole stack
                show_warning(update.problem)
            wrong.add(update.number)
            return
        wrong.discard(update.number)
        session_model.records.count(update.image.id, update.number, update.counts, update.objects)
        taken_over = update.first and not update.image.made_here and any(update.counts.values())
        if taken_over and not session_model.scheme.sparse:
            # Planes that were labelled before the layer was chosen count as done.
            session_model.records.mark(update.image.id, update.number, True)
        self.autosave.save_update(update)
        session_model.touch()

    def _show_saved(self, message: str, wrong: bool) -> None:
        if self.autosave.folder is not None:
            self.saved.setToolTip(plain_tip(f"{SAVED_TIP} {self.autosave.folder.path}"))
        self.saved.setText(f"NOT SAVED: {message}" if wrong else message)
        self.saved.setStyleSheet("color: #D55E00; font-weight: bold;" if wrong else "")
        if wrong:
            show_warning(f"Not everything is saved: {message}")

    def _guide(self, _: object = None) -> None:
        place, sentence = next_step(self.session_model.situation())
        self.hint.setText(sentence)
        self._place = PLACES.index(place)
        self._go_button.setVisible(self._place != self.tabs.currentIndex())

    def _go(self) -> None:
        self.tabs.setCurrentIndex(self._place)
        now = self.session_model.situation()
        if self.tabs.currentWidget() is self.annotate and not now.annotation_layers:
            self.annotate.add_layers()

    def _remember(self) -> None:
        for name in ("device", "preset"):
            value = self.session_model.settings.get(name)
            if value and value != preferences()[name]:
                remember(name, value)

    # Sessions

    def _offer(self, path: Path, description: str) -> None:
        if len(self.session_model.records):
            return
        self._offered = path
        self._offer_text.setText(f"A session was not closed – {description}.")
        self.offer.show()

    def _accept(self) -> None:
        self.offer.hide()
        if self._offered is not None:
            self.session_restore.open(self._offered)

    def _decline(self) -> None:
        self.offer.hide()
        if self._offered is not None:
            self.session_restore.dismiss(self._offered)

    def _opened(self, path: Path) -> None:
        self.offer.hide()
        self.train.options.show_settings()
        self.train.refresh()
        self.annotate.refresh()
        self._show_saved(f"Restored from the session {path.name}", False)

    def _choose_session(self) -> None:
        chosen = QFileDialog.getExistingDirectory(
            self, "Open a session folder", str(self.autosave.root)
        )
        if chosen:
            self.session_restore.open(Path(chosen))

    def _choose_root(self) -> None:
        chosen = QFileDialog.getExistingDirectory(
            self, "Folder to save sessions in", str(self.autosave.root)
        )
        if chosen:
            remember("session_folder", chosen)
            self.autosave.use_root(Path(chosen))

    # End

    def _end_work(self, wait: float) -> None:
        """Remove everything from the viewer except the annotations."""
        with ExitStack() as end:  # runs from last to first, each even if another one fails
            end.callback(self.session_model.close, wait)
            end.callback(self.autosave.release)
            end.callback(self.backbone.close_down, wait)
            end.callback(self.images.close_tab)
            end.callback(self._end_training, wait)
            end.callback(self._save_last, self.label_watcher.recently_painted(), wait)
            end.callback(self.train.run.stop)
            end.callback(self.annotate.close_tab)
            end.callback(self.shortcuts.close)
            end.callback(self.label_watcher.close)

    def _save_last(self, painted: set[tuple[AnnotatedImage, int]], wait: float) -> None:
        problems = self.autosave.write_remaining(painted)
        if problems and not wait:  # otherwise the window that would show it is gone
            show_warning("\n".join(["Closed without saving everything:", *listed(problems)]))

    def _end_training(self, wait: float) -> None:
        self.train.close_tab(self.autosave.late_prompt_saver(self.train.records), wait)


def _warm_up() -> Steps:
    warm_up()
    yield None
