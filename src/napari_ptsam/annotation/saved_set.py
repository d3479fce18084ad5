"""Make an annotation set from the planes that a session folder holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from napari_ptsam.annotation.folder_layout import IMAGES, plane_path
from napari_ptsam.annotation.painted_planes import PaintedPlane, annotation_set
from napari_ptsam.annotation.plane_files import SavedPlanes
from napari_ptsam.annotation.session import Session, SessionPlane
from napari_ptsam.datasets.annotated_planes import AnnotationSet
from napari_ptsam.errors import InputError
from napari_ptsam.images.planes import Planes


def saved_set(
    folder: Path,
    session: Session,
    planes: Sequence[SessionPlane],
    read_labels: Callable[[SessionPlane], np.ndarray],
    part: float,
    seed: int,
) -> AnnotationSet:
    """Make an annotation set of some planes of a session.

    All saved planes of an image make up its stack, from which value limits are
    computed.

    Parameters
    ----------
    folder
        The session folder.
    session
        The session as read from it.
    planes
        Planes of the session to learn from.
    read_labels
        Function that reads the labels of a plane as painted.
    part, seed
        Fraction of the planes to hold out and seed of the choice, see
        `annotation_set`.

    Raises
    ------
    InputError
        If not enough is annotated.
    SessionError
        If a file cannot be read.
    """
    if not planes:
        instead = (
            "no plane has labels; paint on"
            if session.scheme.sparse
            else "no plane is marked as done; finish and mark"
        )
        raise InputError(f"Nothing can be learned from {folder}: {instead} at least one.")
    stacks = {number: _stack(folder, session, number) for number in {p.image for p in planes}}
    painted = []
    for plane in planes:
        stack, saved_planes = stacks[plane.image]
        labels, name = read_labels(plane), session.name_of(plane)
        number = saved_planes.index(plane)
        painted.append(PaintedPlane(stack, number, labels, plane.held_out, name, plane.regions))
    return annotation_set(painted, session.scheme, part, seed)


def _stack(folder: Path, session: Session, number: int) -> tuple[Planes, list[SessionPlane]]:
    """Return the saved planes of an image as a stack, and a list of these planes."""
    image = session.images[number]
    saved_planes = [plane for plane in session.planes if plane.image == number]
    pixels = SavedPlanes([plane_path(folder, IMAGES, plane) for plane in saved_planes])
    axes = "ZYX" + ("" if len(pixels.shape) == 3 else "S" if image.rgb else "C")
    return Planes(pixels, axes, image.name, image.pixel_size), saved_planes
