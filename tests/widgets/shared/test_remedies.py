"""The words of errors in the widgets."""

from __future__ import annotations

import pytest

from napari_ptsam.backbones.catalogue import catalogue
from napari_ptsam.backbones.files import BackboneFiles
from napari_ptsam.widgets.shared.remedies import in_form


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("The prompt was tuned for another backbone.", "The prompt was tuned for another base model."),
        ("Two backbones are here.", "Two base models are here."),
        ("/data/backbone/vit.pt and my-backbone.pt", "/data/backbone/vit.pt and my-backbone.pt"),
    ],
)  # fmt: skip
def test_backbones_are_called_base_models(message, words) -> None:
    assert in_form(message) == words


def test_no_command_lines_in_the_window() -> None:
    missing = in_form(BackboneFiles().how_to_get(catalogue()["vit_b"]))
    assert "The base model vit_b" in missing and "“Base models…”" in missing
    assert "napari-ptsam backbones" not in missing
