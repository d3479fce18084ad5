"""The session folder: images, masks, settings and prompts of a session on disk.

Its layout is documented in docs/session-folder.md.
"""

from __future__ import annotations

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
from napari_ptsam.errors import InputError, OutputError, PtsamError, SessionError, framed
from napari_ptsam.io.user_folders import named_folder, user_folder
from napari_ptsam.io.writing import reason
from napari_ptsam.prompts.library import kept_elsewhere
from napari_ptsam.training.presets import training_settings

if TYPE_CHECKING:
    from napari_ptsam.datasets.annotated_planes import AnnotationSet
    from napari_ptsam.prompts.prompt import Prompt

ROOT_VARIABLE = "NAPARI_PTSAM_SESSIONS"


class SessionFolder:
    """A session on disk, which is consistent at any moment.

    Each file is written under another name and then renamed. Write the session
    before the planes of an image that is new in it, and before removing planes.

    Parameters
    ----------
    path
        Path of the folder. It is not accessed before something is read or written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._images: tuple[SessionImage, ...] | None = None

    @classmethod
    def create(cls, root: str | Path, name: str) -> SessionFolder:
        """Make a new folder named ``<date>-<name>``, with an empty session.

        Raises
        ------
        SessionError
            If the folder cannot be made.
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
        """Read the session, with all planes that can be read.

        A mask with labels that session.json does not name is included as a
        plane that is not done. Files that cannot be read are listed in
        ``problems``.

        Raises
        ------
        SessionError
            If this is not a session folder, or session.json cannot be read.
        """
        session = load_session(self.path)
        self._images = session.images
        planes: list[SessionPlane] = []
        problems: list[str] = []
        for plane in self._all_planes(session):
            if not session.has_place_for(plane):
                path = plane_path(self.path, MASKS, plane)
                problems.append(f"{path} is left out: it belongs to no image of the session.")
                continue
            try:
                if self._check(plane, session) or plane in session.planes:
                    planes.append(plane)
            except SessionError as error:
                problems.append(framed(error, before=f"{session.name_of(plane)} is left out: "))
        existing = folder_layout.prompt_names(self.path)
        known = [name for name in session.prompts if name in existing]
        new = [name for name in existing if name not in known and folder_layout.number(name)]
        problems += [
            f"There is no prompt {self.path / PROMPTS / name} any more."
            for name in session.prompts
            if name not in existing
        ]
        return replace(
            session,
            planes=tuple(planes),
            prompts=(*known, *new),
            problems=tuple(problems),
        )

    def write(self, session: Session) -> None:
        """Write session.json with the current time.

        Raises
        ------
        SessionError
            If the file cannot be written, or could not be read again.
        """
        time = now()
        save_session(self.path, replace(session, created=session.created or time, saved=time))
        self._images = session.images

    def write_plane(
        self, plane: SessionPlane, pixels: np.ndarray | None, labels: np.ndarray
    ) -> None:
        """Write a plane's labels, and its pixels if there is no file of them yet.

        Parameters
        ----------
        plane
            Plane of an image that the session names.
        pixels
            Pixels of shape (y, x) or (y, x, channels); None if they are on disk.
        labels
            Labels as painted: integer, shape (y, x).

        Raises
        ------
        InputError
            If the labels are not valid, or do not fit the pixels.
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
        # The mask is written last, so that no mask lacks its pixels.
        folder_layout.make(self.path / MASKS)
        write_plane_file(plane_path(self.path, MASKS, plane), labels.astype(dtype), size=size)

    def has_pixels(self, plane: SessionPlane) -> bool:
        """Return whether a plane's pixels are on disk."""
        return plane_path(self.path, IMAGES, plane).exists()

    def read_pixels(self, plane: SessionPlane) -> np.ndarray:
        """Read the pixels of a plane, of shape (y, x) or (y, x, channels).

        Raises
        ------
        SessionError
            If they cannot be read.
        """
        return read_plane_file(plane_path(self.path, IMAGES, plane), False, self._shape(plane))

    def read_labels(self, plane: SessionPlane) -> np.ndarray:
        """Read the labels of a plane as painted: unsigned integer, shape (y, x).

        Raises
        ------
        SessionError
            If they cannot be read.
        """
        return read_plane_file(plane_path(self.path, MASKS, plane), True, self._shape(plane))

    def remove_plane(self, plane: SessionPlane) -> None:
        """Remove the files of a plane, if they exist.

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
        """Write a prompt file under the next free name, and return its path.

        The caller adds the name to the session.

        Raises
        ------
        SessionError
            If the prompt cannot be written.
        """
        while True:
            path = folder_layout.next_prompt_path(self.path)
            try:
                return prompt.save(path)
            except OutputError as error:
                if not path.exists():  # otherwise another process took the name
                    raise SessionError(framed(error, before="The prompt is not saved: ")) from error

    def add_trained(self, prompt: Prompt, held_out: Mapping[str, bool]) -> Path:
        """Write the prompt of a training on this session, and add it to session.json.

        Parameters
        ----------
        prompt
            The trained prompt.
        held_out
            Whether each plane was held out, by the plane's stem. The session
            keeps this split.

        Raises
        ------
        KeptElsewhereError
            If the prompt cannot be written here; the message says where it is kept.
        SessionError
            If the prompt can be kept nowhere, or if session.json cannot be written.
        """
        try:
            path = self.save_prompt(prompt)
        except SessionError as error:
            raise kept_elsewhere(prompt, self.path.name, error) from error
        try:
            # Read again, since annotation may have continued meanwhile.
            session = load_session(self.path)
            named = {plane.stem for plane in session.planes}
            current = self.read()
            others = [plane for plane in current.planes if plane.stem not in named]
            planes = tuple(
                replace(plane, held_out=held_out.get(plane.stem, plane.held_out))
                for plane in (*session.planes, *others)
            )
            prompts = (*(name for name in current.prompts if name != path.name), path.name)
            self.write(replace(session, planes=planes, prompts=prompts))
        except SessionError as error:
            raise SessionError(
                framed(error, before=f"The prompt is saved in {path}, but: ")
            ) from error
        return path

    def has_annotation(self, session: Session) -> bool:
        """Return whether there is a mask with labels, or one of a plane that is done."""
        for plane in self._all_planes(session):
            try:
                if session.scheme.is_annotated(self.read_labels(plane)) or plane.done:
                    return True
            except SessionError:
                continue
        return False

    def planes_that_count(self, session: Session) -> list[SessionPlane]:
        """Return the planes to learn from: those with labels if sparse, else those that are done."""
        if not session.scheme.sparse:
            return [plane for plane in session.planes if plane.done]
        return [
            plane
            for plane in session.planes
            if session.scheme.is_annotated(self.read_labels(plane))
        ]

    def annotation_set(
        self, session: Session | None = None, part: float | None = None, seed: int | None = None
    ) -> AnnotationSet:
        """Make an annotation set of the planes to learn from.

        All saved planes of an image make up its stack, from which value limits
        are computed.

        Parameters
        ----------
        session
            The session as read from this folder; it is read if None.
        part, seed
            Fraction of the planes to hold out and seed of the choice, for
            planes for which this is not decided; None for the values in the
            session's settings.

        Raises
        ------
        InputError
            If not enough is annotated, or a setting is not valid.
        SessionError
            If a file cannot be read.
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
        """Return the image of a plane; None if session.json cannot be read."""
        if self._images is None:
            try:
                self._images = load_session(self.path).images
            except SessionError:
                return None
        return self._images[plane.image] if plane.image < len(self._images) else None

    def _shape(self, plane: SessionPlane) -> tuple[int, int] | None:
        image = self._image(plane)
        return None if image is None else image.plane_shape

    def _all_planes(self, session: Session) -> list[SessionPlane]:
        """Return the planes that session.json names, then those with only a mask."""
        stems = {plane.stem for plane in session.planes}
        with_masks = folder_layout.planes_with_masks(self.path)
        return [*session.planes, *(plane for plane in with_masks if plane.stem not in stems)]

    def _check(self, plane: SessionPlane, session: Session) -> bool:
        """Return whether a plane has labels, checking that its files can be read."""
        annotated = session.scheme.is_annotated(self.read_labels(plane))
        if annotated or plane in session.planes:
            self.read_pixels(plane)
        return annotated


def unfinished_sessions(root: str | Path) -> list[Path]:
    """Return the sessions that were not closed and have an annotated plane, the newest first.

    Other folders, and sessions that cannot be read, are left out.
    """
    sessions: list[tuple[datetime, Path]] = []
    try:
        paths = sorted(Path(root).iterdir())
    except OSError:
        return []
    for path in paths:
        try:
            session = load_session(path)
            if not session.closed and SessionFolder(path).has_annotation(session):
                sessions.append((datetime.fromisoformat(session.saved), path))
        except (PtsamError, OSError):
            continue
    sessions.sort(key=lambda session: session[0], reverse=True)
    return [path for _, path in sessions]


def default_root() -> Path:
    """Return the folder for sessions, unless the user names another one."""
    return named_folder(ROOT_VARIABLE) or user_folder("data") / "sessions"
