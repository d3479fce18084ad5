"""The contents of a session: images, annotated planes, and how they are annotated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from math import prod
from typing import Any

import numpy as np

from napari_ptsam.annotation.plane_records import PlaneStatus
from napari_ptsam.annotation.scheme import NEWER, Scheme
from napari_ptsam.errors import InputError
from napari_ptsam.images.axes import CHANNEL_AXES
from napari_ptsam.images.planes import PixelSize
from napari_ptsam.io.validation import python_values, read_values

KIND = "napari-ptsam session"
VERSION = 1


@dataclass(frozen=True)
class SessionImage:
    """An image or stack with annotated planes.

    Attributes
    ----------
    name
        Name of the image in messages and of its layer.
    shape
        Shape of the whole array.
    axes
        One letter for each axis, among them Y and X; C or S for channels.
    pixel_size
        Pixel size; None if it is unknown.
    path
        File or folder that the image was opened from; None if there is none.
    sample
        Name of the sample data and of the image in it, if the image is one.
    channels
        Numbers of the channels in use; None for all.

    Raises
    ------
    InputError
        If the axes do not fit the shape, or the image is empty.
    """

    name: str
    shape: tuple[int, ...]
    axes: str
    pixel_size: PixelSize | None = None
    path: str | None = None
    sample: tuple[str, str] | None = None
    channels: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        axes = set(self.axes)
        if not {"Y", "X"} <= axes or not len(axes) == len(self.axes) == len(self.shape):
            raise InputError(f"the axes {self.axes!r} do not fit an image of shape {self.shape}")
        if min(self.shape) < 1:
            raise InputError(f"an image of shape {self.shape} has nothing in it")

    @property
    def leading(self) -> tuple[int, ...]:
        """Sizes of all axes except y, x and channels."""
        sizes = zip(self.axes, self.shape, strict=True)
        return tuple(size for axis, size in sizes if axis not in "YX" + CHANNEL_AXES)

    @property
    def plane_shape(self) -> tuple[int, int]:
        """Size of a plane: (y, x)."""
        return self.shape[self.axes.index("Y")], self.shape[self.axes.index("X")]

    @property
    def rgb(self) -> bool:
        """Whether the channels are red, green and blue."""
        return "S" in self.axes


@dataclass(frozen=True)
class SessionPlane(PlaneStatus):
    """An annotated plane in a session folder.

    Its pixels and labels are files, so that this class holds only their place
    and the plane's status.

    Attributes
    ----------
    image
        Number of the image in the session.
    index
        Position of the plane along the image's leading axes; () in an image
        that is a single plane.
    """

    image: int
    index: tuple[int, ...]

    @property
    def stem(self) -> str:
        """Name of the plane's files without their suffix."""
        return "-".join([f"{self.image:03}", *map(str, self.index)])

    def number(self, image: SessionImage) -> int:
        """Return the number of the plane in its image, the last leading axis varying fastest."""
        return int(np.ravel_multi_index(self.index, image.leading)) if self.index else 0


@dataclass(frozen=True)
class Session:
    """A session without pixels and labels, as session.json holds it.

    Attributes
    ----------
    scheme
        Classes and the meaning of the labels.
    images
        Images with annotated planes.
    planes
        Annotated planes whose files can be read.
    settings
        Settings of the training as JSON values; see `training_settings`.
    prompts
        Names of the files in the folder ``prompts``, the newest last.
    closed
        Whether the user ended the session.
    created, saved
        Times in ISO 8601, UTC.
    problems
        One sentence for each file that could not be read; not part of session.json.
    """

    scheme: Scheme = field(default_factory=Scheme)
    images: tuple[SessionImage, ...] = ()
    planes: tuple[SessionPlane, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    prompts: tuple[str, ...] = ()
    closed: bool = False
    created: str = ""
    saved: str = ""
    problems: tuple[str, ...] = ()

    def has_place_for(self, plane: SessionPlane) -> bool:
        """Return whether the plane lies in one of the images."""
        if not 0 <= plane.image < len(self.images):
            return False
        leading = self.images[plane.image].leading
        return len(plane.index) == len(leading) and all(
            0 <= i < size for i, size in zip(plane.index, leading, strict=True)
        )

    def _regions_fit(self, plane: SessionPlane) -> bool:
        """Return whether the regions of a plane lie in it."""
        rows, columns = self.images[plane.image].plane_shape
        return all(
            0 <= y0 < y1 <= rows and 0 <= x0 < x1 <= columns for y0, x0, y1, x1 in plane.regions
        )

    def name_of(self, plane: SessionPlane) -> str:
        """Return the name of a plane in messages: its image, and its number if there are several."""
        image = self.images[plane.image]
        part = f", plane {plane.number(image)}" if prod(image.leading) > 1 else ""
        return image.name + part

    def to_plain(self) -> dict[str, Any]:
        """Return the session as a dict of JSON values."""
        plain = {"kind": KIND, "version": VERSION, **asdict(self)}
        del plain["problems"]
        values: dict[str, Any] = python_values(plain)
        return values

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Session:
        """Return the session that `to_plain` converted to JSON values.

        Raises
        ------
        InputError
            If a value is missing, has another type, or cannot be used.
        """
        session = read_values(cls, {**plain, "problems": ()}, optional=NEWER)
        for name in session.prompts:
            _check_file_name(name)
        for time in (session.created, session.saved):
            _check_time(time)
        if not all(session.has_place_for(plane) for plane in session.planes):
            raise InputError("a plane lies in none of the images")
        if not all(session._regions_fit(plane) for plane in session.planes):
            raise InputError("a region lies outside of its plane")
        if len({plane.stem for plane in session.planes}) < len(session.planes):
            raise InputError("a plane is there twice")
        return session


def now() -> str:
    """Return the current time in ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _check_file_name(name: str) -> None:
    """Raise an error unless a name is that of a file, without a folder."""
    if not name.isprintable() or name in ("", ".", "..") or set(name) & set("/\\:"):
        raise InputError("the name of a prompt is not a valid file name")


def _check_time(text: str) -> None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError("a time is not of the form 2026-01-31T12:00:00+00:00") from error
    if time.tzinfo is None:
        raise InputError("a time has no time zone")
