"""Restore a session: find or open its images again, and put the annotations back."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QObject, Signal

from napari_ptsam.annotation.folder_layout import PROMPTS
from napari_ptsam.annotation.plane_records import PlaneRecord
from napari_ptsam.annotation.session import Session, SessionImage, SessionPlane
from napari_ptsam.annotation.session_folder import SessionFolder, unfinished_sessions
from napari_ptsam.errors import InputError, PtsamError
from napari_ptsam.prompts.files import load
from napari_ptsam.widgets.annotate.autosave import Autosave
from napari_ptsam.widgets.annotate.session_lock import is_in_use
from napari_ptsam.widgets.shared.background_jobs import ignore
from napari_ptsam.widgets.shared.folders import read_file, read_folder
from napari_ptsam.widgets.shared.layers import image_planes, is_image_layer
from napari_ptsam.widgets.shared.qt_helpers import local_time
from napari_ptsam.widgets.shared.remedies import in_form
from napari_ptsam.widgets.shared.torch_loading import load_torch

if TYPE_CHECKING:
    from napari_ptsam.prompts.prompt import Prompt
    from napari_ptsam.widgets.annotate.session_model import AnnotatedImage, SessionModel

MOST_PROBLEMS = 3
"""Largest number of problems of a session that a message lists."""


@dataclass(frozen=True, eq=False)
class _OpenedSession:
    """A session that was read in the worker's thread."""

    folder: SessionFolder
    session: Session
    labels: dict[SessionPlane, np.ndarray]
    prompt: Prompt | None
    prompt_file: str


class SessionRestore(QObject):
    """Find sessions that were not closed, and restore sessions."""

    unfinished_found = Signal(object, str)
    """A session was found that was not closed: its folder, and a description."""
    opened = Signal(object)

    def __init__(self, session_model: SessionModel, autosave: Autosave) -> None:
        super().__init__(session_model)
        self._session_model, self._autosave = session_model, autosave

    def find_unfinished(self) -> None:
        """Search in the background for a session that was not closed."""
        self._session_model.disk.submit(
            "unfinished",
            self._find_unfinished,
            lambda result: self.unfinished_found.emit(*result),
            ignore,
        )

    def _find_unfinished(self) -> Generator[object, None, None]:
        for path in unfinished_sessions(self._autosave.root):
            if is_in_use(path):
                continue
            try:
                session = SessionFolder(path).read()
            except PtsamError:  # removed or damaged meanwhile
                continue
            count = len(session.planes)
            planes = f"{count} annotated plane{'s' * (count != 1)}"
            yield path, f"{path.name}: {planes}, saved {local_time(session.saved)}"
            return

    def dismiss(self, path: Path) -> None:
        """Mark a session as closed, so that it is not offered again. Its files stay."""
        self._session_model.disk.submit("dismiss", partial(self._dismiss, path))

    @staticmethod
    def _dismiss(path: Path) -> Generator[object, None, None]:
        folder = SessionFolder(path)
        folder.write(replace(folder.read(), closed=True))
        yield None

    def open(self, path: Path) -> None:
        """Restore the session in a folder, and continue to save into it."""
        self._session_model.disk.submit("open", partial(self._read, path), self._restore)

    def _read(self, path: Path) -> Generator[object, None, None]:
        folder = SessionFolder(path)
        if is_in_use(path):
            raise InputError(f"Another napari works on {path}; close it there first.")
        session = folder.read()
        labels, problems = {}, list(session.problems)
        for plane in session.planes:
            try:
                labels[plane] = folder.read_labels(plane)
            except PtsamError as error:
                problems.append(in_form(error))
            yield None
        prompt, prompt_file = None, ""
        if session.prompts:
            load_torch()
        for path in reversed([folder.path / PROMPTS / name for name in session.prompts]):
            try:
                prompt, prompt_file = load(path), path.name
                break
            except PtsamError as error:  # try the one before
                problems.append(in_form(error))
        session = replace(session, problems=tuple(problems))
        yield _OpenedSession(folder, session, labels, prompt, prompt_file)

    # In the GUI thread

    def _restore(self, opened: _OpenedSession) -> None:
        if problems := opened.session.problems:
            show_warning("\n".join(listed(problems)))
        layers = [self._find(image) for image in opened.session.images]
        missing = [n for n, layer in enumerate(layers) if layer is None]
        if not missing:
            self._put_back(opened, layers)
            return
        self._session_model.disk.submit(
            "images", partial(self._open_images, opened, missing),
            partial(self._add_images, opened, layers),
        )  # fmt: skip

    def _find(self, image: SessionImage) -> Image | None:
        """Return an open layer that shows this image; None if there is none."""
        for layer in self._session_model.viewer.layers:
            if is_image_layer(layer) and layer.name == image.name and _shows(layer, image):
                return layer
        return None

    def _open_images(
        self, opened: _OpenedSession, missing: list[int]
    ) -> Generator[object, None, None]:
        """Open images from their files or, if these are missing, from their saved planes."""
        opened_images: dict[int, dict[str, Any]] = {}
        for number in missing:
            image = opened.session.images[number]
            keywords = (yield from _from_path(image)) or _from_session(opened, number)
            if keywords is not None:
                opened_images[number] = keywords
            yield None
        yield opened_images

    def _add_images(
        self,
        opened: _OpenedSession,
        layers: list[Image | None],
        opened_images: dict[int, dict[str, Any]],
    ) -> None:
        renumbered: dict[SessionPlane, int] = {}
        for number, keywords in opened_images.items():
            planes = keywords.pop("saved planes", None)
            layers[number] = self._session_model.viewer.add_image(**keywords)
            if planes is not None:
                renumbered |= {plane: position for position, plane in enumerate(planes)}
        if renumbered:
            show_info(
                "Some images cannot be found; their annotated planes are shown instead, and saved "
                "into a new session folder."
            )
        pairs = zip(opened.session.images, layers, strict=True)
        if names := [image.name for image, layer in pairs if layer is None]:
            show_warning(
                f"{', '.join(listed(names))}: cannot be found, and none of their planes is "
                "annotated; the session continues without them, in a new folder."
            )
        self._put_back(opened, layers, renumbered)

    def _put_back(
        self,
        opened: _OpenedSession,
        layers: list[Image | None],
        renumbered: dict[SessionPlane, int] | None = None,
    ) -> None:
        session_model, session = self._session_model, opened.session
        session_model.use_scheme(session.scheme)
        session_model.settings |= session.settings
        try:
            session_model.use_images([layer for layer in layers if layer is not None])
            for image in session_model.images:
                if image.labels is not None:
                    session_model.attach(image, None)
            session_model.add_annotation_layers()
        except PtsamError as error:
            show_warning(in_form(error))
            return
        present = [number for number, layer in enumerate(layers) if layer is not None]
        images = dict(zip(present, session_model.images, strict=True))
        unusable: list[str] = []
        for plane, labels in opened.labels.items():
            image = images[plane.image]
            number = _number(plane, image, renumbered or {})
            _write(image, number, labels)
            try:
                counts = session_model.scheme.counts(labels)
                objects = session_model.scheme.object_count(labels)
            except InputError as error:  # another program changed it; show it, but do not use it
                unusable.append(f"{image.planes.name}, plane {number}: {in_form(error)}")
                continue
            session_model.records.put(
                PlaneRecord(image.id, number, counts, objects, **plane.status)
            )
        for number, image in images.items():
            image.channels = session.images[number].channels or image.channels
            if image.labels is not None:
                image.labels.refresh()
        if unusable:
            show_warning("\n".join(listed(unusable)))
        if opened.prompt is not None:
            session_model.prompt, session_model.trained = opened.prompt, opened.prompt.origin.images
            session_model.prompt_path = opened.folder.path
        if renumbered or len(present) < len(layers):
            self.dismiss(opened.folder.path)
            self._autosave.start_new_folder()
        else:
            loaded = {} if opened.prompt is None else {opened.prompt_file: opened.prompt}
            self._autosave.continue_in(opened.folder, session, loaded)
        session_model.prompt_changed.emit()
        session_model.touch()
        self.opened.emit(opened.folder.path)


