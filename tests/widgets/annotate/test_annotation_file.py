"""An annotation from a file that another program wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from qtpy.QtWidgets import QFileDialog
from scipy import ndimage

from conftest_objects import as_rois, rings_of
from conftest_widgets import LONG, refreshed
from napari_ptsam.widgets.annotate.images_tab import ANNOTATION, FROM_FILE, NONE

pytestmark = pytest.mark.usefixtures("loaded")


def choose_file(widget, path: Path, monkeypatch) -> None:
    """Choose "From a file…" for the first image, and this file in the dialog."""
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_, **__: (str(path), ""))
    box = widget.images.table.cellWidget(0, ANNOTATION)
    box.setCurrentIndex(box.findText(FROM_FILE))
    box.activated.emit(box.currentIndex())


def test_rois_become_an_annotation_layer(
    qtbot, dock, nuclei, tmp_path: Path, monkeypatch, told
) -> None:
    masks = [mask.astype(np.int32) for mask in nuclei[1][:2]]
    rings = [ring for mask in masks for ring in rings_of(mask)]
    positions = [n for n, mask in enumerate(masks, start=1) for _ in rings_of(mask)]
    path = as_rois(tmp_path / "cells.zip", rings, positions)
    _, widget = dock(nuclei=np.stack(nuclei[0][:2]))
    refreshed(qtbot, widget)
    choose_file(widget, path, monkeypatch)
    model = widget.session_model
    qtbot.waitUntil(lambda: model.images[0].labels is not None, timeout=LONG)
    labels = np.asarray(model.images[0].labels.data)
    for plane, mask in zip(labels, masks, strict=True):
        assert ((plane > 0) == (mask > 0)).mean() > 0.99
        assert len(np.unique(plane)) == len(np.unique(mask))
    qtbot.waitUntil(lambda: len(model.counting()) == 2, timeout=LONG)  # they count as done
    refreshed(qtbot, widget)
    box = widget.images.table.cellWidget(0, ANNOTATION)
    assert box.currentText() == "nuclei annotation" and told == []


def test_a_mask_file_and_files_that_do_not_fit(
    qtbot, dock, nuclei, tmp_path: Path, monkeypatch, told
) -> None:
    _, widget = dock(nuclei=nuclei[0][0])
    refreshed(qtbot, widget)
    tifffile.imwrite(tmp_path / "small.tif", nuclei[1][0][:64, :64])
    (tmp_path / "bad.zip").write_bytes(b"PK")
    for name, words in (("small.tif", "64 x 64 pixels"), ("bad.zip", "damaged or of another kind")):
        choose_file(widget, tmp_path / name, monkeypatch)
        qtbot.waitUntil(lambda words=words: any(words in text for text in told), timeout=LONG)
        refreshed(qtbot, widget)
        assert widget.images.table.cellWidget(0, ANNOTATION).currentText() == NONE
    tifffile.imwrite(tmp_path / "mask.tif", nuclei[1][0])
    choose_file(widget, tmp_path / "mask.tif", monkeypatch)
    model = widget.session_model
    qtbot.waitUntil(lambda: model.images[0].labels is not None, timeout=LONG)
    assert np.array_equal(model.images[0].labels.data, nuclei[1][0])


def test_unusual_values_are_asked_about_once(
    qtbot, dock, nuclei, tmp_path: Path, monkeypatch, told
) -> None:
    viewer, widget = dock(nuclei=nuclei[0][0])
    refreshed(qtbot, widget)
    model, masks, inside = widget.session_model, widget.images.masks, nuclei[1][0] > 0
    soft = ndimage.gaussian_filter(inside * 255.0, 1).astype(np.uint8)
    tifffile.imwrite(tmp_path / "soft.tif", soft)
    choose_file(widget, tmp_path / "soft.tif", monkeypatch)
    qtbot.waitUntil(lambda: masks.question is not None, timeout=LONG)
    assert "soft edges" in masks.question._masks.meaning.assumed and model.images[0].labels is None
    assert not masks.question.picture.pixmap().isNull()
    masks.question.accept()
    qtbot.waitUntil(lambda: model.images[0].labels is not None, timeout=LONG)
    assert ((model.images[0].labels.data > 0) == inside).mean() > 0.99

    plus_one = viewer.add_labels(nuclei[1][0].astype(int) + 1, name="plus one")
    model.attach(model.images[0], plus_one)
    masks.look_at(model.images[0])
    qtbot.waitUntil(lambda: masks.question is not None, timeout=LONG)
    assert masks.question.background.currentText() == "1"
    masks.question.objects.setChecked(True)
    masks.question.accept()
    qtbot.waitUntil(lambda: model.images[0].labels is not plus_one, timeout=LONG)
    assert np.array_equal(model.images[0].labels.data > 0, inside) and not plus_one.visible
    model.attach(model.images[0], plus_one)
    masks.look_at(model.images[0])
    qtbot.wait(200)
    assert masks.question is None and told == []
