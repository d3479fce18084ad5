"""What the tests of the widget do again and again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer

from napari_ptsam.widgets.shared import worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

    from napari_ptsam.widgets.annotate.annotate_and_train import AnnotateAndTrain

LONG = 300_000
"""Milliseconds after which something that should happen has not; a slow machine is no failure."""

TOKENS_ONLY = {"detail": "off", "markers": "no"}
"""Settings of a training that is a means to an end: heads and markers take most of its time."""


@dataclass
class Nuclei:
    """Six planes, and their instances."""

    images: np.ndarray
    masks: np.ndarray


def paint(labels: Any, number: int, mask: np.ndarray) -> None:
    """Paint a plane as a user would, stroke by stroke: one for each object."""
    for value in np.unique(mask[mask > 0]):
        rows, columns = np.nonzero(mask == value)
        labels.data_setitem((np.full(len(rows), number), rows, columns), int(value))


def refreshed(qtbot, dock: QWidget) -> None:
    """Wait until the form shows what has happened: it does so once for many changes."""
    qtbot.waitUntil(lambda: not _due(dock, within=100), timeout=LONG)


def settled(qtbot, *docks: QWidget) -> None:
    """Wait until nothing more is to come: no timer runs out, no thread works, no event waits."""
    times = 0

    def at_rest() -> bool:
        nonlocal times
        busy = bool(worker._running) or any(_due(dock, within=2000) for dock in docks)
        times = 0 if busy else times + 1
        return times == 3  # events are processed in between

    qtbot.waitUntil(at_rest, timeout=LONG)


def _due(dock: QWidget, within: int) -> bool:
    """Whether a timer that fires once, of at most so many milliseconds, runs in a dock."""
    timers = [timer for timer in dock.findChildren(QTimer) if timer.isSingleShot()]
    return any(timer.isActive() and timer.interval() <= within for timer in timers)


def annotate(qtbot, widget: AnnotateAndTrain, stack: Nuclei, numbers: list[int]) -> None:
    """Paint planes and mark them as done."""
    if not widget.session_model.situation().annotation_layers:
        widget.annotate.add.click()
    source = widget.session_model.images[0]
    for number in numbers:
        paint(source.labels, number, stack.masks[number])
    qtbot.waitUntil(
        lambda: all(widget.session_model.records.get(source.id, n).painted for n in numbers),
        timeout=LONG,
    )
    for number in numbers:
        widget.session_model.records.mark(source.id, number, True)
    widget.session_model.touch()
    refreshed(qtbot, widget)


def train(qtbot, widget: AnnotateAndTrain, **settings: Any) -> None:
    """Press Train, with these settings, and wait until it is done."""
    widget.session_model.settings |= settings
    widget.train.train.click()
    assert widget.train.run.running
    qtbot.waitUntil(lambda: not widget.train.run.running, timeout=LONG)
    refreshed(qtbot, widget)


def training_under_way(
    qtbot, dock: Callable[..., Any], stack: Nuclei
) -> tuple[Any, AnnotateAndTrain]:
    """Begin a training that takes long, and wait until it has begun to learn."""
    viewer, widget = dock(nuclei=stack.images)
    annotate(qtbot, widget, stack, [0, 1, 2, 3])
    widget.session_model.settings |= {"steps": 5000, **TOKENS_ONLY}
    widget.train.train.click()
    # At first, tokens may find nothing or everything, and a training that stops gives no prompt.
    qtbot.waitUntil(lambda: min(widget.train.plot._losses[1], default=9) < 1, timeout=LONG)
    return viewer, widget
