"""Save changes to the session folder within seconds, outside of the GUI thread."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QLockFile, QObject, Signal

from napari_ptsam.annotation.session_folder import SessionFolder, default_root
from napari_ptsam.errors import InputError, PtsamError
from napari_ptsam.prompts.library import kept_elsewhere, put
from napari_ptsam.widgets.annotate.session_contents import (
    PlaneKey,
    SessionContents,
    plane_key,
    session_title,
)
from napari_ptsam.widgets.annotate.session_lock import lock_session
from napari_ptsam.widgets.shared.qt_helpers import single_shot
from napari_ptsam.widgets.shared.remedies import in_form

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from napari_ptsam.annotation.plane_records import PlaneRecord
    from napari_ptsam.annotation.session import Session, SessionPlane
    from napari_ptsam.images.planes import Planes
    from napari_ptsam.prompts.prompt import Prompt
    from napari_ptsam.widgets.annotate.label_watcher import PlaneUpdate
    from napari_ptsam.widgets.annotate.session_model import AnnotatedImage, SessionModel
    from napari_ptsam.widgets.shared.worker import Steps

DELAY = 1000
"""Milliseconds from a change of settings or planes until the session is written."""
CHOICE = "prompt in use"
"""Name of the job that has a session restored with a certain prompt."""
RETRY = 10_000
"""Milliseconds until a failed save is tried again."""
END_OF_STEP = 5.0
"""Seconds for which closing waits until the current file is written."""


class Autosave(QObject):
    """Keep a session folder up to date with the session model.

    The folder is made when the first plane is annotated.

    Parameters
    ----------
    session_model
        The session to save.
    root
        Folder in which session folders are made; None for the user's data directory.
    """

    state_changed = Signal(str, bool)
    """A message for the user, and whether something could not be saved."""

    def __init__(self, session_model: SessionModel, root: Path | None) -> None:
        super().__init__(session_model)
        self._session_model, self._root = session_model, root
        self._reset()
        self._delay = single_shot(self, DELAY)
        self._retry = single_shot(self, RETRY)
        for timer in (self._delay, self._retry):
            timer.timeout.connect(self.write_session)
        session_model.planes_changed.connect(self.schedule)
        session_model.settings_changed.connect(self.schedule)
        session_model.labels_leaving.connect(self._keep_detached)

    def _reset(self, folder: SessionFolder | None = None, session: Session | None = None) -> None:
        """Leave the current folder, and use another one, which may be new."""
        self.folder = folder
        self._contents = SessionContents(self._session_model, session)
        self._images_named = 0 if session is None else len(session.images)
        """Number of images that session.json names on disk."""
        self._lock: QLockFile | None = None if folder is None else lock_session(folder.path)
        self._written: dict[PlaneKey, SessionPlane] = {}
        """Planes that are on disk, or being written."""
        self._unsaved: dict[str, Callable[[], Steps]] = {}
        """Writes of planes and prompts that have not finished, by the name of their job."""
        self._failing: set[str] = set()
        """Names of the jobs that failed last time."""
        self._prompt: Prompt | None = None
        self._used: Prompt | None = None
        self._kept_elsewhere: Prompt | None = None

    @property
    def root(self) -> Path:
        """Folder in which new session folders are made."""
        return self._root or default_root()

    def use_root(self, root: Path | None) -> None:
        """Make session folders in another place, and save everything there again."""
        self._root = root
        self.start_new_folder()

    def start_new_folder(self) -> None:
        """Save everything into a new session folder."""
        self.release()
        self.write_session()

    def continue_in(
        self, folder: SessionFolder, session: Session, loaded: dict[str, Prompt]
    ) -> None:
        """Save into an existing session folder, whose images are those in use.

        Parameters
        ----------
        folder, session
            The folder and its contents.
        loaded
            Prompts that were loaded from it, by file name.
        """
        self.release()
        self._reset(folder, session)
        self._contents.loaded = loaded
        for record in self._session_model.records:
            plane = self._contents.plane(record)
            if plane is not None:
                self._written[plane_key(record)] = plane
        self.schedule()

    def release(self) -> None:
        """Unlock the session folder, and save nothing more into it."""
        if self._lock is not None:
            self._lock.unlock()
        self._reset()

    # When to save

    def schedule(self) -> None:
        """Write the session soon, unless there is nothing to save."""
        if (self.folder is not None or self._session_model.records.all()) and (
            not self._delay.isActive()
        ):
            self._delay.start()

    def save_update(self, update: PlaneUpdate) -> None:
        """Save a plane that was painted on."""
        record = self._session_model.records.get(update.image.id, update.number)
        if update.changed and update.counts is not None and (record.painted or record.done):
            self._save_plane(record)
        self.schedule()

    def write_session(self) -> None:
        """Write session.json now, and the planes that are missing on disk."""
        if self.folder is None and not self._session_model.records.all():
            return
        records = {plane_key(record): record for record in self._session_model.records.all()}
        self._failing &= {"session", "prompt", CHOICE, *map(_job, records)}
        for key, record in records.items():
            if key not in self._written:
                self._save_plane(record)
        used = self._used
        if "prompt" in self._failing and self._prompt is not None:
            self.keep_prompt(self._prompt)
        if used is not None and self._failing & {"prompt", CHOICE}:
            self.use_prompt(used)
        session = self._contents.session()
        erased = [plane for key, plane in self._written.items() if key not in records]
        self._written = {key: plane for key, plane in self._written.items() if key in records}
        steps = partial(self._write_session, session, erased)
        self._submit("session", steps, replace=not erased)

    def _keep_detached(self, image: AnnotatedImage) -> None:
        """Keep the saved planes of an image that is losing its annotation layer."""
        for record in self._session_model.records.all():
            if record.image == image.id and plane_key(record) in self._written:
                plane = self._contents.plane_of(image, record)
                self._contents.detached[plane.stem] = plane
        self._written = {key: p for key, p in self._written.items() if key[0] != image.id}

    def keep_prompt(self, prompt: Prompt) -> None:
        """Save a prompt in the session folder, next to the annotations it was trained on."""
        self._prompt, self._used = prompt, None
        session, again = self._contents.session(), prompt is self._kept_elsewhere
        steps = partial(self._write_prompt, prompt, session, not again)
        self._submit("prompt", steps, replace=False)
        self.schedule()

    def use_prompt(self, prompt: Prompt) -> None:
        """Have the session restored with this prompt, which is saved in its folder if it is not yet."""
        self._used = prompt
        self._submit(CHOICE, partial(self._write_choice, prompt, self._contents.session()))
        self.schedule()

    def write_remaining(self, painted: Iterable[tuple[AnnotatedImage, int]]) -> list[str]:
        """Write everything that is not on disk yet, in this thread, and mark the session as closed.

        If a file cannot be written, the others are written nevertheless.

        Parameters
        ----------
        painted
            Planes whose last strokes may not be on disk.

        Returns
        -------
        list of str
            Messages about the files that could not be written.
        """
        self._delay.stop()
        self._retry.stop()
        # From here on, nothing runs in the background, so nothing is written twice.
        self._session_model.disk.close(END_OF_STEP)
        writes: list[Callable[[], None]] = []
        for image, number in painted:
            writes.append(partial(self._write_plane_now, image, number))
            self._unsaved.pop(_job((image.id, number)), None)
        writes += [partial(_exhaust, steps) for steps in self._unsaved.values()]
        problems: list[str] = []
        with ExitStack() as bugs:  # raised at the end, after everything was tried
            for write in (*writes, self._write_closed):
                try:
                    write()
                except PtsamError as error:
                    problems.append(in_form(error))
                except Exception as error:
                    bugs.callback(_raise, error)
        return list(dict.fromkeys(problems))

    def late_prompt_saver(self, records: Sequence[PlaneRecord]) -> LatePromptSaver:
        """Return a function that saves the prompt of a training after the widget is closed.

        Parameters
        ----------
        records
            Records of the planes that it is trained on.
        """
        planes = [self._contents.plane(record) for record in records]
        return LatePromptSaver(
            self.folder, [None if plane is None else plane.stem for plane in planes]
        )

    def _write_closed(self) -> None:
        if self.folder is not None:
            self.folder.write(self._contents.session(closed=True))

    def _write_plane_now(self, image: AnnotatedImage, number: int) -> None:
        planes, records = image.label_planes, self._session_model.records
        labels = planes[number]
        with suppress(InputError):  # labels without a class are saved nevertheless
            scheme = self._session_model.scheme
            counts, objects = scheme.counts(labels), scheme.object_count(labels)
            records.count(image.id, number, counts, objects)
        record = records.get(image.id, number)
        if record.painted or record.done or labels.any():
            plane = self._contents.plane_of(image, record)
            if image in self._session_model.known:
                self._contents.detached.pop(plane.stem, None)
            else:
                self._contents.detached.setdefault(plane.stem, plane)
            session = self._contents.session()
            _exhaust(partial(self._write_plane, image.planes, planes, number, plane, session))

    def _save_plane(self, record: PlaneRecord) -> None:
        image = self._contents.image(record)
        if image is None or image.labels is None:
            return
        plane = self._contents.plane_of(image, record)
        try:
            # Copied here, since the layer may be removed before the thread reads it.
            labels = image.label_planes
        except InputError:  # the label watcher reports labels that no longer fit
            return
        self._written[plane_key(record)] = plane
        self._contents.detached.pop(plane.stem, None)
        session = self._contents.session()
        steps = partial(self._write_plane, image.planes, labels, record.number, plane, session)
        self._submit(_job(plane_key(record)), steps)

    # In the worker's thread

    def _submit(self, name: str, steps: Callable[[], Steps], replace: bool = True) -> None:
        if name != "session":
            self._unsaved[name] = steps
        self._session_model.disk.submit(
            f"save {name}", partial(self._run, name, steps), partial(self._saved, name),
            partial(self._failed, name), replace=replace,
        )  # fmt: skip

    def _run(self, name: str, steps: Callable[[], Steps]) -> Steps:
        for path in steps():
            if self._unsaved.get(name) is steps:  # otherwise a newer change waits to be saved
                self._unsaved.pop(name, None)
            yield path

    def _existing_folder(self, session: Session) -> SessionFolder:
        """Return the session folder, which is made if there is none."""
        if self.folder is None:
            folder = SessionFolder.create(self.root, session_title(session))
            self._write_json(folder, session)  # it must name the images before their planes come
            self._lock = lock_session(folder.path)
            self.folder = folder
        return self.folder

    def _write_json(self, folder: SessionFolder, session: Session) -> None:
        folder.write(session)
        self._images_named = len(session.images)

    def _write_plane(
        self, planes: Planes, labels: Planes, number: int, plane: SessionPlane, session: Session
    ) -> Steps:
        folder = self._existing_folder(session)
        if plane.image >= self._images_named:
            self._write_json(folder, session)
        pixels = None if folder.has_pixels(plane) else planes[number]
        folder.write_plane(plane, pixels, np.array(labels[number]))
        yield folder.path

    def _write_session(self, session: Session, erased: list[SessionPlane]) -> Steps:
        folder = self._existing_folder(session)
        self._write_json(folder, session)
        for plane in erased:
            folder.remove_plane(plane)
        yield folder.path

    def _write_prompt(self, prompt: Prompt, session: Session, or_elsewhere: bool) -> Steps:
        try:
            path = self._existing_folder(session).save_prompt(prompt)
        except PtsamError as error:
            raise (
                kept_elsewhere(prompt, session_title(session), error) if or_elsewhere else error
            ) from None
        self._contents.add_prompt(prompt, path.name)
        yield path.parent.parent

    def _write_choice(self, prompt: Prompt, session: Session) -> Steps:
        folder, name = self._existing_folder(session), self._contents.file_of(prompt)
        if name is None:
            name = folder.save_prompt(prompt).name
        self._contents.add_prompt(prompt, name)
        yield folder.path

    # Results, in the GUI thread

    def _saved(self, name: str, path: Path) -> None:
        self._failing.discard(name)
        if not self._failing:
            self.state_changed.emit(f"Saved in the session folder {path.name}", False)

    def _failed(self, name: str, message: str) -> None:
        self._written.clear()
        self._retry.start()
        is_news = not self._failing  # one message is enough until everything is saved again
        if name == "prompt" and self._kept_elsewhere is not self._prompt:
            self._kept_elsewhere, is_news = self._prompt, True  # the message says where it is
            self._unsaved.pop(name, None)
        if is_news:
            self.state_changed.emit(message, True)
        self._failing.add(name)


@dataclass(frozen=True)
class LatePromptSaver:
    """Save the prompt of a training whose widget is closed. It may be called in any thread.

    Attributes
    ----------
    folder
        The session folder; None if there is none.
    stems
        Stems of the planes of the training; None for a plane whose layer was
        removed.
    """

    folder: SessionFolder | None
    stems: list[str | None]

    def __call__(self, prompt: Prompt, held_out: frozenset[int]) -> Path:
        """Save a prompt, and return the path of its file.

        Parameters
        ----------
        prompt
            The best prompt of the training.
        held_out
            Indices of the planes that were held out for validation.

        Raises
        ------
        PtsamError
            If it is not saved in the session; the message says whether it is
            kept in another place.
        """
        if self.folder is None:
            return put(prompt, "prompt")
        split = {stem: i in held_out for i, stem in enumerate(self.stems) if stem is not None}
        return self.folder.add_trained(prompt, split)


def _exhaust(steps: Callable[[], Steps]) -> None:
    """Run all steps of a write."""
    for _ in steps():
        pass


def _raise(error: Exception) -> None:
    raise error


def _job(key: PlaneKey) -> str:
    """Return the name of the job that saves a plane."""
    return f"plane {key[0]} {key[1]}"
