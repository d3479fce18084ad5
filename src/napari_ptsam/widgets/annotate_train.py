"""The dock widget "Annotate and train": from open layers to a prompt file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari.utils.notifications import show_warning
from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import (
    QFileDialog,
    QFrame,
    QMainWindow,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_ptsam.annotating.guide import next_step
from napari_ptsam.widgets.annotate_tab import AnnotateTab
from napari_ptsam.widgets.images_tab import ImagesTab
from napari_ptsam.widgets.layers import warm_up
from napari_ptsam.widgets.parts import button, row, text
from napari_ptsam.widgets.preferences import preferences, remember
from napari_ptsam.widgets.recorder import Recorder
from napari_ptsam.widgets.recovery import Recovery
from napari_ptsam.widgets.studio import Studio
from napari_ptsam.widgets.train_tab import TrainTab
from napari_ptsam.widgets.watcher import Seen, Watcher

if TYPE_CHECKING:
    import napari

    from napari_ptsam.widgets.workers import Steps

PLACES = ("images", "annotate", "train")
WAIT = 5.0
"""Seconds that closing napari waits for threads; mostly they end within one."""
LOAD_AFTER = 300
"""Milliseconds until the backbone is loaded: first the form is to be there."""


class AnnotateAndTrain(QWidget):
    """Choose images, annotate about 16 planes, train, save a prompt file.

    Parameters
    ----------
    napari_viewer
        Given by napari.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        liked = preferences()
        settings = {name: liked[name] for name in ("device", "preset")}
        self._closed = self._closing = self._docked = False
        self._window: QMainWindow | None = None
        self.studio = Studio(napari_viewer, settings, self)
        self.watcher = Watcher(self.studio)
        root = str(liked["session_folder"])
        self.recorder = Recorder(self.studio, Path(root) if root else None)
        self.recovery = Recovery(self.studio, self.recorder)
        self.annotate = AnnotateTab(self.studio)
        self.train = TrainTab(self.studio)
        self.images = ImagesTab(self.studio)
        self._build()
        self._connect()
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
        self.hint = text(tip="What to do next.")
        font = self.hint.font()
        font.setBold(True)
        self.hint.setFont(font)
        self._there = button("Go", "Go to the tab where the next step is done.", self._go)
        self.backbone = text(self.studio.engine.state, "The frozen model behind everything.")
        self.saved = text("Nothing to save yet.", "Where your annotations are saved as you work.")
        self.offer = QFrame()
        self.offer.setFrameShape(QFrame.Shape.StyledPanel)
        self._offered: Path | None = None
        self._offer_text = text()
        offer = QVBoxLayout(self.offer)
        offer.setContentsMargins(4, 4, 4, 4)
        offer.addWidget(self._offer_text)
        self.go_on = button(
            "Go on with it", "Put the annotations of that session back.", self._accept
        )
        self.not_now = button(
            "Leave it", "Start afresh; the session's files stay where they are.", self._decline
        )
        offer.addLayout(row(self.go_on, self.not_now, stretch=0))
        self.offer.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.setSpacing(4)
        layout.addWidget(self.offer)
        layout.addLayout(row(self.hint, self._there, stretch=0))
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.backbone)
        layout.addWidget(self.saved)

    def _connect(self) -> None:
        studio = self.studio
        for signal in (studio.planes_changed, studio.images_changed, studio.scheme_changed,
                       studio.prompt_changed):  # fmt: skip
            signal.connect(self._guide)
        self.tabs.currentChanged.connect(self._guide)
        studio.engine.state_changed.connect(self.backbone.setText)
        studio.scheme_changed.connect(self.watcher.recount)
        studio.settings_changed.connect(self._remember)
        self.watcher.seen.connect(self._seen)
        self.train.new_prompt.connect(self.recorder.keep_prompt)
        self.recorder.state_changed.connect(self._show_saved)
        self.recovery.found.connect(self._offer)
        self.recovery.opened.connect(self._opened)
        self.images.open_session.connect(self._choose_session)
        self.images.choose_root.connect(self._choose_root)
        self._problems: set[str] = set()

    def _load(self) -> None:
        if not self._closed:
            self.studio.disk.submit("warm up", _warm_up)
            self.studio.engine.load()
            self.recovery.look()

    # What was seen, saved, and is next

    def _seen(self, seen: Seen) -> None:
        studio = self.studio
        if seen.counts is None:
            if seen.problem not in self._problems:
                self._problems.add(seen.problem)
                show_warning(seen.problem)
            return
        studio.ledger.count(seen.source.id, seen.number, seen.counts)
        taken_over = seen.first and not seen.source.own and any(seen.counts.values())
        if taken_over and not studio.scheme.sparse:
            # Labels that were there before are taken for finished.
            studio.ledger.mark(seen.source.id, seen.number, True)
        self.recorder.record(seen)
        studio.touch()

    def _show_saved(self, message: str, wrong: bool) -> None:
        self.saved.setText(f"NOT SAVED: {message}" if wrong else message)
        self.saved.setStyleSheet("color: #D55E00; font-weight: bold;" if wrong else "")
        if wrong:
            show_warning(f"Your annotations are not being saved: {message}")

    def _guide(self, _: object = None) -> None:
        place, sentence = next_step(self.studio.situation())
        self.hint.setText(sentence)
        self._place = PLACES.index(place)
        self._there.setVisible(self._place != self.tabs.currentIndex())

    def _go(self) -> None:
        self.tabs.setCurrentIndex(self._place)

    def _remember(self) -> None:
        for name in ("device", "preset"):
            value = self.studio.settings.get(name)
            if value and value != preferences()[name]:
                remember(name, value)

    # Sessions

    def _offer(self, path: Path, words: str) -> None:
        if len(self.studio.ledger):
            return
        self._offered = path
        self._offer_text.setText(f"A session was not closed – {words}.")
        self.offer.show()

    def _accept(self) -> None:
        self.offer.hide()
        if self._offered is not None:
            self.recovery.open(self._offered)

    def _decline(self) -> None:
        self.offer.hide()
        if self._offered is not None:
            self.recovery.dismiss(self._offered)

    def _opened(self, path: Path) -> None:
        self.offer.hide()
        self.train.options.show_settings()
        self.train.refresh()
        self.annotate.refresh()
        self._show_saved(f"Going on with {path}", False)

    def _choose_session(self) -> None:
        chosen = QFileDialog.getExistingDirectory(
            self, "Open a session folder", str(self.recorder.root)
        )
        if chosen:
            self.recovery.open(Path(chosen))

    def _choose_root(self) -> None:
        chosen = QFileDialog.getExistingDirectory(
            self, "Folder to save sessions in", str(self.recorder.root)
        )
        if chosen:
            remember("session_folder", chosen)
            self.recorder.use_root(Path(chosen))

    # End

    def close_down(self, wait: float = 0.0) -> None:
        """End all work, and leave nothing in the viewer but the annotations.

        Parameters
        ----------
        wait
            Seconds to wait for threads to end: when napari itself goes away,
            they must not outlive it.
        """
        if self._closed:
            return
        self._closed = True
        if self._window is not None:
            self._window.removeEventFilter(self)
            self._window = None
        self.watcher.close()
        self.annotate.close_tab()
        self.train.close_tab(wait)
        self.images.close_tab()
        self.recorder.close()
        self.studio.close(wait)

    def closeEvent(self, event: QEvent) -> None:  # noqa: N802, Qt's name
        """Closed by itself, as in a script that shows it without a dock."""
        self.close_down()
        super().closeEvent(event)

    def event(self, event: QEvent) -> bool:
        """Notice in which window the widget is, and when napari takes it out of its dock."""
        if event.type() == QEvent.Type.ParentChange:
            if self.parentWidget() is not None:
                self._docked = True
                # The dock itself is put into the window only after this.
                QTimer.singleShot(0, self._watch_window)
            elif self._docked:
                self.close_down()
        return super().event(event)

    def showEvent(self, event: QEvent) -> None:  # noqa: N802, Qt's name
        """The dock has its place in the window only now."""
        self._watch_window()
        super().showEvent(event)

    def _watch_window(self) -> None:
        window = self.parentWidget()
        while window is not None and not isinstance(window, QMainWindow):
            window = window.parentWidget()
        if window is not None and window is not self._window:
            self._window = window
            window.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802, Qt's name
        """The window is closed when it is hidden after a request to close, which may be denied."""
        if watched is self._window:
            if event.type() == QEvent.Type.Close and self._window.isVisible():
                self._closing = True
                QTimer.singleShot(0, self._not_closing)
            elif event.type() == QEvent.Type.Close or (
                event.type() == QEvent.Type.Hide and self._closing
            ):
                self.close_down(WAIT)
        return super().eventFilter(watched, event)

    def _not_closing(self) -> None:
        self._closing = False


def _warm_up() -> Steps:
    warm_up()
    yield None
