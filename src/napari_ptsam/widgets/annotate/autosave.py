"""Autosave: what changes goes into the session folder within seconds, off the GUI's thread."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from qtpy.QtCore import QLockFile, QObject, Signal

from napari_ptsam.annotation.session import Session, SessionImage, SessionPlane
from napari_ptsam.annotation.session_folder import SessionFolder, default_root
from napari_ptsam.errors import InputError, PtsamError
from napari_ptsam.prompts.library import kept_elsewhere, put
from napari_ptsam.widgets.shared.folders import FOLDER
from napari_ptsam.widgets.shared.qt_helpers import single_shot
from napari_ptsam.widgets.shared.remedies import in_form

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from napari_ptsam.annotation.plane_records import PlaneRecord
    from napari_ptsam.images.planes import Planes
    from napari_ptsam.prompts.prompt import Prompt
    from napari_ptsam.widgets.annotate.label_watcher import PlaneUpdate
    from napari_ptsam.widgets.annotate.session_model import AnnotatedImage, SessionModel
    from napari_ptsam.widgets.shared.worker import Steps

DELAY = 1000
"""Milliseconds from a change of settings or marks until the session is written."""
RETRY = 10_000
"""Milliseconds until what could not be saved is tried again."""
END_OF_STEP = 5.0
"""Seconds that closing waits for the file that is just being written."""
LOCK = ".in-use"


Where = tuple[int, int]
"""An image's id, and the number of a plane in it."""


