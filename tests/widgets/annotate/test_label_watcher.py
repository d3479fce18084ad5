"""What is painted is noticed in a thread."""

from __future__ import annotations

import sys
import threading

import numpy as np


def test_a_layer_can_be_attached_while_another_look_is_under_way(qtbot, dock, monkeypatch) -> None:
    _, widget = dock(stack=np.zeros((20_000, 16, 16), np.uint8))
    widget.annotate.add.click()
    label_watcher, (source,) = widget.label_watcher, widget.session_model.images
    looks: list = []
    monkeypatch.setattr(
        widget.session_model.disk, "submit", lambda name, steps, *_, **__: looks.append(steps)
    )
    label_watcher._read_all(source)
    thread = threading.Thread(target=lambda: list(looks[0]()))
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        thread.start()
        while thread.is_alive():
            label_watcher._attach(source)
    finally:
        thread.join()
        sys.setswitchinterval(interval)


def test_a_plane_that_cannot_be_read_keeps_no_other_from_being_noticed(
    qtbot, dock, stack, told
) -> None:
    import dask.array as da

    def read(block, block_info=None):
        number = block_info[0]["chunk-location"][0]
        if number == 1:
            raise OSError("The disk is gone.")
        return block

    viewer, widget = dock(nuclei=stack.images)
    masks = da.from_array(stack.masks, chunks=(1, 128, 128)).map_blocks(
        read, dtype=stack.masks.dtype, meta=stack.masks[:0]
    )
    labels = viewer.add_labels(masks, name="masks")
    widget.session_model.attach(widget.session_model.images[0], labels)
    qtbot.waitUntil(lambda: len(widget.session_model.records) == 5, timeout=20_000)
    assert any("plane 1" in words and "The disk is gone" in words for words in told)