def listed(problems: Sequence[str]) -> list[str]:
    """Return the first problems in the words of the widgets, and the number of the others."""
    more = len(problems) - MOST_PROBLEMS
    return [*map(in_form, problems[:MOST_PROBLEMS]), *([f"… and {more} more."] if more > 0 else [])]


def _shows(layer: Image, image: SessionImage) -> bool:
    """Return whether a layer has the shape and axes of an image of a session."""
    axis = image.axes.find("C")
    try:
        planes = image_planes(layer, axis if axis >= 0 else None)
    except PtsamError:
        return False
    # Earlier sessions call any axis that counts planes z.
    return planes.array_shape == image.shape and _kinds(planes.axes) == _kinds(image.axes)


def _kinds(axes: str) -> str:
    """Return axes with the same letter for all that count planes."""
    return "".join(axis if axis in "YXCS" else "N" for axis in axes)


def _number(plane: SessionPlane, image: AnnotatedImage, renumbered: dict[SessionPlane, int]) -> int:
    if plane in renumbered:
        return renumbered[plane]
    leading = image.planes.leading
    return int(np.ravel_multi_index(plane.index, leading)) if leading else 0


def _write(image: AnnotatedImage, number: int, labels: np.ndarray) -> None:
    """Write a plane of labels into the annotation layer."""
    assert image.labels is not None
    planes = image.label_planes
    leading = planes.position(number)
    where = tuple(slice(None) if axis in "YX" else leading.get(axis, 0) for axis in planes.axes)
    image.labels.data[where] = labels


def _from_path(image: SessionImage) -> Generator[None, None, dict[str, Any] | None]:
    """Return keywords for ``add_image``; None if the file or folder is missing or has changed."""
    if image.path is None or not Path(image.path).exists():
        return None
    path = Path(image.path)
    images: list[dict[str, Any]] | None = None
    try:
        if path.is_dir():
            for result in read_folder(path):
                images = result or images
                yield None
        else:
            images = [read_file(path)]
    except PtsamError:
        return None
    keywords = images[0] if images and len(images) == 1 else None
    if keywords is None or tuple(keywords["data"].shape) != image.shape:
        return None
    return {**keywords, "name": image.name}


def _from_session(opened: _OpenedSession, number: int) -> dict[str, Any] | None:
    """Return keywords for ``add_image`` with the saved planes as a stack; None if there are none."""
    image = opened.session.images[number]
    planes = [plane for plane in opened.session.planes if plane.image == number]
    if not planes:
        return None
    pixels = [opened.folder.read_pixels(plane) for plane in planes]
    keywords: dict[str, Any] = {
        "data": np.stack(pixels) if image.axes not in ("YX", "YXS") else pixels[0],
        "name": image.name,
        "rgb": "S" in image.axes,
        "saved planes": planes,
    }
    if image.pixel_size is not None:
        lead = keywords["data"].ndim - 2 - keywords["rgb"]
        size = image.pixel_size
        keywords["scale"] = (*(1.0,) * lead, size.y, size.x)
        # Layers whose units differ in kind cannot be shown to scale together.
        lead_unit = "pixel" if size.z is None else size.unit
        keywords["units"] = (*(lead_unit,) * lead, size.unit, size.unit)
    return keywords
