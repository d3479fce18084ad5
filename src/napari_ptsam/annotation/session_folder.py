"""The session folder: an annotation set, its masks and its prompts on disk.

The layout is documented in docs/session-folder.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_ptsam.annotation import folder_layout
from napari_ptsam.annotation.folder_layout import IMAGES, MASKS, PROMPTS, plane_path
from napari_ptsam.annotation.plane_files import read_plane_file, write_plane_file
from napari_ptsam.annotation.saved_set import saved_set
from napari_ptsam.annotation.scheme import check_labels
from napari_ptsam.annotation.session import Session, SessionImage, SessionPlane, now
from napari_ptsam.annotation.session_file import load_session, save_session
from napari_ptsam.errors import InputError, OutputError, PtsamError, SessionError
from napari_ptsam.io.writing import reason
from napari_ptsam.prompts.library import kept_elsewhere
from napari_ptsam.training.presets import training_settings

if TYPE_CHECKING:
    from napari_ptsam.datasets.annotated_planes import AnnotationSet
    from napari_ptsam.prompts.prompt import Prompt

ROOT_VARIABLE = "NAPARI_PTSAM_SESSIONS"


class SessionFolder:
    """A session on disk, consistent at any moment.

    Each file is written beside and renamed. Write the session before the
    planes of an image that is new in it, and before planes are removed.

    Parameters
    ----------
    path
        The folder; it is looked at when something is read or written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._images: tuple[SessionImage, ...] | None = None

    @classmethod
    def create(cls, root: str | Path, name: str) -> SessionFolder:
        """Make a new folder, ``<date>-<name>``, with an empty session.

        Raises
        ------
        SessionError
            If it cannot be made.
        """
        path = folder_layout.make_new(
            Path(root), f"{date.today().isoformat()}-{folder_layout.slug(name)}"
        )
        folder = cls(path)
        try:
            folder.write(Session())
        except SessionError:
            path.rmdir()
            raise
        return folder

    def read(self) -> Session:
        """The session, with the planes that can be read.

        A mask with labels that session.json does not name is taken too, as a
        plane that is not done. What cannot be read is told in ``problems``.

        Raises
        ------
        SessionError
            If this is no session folder, or session.json cannot be read.
        """
        session = load_session(self.path)
        self._images = session.images
        planes: list[SessionPlane] = []
        problems: list[str] = []
        for plane in self._named_or_there(session):
            if not session.has_place_for(plane):
                path = plane_path(self.path, MASKS, plane)
                problems.append(f"{path} is left out: it belongs to no image of the session.")
                continue
            try:
                if self._check(plane, session) or plane in session.planes:
                    planes.append(plane)
            except SessionError as error:
                problems.append(f"{session.name_of(plane)} is left out: {error}")
        there = folder_layout.prompt_names(self.path)
        known = [name for name in session.prompts if name in there]
        new = [name for name in there if name not in known and folder_layout.number(name)]
        problems += [
            f"There is no prompt {self.path / PROMPTS / name} any more."
            for name in session.prompts
            if name not in there
        ]
        return replace(
            session,
            planes=tuple(planes),
            prompts=(*known, *new),
            problems=tuple(problems),
        )

    def write(self, session: Session) -> None:
        """Write session.json; the time of saving is filled in.

        Raises
        ------
        SessionError
            If it cannot be written, or holds something that could not be read again.
        """
        time = now()
        save_session(self.path, replace(session, created=session.created or time, saved=time))
        self._images = session.images

    def write_plane(
        self, plane: SessionPlane, pixels: np.ndarray | None, labels: np.ndarray
    ) -> None:
        """Write a plane's labels, and its pixels if they are not there yet.

        Parameters
        ----------
        plane
            Of an image that the session names.
        pixels
            Shape (y, x) or (y, x, channels); None if they are there.
        labels
            As painted: integer, shape (y, x).

        Raises
        ------
        InputError
            If the labels are none, or do not fit the pixels.
        SessionError
            If a file cannot be written.
        """
        if labels.ndim != 2 or (pixels is not None and pixels.shape[:2] != labels.shape):
            raise InputError(
                f"Labels of shape {labels.shape} do not fit the plane {plane.stem}; "
                "annotate it in a Labels layer of its own."
            )
        dtype = np.min_scalar_type(int(check_labels(labels).max(initial=0)))
        image = self._image(plane)
        size = None if image is None else image.pixel_size
        if pixels is not None and not self.has_pixels(plane):
            folder_layout.make(self.path / IMAGES)
            rgb = image is not None and image.rgb
            write_plane_file(plane_path(self.path, IMAGES, plane), pixels, rgb, size)
        # The mask comes last, so that there is none without pixels.
        folder_layout.make(self.path / MASKS)
        write_plane_file(plane_path(self.path, MASKS, plane), labels.astype(dtype), size=size)

    def has_pixels(self, plane: SessionPlane) -> bool:
        """Whether a plane's pixels are there."""
        return plane_path(self.path, IMAGES, plane).exists()

    def read_pixels(self, plane: SessionPlane) -> np.ndarray:
        """Pixels as saved: shape (y, x) or (y, x, channels); a SessionError if there are none."""
        return read_plane_file(plane_path(self.path, IMAGES, plane), False, self._shape(plane))

    def read_labels(self, plane: SessionPlane) -> np.ndarray:
        """Labels as painted: unsigned, shape (y, x); a SessionError if there are none."""
        return read_plane_file(plane_path(self.path, MASKS, plane), True, self._shape(plane))

    def remove_plane(self, plane: SessionPlane) -> None:
        """Remove a plane's files, those that are there.

        Raises
        ------
        SessionError
            If a file cannot be removed.
        """
        for path in (plane_path(self.path, MASKS, plane), plane_path(self.path, IMAGES, plane)):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise SessionError(f"{path} cannot be removed ({reason(error)}).") from error

    def save_prompt(self, prompt: Prompt) -> Path:
        """Write a prompt file under the next free name; the session is to name it then.

        Raises
        ------
        SessionError
            If it cannot be written.
        """
        while True:
            path = folder_layout.next_prompt_path(self.path)
            try:
                return prompt.save(path)
            except OutputError as error:
                if not path.exists():  # else somebody else took the name
                    raise SessionError(f"The prompt is not saved: {error}") from error

    def add_trained(self, prompt: Prompt, held_out: Mapping[str, bool]) -> Path:
        """Write the prompt of a training on this session, and have session.json name it.

        Parameters
        ----------
        prompt
            What the training gave.
        held_out
            Whether a plane measured it, by the plane's stem; so it stays.

        Raises
        ------
        KeptElsewhereError
            If the prompt cannot be written here; it says where it is kept.
        SessionError
            If it can be kept nowhere, or if it was written and session.json was not.
        """
        try:
            path = self.save_prompt(prompt)
        except SessionError as error:
            raise kept_elsewhere(prompt, self.path.name, error) from error
        try:
            # As it is now: somebody may have gone on annotating.
            session = load_session(self.path)
            named = {plane.stem for plane in session.planes}
            there = self.read()
            others = [plane for plane in there.planes if plane.stem not in named]
            planes = tuple(
                replace(plane, held_out=held_out.get(plane.stem, plane.held_out))
                for plane in (*session.planes, *others)
            )
            prompts = (*(name for name in there.prompts if name != path.name), path.name)
            self.write(replace(session, planes=planes, prompts=prompts))
        except SessionError as error:
            raise SessionError(f"The prompt is saved in {path}, but: {error}") from error
        return path

    def has_annotation(self, session: Session) -> bool:
        """Whether there is a mask of a plane that is done, or one with labels."""
        for plane in self._named_or_there(session):
            try:
                if session.scheme.is_annotated(self.read_labels(plane)) or plane.done:
                    return True
            except SessionError:
                continue
        return False

    def planes_that_count(self, session: Session) -> list[SessionPlane]:
        """Planes to learn from: dense annotation those that are done, sparse those with labels."""
        if not session.scheme.sparse:
            return [plane for plane in session.planes if plane.done]
        return [p for p in session.planes if session.scheme.is_annotated(self.read_labels(p))]

    def annotation_set(
        self, session: Session | None = None, part: float | None = None, seed: int | None = None
    ) -> AnnotationSet:
        """The planes that count, an example each, in their order.

        The saved planes of an image are the stack for normalisation.

        Parameters
        ----------
        session
            As read; None: it is read.
        part, seed
            For the planes whose side of the split is not decided; None: as the
            session's settings say.

        Raises
        ------
        InputError
            If too little is annotated, or a setting makes no sense.
        SessionError
            If something cannot be read.
        """
        session = session or self.read()
        settings = training_settings(session.settings)
        return saved_set(
            self.path,
            session,
            self.planes_that_count(session),
            self.read_labels,
            settings.held_out if part is None else part,
            settings.seed if seed is None else seed,
        )

    def _image(self, plane: SessionPlane) -> SessionImage | None:
        """The plane's image, as far as it is known; labels are saved without it too."""
        if self._images is None:
            try:
                self._images = load_session(self.path).images
            except SessionError:
                return None
        return self._images[plane.image] if plane.image < len(self._images) else None

    def _shape(self, plane: SessionPlane) -> tuple[int, int] | None:
        image = self._image(plane)
        return None if image is None else image.plane_shape

    def _named_or_there(self, session: Session) -> list[SessionPlane]:
        """Planes that session.json names, then those of which there is only a mask."""
        stems = {plane.stem for plane in session.planes}
        there = folder_layout.planes_with_masks(self.path)
        return [*session.planes, *(plane for plane in there if plane.stem not in stems)]

    def _check(self, plane: SessionPlane, session: Session) -> bool:
        """Whether a plane has labels; a SessionError if it cannot be read."""
        annotated = session.scheme.is_annotated(self.read_labels(plane))
        if annotated or plane in session.planes:
            self.read_pixels(plane)
        return annotated


def unfinished_sessions(root: str | Path) -> list[Path]:
    """Sessions that were not closed and have an annotated plane, the newest first.

    Folders that are none, or are broken, are left out.
    """
    found: list[tuple[datetime, Path]] = []
    try:
        paths = sorted(Path(root).iterdir())
    except OSError:
        return []
    for path in paths:
        try:
            session = load_session(path)
            if not session.closed and SessionFolder(path).has_annotation(session):
                found.append((datetime.fromisoformat(session.saved), path))
        except (PtsamError, OSError):
            continue
    return [path for _, path in sorted(found, key=lambda one: one[0], reverse=True)]


def default_root() -> Path:
    """Where sessions are kept if the user names no other place."""
    named = os.environ.get(ROOT_VARIABLE, "")
    if named:
        return Path(named).expanduser()
    from platformdirs import user_data_path

    return user_data_path("napari-ptsam", appauthor=False) / "sessions"