class Autosave(QObject):
    """Keeps a session folder up to date with a session_model.

    The folder is made when the first plane is annotated. An image keeps its
    number for the folder's life, whether it is in use or not.

    Parameters
    ----------
    session_model
        What is recorded.
    root
        Folder for new session folders; None: the user's data directory.
    """

    state_changed = Signal(str, bool)
    """What to tell the user, and whether something is wrong."""

    def __init__(self, session_model: SessionModel, root: Path | None) -> None:
        super().__init__(session_model)
        self._session_model, self._root = session_model, root
        self._start_afresh()
        self._later = single_shot(self, DELAY)
        self._retry = single_shot(self, RETRY)
        for timer in (self._later, self._retry):
            timer.timeout.connect(self.write_session)
        session_model.planes_changed.connect(self.soon)
        session_model.settings_changed.connect(self.soon)
        session_model.labels_leaving.connect(self._keep_left)

    def _start_afresh(self) -> None:
        self.folder: SessionFolder | None = None
        self._lock: QLockFile | None = None
        self._created, self._prompts = "", tuple[str, ...]()
        self._images: list[SessionImage] = []
        self._numbers: dict[tuple[int, str], int] = {}
        self._written: dict[Where, SessionPlane] = {}
        self._left: dict[str, SessionPlane] = {}
        """By stem, planes on disk whose layers are gone, maybe by mistake; their marks stay."""
        self._unsaved: dict[str, Callable[[], Steps]] = {}
        """Planes and prompts that are not on disk yet, by the name of their job."""
        self._named = 0
        self._failing: set[str] = set()
        self._prompt: Prompt | None = None
        self._kept_elsewhere: Prompt | None = None

    @property
    def root(self) -> Path:
        """Where new session folders are made."""
        return self._root or default_root()

    def use_root(self, root: Path | None) -> None:
        """Make new session folders elsewhere, and save what there is once more, there."""
        self._root = root
        self.begin_anew()

    def begin_anew(self) -> None:
        """Save what there is into a new session folder."""
        self.let_go()
        self.write_session()

    def go_on(self, folder: SessionFolder, session: Session) -> None:
        """Save into a session folder that is there already, made of the images in use."""
        self.let_go()
        self.folder, self._created, self._prompts = folder, session.created, session.prompts
        self._lock = _locked(folder.path)
        self._images, self._named = list(session.images), len(session.images)
        for number, image in enumerate(self._session_model.images):
            self._numbers[image.id, image.planes.axes] = number
        for record in self._session_model.records:
            plane = self._plane(record)
            if plane is not None:
                self._written[plane_key(record)] = plane
        self.soon()

    # What is saved when

    def soon(self) -> None:
        """Write the session's marks and settings in a moment."""
        if (
            self.folder is not None or self._session_model.records.all()
        ) and not self._later.isActive():
            self._later.start()

    def save_update(self, update: PlaneUpdate) -> None:
        """Save a plane that was painted on."""
        record = self._session_model.records.get(update.image.id, update.number)
        if update.changed and update.counts is not None and (record.painted or record.done):
            self._save_plane(record)
        self.soon()

    def write_session(self) -> None:
        """Write the marks and settings now, and the planes that are missing on disk."""
        if self.folder is None and not self._session_model.records.all():
            return
        records = {plane_key(record): record for record in self._session_model.records.all()}
        self._failing &= {"session", "prompt", *map(_job, records)}
        for where, record in records.items():
            if where not in self._written:
                self._save_plane(record)
        if "prompt" in self._failing and self._prompt is not None:
            self.keep_prompt(self._prompt)
        session = self._session(closed=False)
        gone = [plane for where, plane in self._written.items() if where not in records]
        self._written = {w: plane for w, plane in self._written.items() if w in records}
        self._submit("session", partial(self._write, session, gone), replace=not gone)

    def _keep_left(self, image: AnnotatedImage) -> None:
        """Leave files and marks of what was on an image's former annotation layer."""
        for record in self._session_model.records.all():
            if record.image == image.id and plane_key(record) in self._written:
                plane = self._plane_of(image, record)
                self._left[plane.stem] = plane
        self._written = {w: plane for w, plane in self._written.items() if w[0] != image.id}

    def keep_prompt(self, prompt: Prompt) -> None:
        """Save a prompt beside the annotations that it was made from."""
        self._prompt = prompt
        session, again = self._session(closed=False), prompt is self._kept_elsewhere
        steps = partial(self._save_prompt, prompt, session, not again)
        self._submit("prompt", steps, replace=False)
        self.soon()

    def write_last(self, painted: Iterable[tuple[AnnotatedImage, int]]) -> list[str]:
        """Write what is left, here and now; what cannot be written keeps nothing else from it.

        Parameters
        ----------
        painted
            Planes whose last strokes may not be on disk yet.

        Returns
        -------
        list of str
            What could not be written, and why.
        """
        self._later.stop()
        self._retry.stop()
        # What waits for the thread is written here, and nothing twice.
        self._session_model.disk.close(END_OF_STEP)
        writes: list[Callable[[], None]] = []
        for image, number in painted:
            writes.append(partial(self._write_now, image, number))
            self._unsaved.pop(_job((image.id, number)), None)
        writes += [partial(_finish, steps) for steps in self._unsaved.values()]
        problems: list[str] = []
        with ExitStack() as bugs:  # told at the end, when all is written
            for write in (*writes, self._write_end):
                try:
                    write()
                except PtsamError as error:
                    problems.append(in_form(error))
                except Exception as error:
                    bugs.callback(_raise, error)
        return list(dict.fromkeys(problems))

    def keeper(self, records: Sequence[PlaneRecord]) -> LatePromptSaver:
        """What keeps the prompt of a training that outlives the widget.

        Parameters
        ----------
        records
            The planes that it is trained on.
        """
        planes = [self._plane(record) for record in records]
        return LatePromptSaver(
            self.folder, [None if plane is None else plane.stem for plane in planes]
        )

    def let_go(self) -> None:
        """Leave the folder to others."""
        if self._lock is not None:
            self._lock.unlock()
        self._start_afresh()

    def _write_end(self) -> None:
        if self.folder is not None:
            self.folder.write(self._session(closed=True))

    def _write_now(self, image: AnnotatedImage, number: int) -> None:
        planes, records = image.label_planes, self._session_model.records
        labels = planes[number]
        with suppress(InputError):  # labels of no class are saved all the same
            records.count(image.id, number, self._session_model.scheme.counts(labels))
        record = records.get(image.id, number)
        if record.painted or record.done or labels.any():
            plane = self._plane_of(image, record)
            if image in self._session_model.known:
                self._left.pop(plane.stem, None)
            else:
                self._left.setdefault(plane.stem, plane)
            session = self._session(closed=False)
            _finish(partial(self._save, image.planes, planes, number, plane, session))

    def _save_plane(self, record: PlaneRecord) -> None:
        image = self._source(record)
        if image is None or image.labels is None:
            return
        plane = self._plane_of(image, record)
        try:
            # As they are known now: the layer may be gone when the thread comes to it.
            labels = image.label_planes
        except InputError:  # the label_watcher tells of labels that fit no more
            return
        self._written[plane_key(record)] = plane
        self._left.pop(plane.stem, None)
        steps = partial(
            self._save, image.planes, labels, record.number, plane, self._session(closed=False)
        )
        self._submit(_job(plane_key(record)), steps)

    # In the thread

    def _submit(self, name: str, steps: Callable[[], Steps], replace: bool = True) -> None:
        if name != "session":
            self._unsaved[name] = steps
        self._session_model.disk.submit(
            f"save {name}", partial(self._noting, name, steps), partial(self._saved, name),
            partial(self._failed, name), replace=replace,
        )  # fmt: skip

    def _noting(self, name: str, steps: Callable[[], Steps]) -> Steps:
        for path in steps():
            if self._unsaved.get(name) is steps:  # else it was changed again meanwhile
                self._unsaved.pop(name, None)
            yield path

    def _ensure(self, session: Session) -> SessionFolder:
        if self.folder is None:
            folder = SessionFolder.create(self.root, _title(session))
            self._write_into(folder, session)  # it names the images before their planes come
            self._lock = _locked(folder.path)
            self.folder = folder
        return self.folder

    def _write_into(self, folder: SessionFolder, session: Session) -> None:
        folder.write(session)
        self._named = len(session.images)

    def _save(
        self, planes: Planes, labels: Planes, number: int, plane: SessionPlane, session: Session
    ) -> Steps:
        folder = self._ensure(session)
        if plane.image >= self._named:
            self._write_into(folder, session)
        pixels = None if folder.has_pixels(plane) else planes[number]
        folder.write_plane(plane, pixels, np.array(labels[number]))
        yield folder.path

    def _write(self, session: Session, gone: list[SessionPlane]) -> Steps:
        folder = self._ensure(session)
        self._write_into(folder, session)
        for plane in gone:
            folder.remove_plane(plane)
        yield folder.path

    def _save_prompt(self, prompt: Prompt, session: Session, or_elsewhere: bool) -> Steps:
        try:
            path = self._ensure(session).save_prompt(prompt)
        except PtsamError as error:
            raise (
                kept_elsewhere(prompt, _title(session), error) if or_elsewhere else error
            ) from None
        self._prompts = (*self._prompts, path.name)
        yield path.parent.parent

    # Results

    def _saved(self, name: str, path: Path) -> None:
        self._failing.discard(name)
        if not self._failing:
            self.state_changed.emit(f"Saved in {path}", False)

    def _failed(self, name: str, message: str) -> None:
        self._written.clear()
        self._retry.start()
        news = not self._failing  # one message until all is saved again
        if name == "prompt" and self._kept_elsewhere is not self._prompt:
            self._kept_elsewhere, news = self._prompt, True  # it tells where the prompt is
            self._unsaved.pop(name, None)
        if news:
            self.state_changed.emit(message, True)
        self._failing.add(name)

    # The session as it is now

    def _source(self, record: PlaneRecord) -> AnnotatedImage | None:
        """The image that a plane is of; None where its layer is gone."""
        return next((s for s in self._session_model.known if s.id == record.image), None)

    def _plane(self, record: PlaneRecord) -> SessionPlane | None:
        image = self._source(record)
        return None if image is None else self._plane_of(image, record)

    def _plane_of(self, image: AnnotatedImage, record: PlaneRecord) -> SessionPlane:
        used = image in self._session_model.images
        # A training on the folder leaves out images that are not in use.
        status = record.status | {"done": record.done and used}
        return SessionPlane(self._number(image), image.index(record.number), **status)

    def _number(self, image: AnnotatedImage) -> int:
        """The image's number in the folder; another one if it is read along other axes now."""
        key = image.id, image.planes.axes
        if key not in self._numbers:
            self._numbers[key] = len(self._images)
            self._images.append(_image(image))
        return self._numbers[key]

    def _session(self, closed: bool) -> Session:
        session_model = self._session_model
        for image in session_model.images:
            self._number(image)
        planes = [
            plane for e in session_model.records.all() if (plane := self._plane(e)) is not None
        ]
        known = {plane.stem for plane in planes}
        planes += [plane for stem, plane in self._left.items() if stem not in known]
        return Session(
            scheme=session_model.scheme,
            images=tuple(self._images),
            planes=tuple(sorted(planes, key=lambda plane: (plane.image, plane.index))),
            settings=session_model.settings | {"backbone": session_model.backbone_service.chosen},
            prompts=self._prompts,
            closed=closed,
            created=self._created,
        )


