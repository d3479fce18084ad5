"""Annotated planes as an annotation set."""

from dataclasses import replace

import numpy as np
import pytest

from napari_ptsam.annotation.painted_planes import PaintedPlane, annotation_set
from napari_ptsam.annotation.scheme import IGNORED, Scheme
from napari_ptsam.datasets.split import split
from napari_ptsam.errors import InputError
from napari_ptsam.images.normalize import Normalization
from napari_ptsam.images.planes import PixelSize, Planes
from napari_ptsam.images.settings import ImageSettings
from napari_ptsam.images.tiling import Tiling


class Watched:
    """An array that notes which planes are read."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype, self.read = array, array.shape, array.dtype, set()

    def __getitem__(self, index: tuple) -> np.ndarray:
        self.read.add(index[0])
        return self.array[index]


@pytest.fixture
def stack(nuclei) -> Planes:
    """Six planes of real nuclei as one stack."""
    return Planes(np.stack(nuclei[0]), "ZYX", "cells", PixelSize(0.5, 0.5))


@pytest.fixture
def dense(stack: Planes, nuclei) -> list[PaintedPlane]:
    """All six planes, with instances."""
    return [PaintedPlane(stack, number, nuclei[1][number]) for number in range(6)]


def scribbles(mask: np.ndarray, classes: int = 1) -> np.ndarray:
    """Sparse labels of a mask: some background (1), some objects (2, ...)."""
    labels = np.zeros(mask.shape, np.uint8)
    labels[::3] = np.where(mask[::3] > 0, 2 + mask[::3] % classes, 1)
    return labels


def test_dense_planes(dense, stack, nuclei) -> None:
    found = annotation_set(dense, Scheme(("nucleus",), ("#112233",)))
    assert [e.name for e in found.examples] == [f"cells, plane {i}" for i in range(6)]
    for number, example in enumerate(found.examples):
        assert (example.pixels == nuclei[0][number]).all() and example.stack == 0
        assert (example.labels == (nuclei[1][number] > 0)).all() and example.valid is None
        assert (example.instances == nuclei[1][number]).all()
    assert found.stacks == (stack,) and found.classes == ("nucleus",)
    assert found.colours == ("#112233",) and found.pixel_size == PixelSize(0.5, 0.5)
    assert found.held_out is not None and len(found.held_out) == 1


def test_ignored_pixels_are_not_learned_from(dense, nuclei) -> None:
    labels = nuclei[1][0].astype(np.uint16)
    labels[:40] = IGNORED
    planes = [replace(dense[0], labels=labels), *dense[1:3]]
    found = annotation_set(planes, Scheme(("nucleus",), ignored=IGNORED)).examples
    assert (found[0].valid == (labels != IGNORED)).all() and found[1].valid.all()
    assert (found[0].labels == ((labels > 0) & (labels != IGNORED))).all()
    assert (found[0].instances == np.where(labels == IGNORED, 0, labels)).all()
    assert IGNORED not in found[0].areas
    with pytest.raises(InputError, match="no background"):
        everything = np.where(labels > 0, labels, IGNORED)
        annotation_set([replace(dense[0], labels=everything)], Scheme(ignored=IGNORED))


def test_only_the_planes_needed_are_read(nuclei) -> None:
    watched = Watched(np.stack(nuclei[0]))
    image = Planes(watched, "ZYX", "lazy")
    planes = [PaintedPlane(image, number, nuclei[1][number]) for number in (4, 1)]
    found = annotation_set(planes, Scheme())
    assert watched.read == {4, 1} and [e.name for e in found.examples] == [
        "lazy, plane 4",
        "lazy, plane 1",
    ]


def test_labels_are_read_as_late_as_pixels(nuclei) -> None:
    """Labels of a layer are copied when the set is made, and only those of its planes."""
    image, painted = Planes(np.stack(nuclei[0])), np.stack(nuclei[1])
    watched = Watched(painted)
    planes = [PaintedPlane(image, number, Planes(watched), number == 4) for number in (4, 1)]
    assert not watched.read - {0}
    found = annotation_set(planes, Scheme())
    assert watched.read <= {0, 4, 1} and [e.number for e in found.examples] == [4, 1]
    assert [e.held_out for e in found.examples] == [True, False]
    painted[:] = 0
    assert found.examples[0].instances.any()


def test_values_are_stretched_over_the_whole_stack(dense, stack) -> None:
    """Not over the annotated planes only: segmenting later sees the whole stack."""
    found = annotation_set(dense[:1], Scheme())
    settings = ImageSettings(Tiling(128, whole=True), Normalization("stack"))
    limits = settings.limits(found.stacks[found.examples[0].stack])
    assert (limits == settings.limits(stack)).all()
    alone = settings.limits(Planes(dense[0].image[0]))
    assert (limits != alone).any()


def test_several_images(dense, stack, nuclei) -> None:
    plane = Planes(nuclei[0][0], "YX", "alone", PixelSize(1, 1))
    mixed = [dense[2], PaintedPlane(plane, 0, nuclei[1][0]), dense[3]]
    found = annotation_set(mixed, Scheme())
    assert found.stacks == (stack, plane) and [e.stack for e in found.examples] == [0, 1, 0]
    assert found.examples[1].name == "alone" and found.pixel_size is None
    named = annotation_set([replace(dense[0], name="mine")], Scheme())
    assert named.examples[0].name == "mine"


def test_channels_and_colours(nuclei) -> None:
    grey = np.stack(nuclei[0][:2])
    for axes, array, rgb in (
        ("CZYX", np.stack([grey, grey + 1]), False),
        ("ZYXS", np.stack([grey // 256] * 3, -1).astype(np.uint8), True),
        ("ZYXC", grey[..., None], False),
    ):
        image = Planes(array, axes, "image")
        example = annotation_set([PaintedPlane(image, 1, nuclei[1][1])], Scheme()).examples[0]
        assert (example.pixels == image[1]).all() and example.rgb == rgb


def test_sparse_planes(stack, nuclei) -> None:
    scheme = Scheme(("a", "b"), sparse=True)
    planes = [PaintedPlane(stack, n, scribbles(nuclei[1][n], 2)) for n in range(2)]
    # Only background on a plane is fine where others have the classes.
    empty = np.zeros((128, 128), np.uint8)
    empty[:5] = 1
    planes.append(PaintedPlane(stack, 2, empty))
    found = annotation_set(planes, scheme)
    for plane, example in zip(planes, found.examples, strict=True):
        assert (example.valid == (plane.labels > 0)).all()
        assert (example.labels == np.where(plane.labels > 1, plane.labels - 1, 0)).all()
        assert example.instances is None
    assert found.examples[2].labels.max() == 0 and found.classes == ("a", "b")


def test_an_empty_plane_that_is_done_is_background(dense) -> None:
    empty = replace(dense[1], labels=np.zeros((128, 128), np.uint16))
    found = annotation_set([dense[0], empty], Scheme())
    assert len(found.examples) == 2 and not found.examples[1].labels.any()


def test_what_is_decided_stays(dense) -> None:
    """Planes that a prompt was trained on never come to measure it."""
    scheme = Scheme()
    for seed in range(8):
        first = annotation_set(dense[:4], scheme, 0.25, seed).held_out
        assert len(first) == 1
        known = [replace(p, held_out=i in first if i < 4 else None) for i, p in enumerate(dense)]
        later = annotation_set(known, scheme, 0.5, seed)
        assert {i for i in later.held_out if i < 4} == first and len(later.held_out) == 3
        training, held_out = split(later, 0.15, seed + 1)
        assert len(training) == 3 and [e.name for e in held_out] == [
            dense[i].title for i in sorted(later.held_out)
        ]
    assert annotation_set(dense, scheme, 0.0).held_out == frozenset()


def fails(message: str, planes: list[PaintedPlane], scheme: Scheme | None = None) -> None:
    with pytest.raises(InputError, match=message):
        annotation_set(planes, scheme or Scheme())


def test_dense_errors(dense, nuclei) -> None:
    mask = nuclei[1][0]
    fails("Nothing is annotated yet", [])
    wrong = replace(dense[1], labels=mask[:100])
    fails(r"cells, plane 1 have the shape \(100, 128\), but the image has \(128, 128\)", [wrong])
    empty = replace(dense[0], labels=np.zeros_like(mask))
    fails("any pixel of object; paint some with label 1.$", [empty])
    full = replace(dense[2], labels=np.ones_like(mask))
    fails("Every pixel of cells, plane 2 is labelled", [dense[0], full])
    two = Scheme(("nucleus", "debris"))
    one = replace(dense[0], labels=(mask > 0).astype(int))
    fails("any pixel of debris; paint some with label 2, or remove the class", [one], two)
    fails(
        "cells, plane 0: Label 3 stands for no class",
        [replace(one, labels=one.labels * 3)],
        two,
    )
    fails("negative number -1", [replace(one, labels=-one.labels)])
    fails("whole numbers, not float64", [replace(one, labels=one.labels * 0.5)])


def test_sparse_errors(stack, nuclei) -> None:
    scheme = Scheme(("cell",), sparse=True, background=2)
    mask = nuclei[1][0] > 0
    background, objects = np.where(mask, 0, 2), np.where(mask, 1, 0)
    good = PaintedPlane(stack, 0, background + objects)
    annotation_set([good], scheme)
    fails(
        "No background is labelled on cells, plane 1; paint some background with label 2",
        [good, PaintedPlane(stack, 1, objects)],
        scheme,
    )
    fails("any pixel of cell; paint some with label 1", [replace(good, labels=background)], scheme)
    blank = PaintedPlane(stack, 3, np.zeros((128, 128), int))
    fails("Nothing is labelled on cells, plane 3", [good, blank], scheme)


def test_pixels_that_are_not_there(dense) -> None:
    pixels = dense[0].image[0].astype(np.float32)
    pixels[3, 3] = np.nan
    image = Planes(np.stack([pixels, pixels]), "ZYX", "bad")
    (example,) = annotation_set([replace(dense[0], image=image, number=1)], Scheme()).examples
    assert np.isnan(example.pixels[3, 3])  # it is left out in training
