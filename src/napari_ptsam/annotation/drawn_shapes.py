"""Turn drawn shapes, such as those of a Shapes layer, into labels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from napari_ptsam.annotation.strokes import stroke_pixels
from napari_ptsam.errors import InputError

Kind = Literal["ellipse", "line", "path", "polygon", "rectangle"]
CORNERS = 72
"""Number of corners of the polygon that stands for an ellipse."""
SAME_PLANE = 0.5
"""Largest distance from a plane, in planes, at which a shape lies on it."""


class DrawnShape(NamedTuple):
    """A shape in the coordinates of an image.

    Attributes
    ----------
    kind
        What the corners mean. Those of an ellipse are the corners of the rectangle around it.
    corners
        float, shape (corners, axes): positions on the leading axes, then y and x in pixels,
        where the centre of the first pixel is 0.
    width
        Width of a line or path, in pixels.
    """

    kind: Kind
    corners: np.ndarray
    width: float = 1.0


def labels_of_shapes(
    shapes: Sequence[DrawnShape], shape: tuple[int, ...], label: int | None = None
) -> np.ndarray:
    """Draw shapes as labels. Later shapes lie on top.

    Parameters
    ----------
    shapes
        The shapes; parts outside of the image are left out.
    shape
        Shape of the result: leading axes, then y and x.
    label
        Label of all shapes; by default, each has its number, counted from 1.

    Returns
    -------
    numpy.ndarray
        uint32, of the given shape.

    Raises
    ------
    InputError
        If a shape does not lie on a single plane.
    """
    labels = np.zeros(shape, np.uint32)
    for number, drawn in enumerate(shapes, start=1):
        leading = drawn.corners[:, :-2]
        if len(leading) and (np.ptp(leading, axis=0) > SAME_PLANE).any():
            raise InputError(
                f"Shape {number} extends over several planes; draw each shape on one plane."
            )
        at = tuple(leading.mean(0).round().astype(int).tolist())
        if all(0 <= position < size for position, size in zip(at, shape, strict=False)):
            _draw(drawn, labels[at], number if label is None else label)
    return labels


def _draw(drawn: DrawnShape, plane: np.ndarray, label: int) -> None:
    from skimage.draw import polygon

    corners = drawn.corners[:, -2:]
    if drawn.kind in ("line", "path"):
        _draw_path(corners, drawn.width, plane, label)
        return
    if drawn.kind == "ellipse":
        down, right = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
        turn = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)[:, None]
        corners = corners.mean(0) + np.cos(turn) * down + np.sin(turn) * right
    plane[polygon(corners[:, 0], corners[:, 1], plane.shape)] = label


def _draw_path(corners: np.ndarray, width: float, plane: np.ndarray, label: int) -> None:
    """Draw each segment as a rectangle of the width, and each corner as a disk."""
    from skimage.draw import disk, polygon

    radius = max(width / 2, 0.5)
    plane[stroke_pixels(corners, plane.shape)] = label  # thin lines leave no gaps
    for begin, end in pairwise(corners):
        length = float(np.hypot(*(end - begin)))
        if length > 0:
            across = radius * np.array([-(end - begin)[1], (end - begin)[0]]) / length
            outline = np.stack([begin + across, end + across, end - across, begin - across])
            plane[polygon(outline[:, 0], outline[:, 1], plane.shape)] = label
    for corner in corners:
        plane[disk(tuple(corner), radius, shape=plane.shape)] = label
