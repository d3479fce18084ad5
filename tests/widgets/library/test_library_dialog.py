"""The dialog of the prompt library."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QFileDialog, QInputDialog

from conftest_prompts import head, make
from conftest_widgets import LONG
from napari_ptsam.prompts.files import load
from napari_ptsam.prompts.library import FOLDER_VARIABLE, LibraryFolders, put
from napari_ptsam.prompts.text import to_text
from napari_ptsam.widgets.library.library_dialog import LibraryDialog
from napari_ptsam.widgets.library.prompt_card import PromptCard


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "own"


@pytest.fixture
def used() -> list:
    return []


@pytest.fixture
def dialog(folder: Path, prompt, used, qtbot, tmp_path: Path) -> Iterator[LibraryDialog]:
    put(replace(prompt, author="Ada", notes="plate 3"), "nuclei")
    put(make(classes=1), "yeast")
    folders = LibraryFolders(tmp_path / "config.json")
    dialog = LibraryDialog(lambda *prompt_and_path: used.append(prompt_and_path), None, folders)
    qtbot.addWidget(dialog)
    with qtbot.waitSignal(dialog.library_list.refreshed, timeout=LONG):
        dialog.show()
    yield dialog
    dialog.close_down(10)


def shown(dialog: LibraryDialog) -> list[str]:
    items = (dialog.library_list.list.item(n) for n in range(dialog.library_list.list.count()))
    return [item.text().splitlines()[0] for item in items if not item.isHidden()]


def test_lists_with_picture_and_facts(dialog: LibraryDialog) -> None:
    assert shown(dialog) == ["nuclei", "yeast"]
    first = dialog.library_list.list.item(0)
    assert "Ada" in first.text() and "agreement 0." in first.text()
    assert first.icon().availableSizes()[0].width() == 96
    assert "plate 3" in dialog.card.facts.text()


def test_search_narrows_the_list(dialog: LibraryDialog) -> None:
    dialog.library_list.search.setText("PLATE ada")
    assert shown(dialog) == ["nuclei"]
    dialog.library_list.search.setText("elephant")
    assert shown(dialog) == [] and "No prompt matches" in dialog.card.title.text()
    assert not dialog.use.isEnabled() and not dialog.delete.isEnabled()
    dialog.library_list.search.clear()
    assert len(shown(dialog)) == 2


def test_use_takes_it_into_the_form(dialog: LibraryDialog, used, folder: Path) -> None:
    dialog.use.click()
    assert used[0][0].author == "Ada" and used[0][1] == folder / "nuclei.pt"


def test_the_list_follows_the_folder(dialog, folder: Path, qtbot) -> None:
    make().save(folder / "another.pt")
    qtbot.waitUntil(lambda: shown(dialog) == ["another", "nuclei", "yeast"], timeout=LONG)
    assert dialog.entry.path.name == "nuclei.pt"  # still the selected one
    (folder / "yeast.pt").write_bytes(b"damaged")
    dialog.library_list.refresh()
    qtbot.waitUntil(
        lambda: "cannot be read" in dialog.library_list.list.item(2).text(), timeout=LONG
    )


def test_rename_duplicate_delete(dialog, folder: Path, qtbot, monkeypatch) -> None:
    monkeypatch.setattr(QInputDialog, "getText", lambda *_, **__: ("yeast", True))
    dialog.rename.click()
    assert "exists and is kept" in dialog.message.text()
    monkeypatch.setattr(QInputDialog, "getText", lambda *_, **__: ("nuclei of plate 3", True))
    dialog.rename.click()
    qtbot.waitUntil(lambda: "nuclei of plate 3" in shown(dialog), timeout=LONG)
    dialog.library_list.list.setCurrentRow(1)
    dialog.duplicate.click()
    qtbot.waitUntil(lambda: "yeast (2)" in shown(dialog), timeout=LONG)
    binned: list[str] = []
    from napari_ptsam.widgets.library import library_dialog

    def to_the_bin(path: str) -> tuple[bool, str]:
        binned.append(path)
        Path(path).unlink()
        return True, path

    monkeypatch.setattr(library_dialog.QFile, "moveToTrash", to_the_bin)
    dialog.delete.click()
    qtbot.waitUntil(lambda: len(shown(dialog)) == 2, timeout=LONG)
    assert len(binned) == 1 and "is in the bin" in dialog.message.text()


def test_describe(dialog, folder: Path, qtbot) -> None:
    from napari_ptsam.widgets.library.description_dialog import DescriptionDialog

    dialog.describe.click()
    (texts,) = dialog.findChildren(DescriptionDialog)
    texts.notes.setPlainText("n" * 2000)
    texts.save()
    assert "at most 1000 fit" in texts.message.text() and texts.isVisible()
    texts.notes.setPlainText("stained with Hoechst")
    texts.licence.setText("CC0-1.0")
    texts.save()
    assert load(folder / "nuclei.pt").licence == "CC0-1.0"
    qtbot.waitUntil(lambda: "Hoechst" in dialog.card.facts.text(), timeout=LONG)


def test_text_to_the_clipboard_and_back(dialog, folder: Path, qtbot) -> None:
    clipboard = QGuiApplication.clipboard()
    dialog.copy_text.click()
    assert clipboard.text().startswith("ptsam1:")
    assert "characters are on the clipboard" in dialog.message.text()
    clipboard.setText(to_text(make(notes="from a chat")))
    dialog.paste.click()
    qtbot.waitUntil(lambda: "class 0" in shown(dialog), timeout=LONG)
    assert load(folder / "class 0.pt").notes == "from a chat"
    clipboard.setText("ptsam1:damaged")
    dialog.paste.click()
    qtbot.waitUntil(lambda: "is damaged" in dialog.message.text(), timeout=LONG)
    dialog.copy_file.click()
    assert clipboard.mimeData().urls()[0].toLocalFile().endswith(".pt")


def test_folders_are_added_and_removed(dialog, qtbot, tmp_path: Path, monkeypatch) -> None:
    lab = tmp_path / "lab"
    lab.mkdir()
    make().save(lab / "shared.pt")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(lab))
    dialog.add_folder.click()
    qtbot.waitUntil(lambda: shown(dialog) == ["nuclei", "yeast", "shared"], timeout=LONG)
    monkeypatch.setattr(QInputDialog, "getItem", lambda *_, **__: (str(lab), True))
    dialog.remove_folder.click()
    qtbot.waitUntil(lambda: shown(dialog) == ["nuclei", "yeast"], timeout=LONG)
    assert (lab / "shared.pt").exists()


def test_both_widgets_have_it(batch, dock, folder: Path, prompt, qtbot, stack) -> None:
    put(prompt, "nuclei")
    _, widget = batch(None, nuclei=stack.images[:1])
    widget.prompts.library.click()
    library = widget.prompts.library.dialog
    qtbot.waitUntil(lambda: shown(library) == ["nuclei"], timeout=LONG)
    library.use.click()
    assert [opened.name for opened in widget.prompts.opened] == ["nuclei"]
    _, docked = dock()
    train = docked.train
    train.library.click()
    qtbot.waitUntil(lambda: shown(train.library.dialog) == ["nuclei"], timeout=LONG)
    train.library.dialog.use.click()
    assert docked.session_model.prompt is not None and train.train_on.isEnabled()
    train.keep.click()
    assert len(list(folder.glob("*.pt"))) == 2


def test_the_card_says_how_strongly_labels_are_refined(qtbot) -> None:
    card = PromptCard()
    qtbot.addWidget(card)
    card.show_prompt(make(detail=(head(share=0.5),)), None)
    assert "Fine detail: labels are refined at half strength" in card.facts.text()
    card.show_prompt(make(), None)
    assert "Fine detail" not in card.facts.text()
