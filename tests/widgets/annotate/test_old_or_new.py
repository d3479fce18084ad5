"""A training that makes its start worse leaves the choice to the user."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest_widgets import LONG, annotate, settled
from napari_ptsam.annotation.session_folder import SessionFolder
from napari_ptsam.prompts.files import load
from napari_ptsam.widgets.annotate.prediction_preview import NAME as PREVIEW

pytestmark = pytest.mark.usefixtures("loaded", "careless")

HARMFUL = {"steps": 2, "learning_rate": 3, "detail": "off", "markers": "no"}


def continued(qtbot, widget, **settings) -> None:
    """Continue training from the prompt in use, and wait until nothing more is to come."""
    widget.session_model.settings |= settings
    widget.train.train_on.click()
    assert widget.train.old_or_new.isHidden()
    qtbot.waitUntil(lambda: not widget.train.run.running, timeout=LONG)
    settled(qtbot, widget)


def test_the_old_prompt_is_kept_until_the_user_takes_the_new_one(
    qtbot, dock, stack, prompt, tmp_path: Path
) -> None:
    viewer, widget = dock(nuclei=stack.images)
    train, session_model = widget.train, widget.session_model
    annotate(qtbot, widget, stack, [0, 1, 2])
    old = replace(prompt, classes=("object",))
    path = old.save(tmp_path / "old.pt")
    train.take(old, path)
    viewer.dims.set_point(0, 0)
    settled(qtbot, widget)
    preview = viewer.layers[PREVIEW].data.copy()
    continued(qtbot, widget, **HARMFUL)

    choice, table = train.old_or_new, widget.annotate.table
    text = train.judgement.text()
    assert "worse: Dice 0." in text and "the same 3 planes, before 0." in text
    assert "The old prompt is kept." in text
    assert session_model.prompt is old and session_model.prompt_path == path
    assert not choice.isHidden() and choice.keep_old.isEnabled() and choice.take_new.isEnabled()
    assert np.array_equal(viewer.layers[PREVIEW].data, preview)
    assert [table.item(row, 5).text() for row in range(3)] == ["", "", ""]  # not known of it
    folder = SessionFolder(widget.autosave.folder.path)
    assert folder.read().prompts == ("001.pt", "002.pt")  # the last one is restored
    names = {"new": "001.pt", "old": "002.pt"}
    saved = {which: load(folder.path / "prompts" / name) for which, name in names.items()}
    assert np.array_equal(saved["old"].tokens, old.tokens)
    assert saved["new"].origin.start == "a prompt"

    choice.take_new.click()
    settled(qtbot, widget)
    new = session_model.prompt
    assert np.array_equal(new.tokens, saved["new"].tokens) and session_model.prompt_path is None
    assert "Annotate at least 4 planes" in train.judgement.text()  # the verdict on the new one
    assert choice.keep_old.isEnabled() and not choice.take_new.isEnabled()
    assert not np.array_equal(viewer.layers[PREVIEW].data, preview)
    assert all(0 < float(table.item(row, 5).text()) < 1 for row in range(3))
    assert folder.read().prompts == (names["old"], names["new"])
    train.save_to(tmp_path / "new.pt")
    assert np.array_equal(load(tmp_path / "new.pt").tokens, new.tokens)

    choice.keep_old.click()
    settled(qtbot, widget)
    assert session_model.prompt is old and session_model.prompt_path == path
    assert train.judgement.text() == text
    assert choice.take_new.isEnabled() and not choice.keep_old.isEnabled()
    assert np.array_equal(viewer.layers[PREVIEW].data, preview)
    assert folder.read().prompts == (names["new"], names["old"])
    choice.take_new.click()
    assert session_model.prompt is new and session_model.prompt_path == tmp_path / "new.pt"

    continued(qtbot, widget, steps=1, learning_rate=1e-6)
    assert choice.isHidden() and session_model.prompt is not new
    assert train.judgement.text().startswith("Agreement with your annotation on the same 3 planes:")
    train.take(old, path)
    assert choice.isHidden()


def test_a_restored_prompt_that_is_kept_is_not_saved_twice(
    qtbot, dock, stack, prompt, sessions: Path
) -> None:
    viewer, widget = dock(nuclei=stack.images)
    annotate(qtbot, widget, stack, [0, 1, 2])
    widget.autosave.keep_prompt(replace(prompt, classes=("object",)))
    settled(qtbot, widget)
    folder = SessionFolder(widget.autosave.folder.path)
    widget.close_down(10)

    _, again = dock(viewer)
    again.session_restore.open(folder.path)
    qtbot.waitUntil(lambda: again.session_model.prompt is not None, timeout=LONG)
    settled(qtbot, again)
    old = again.session_model.prompt
    continued(qtbot, again, **HARMFUL)
    assert again.session_model.prompt is old
    assert sorted(path.name for path in folder.path.glob("prompts/*.pt")) == ["001.pt", "002.pt"]
    assert folder.read().prompts == ("002.pt", "001.pt")
