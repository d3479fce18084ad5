"""Autosave: what changes goes into the session folder within seconds, off the GUI's thread."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QLockFile, QObject, QTimer, Signal

from napari_ptsam.annotating.folder import SessionFolder, default_root
from napari_ptsam.annotating.session import Session, SessionImage, SessionPlane
from napari_ptsam.errors import PtsamError
from napari_ptsam.widgets.folders import FOLDER

if TYPE_CHECKING:
    from napari_ptsam.prompts.prompt import Prompt
    from napari_ptsam.widgets.studio import Source, Studio
    from napari_ptsam.widgets.watcher import Seen
    from napari_ptsam.widgets.workers import Steps

DELAY = 1000
"""Milliseconds from a change of settings or marks until the session is written."""
LOCK = ".in-use"


class Recorder(QObject):
    """Keeps a session folder up to date with a studio.

    The folder is made when the first plane is annotated.

    Parameters
    ----------
    studio
        What is recorded.
    root
        Folder for new session folders; None: the user's data directory.
    """

    state_changed = Signal(str, bool)
    """What to tell the user, and whether something is wrong."""

    def __init__(self, studio: Studio, root: Path | None) -> None:
        super().__init__(studio)
        self._studio, self._root = studio, root
        self.folder: SessionFolder | None = None
        self._lock: QLockFile | None = None
        self._created, self._prompts = "", tuple[str, ...]()
        self._problem = ""
        self._later = QTimer(self, singleShot=True, interval=DELAY)
        self._later.timeout.connect(self.write_session)
        studio.planes_changed.connect(self.soon)
        studio.settings_changed.connect(self.soon)

    @property
    def root(self) -> Path:
        """Where new session folders are made."""
        return self._root or default_root()

    def use_root(self, root: Path | None) -> None:
        """Make new session folders elsewhere, and save what there is once more, there."""
        self._root = root
        self._let_go()
        self._problem = ""
        self.save_everything()

    def go_on(self, folder: SessionFolder, session: Session) -> None:
        """Save into a session folder that is there already."""
        self._let_go()
        self.folder, self._created, self._prompts = folder, session.created, session.prompts
        self._lock = _locked(folder.path)
        self.soon()

    # What is saved when

    def soon(self) -> None:
        """Write the session's marks and settings in a moment."""
        if (self.folder is not None or len(self._studio.ledger)) and not self._later.isActive():
            self._later.start()

    def record(self, seen: Seen) -> None:
        """Save a plane that was painted on."""
        if not seen.changed or seen.counts is None:
            return
        name = seen.source.planes.name
        self._submit(
            f"plane {seen.source.id} {seen.number}",
            partial(self._save, seen.source, seen.number, name),
        )
        self.soon()

    def save_everything(self) -> None:
        """Save all annotated planes, into a new folder if need be."""
        for entry in self._studio.ledger:
            source = self._studio.source_of(entry.image)
            if source is not None:
                steps = partial(self._save, source, entry.number, source.planes.name)
                self._submit(f"plane {source.id} {entry.number}", steps)
        self.soon()

    def write_session(self, closed: bool = False) -> None:
        """Write the session's marks and settings now."""
        if self.folder is None and not len(self._studio.ledger):
            return
        session = self._session(closed)
        name = self._studio.sources[0].planes.name if self._studio.sources else "session"
        self._submit("session", partial(self._write, session, name))

    def keep_prompt(self, prompt: Prompt) -> None:
        """Save a prompt beside the annotations that it was made from."""
        name = self._studio.sources[0].planes.name if self._studio.sources else "session"
        self._submit("prompt", partial(self._save_prompt, prompt, name), replace=False)

    def close(self) -> None:
        """Write what is left, here and now, and let go of the folder."""
        self._later.stop()
        if self.folder is not None:
            with suppress(PtsamError):  # it was told before
                self.folder.write(self._session(closed=True))
        self._let_go()

    def _let_go(self) -> None:
        if self._lock is not None:
            self._lock.unlock()
        self.folder, self._lock, self._prompts, self._created = None, None, (), ""

    # In the thread

    def _submit(self, name: str, steps: object, replace: bool = True) -> None:
        self._studio.disk.submit(
            f"save {name}",
            steps,
            self._saved,
            self._failed,
            replace=replace,  # type: ignore[arg-type]
        )

    def _ensure(self, name: str) -> SessionFolder:
        if self.folder is None:
            self.folder = SessionFolder.create(self.root, name)
            self._lock = _locked(self.folder.path)
        return self.folder

    def _save(self, source: Source, number: int, name: str) -> Steps:
        folder = self._ensure(name)
        plane = self._plane(source, number)
        yield None
        labels = np.array(source.label_planes[number])
        pixels = None if folder.has_pixels(plane) else source.planes[number]
        folder.write_plane(plane, pixels, labels)
        yield folder.path

    def _write(self, session: Session, name: str) -> Steps:
        folder = self._ensure(name)
        folder.write(session)
        yield folder.path

    def _save_prompt(self, prompt: Prompt, name: str) -> Steps:
        path = self._ensure(name).save_prompt(prompt)
        self._prompts = (*self._prompts, path.name)
        yield path.parent.parent

    # Results

    def _saved(self, path: Path) -> None:
        self._problem = ""
        self.state_changed.emit(f"Saved in {path}", False)

    def _failed(self, message: str) -> None:
        if message != self._problem:
            self._problem = message
            self.state_changed.emit(message, True)

    def _plane(self, source: Source, number: int) -> SessionPlane:
        entry = self._studio.ledger.get(source.id, number)
        return SessionPlane(
            self._studio.sources.index(source), source.index(number), entry.done, entry.held_out,
            entry.dice,
        )  # fmt: skip

    def _session(self, closed: bool) -> Session:
        studio = self._studio
        planes = []
        for entry in studio.ledger:
            source = studio.source_of(entry.image)
            if source is not None:
                planes.append(self._plane(source, entry.number))
        return Session(
            scheme=studio.scheme,
            images=tuple(_image(source) for source in studio.sources),
            planes=tuple(planes),
            settings=dict(studio.settings),
            prompts=self._prompts,
            closed=closed,
            created=self._created,
            saved="",
        )


def _image(source: Source) -> SessionImage:
    origin = source.layer.source
    planes = source.planes
    return SessionImage(
        name=source.layer.name,
        shape=planes.array_shape,
        axes=planes.axes,
        pixel_size=planes.pixel_size,
        path=source.layer.metadata.get(FOLDER) or (origin.path and str(origin.path)),
        sample=None if origin.sample is None else tuple(origin.sample),
        channels=source.channels,
    )


def _locked(path: Path) -> QLockFile:
    """Tell other napari windows that the session is in use; gone when this process is."""
    lock = QLockFile(str(path / LOCK))
    lock.setStaleLockTime(0)
    lock.tryLock(0)
    return lock


def in_use(path: Path) -> bool:
    """Whether another napari works on a session folder."""
    lock = QLockFile(str(path / LOCK))
    lock.setStaleLockTime(0)
    free = lock.tryLock(0)
    if free:
        lock.unlock()
    return not free
