"""The list of the prompts in the library, which follows changes on disk."""

from __future__ import annotations

from qtpy.QtCore import QFileSystemWatcher, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import QLineEdit, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from napari_ptsam.prompts.library import Library, LibraryFolders, LibraryItem
from napari_ptsam.prompts.thumbnail import SIDE, read_thumbnail
from napari_ptsam.widgets.shared.background_jobs import BackgroundJobs
from napari_ptsam.widgets.shared.qt_helpers import (
    local_time,
    not_none,
    plain_tip,
    single_shot,
    solid_pixmap,
    untinted_icon,
)
from napari_ptsam.widgets.shared.torch_loading import load_torch
from napari_ptsam.widgets.shared.worker import Steps

REFRESH_INTERVAL = 5000
"""Milliseconds between two refreshes, since not every network share reports changes."""
REFRESH_DELAY = 200
"""Milliseconds from a reported change to the refresh."""
ENTRY_ROLE = Qt.ItemDataRole.UserRole


class LibraryList(QWidget):
    """A search field above the list of the prompts that match it.

    Parameters
    ----------
    folders
        The folders of the library.
    """

    selected = Signal()
    """Another prompt was selected, or the selected one has changed."""
    chosen = Signal()
    """A prompt was double-clicked."""
    failed = Signal(str)
    """The folders cannot be read; the reason as a sentence."""
    refreshed = Signal()
    """The list shows the prompts that are on disk now."""

    def __init__(self, folders: LibraryFolders) -> None:
        super().__init__()
        self._folders, self._library = folders, Library(folders.folders)
        self._entries: list[LibraryItem] = []
        self.loaded = False
        """Whether the folders have been read; until then, the list is empty."""
        self.jobs = BackgroundJobs(self)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search names, classes, authors, notes…")
        self.search.setClearButtonEnabled(True)
        self.search.textChanged.connect(self._filter)
        self.list = QListWidget()
        self.list.setIconSize(QSize(SIDE, SIDE))
        self.list.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.currentItemChanged.connect(lambda *_: self.selected.emit())
        self.list.itemDoubleClicked.connect(lambda _: self.chosen.emit())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.search)
        layout.addWidget(self.list)
        self._watcher = QFileSystemWatcher(self)
        self._delayed_refresh = single_shot(self, REFRESH_DELAY)
        self._delayed_refresh.timeout.connect(self.refresh)
        self._regular_refresh = QTimer(self)
        self._regular_refresh.setInterval(REFRESH_INTERVAL)
        self._regular_refresh.timeout.connect(self.refresh)
        self._watcher.directoryChanged.connect(lambda _: self._delayed_refresh.start())

    def follow(self, enabled: bool) -> None:
        """Refresh the list now and regularly, or stop doing so."""
        if enabled:
            self.refresh()
            self._regular_refresh.start()
        else:
            self._regular_refresh.stop()

    def reload_folders(self) -> None:
        """List the prompts again, after folders were added or removed."""
        self._library, self._entries = Library(self._folders.folders), []
        self.loaded = False
        self.list.clear()
        self.refresh()

    def refresh(self) -> None:
        """Read the folders in the background, and update the list."""
        self.jobs.submit("refresh", self._read_folders, self._on_read, self.failed.emit)

    def _read_folders(self) -> Steps:
        library = self._library
        if library.holds_files:  # reading them takes torch, which fills the memory
            load_torch()
        library.refresh()
        yield library, library.items

    def _on_read(self, result: tuple[Library, list[LibraryItem]]) -> None:
        library, entries = result
        self.loaded = self.loaded or library is self._library
        # Compare with the list, not with the previous reading, which may have been cancelled.
        if library is self._library and entries != self._entries:
            self._show(entries)
        folders = {str(folder) for folder in self._folders.folders if folder.is_dir()}
        if unwatched := folders - set(self._watcher.directories()):
            self._watcher.addPaths(sorted(unwatched))
        self.refreshed.emit()

    def _show(self, entries: list[LibraryItem]) -> None:
        selected, self._entries = self.entry, entries
        self.list.clear()
        for entry in entries:
            item = QListWidgetItem(_icon(entry), _summary(entry))
            item.setData(ENTRY_ROLE, entry)
            item.setToolTip(plain_tip(str(entry.path)))
            self.list.addItem(item)
            if selected is not None and entry.path == selected.path:
                self.list.setCurrentItem(item)
        self._filter(self.search.text())

    def _filter(self, query: str) -> None:
        visible = []
        for index in range(self.list.count()):
            item = not_none(self.list.item(index))
            item.setHidden(not item.data(ENTRY_ROLE).matches(query))
            if not item.isHidden():
                visible.append(item)
        current = self.list.currentItem()
        if current is None or current.isHidden():
            self.list.setCurrentItem(visible[0] if visible else None)
        self.selected.emit()

    @property
    def entry(self) -> LibraryItem | None:
        """The selected prompt file."""
        item = self.list.currentItem()
        return None if item is None or item.isHidden() else item.data(ENTRY_ROLE)

    def close_down(self, timeout: float = 0.0) -> None:
        """Stop refreshing, and wait ``timeout`` seconds for the thread."""
        self._regular_refresh.stop()
        self._delayed_refresh.stop()
        self.jobs.close(timeout)


def _summary(entry: LibraryItem) -> str:
    """Return four lines: name, classes, Dice and base model, date and author."""
    prompt = entry.prompt
    if prompt is None:
        return f"{entry.path.stem}\ncannot be read"
    dice = prompt.origin.held_out_dice
    quality = "agreement not measured" if dice is None else f"agreement {dice:.2f} (Dice)"
    made = [text for text in (local_time(prompt.origin.date)[:10], prompt.author) if text]
    return "\n".join(
        [
            entry.path.stem,
            ", ".join(prompt.classes),
            f"{quality}, {prompt.backbone_name}",
            ", ".join(made),
        ]
    )


def _icon(entry: LibraryItem) -> QIcon:
    """Return the thumbnail of a prompt, or a square in the colour of its first class."""
    prompt = entry.prompt
    thumbnail = None if prompt is None else read_thumbnail(prompt.thumbnail)
    if thumbnail is None:
        colour = "#00000000" if prompt is None else prompt.colours[0]
        return untinted_icon(solid_pixmap(colour, SIDE))
    image = QImage(thumbnail.tobytes(), SIDE, SIDE, 3 * SIDE, QImage.Format.Format_RGB888)
    return untinted_icon(QPixmap.fromImage(image))
