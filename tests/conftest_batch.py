"""Helpers for the tests of "Batch segment"."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
from napari.utils.notifications import notification_manager

from conftest_widgets import LONG
from napari_ptsam.widgets.batch.batch_segment import BatchSegment


def tick(widget: BatchSegment, position: int, ticked: bool = True) -> None:
    from qtpy.QtCore import Qt

    state = Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked
    widget.layers.item(position).setCheckState(state)


def run(qtbot, widget: BatchSegment) -> None:
    widget.start_button.click()
    qtbot.waitUntil(lambda: not widget.run.running, timeout=LONG)


def notifications() -> list[str]:
    return [record.message for record in notification_manager.records]


class Slow:
    """An array whose planes are read slowly, and which records the numbers of the planes read."""

    def __init__(self, array: np.ndarray, seconds: float) -> None:
        self.array, self.seconds, self.read = array, seconds, []

    def lazy(self) -> Any:
        def block(block_info: Any = None) -> np.ndarray:
            from time import sleep

            number = block_info[None]["array-location"][0][0] % len(self.array)
            self.read.append(number)
            sleep(self.seconds)
            return self.array[number][None]

        count, *plane = self.array.shape
        return da.map_blocks(
            block, chunks=((1,) * (count * 50), *((side,) for side in plane)),
            dtype=self.array.dtype, meta=self.array[:0],
        )  # fmt: skip


def choose(box: Any, value: str) -> None:
    """Choose the entry of a combo box that has this value."""
    index = box.findData(value)
    assert index >= 0
    box.setCurrentIndex(index)
