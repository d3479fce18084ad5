"""Drawn shapes as labels."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import label

from napari_ptsam.annotation.drawn_shapes import DrawnShape, labels_of_shapes
from napari_ptsam.annotation.strokes import stroke_pixels
from napari_ptsam.errors import InputError

SQUARE = np.array([(4, 5), (4, 14), (13, 14), (13, 5)], float)


def area(kind: str, corners: np.ndarray, width: float = 1.0) -> int:
    return int((labels_of_shapes([DrawnShape(kind, corners, width)], (40, 50)) > 0).sum())


def test_areas_of_each_kind() -> None:
    assert area("rectangle", SQUARE) == area("polygon", SQUARE) == 10 * 10
    assert abs(area("ellipse", SQUARE + 0.5) - np.pi * 4.5**2) < 8
    assert area("line", np.array([(10.0, 5.0), (10.0, 24.0)])) == 20
    assert abs(area("path", np.array([(10.0, 5.0), (10.0, 24.0), (30.0, 24.0)]), 5) - 39 * 5) < 40


def test_a_thin_line_covers_the_pixels_of_a_stroke() -> None:
    """Neighbours share a side, so that a diagonal leaves no gap and splits what it crosses."""
    points = [(3.0, 4.0), (20.0, 13.0), (9.0, 30.0)]
    drawn = labels_of_shapes([DrawnShape("path", np.array(points), 0.5)], (40, 50)) > 0
    stroke = np.zeros_like(drawn)
    stroke[stroke_pixels(points, drawn.shape)] = True
    assert drawn[stroke].all() and label(drawn, connectivity=1).max() == 1


def test_turned_ellipse() -> None:
    angle = np.pi / 4
    turn = np.array([(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))])
    corners = np.array([(-3, -9), (-3, 9), (3, 9), (3, -9)], float) @ turn.T + 20
    labels = labels_of_shapes([DrawnShape("ellipse", corners)], (40, 40))
    assert abs((labels > 0).sum() - np.pi * 3 * 9) < 8
    rows, columns = np.nonzero(labels)
    assert abs(np.corrcoef(rows, columns)[0, 1]) > 0.7


def test_shapes_lie_on_their_plane_and_on_top_of_each_other() -> None:
    def on(plane: float, corners: np.ndarray) -> DrawnShape:
        return DrawnShape("polygon", np.column_stack([np.full(len(corners), plane), corners]))

    shapes = [on(0, SQUARE), on(2.2, SQUARE), on(2, SQUARE + 5), on(7, SQUARE)]
    labels = labels_of_shapes(shapes, (3, 40, 50))
    assert [np.unique(plane).tolist() for plane in labels] == [[0, 1], [0], [0, 2, 3]]
    assert labels[2, 12, 12] == 3
    assert set(np.unique(labels_of_shapes(shapes, (3, 40, 50), 5))) == {0, 5}
    with pytest.raises(InputError, match="Shape 1 extends over several planes"):
        labels_of_shapes([DrawnShape("line", np.array([(0, 1, 1), (2, 5, 5.0)]))], (3, 40, 50))


def test_parts_outside_are_left_out() -> None:
    labels = labels_of_shapes(
        [DrawnShape("polygon", SQUARE - 8), DrawnShape("path", SQUARE + 40, 9)], (40, 50)
    )
    assert (labels[:6, :7] == 1).all() and labels.max() <= 2
    assert not labels_of_shapes([], (40, 50)).any()
