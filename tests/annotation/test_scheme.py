"""What painted labels mean."""

import numpy as np
import pytest

from napari_ptsam.annotation.scheme import IGNORED, UNLABELLED, Scheme
from napari_ptsam.datasets.annotated_planes import annotate
from napari_ptsam.errors import InputError
from napari_ptsam.images.planes import Planes

TWO = ("nucleus", "debris")


def painted(*values: int) -> np.ndarray:
    """A plane of 20 x 20 pixels that begins with some labels."""
    labels = np.zeros((20, 20), np.int32)
    labels.ravel()[: len(values)] = values
    return labels


def test_one_dense_class_takes_every_label_for_an_object() -> None:
    scheme = Scheme()
    assert scheme.classes == ("object",) and scheme.values == (1,) and scheme.instances
    assert scheme.reading.unlabelled is None and scheme.reading.empty == "background"
    labels = painted(1, 7, 7, 90000)
    assert scheme.counts(labels) == {"object": 4}
    mask = scheme.mask(labels)
    assert mask.dtype == np.int64 and (mask == labels).all()


def test_dense_classes() -> None:
    scheme = Scheme(TWO)
    assert scheme.values == (1, 2) and not scheme.instances
    labels = painted(1, 2, 2)
    assert scheme.counts(labels) == {"nucleus": 1, "debris": 2}
    assert (scheme.mask(labels) == labels).all()


@pytest.mark.parametrize(
    ("background", "values"), [(1, (2, 3)), (2, (1, 3)), (3, (1, 2)), (9, (1, 2))]
)
def test_sparse_labels_become_what_the_reading_understands(background: int, values: tuple) -> None:
    scheme = Scheme(TWO, sparse=True, background=background)
    assert scheme.values == values and not scheme.instances
    labels = painted(background, background, background, values[0], values[1], values[1])
    assert scheme.counts(labels) == {"background": 3, "nucleus": 1, "debris": 2}
    mask = scheme.mask(labels)
    assert mask.dtype == np.int64
    assert mask.ravel()[:7].tolist() == [0, 0, 0, 1, 2, 2, -1] and (mask.ravel()[6:] == -1).all()
    example = annotate([Planes(labels)], [Planes(mask)], scheme.reading).examples[0]
    assert example.valid.sum() == 6
    assert np.bincount(example.labels[example.valid]).tolist() == [3, 1, 2]


def test_one_sparse_class_is_no_instances() -> None:
    scheme = Scheme(("cell",), sparse=True)
    assert scheme.values == (2,) and not scheme.instances
    assert scheme.mask(painted(1, 2)).ravel()[:3].tolist() == [0, 1, -1]
    with pytest.raises(InputError, match=r"Label 3 .* 1 \(background\), 2 \(cell\), or add"):
        scheme.counts(painted(1, 2, 3))


@pytest.mark.parametrize("dtype", ["uint8", "int64", "uint64", "bool"])
def test_all_whole_dtypes_of_labels(dtype: str) -> None:
    labels = painted(1, 1).astype(dtype)
    assert Scheme().counts(labels) == {"object": 2}
    assert Scheme(TWO).counts(labels) == {"nucleus": 2, "debris": 0}
    assert Scheme(TWO).mask(labels).sum() == Scheme().mask(labels).sum() == 2


def test_is_annotated() -> None:
    assert not Scheme().is_annotated(painted())
    assert Scheme().is_annotated(painted(0, 3))
    assert Scheme(sparse=True).is_annotated(painted(1))


def test_labels_of_no_class_are_named() -> None:
    for scheme in (Scheme(TWO), Scheme(TWO, sparse=True, background=3)):
        for use in (scheme.counts, scheme.mask):
            with pytest.raises(InputError, match="Label 4 stands for no class; paint over it"):
                use(painted(1, 2, 4))
    with pytest.raises(InputError, match=r"Label 5 stands for no class.*9 \(background\)"):
        Scheme(TWO, sparse=True, background=9).counts(painted(1, 5, 9))
    many = Scheme(tuple(f"class {i}" for i in range(20)))
    with pytest.raises(InputError, match=r"Label 4000000000 .*6 \(class 5\), \.\.\., or add"):
        many.mask(painted().astype(np.uint32) + np.uint32(4_000_000_000))


