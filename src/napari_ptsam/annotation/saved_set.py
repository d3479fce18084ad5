"""What a session folder holds, as an annotation set to learn from."""

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
    counted: Sequence[SessionPlane],
    read_labels: Callable[[SessionPlane], np.ndarray],
    part: float,
    seed: int,
) -> AnnotationSet:
    """An example for each plane that counts; the saved planes of an image are its stack.

    Parameters
    ----------
    counted
        Planes of the session that are to be learned from.
    read_labels
        Gives the labels of a plane as painted.
    part, seed
        See `annotation_set`.

    Raises
    ------
    InputError
        If too little is annotated.
    SessionError
        If something cannot be read.
    """
    if not counted:
        instead = (
            "no plane has labels; paint on"
            if session.scheme.sparse
            else "no plane is marked as done; finish and mark"
        )
        raise InputError(f"Nothing can be learned from {folder}: {instead} at least one.")
    stacks = {number: _stack(folder, session, number) for number in {p.image for p in counted}}
    planes = []
    for plane in counted:
        stack, own = stacks[plane.image]
        labels, name = read_labels(plane), session.name_of(plane)
        planes.append(PaintedPlane(stack, own.index(plane), labels, plane.held_out, name))
    return annotation_set(planes, session.scheme, part, seed)


def _stack(folder: Path, session: Session, number: int) -> tuple[Planes, list[SessionPlane]]:
    """The saved planes of an image as a stack, and which they are."""
    image = session.images[number]
    own = [plane for plane in session.planes if plane.image == number]
    saved = SavedPlanes([plane_path(folder, IMAGES, plane) for plane in own])
    axes = "ZYX" + ("" if len(saved.shape) == 3 else "S" if image.rgb else "C")
    return Planes(saved, axes, image.name, image.pixel_size), own
