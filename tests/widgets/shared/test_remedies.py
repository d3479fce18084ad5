"""The words of errors in the widgets."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import napari_ptsam
from napari_ptsam.backbones.catalogue import catalogue, entry_of
from napari_ptsam.backbones.files import BackboneFiles
from napari_ptsam.errors import InputError, Message, Term
from napari_ptsam.widgets.shared.remedies import in_form

SOURCE = Path(napari_ptsam.__file__).parent


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (Message("The prompt was tuned for another ", Term.BACKBONE, "."),
         "The prompt was tuned for another base model."),
        (Message("Two ", Term.BACKBONES, " are here."), "Two base models are here."),
        ("/data/backbone/vit.pt and my-backbone.pt", "/data/backbone/vit.pt and my-backbone.pt"),
    ],
)  # fmt: skip
def test_backbones_are_called_base_models(message, words) -> None:
    assert in_form(message) == words


def test_an_error_calls_a_backbone_a_base_model() -> None:
    with pytest.raises(InputError, match="Unknown backbone 'sam'; choose") as raised:
        entry_of("sam")
    assert in_form(raised.value).startswith("Unknown base model 'sam'; choose")


def test_no_message_spells_a_word_that_the_window_has_another_one_for() -> None:
    """Such a word is a `Term`; the command line and the wording for Python may spell it."""
    for path in SOURCE.rglob("*.py"):
        if "cli" in path.parts or path.name == "errors.py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Constant) or id(node) in statements:
                continue
            text = node.value if isinstance(node.value, str) else ""
            if " " in text.strip() or text != text.strip():
                assert not re.search(r"(?<!\{)\bbackbones?\b(?!\})", text), (path, node.lineno)


def test_no_command_lines_in_the_window() -> None:
    missing = in_form(BackboneFiles().how_to_get(catalogue()["vit_b"]))
    assert "The base model vit_b" in missing and "“Base models…”" in missing
    assert "napari-ptsam backbones" not in missing
