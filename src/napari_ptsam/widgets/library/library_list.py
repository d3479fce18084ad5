"""The prompts of the library, with their pictures; follows the disk."""

from __future__ import annotations

from qtpy.QtCore import QFileSystemWatcher, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QIcon, QImage, QPixmap
from qtpy.QtWidgets import QLineEdit, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from napari_ptsam.prompts.library import Library, LibraryFolders, LibraryItem
from napari_ptsam.prompts.thumbnail import SIDE, read_thumbnail
from napari_ptsam.widgets.shared.qt_helpers import present, single_shot
from napari_ptsam.widgets.shared.torch_loading import load_torch
from napari_ptsam.widgets.shared.workers import Jobs, Steps

LOOK_EVERY = 5000
"""Milliseconds: not every network share tells of changes."""
SOON = 200
"""Milliseconds from a change on disk to a look at it."""
ENTRY = Qt.ItemDataRole.UserRole


class LibraryList(QWidget):
    """A search line above the prompts that match it.

    Parameters
    ----------
    folders
        Where to look.
    """

    selected = Signal()
    chosen = Signal()
    """Double-clicked."""
    failed = Signal(str)
    """The folders cannot be looked at."""
    listed = Signal()
    """What is shown follows the disk again."""

    def __init__(self, folders: LibraryFolders) -> None:
        super().__init__()
        self._folders, self._library = folders, Library(folders.folders)
        self._shown: list[LibraryItem] = []
        self.jobs = Jobs(self)
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
        self._soon = single_shot(self, SOON)
        self._soon.timeout.connect(self.look)
        self._now_and_then = QTimer(self)
        self._now_and_then.setInterval(LOOK_EVERY)
        self._now_and_then.timeout.connect(self.look)
        self._watcher.directoryChanged.connect(lambda _: self._soon.start())

    def follow(self, wanted: bool) -> None:
        """Look at once, and now and then; or no more."""
        if wanted:
            self.look()
            self._now_and_then.start()
        else:
            self._now_and_then.stop()

    def use_folders(self) -> None:
        """Others are to be looked at now."""
        self._library, self._shown = Library(self._folders.folders), []
        self.list.clear()
        self.look()

    def look(self) -> None:
        """Look at the folders, in the background."""
        self.jobs.submit("look", self._look, self._looked, self.failed.emit)

    def _look(self) -> Steps:
        load_torch()
        library = self._library
        library.refresh()
        yield library, library.items

    def _looked(self, found: tuple[Library, list[LibraryItem]]) -> None:
        library, items = found
        # Compared with what is shown: a look that was cancelled has seen the change, too.
        if library is self._library and items != self._shown:
            self._show(items)
        folders = [str(folder) for folder in self._folders.folders if folder.is_dir()]
        if missing := set(folders) - set(self._watcher.directories()):
            self._watcher.addPaths(sorted(missing))
        self.listed.emit()

    def _show(self, items: list[LibraryItem]) -> None:
        chosen, self._shown = self.entry, items
        self.list.clear()
        for entry in items:
            item = QListWidgetItem(_icon(entry), _lines(entry))
            item.setData(ENTRY, entry)
            item.setToolTip(str(entry.path).replace("<", "&lt;"))
            self.list.addItem(item)
            if chosen is not None and entry.path == chosen.path:
                self.list.setCurrentItem(item)
        self._filter(self.search.text())

    def _filter(self, words: str) -> None:
        shown = []
        for number in range(self.list.count()):
            item = present(self.list.item(number))
            item.setHidden(not item.data(ENTRY).matches(words))
            shown += [item] * (not item.isHidden())
        current = self.list.currentItem()
        if current is None or current.isHidden():
            self.list.setCurrentItem(shown[0] if shown else None)
        self.selected.emit()

    @property
    def entry(self) -> LibraryItem | None:
        """The prompt file that is selected."""
        item = self.list.currentItem()
        return None if item is None or item.isHidden() else item.data(ENTRY)

    def close_down(self, wait: float = 0.0) -> None:
        """End what is going on."""
        self._now_and_then.stop()
        self._soon.stop()
        self.jobs.close(wait)


def _lines(entry: LibraryItem) -> str:
    """Name, classes and Dice, date and author."""
    prompt = entry.prompt
    if prompt is None:
        return f"{entry.path.stem}\ncannot be read"
    dice = prompt.origin.held_out_dice
    known = ["Dice not measured" if dice is None else f"Dice {dice:.2f}", prompt.backbone_name]
    made = [words for words in (prompt.origin.date[:10], prompt.author) if words]
    return "\n".join(
        [entry.path.stem, ", ".join(prompt.classes), ", ".join(known), ", ".join(made)]
    )


def _icon(entry: LibraryItem) -> QIcon:
    """Its picture, or a square of its colour."""
    prompt = entry.prompt
    picture = None if prompt is None else read_thumbnail(prompt.thumbnail)
    if picture is None:
        pixmap = QPixmap(SIDE, SIDE)
        pixmap.fill(QColor("#00000000" if prompt is None else prompt.colours[0]))
    else:
        image = QImage(picture.tobytes(), SIDE, SIDE, 3 * SIDE, QImage.Format.Format_RGB888)
        pixmap = QPixmap.fromImage(image)
    icon = QIcon(pixmap)
    icon.addPixmap(pixmap, QIcon.Mode.Selected)  # else it would be tinted
    return icon
