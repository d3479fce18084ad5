from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from npe2 import PluginManifest

from conftest_widgets import settled
from loopback import Server, folder_fixture, names, server_fixture  # noqa: F401
from napari_ptsam.datasets import bbbc039
from napari_ptsam.datasets.sample import ANNOTATED, make_sample
from napari_ptsam.errors import DownloadError
from napari_ptsam.widgets.shared import samples

PLUGIN = "napari-ptsam"


@pytest.fixture
def viewer(make_napari_viewer_proxy, npe2pm) -> Iterator[Any]:
    """Return a viewer with this plugin's samples only."""
    python = "napari_ptsam.widgets.shared.samples:"
    commands = [
        {"id": f"{PLUGIN}.{name}", "title": name, "python_name": python + name}
        for name in ("make_bundled_sample", "open_bbbc039")
    ]
    data = [
        {"key": key, "display_name": key, "command": command["id"]}
        for key, command in zip(("cells", "bbbc039"), commands, strict=True)
    ]
    manifest = PluginManifest(
        name=PLUGIN, contributions={"commands": commands, "sample_data": data}
    )
    with npe2pm.tmp_plugin(manifest=manifest):
        viewer = make_napari_viewer_proxy()
        yield viewer
        viewer.close()


@pytest.fixture
def in_event_loop(qtbot) -> Callable[[Callable[[], Any]], Any]:
    """Return a function that calls another one in the event loop, as a click does."""
    from qtpy.QtCore import QTimer

    def call(function: Callable[[], Any]) -> Any:
        results: list[Any] = []
        QTimer.singleShot(0, lambda: results.append(function()))
        qtbot.waitUntil(lambda: bool(results), timeout=5000)
        return results[0]

    return call


def notifications() -> list[str]:
    return [record.message for record in notification_manager.records]


@pytest.fixture(autouse=True)
def _no_notifications() -> None:
    notification_manager.records.clear()


def check_cells(viewer: Any) -> None:
    image, labels = viewer.layers
    assert (image.name, labels.name) == ("sample cells", "sample cells annotations")
    assert labels.visible
    for layer in viewer.layers:
        assert layer.data.shape == (40, 512, 512) and layer.data.dtype == np.uint16
        assert layer.scale.tolist() == [2.0, 0.65, 0.65]
        assert [str(unit) for unit in layer.units] == ["micrometer"] * 3
        assert layer.axis_labels == ("z", "y", "x")
    sample = make_sample()
    assert np.array_equal(image.data, sample.images)
    assert np.array_equal(labels.data[:ANNOTATED], sample.annotated[1])
    assert not labels.data[ANNOTATED:].any()


def check_nuclei(viewer: Any) -> None:
    image, labels = viewer.layers
    assert (image.name, labels.name) == ("BBBC039 nuclei", "BBBC039 nuclei ground truth")
    assert image.visible and not labels.visible
    for layer in viewer.layers:
        assert layer.data.shape == (2, 40, 48) and layer.data.dtype == np.uint16
        assert layer.scale.tolist() == [1.0, 0.645, 0.645]
        assert [str(unit) for unit in layer.units] == ["pixel", "micrometer", "micrometer"]
        assert layer.axis_labels == ("image", "y", "x")
        assert "CC0" in layer.metadata["origin"]
    assert labels.data.max() == 3


def test_cells_are_made_in_a_worker(viewer, in_event_loop, qtbot) -> None:
    make_sample.cache_clear()
    assert in_event_loop(lambda: viewer.open_sample(PLUGIN, "cells")) == []
    assert not viewer.layers
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=20_000)
    check_cells(viewer)
    assert viewer.layers.selection.active.name == "sample cells annotations"
    assert viewer.dims.current_step[0] == 0
    assert not notifications()


def test_editing_the_layers_leaves_the_sample_as_it_is(viewer) -> None:
    before = make_sample().images.copy(), make_sample().instances.copy()
    for layer in viewer.open_sample(PLUGIN, "cells"):
        layer.data[:] = 7
    assert np.array_equal(make_sample().images, before[0])
    assert np.array_equal(make_sample().instances, before[1])


def test_scripts_get_the_layers(viewer, server, capsys) -> None:
    assert len(viewer.open_sample(PLUGIN, "cells")) == 2
    check_cells(viewer)
    viewer.layers.clear()
    assert len(viewer.open_sample(PLUGIN, "bbbc039")) == 2
    check_nuclei(viewer)


