"""A Shapes layer as annotation, which follows what is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from conftest_widgets import LONG, refreshed
from napari_ptsam.widgets.annotate.images_tab import ANNOTATION

pytestmark = pytest.mark.usefixtures("loaded")
SQUARE = np.array([(1, 4, 5), (1, 4, 14), (1, 13, 14), (1, 13, 5)], float)


def choose(widget, name: str) -> None:
    box = widget.images.table.cellWidget(0, ANNOTATION)
    box.setCurrentIndex(box.findText(name))
    box.activated.emit(box.currentIndex())


def test_shapes_are_converted_as_they_are_drawn(qtbot, dock, nuclei, told) -> None:
    viewer, widget = dock(nuclei=np.stack(nuclei[0][:3]))
    viewer.layers["nuclei"].scale = (1, 0.5, 0.5)
    shapes = viewer.add_shapes(
        [SQUARE], shape_type="polygon", name="cells", scale=(1, 0.25, 0.25)
    )  # on other pixels than the image
    refreshed(qtbot, widget)
    qtbot.waitUntil(
        lambda: widget.images.table.cellWidget(0, ANNOTATION).findText("cells (shapes)") > 0,
        timeout=LONG,
    )
    choose(widget, "cells (shapes)")
    model = widget.session_model
    labels = model.images[0].labels
    assert labels.name == "cells as labels"
    assert (np.asarray(labels.data[1]) > 0).sum() == 5 * 5 and not np.asarray(labels.data)[
        ::2
    ].any()
    qtbot.waitUntil(lambda: len(model.counting()) == 1, timeout=LONG)

    labels.data_setitem((np.full(4, 1), np.full(4, 40), np.arange(4)), 9)  # paint of the user
    labels.data_setitem((np.array([1]), np.array([3]), np.array([4])), 7)  # over a shape
    moved = SQUARE.copy()
    moved[:, 0] = 2
    shapes.add(moved, shape_type="rectangle")
    qtbot.waitUntil(lambda: np.asarray(labels.data[2]).any(), timeout=LONG)
    assert set(np.unique(labels.data[2])) == {0, 2}
    shapes.selected_data = {0}
    shapes.remove_selected()
    qtbot.waitUntil(lambda: not (np.asarray(labels.data[1]) == 1).any(), timeout=LONG)
    kept = np.asarray(labels.data[1])
    assert (kept[40, :4] == 9).all() and kept[3, 4] == 7 and (kept > 0).sum() == 5
    viewer.layers.remove(shapes)
    assert told == []


def test_shapes_without_planes_are_declined(qtbot, dock, nuclei, told) -> None:
    viewer, widget = dock(nuclei=np.stack(nuclei[0][:3]))
    viewer.add_shapes([SQUARE[:, 1:]], shape_type="polygon", name="flat")
    refreshed(qtbot, widget)
    qtbot.waitUntil(
        lambda: widget.images.table.cellWidget(0, ANNOTATION).findText("flat (shapes)") > 0,
        timeout=LONG,
    )
    choose(widget, "flat (shapes)")
    assert "the layer has 2 axes" in told[-1]
    assert widget.session_model.images[0].labels is None
