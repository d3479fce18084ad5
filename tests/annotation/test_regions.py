"""Boxes in which planes are annotated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_ptsam.annotation import regions as module
from napari_ptsam.annotation.painted_planes import PaintedPlane, annotation_set
from napari_ptsam.annotation.plane_records import PlaneRecord, PlaneRecords
from napari_ptsam.annotation.regions import mask_of, region_at, region_of, surroundings
from napari_ptsam.annotation.scheme import Scheme
from napari_ptsam.annotation.session import Session, SessionImage, SessionPlane, now
from napari_ptsam.errors import InputError
from napari_ptsam.images.planes import Planes

SHAPE = (100, 200)


def test_a_region_lies_between_two_corners_and_in_the_plane() -> None:
    assert region_of((50.2, 150), (20, 99.6), SHAPE) == (20, 100, 50, 150)
    assert region_of((-30, 150), (40, 999), SHAPE) == (0, 150, 40, 200)
    assert region_of((20, 20), (22, 90), SHAPE) is None
    assert region_of((-40, 20), (-5, 90), SHAPE) is None
    assert region_of((-1, -1), (9, 9), (8, 8)) == (0, 0, 8, 8)


def test_regions_as_pixels(monkeypatch) -> None:
    regions = (20, 100, 50, 150), (40, 140, 60, 180)
    mask = mask_of(regions, SHAPE)
    assert mask.sum() == 30 * 50 + 20 * 40 - 10 * 10
    assert region_at(regions, (45, 145)) == regions[1] and region_at(regions, (5, 5)) is None
    monkeypatch.setattr(module, "CONTEXT", 30)
    assert surroundings(regions, SHAPE) == (slice(0, 90), slice(70, 200))


@pytest.mark.parametrize("sparse", [False, True])
def test_only_the_regions_are_learned_from(nuclei, monkeypatch, sparse) -> None:
    monkeypatch.setattr(module, "CONTEXT", 10)
    stack = Planes(np.stack(nuclei[0]), "ZYX", "cells")
    labels = nuclei[1][0] if not sparse else np.where(nuclei[1][0] > 0, 2, 1)
    scheme = Scheme(("nucleus",), sparse=sparse)
    regions = ((20, 30, 90, 100),)
    planes = [
        PaintedPlane(stack, 0, labels, False, regions=regions),
        PaintedPlane(stack, 1, nuclei[1][1] if not sparse else labels, False),
    ]
    first, second = annotation_set(planes, scheme).examples
    window = slice(10, 100), slice(20, 110)
    assert np.array_equal(first.pixels, nuclei[0][0][window]) and first.number == 0
    inside = mask_of(regions, stack.shape)[window]
    assert np.array_equal(first.valid, inside)
    assert np.array_equal(first.labels > 0, (nuclei[1][0][window] > 0) & inside)
    assert second.pixels.shape == stack.shape and second.valid.all()


def test_records_and_sessions_keep_regions() -> None:
    records = PlaneRecords()
    records.use(["image"])
    records.limit("image", 3, ((0, 0, 20, 20),))
    record = records.get("image", 3)
    assert len(records) == 1 and not record.painted and not record.done
    assert PlaneRecord("image", 3, **record.status) == record
    records.limit("image", 3, ())
    assert len(records) == 0
    image = SessionImage("cells", (5, 64, 64), "ZYX")
    plane = SessionPlane(0, (3,), **record.status)
    session = Session(images=(image,), planes=(plane,), created=now(), saved=now())
    plain = session.to_plain()
    assert Session.from_plain(plain).planes == (plane,)
    del plain["planes"][0]["regions"], plain["scheme"]["ignored"]
    assert Session.from_plain(plain).planes == (replace(plane, regions=()),)
    plain["planes"][0]["regions"] = [[0, 0, 20, 65]]
    with pytest.raises(InputError, match="region"):
        Session.from_plain(plain)