@dataclass(frozen=True)
class LatePromptSaver:
    """Keeps the prompt of a training whose widget is closed; may be called in any thread.

    Attributes
    ----------
    folder
        Of the session; None where there is none.
    stems
        Of the planes that the training was given; None of one whose layer is gone.
    """

    folder: SessionFolder | None
    stems: list[str | None]

    def __call__(self, prompt: Prompt, held_out: frozenset[int]) -> Path:
        """Keep a prompt, and give the file that it is in.

        Parameters
        ----------
        prompt
            The best one so far.
        held_out
            Numbers of the planes that measured it.

        Raises
        ------
        PtsamError
            If it is not kept in the session; it says whether it is kept elsewhere.
        """
        if self.folder is None:
            return put(prompt, "prompt")
        split = {stem: n in held_out for n, stem in enumerate(self.stems) if stem is not None}
        return self.folder.add_trained(prompt, split)


def _finish(steps: Callable[[], Steps]) -> None:
    for _ in steps():
        pass


def _raise(error: Exception) -> None:
    raise error


def _title(session: Session) -> str:
    """What a folder or file of the session is named after."""
    return session.images[0].name if session.images else "session"


def _job(where: Where) -> str:
    """Name of the job that saves a plane."""
    return f"plane {where[0]} {where[1]}"


def plane_key(record: PlaneRecord) -> Where:
    """What the autosave finds a plane by."""
    return cast(int, record.image), record.number


def _image(image: AnnotatedImage) -> SessionImage:
    origin = image.layer.source
    planes = image.planes
    return SessionImage(
        name=image.layer.name,
        shape=planes.array_shape,
        axes=planes.axes,
        pixel_size=planes.pixel_size,
        path=image.layer.metadata.get(FOLDER) or (origin.path and str(origin.path)),
        sample=None if origin.sample is None else tuple(origin.sample),
        channels=image.channels,
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
    if lock.tryLock(0):
        lock.unlock()
    # A folder that is read-only, or is not there, is in nobody's use.
    return lock.error() == QLockFile.LockError.LockFailedError