def test_labels_that_are_none() -> None:
    for scheme in (Scheme(), Scheme(TWO)):
        with pytest.raises(InputError, match="negative number -3"):
            scheme.mask(painted(-3))
        with pytest.raises(InputError, match="whole numbers, not float64"):
            scheme.counts(painted(1).astype(float))
        with pytest.raises(InputError, match="which is too large"):
            scheme.mask(painted(1).astype(np.uint64) * np.uint64(2**63))


def test_what_a_scheme_refuses() -> None:
    for message, options in (
        ("Name 1 to 250 classes, not 0", {"classes": ()}),
        ("Name 1 to 250 classes, not 251", {"classes": tuple(map(str, range(251)))}),
        ("1 to 60 printable", {"classes": (" ",)}),
        ("1 to 60 printable", {"classes": ("a\nb",)}),
        ("same name", {"classes": ("a", "a")}),
        ("2 classes but 1 colours", {"classes": TWO, "colours": ("#FF0000",)}),
        ("'red' is not of the form #RRGGBB", {"colours": ("red",)}),
        ("label is a number from 1 to 251, not 0", {"background": 0}),
        ("label is a number from 1 to 251, not 1.5", {"background": 1.5}),
        ("cannot be called background", {"classes": ("background",), "sparse": True}),
    ):
        with pytest.raises(InputError, match=message):
            Scheme(**options)
    assert Scheme(("background",)).classes == ("background",)


def test_colours_are_chosen_where_none_are_given() -> None:
    assert len(set(Scheme(TWO).colours)) == 2
    assert Scheme(TWO, ("#000000", "#ffffff")).colours == ("#000000", "#ffffff")


def test_a_scheme_as_plain_values() -> None:
    scheme = Scheme(("Zellkern µ", "b"), ("#123456", "#abcdef"), sparse=True, background=2)
    plain = scheme.to_plain()
    assert plain["classes"] == ["Zellkern µ", "b"] and type(plain["background"]) is int
    assert Scheme.from_plain(plain) == scheme
    for key, wrong in (
        ("classes", "ab"),
        ("classes", [1]),
        ("colours", ["red", "blue"]),
        ("sparse", 1),
        ("background", True),
    ):
        with pytest.raises(InputError):
            Scheme.from_plain(plain | {key: wrong})


@pytest.mark.parametrize("classes", [("cell",), ("cell", "debris")])
def test_ignored_pixels_are_neither_object_nor_background(classes) -> None:
    scheme = Scheme(classes, ignored=IGNORED)
    labels = np.array([[0, 1, 2, IGNORED]], np.uint16)
    assert scheme.mask(labels).tolist() == [[0, 1, 2, UNLABELLED]]
    assert scheme.reading.unlabelled == UNLABELLED
    assert scheme.counts(labels)["ignored"] == 1
    assert sum(scheme.counts(labels).values()) == 3
    assert "ignored" not in scheme.counts(labels[:, :3])
    assert scheme.is_annotated(labels[:, 3:])
    assert scheme.without_ignored(labels).tolist() == [[0, 1, 2, 0]]
    assert Scheme.from_plain(scheme.to_plain()) == scheme


def test_schemes_of_earlier_versions_ignore_nothing() -> None:
    plain = Scheme().to_plain()
    del plain["ignored"]
    scheme = Scheme.from_plain(plain)
    labels = np.array([[0, IGNORED]], np.uint16)
    assert scheme == Scheme() and scheme.reading.unlabelled is None
    assert scheme.mask(labels).tolist() == labels.tolist()
    with pytest.raises(InputError, match="label of ignored pixels"):
        Scheme(ignored=7)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
def test_objects_are_counted(dtype) -> None:
    labels = np.zeros((20, 30), dtype)
    labels[2:5, 2:5], labels[8:12, 3:9], labels[15, 15] = 3, 200, 1
    assert Scheme(("cell",)).object_count(labels) == 3
    assert Scheme(("cell",)).object_count(np.zeros_like(labels)) == 0
    assert Scheme(("cell", "debris")).object_count(labels) is None
