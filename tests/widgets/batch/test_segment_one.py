"""The command that segments one image, and its form."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.utils import progress
from napari.utils.notifications import notification_manager
from npe2 import PluginManager

import napari_ptsam as ptsam
from napari_ptsam.widgets.batch.segment_one import segment_image

COMMAND = "napari-ptsam.segment"


@pytest.fixture
def path(prompt, tmp_path: Path) -> Path:
    return prompt.save(tmp_path / "nuclei.pt")


def test_other_plugins_run_the_command(make_napari_viewer, nuclei, path: Path) -> None:
    make_napari_viewer()
    image = nuclei[0][0]
    commands = PluginManager.instance().commands
    labels = commands.execute(COMMAND, args=(image, path))
    assert np.array_equal(labels, ptsam.segment(image, path, device="cpu")) and labels.any()
    objects = commands.execute(
        COMMAND, kwargs={"image": image, "prompt": path, "output": "instances"}
    )
    assert objects.max() > 1
    with pytest.raises(ptsam.PromptFileError, match="missing"):
        commands.execute(COMMAND, args=(image, path.with_name("missing.pt")))


def test_the_form_adds_the_result_where_the_image_lies(
    qtbot, make_napari_viewer, nuclei, path: Path
) -> None:
    viewer = make_napari_viewer()
    stack = np.stack([nuclei[0][:2], nuclei[0][2:4]], axis=1)  # (plane, channel, y, x)
    viewer.add_image(stack[:, :1], name="cells", scale=(2, 1, 0.5, 0.5), axis_labels="zcyx")
    _, form = viewer.window.add_plugin_dock_widget("napari-ptsam", "Segment one image")
    form.prompt.value = path
    form()
    assert [bar.total for bar in progress._all_instances] == [2]  # in napari's activity dock
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=60_000)
    labels = viewer.layers["cells – nuclei"]
    assert labels.data.shape == (2, 1, 128, 128)
    assert labels.scale.tolist() == [2, 1, 0.5, 0.5]
    expected = ptsam.segment(stack[:, 0], path, axes="ZYX", device="cpu")
    assert np.array_equal(labels.data[:, 0], expected) and expected.any()
    qtbot.waitUntil(lambda: not progress._all_instances, timeout=5000)


def test_the_form_says_what_is_missing(make_napari_viewer, path: Path) -> None:
    viewer, records = make_napari_viewer(), notification_manager.records
    form: Any = segment_image()
    records.clear()
    form(viewer=viewer, image=None)
    assert "Open an image" in records[-1].message
    form(viewer=viewer, image=viewer.add_image(np.zeros((8, 8))))
    assert "Choose a prompt file" in records[-1].message
    form(viewer=viewer, image=viewer.add_image(np.zeros((2,) * 6)), prompt=path)
    assert "has 6 axes" in records[-1].message
    assert len(viewer.layers) == 2