def test_scripts_get_the_error(viewer, server: Server) -> None:
    server.faults[""] = "absent"
    with pytest.raises(DownloadError, match="does not give out"):
        viewer.open_sample(PLUGIN, "bbbc039")
    assert not viewer.layers


def test_commands_work_without_a_viewer(server: Server) -> None:
    (_, image, kind), (_, labels, other) = samples.open_bbbc039()
    assert (kind, other) == ("image", "labels")
    assert (image["name"], labels["visible"]) == ("BBBC039 nuclei", False)


def test_nuclei_are_downloaded_in_a_worker(
    viewer,
    in_event_loop,
    qtbot,
    server: Server,
) -> None:
    server.hold.clear()
    assert in_event_loop(lambda: viewer.open_sample(PLUGIN, "bbbc039")) == []
    qtbot.waitUntil(lambda: bool(server.asked), timeout=5000)
    assert in_event_loop(lambda: viewer.open_sample(PLUGIN, "bbbc039")) == []  # a second click
    assert not viewer.layers
    server.hold.set()
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=20_000)
    check_nuclei(viewer)
    assert viewer.layers.selection.active.name == "BBBC039 nuclei"
    assert [message.partition(" (")[0] for message in notifications()] == [
        "Downloading BBBC039 nuclei",
        "BBBC039 nuclei is already being opened; its layers are added when they are ready.",
    ]
    qtbot.waitUntil(lambda: not samples._running, timeout=5000)
    viewer.layers.clear()
    server.asked.clear()
    in_event_loop(lambda: viewer.open_sample(PLUGIN, "bbbc039"))
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=20_000)
    assert not server.asked and len(notifications()) == 2


def test_progress_is_shown(viewer, in_event_loop, qtbot, server: Server) -> None:
    from napari.utils import progress

    server.hold.clear()
    in_event_loop(lambda: viewer.open_sample(PLUGIN, "bbbc039"))
    qtbot.waitUntil(lambda: len(progress._all_instances) == 1, timeout=5000)
    (bar,) = progress._all_instances
    assert (bar.total, bar.n, bar.desc) == (4, 0, "BBBC039 nuclei")
    server.hold.set()
    qtbot.waitUntil(lambda: not progress._all_instances, timeout=20_000)
    assert bar.n == 4 and len(viewer.layers) == 2


def test_errors_become_one_notification(
    viewer,
    in_event_loop,
    qtbot,
    server: Server,
) -> None:
    server.faults["cell nuclei/images/1.tif"] = "changed"
    in_event_loop(lambda: viewer.open_sample(PLUGIN, "bbbc039"))
    qtbot.waitUntil(lambda: len(notifications()) == 2 and not samples._running, timeout=20_000)
    assert "sent a wrong file" in notifications()[1]
    record = notification_manager.records[1]
    assert record.severity.value == "warning" and not hasattr(record, "exception")
    assert not viewer.layers
    server.faults.clear()
    in_event_loop(lambda: viewer.open_sample(PLUGIN, "bbbc039"))
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=20_000)


def test_offline_is_notified(viewer, in_event_loop, qtbot, server, monkeypatch) -> None:
    monkeypatch.setenv(bbbc039.URL_VARIABLE, "http://127.0.0.1:9")
    in_event_loop(lambda: viewer.open_sample(PLUGIN, "bbbc039"))
    qtbot.waitUntil(lambda: len(notifications()) == 2 and not samples._running, timeout=20_000)
    assert "Check the connection to the internet" in notifications()[1]


@pytest.mark.parametrize("key", ["cells", "bbbc039"])
def test_closing_the_viewer_cancels(
    viewer,
    in_event_loop,
    qtbot,
    server: Server,
    folder: Path,
    key: str,
) -> None:
    make_sample.cache_clear()
    server.hold.clear()
    in_event_loop(lambda: viewer.open_sample(PLUGIN, key))
    qtbot.waitUntil(lambda: all(worker.is_running for worker in samples._running.values()))
    viewer.close()
    server.hold.set()
    qtbot.waitUntil(lambda: not samples._running, timeout=20_000)
    settled(qtbot)
    assert names(folder) in ([], ["0.tif"])
    assert len(notifications()) == (
        key == "bbbc039"
    )  # only the notice that the download has started
