"""What is made in a thread, one ahead."""

from __future__ import annotations

import threading

import pytest

from napari_ptsam.inference.prefetch import prefetch


def test_the_next_is_made_while_one_is_in_hand() -> None:
    made, others = [], threading.Event()

    def make(number: int) -> int:
        made.append((number, threading.current_thread() is threading.main_thread()))
        if number == 1:
            others.set()
        return number * 10

    results = prefetch(make, range(5))
    assert next(results) == 0
    assert others.wait(5), "the second one is not being made"
    assert [number for number, _ in made] == [0, 1]  # and not the third
    assert list(results) == [10, 20, 30, 40]
    assert not any(in_main for _, in_main in made)


def test_an_error_comes_in_its_turn() -> None:
    results = prefetch(lambda number: 6 // number, [2, 1, 0, 3])
    assert [next(results), next(results)] == [3, 6]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_closing_leaves_no_thread_behind() -> None:
    def own() -> list[threading.Thread]:  # those of other tests end when they like
        return [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]

    results = prefetch(str, range(100))
    assert next(results) == "0" and own()
    results.close()
    assert own() == []
    assert list(prefetch(str, [])) == []
