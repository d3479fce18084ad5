"""Work in a thread, one item ahead of the one that is in hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def made_ahead(make: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """What is made of items, in their order; the next one is made while one is worked with.

    For reading and preparing, which leave a processor or a disk idle that the
    model could use. At most two things made are in memory besides the one in
    hand. What `make` raises is raised where its item's turn comes.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:
        waiting: Future[Made] | None = None
        for item in items:
            following = thread.submit(make, item)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()
