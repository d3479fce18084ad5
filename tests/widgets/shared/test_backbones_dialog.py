"""The dialog of backbones, with a local server."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from qtpy.QtWidgets import QMessageBox

from conftest_widgets import LONG
from loopback import Server, serving
from napari_ptsam.backbones import downloads
from napari_ptsam.backbones.catalogue import catalogue
from napari_ptsam.backbones.checkpoints import embedded_checkpoint
from napari_ptsam.backbones.files import FOLDER_VARIABLE
from napari_ptsam.widgets.shared import backbones_dialog
from napari_ptsam.widgets.shared.backbone_service import BackboneService
from napari_ptsam.widgets.shared.backbones_dialog import BackbonesDialog

NAME = "vit_t_lm"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """Serve the embedded weights as those of another backbone."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "backbones"))
    monkeypatch.setattr(downloads, "PAUSE", 0.01)
    body = embedded_checkpoint().read_bytes()
    with serving({"t.safetensors": body}) as server:
        server.ranges = True
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        entry = replace(
            catalogue()[NAME], url=f"{server.url}/t.safetensors", size=len(body), digest=digest
        )
        monkeypatch.setitem(catalogue(), NAME, entry)
        yield server


@pytest.fixture
def dialog(server: Server, qtbot, monkeypatch) -> Iterator[BackbonesDialog]:
    kept = {"mirror": "", "proxy": "", "backbone": "vit_t"}
    monkeypatch.setattr(backbones_dialog, "preferences", lambda: dict(kept))
    monkeypatch.setattr(backbones_dialog, "remember", kept.__setitem__)
    backbone_service = BackboneService("cpu")
    backbone_service.users = 1
    dialog = BackbonesDialog(backbone_service)
    dialog.kept = kept
    qtbot.addWidget(dialog)
    dialog.show()
    yield dialog
    dialog.close_down(10)
    backbone_service.release(10)


def row_of(dialog: BackbonesDialog, name: str) -> list[str]:
    dialog.select(name)
    row = dialog.table.currentRow()
    return [dialog.table.item(row, column).text() for column in range(4)]


def test_shows_all_backbones_and_recommends_one(dialog, qtbot) -> None:
    assert dialog.table.rowCount() == len(catalogue())
    qtbot.waitUntil(lambda: "recommended here" in row_of(dialog, "vit_t")[0], timeout=LONG)
    assert "in use" in row_of(dialog, "vit_t")[0]
    assert row_of(dialog, "vit_b")[1:3] == ["375 MB", "no"]
    for part in ("Apache-2.0", "https://", "sha256:ec2df6", "sam_vit_b_01ec64.pth"):
        assert part in dialog.details.text()
    assert dialog.download.isEnabled() and not dialog.remove.isEnabled()


def test_download_verify_use_remove(dialog, qtbot, monkeypatch, server: Server) -> None:
    changed: list[None] = []
    dialog.changed.connect(lambda: changed.append(None))
    dialog.select(NAME)
    dialog.start()
    assert dialog.bar.isVisible() and dialog.cancel.isEnabled()
    qtbot.waitUntil(lambda: not dialog.run.running, timeout=LONG)
    assert row_of(dialog, NAME)[2] == "yes" and "was downloaded" in dialog.message.text()
    assert dialog.bar.isHidden() and not dialog.download.isEnabled()
    dialog.verify.click()
    qtbot.waitUntil(lambda: "its hash is the published one" in dialog.message.text(), timeout=LONG)
    qtbot.waitUntil(lambda: not dialog.run.running, timeout=LONG)
    dialog.use.click()
    assert dialog.kept["backbone"] == NAME and "in use" in row_of(dialog, NAME)[0]
    qtbot.waitUntil(
        lambda: "Ready: base model vit_t_lm on the CPU" in dialog._backbone_service.state,
        timeout=LONG,
    )
    yes = QMessageBox.StandardButton.Yes
    monkeypatch.setattr(QMessageBox, "question", lambda *_: yes)
    dialog.select(NAME)
    dialog.remove.click()
    assert row_of(dialog, NAME)[2] == "no" and changed


def test_a_cancelled_download_is_resumed(dialog, qtbot, server: Server, monkeypatch) -> None:
    monkeypatch.setattr(downloads, "CHUNK", 1 << 12)
    dialog.run.progressed.connect(lambda done, total: done > 10_000 and dialog.run.stop())
    dialog.select(NAME)
    dialog.start()
    qtbot.waitUntil(lambda: "was cancelled" in dialog.message.text(), timeout=LONG)
    qtbot.waitUntil(lambda: not dialog.run.running, timeout=LONG)
    assert dialog.download.text() == "Resume download"
    dialog.run.progressed.disconnect()
    dialog.start()
    qtbot.waitUntil(lambda: row_of(dialog, NAME)[2] == "yes", timeout=LONG)
    assert server.asked_ranges


def test_errors_are_shown_in_the_dialog(dialog, qtbot, server: Server) -> None:
    server.faults[""] = "absent"
    dialog.select(NAME)
    dialog.start()
    qtbot.waitUntil(lambda: "it answers 404" in dialog.message.text(), timeout=LONG)
    assert "put it here as" in dialog.message.text()


def test_the_users_own_file_is_used(dialog, qtbot, tmp_path: Path, monkeypatch) -> None:
    checkpoint = tmp_path / "mine.pth"
    checkpoint.write_bytes(embedded_checkpoint().read_bytes())
    monkeypatch.setattr(
        backbones_dialog.QFileDialog, "getOpenFileName", lambda *_: (str(checkpoint), "")
    )
    dialog.use_file.click()
    assert dialog.kept["backbone"] == str(checkpoint)
    qtbot.waitUntil(
        lambda: "Ready: base model mine.pth on the CPU" in dialog._backbone_service.state,
        timeout=LONG,
    )


def test_batch_reports_a_missing_backbone_and_downloads_it(
    batch, qtbot, prompt, server: Server, stack
) -> None:
    _, widget = batch(replace(prompt, weights=NAME, signature="0" * 16), nuclei=stack.images[:1])
    assert "vit_t_lm" in widget.missing_backbones.text() and not widget.get_backbone.isHidden()
    widget.get_backbone.click()
    dialog = widget.backbone.dialog
    assert dialog.isVisible() and dialog.entry.name == NAME
    dialog.start()
    qtbot.waitUntil(lambda: not dialog.run.running, timeout=LONG)
    qtbot.waitUntil(lambda: widget.get_backbone.isHidden(), timeout=LONG)
    assert widget.missing_backbones.text() == ""
