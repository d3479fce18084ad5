"""The records knows which planes are annotated, of images in use and of others."""

from __future__ import annotations

from napari_ptsam.annotation.plane_records import PlaneRecord, PlaneRecords


def records() -> PlaneRecords:
    book = PlaneRecords()
    book.use(["b", "a"])
    book.count("a", 3, {"object": 10})
    book.count("b", 7, {"object": 20})
    book.count("b", 2, {"object": 5})
    return book


def keys(book: PlaneRecords) -> list[tuple[object, int]]:
    return [entry.key for entry in book]


def test_entries_come_in_the_order_of_images_and_planes() -> None:
    assert keys(records()) == [("b", 2), ("b", 7), ("a", 3)]


def test_what_is_not_in_use_is_kept_but_not_shown() -> None:
    book = records()
    book.use(["a"])
    assert keys(book) == [("a", 3)] and len(book) == 1
    assert len(book.all()) == 3 and book.get("b", 7).painted
    book.mark("b", 7, True)
    assert book.counting(sparse=False) == []
    book.use(["a", "b"])
    assert [e.key for e in book.counting(sparse=False)] == [("b", 7)]


def test_planes_that_count() -> None:
    book = records()
    assert book.counting(sparse=False) == []
    assert len(book.counting(sparse=True)) == 3
    book.mark("a", 3, True)
    book.mark("a", 9, True)  # done, and nothing on it
    assert [e.key for e in book.counting(sparse=False)] == [("a", 3), ("a", 9)]
    assert len(book.counting(sparse=True)) == 3


def test_a_plane_is_dropped_when_nothing_is_left_of_it() -> None:
    book = records()
    book.mark("a", 3, True)
    book.count("a", 3, {"object": 0})
    assert book.get("a", 3).done and not book.get("a", 3).painted
    book.mark("a", 3, False)
    assert ("a", 3) not in keys(book)
    # What is known of a plane does not bring it in.
    book.rate("a", 4, 0.5)
    book.hold_out("a", 4, True)
    assert ("a", 4) not in keys(book)


def test_a_change_leaves_the_rest_as_it_is() -> None:
    book = records()
    book.mark("a", 3, True)
    book.hold_out("a", 3, True)
    book.rate("a", 3, 0.75)
    counts = {"object": 11}
    book.count("a", 3, counts)
    assert book.get("a", 3) == PlaneRecord(
        "a", 3, {"object": 11}, done=True, held_out=True, dice=0.75
    )
    counts["object"] = 0
    assert book.get("a", 3).counts == {"object": 11}
    book.hold_out("a", 3, None)
    assert book.get("a", 3).held_out is None


def test_an_image_is_forgotten() -> None:
    book = records()
    book.forget("b")
    assert keys(book) == [("a", 3)] and len(book.all()) == 1
    book.forget("b")


def test_an_entry_is_taken_as_it_is() -> None:
    book = records()
    book.put(PlaneRecord("a", 8, {"object": 1}, done=True, held_out=False, dice=0.5))
    assert book.get("a", 8).dice == 0.5
    book.put(PlaneRecord("a", 8))
    assert ("a", 8) not in keys(book)
