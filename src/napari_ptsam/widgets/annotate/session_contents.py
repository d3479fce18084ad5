"""Describe the session model as the contents of a session folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from napari_ptsam.annotation.session import Session, SessionImage, SessionPlane
from napari_ptsam.widgets.shared.folders import FOLDER

if TYPE_CHECKING:
    from napari_ptsam.annotation.plane_records import PlaneRecord
    from napari_ptsam.prompts.prompt import Prompt
    from napari_ptsam.widgets.annotate.session_model import AnnotatedImage, SessionModel

PlaneKey = tuple[int, int]
"""Identifier of an image, and the number of a plane in it."""


class SessionContents:
    """The contents that a session folder should have now.

    It gives every image a number in the folder, which the image keeps whether
    it is in use or not. An image that is read along other axes than before gets
    another number.

    Parameters
    ----------
    session_model
        The session in this window.
    session
        The session that the folder holds already; None for a new folder. Its
        images are those in use, in the same order.

    Attributes
    ----------
    prompts
        Names of the prompt files in the folder. The last one is restored with the session:
        the newest, unless the user chose an older one.
    loaded
        Prompts of these files that were saved or loaded in this window, by file name.
    detached
        Planes in the folder whose layers were removed, perhaps by mistake, by
        their stems. The folder keeps their files and status.
    """

    def __init__(self, session_model: SessionModel, session: Session | None = None) -> None:
        self._session_model = session_model
        self._created = "" if session is None else session.created
        self._images: list[SessionImage] = [] if session is None else list(session.images)
        self._numbers: dict[tuple[int, str], int] = {}
        if session is not None:
            for number, image in enumerate(session_model.images):
                self._numbers[image.id, image.planes.axes] = number
        self.prompts: tuple[str, ...] = () if session is None else session.prompts
        self.loaded: dict[str, Prompt] = {}
        self.detached: dict[str, SessionPlane] = {}

    def add_prompt(self, prompt: Prompt, name: str) -> None:
        """Add the file of a prompt, as the one that is restored with the session."""
        self.loaded[name] = prompt
        self.prompts = (*(other for other in self.prompts if other != name), name)

    def file_of(self, prompt: Prompt) -> str | None:
        """Return the name of the file that holds a prompt; None if there is none."""
        return next((name for name, other in self.loaded.items() if other is prompt), None)

    def image(self, record: PlaneRecord) -> AnnotatedImage | None:
        """Return the image of a record; None if its layer was removed."""
        return next((i for i in self._session_model.known if i.id == record.image), None)

    def plane(self, record: PlaneRecord) -> SessionPlane | None:
        """Return the plane of a record; None if the layer of its image was removed."""
        image = self.image(record)
        return None if image is None else self.plane_of(image, record)

    def plane_of(self, image: AnnotatedImage, record: PlaneRecord) -> SessionPlane:
        """Return the plane of a record whose image is known."""
        in_use = image in self._session_model.images
        # A training on the folder leaves out images that are not in use.
        status = record.status | {"done": record.done and in_use}
        return SessionPlane(self._number(image), image.index(record.number), **status)

    def session(self, closed: bool = False) -> Session:
        """Return the session as session.json should hold it."""
        session_model = self._session_model
        for image in session_model.images:
            self._number(image)
        records = session_model.records.all()
        planes = [plane for record in records if (plane := self.plane(record)) is not None]
        stems = {plane.stem for plane in planes}
        planes += [plane for stem, plane in self.detached.items() if stem not in stems]
        return Session(
            scheme=session_model.scheme,
            images=tuple(self._images),
            planes=tuple(sorted(planes, key=lambda plane: (plane.image, plane.index))),
            settings=session_model.settings | {"backbone": session_model.backbone_service.chosen},
            prompts=self.prompts,
            closed=closed,
            created=self._created,
        )

    def _number(self, image: AnnotatedImage) -> int:
        """Return the image's number in the folder, assigning one if it has none."""
        key = image.id, image.planes.axes
        if key not in self._numbers:
            self._numbers[key] = len(self._images)
            self._images.append(_session_image(image))
        return self._numbers[key]


def plane_key(record: PlaneRecord) -> PlaneKey:
    """Return the image identifier and plane number of a record in this window."""
    return cast(int, record.image), record.number


def session_title(session: Session) -> str:
    """Return the name after which a session's folder and files are named."""
    return session.images[0].name if session.images else "session"


def _session_image(image: AnnotatedImage) -> SessionImage:
    origin, planes = image.layer.source, image.planes
    return SessionImage(
        name=image.layer.name,
        shape=planes.array_shape,
        axes=planes.axes,
        pixel_size=planes.pixel_size,
        path=image.layer.metadata.get(FOLDER) or (origin.path and str(origin.path)),
        sample=None if origin.sample is None else tuple(origin.sample),
        channels=image.channels,
    )
