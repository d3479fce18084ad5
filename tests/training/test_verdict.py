"""A training is judged in plain words, with what to try if it is poor."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from napari_ptsam.training.verdict import FAIR, FEW, GOOD, ROUGH, verdict


def origin(**changes: Any) -> Any:
    made = {
        "held_out_dice": 0.95, "images": 16, "held_out_images": 3, "steps": 400,
        "measured_on_training": False, "dice_error": None, "cross_validated": False,
        "start": "label or normal",
    }  # fmt: skip
    return SimpleNamespace(**made | changes)


@pytest.mark.parametrize(
    ("dice", "level", "word"),
    [
        (1.0, "good", "Good"), (GOOD, "good", "Good"), (GOOD - 0.01, "fair", "Fair"),
        (FAIR, "fair", "Fair"), (FAIR - 0.01, "poor", "Poor"), (0.0, "poor", "Poor"),
        (None, "poor", "Poor"),
    ],
)  # fmt: skip
def test_levels(dice: float | None, level: str, word: str) -> None:
    found = verdict(origin(held_out_dice=dice))
    assert found.level == level
    assert found.text.startswith(
        f"{word}: agreement {dice or 0:.2f} (Dice) on 3 validation planes, trained on 13"
    )


def test_what_helps_is_told_only_where_it_is_needed() -> None:
    assert "annotat" not in verdict(origin()).text
    assert "lowest agreement" in verdict(origin(held_out_dice=0.8)).text
    poor = verdict(origin(held_out_dice=0.5)).text
    assert "forgotten" in poor and "thorough" in poor and "another scale" in poor


def test_few_held_out_planes_are_a_rough_measure() -> None:
    assert "rough" not in verdict(origin(held_out_images=FEW)).text
    text = verdict(origin(held_out_images=1, images=5)).text
    assert "rough" in text and "on 1 validation plane, trained on 4" in text


def test_the_standard_error_says_how_sure_the_dice_is() -> None:
    text = verdict(origin(dice_error=0.012)).text
    assert (
        text
        == "Good: agreement 0.95 ± 0.01 (Dice and its standard error) on 3 validation planes, trained on 13."
    )
    assert "rough" in verdict(origin(dice_error=ROUGH)).text
    assert "±" not in verdict(origin()).text


def test_one_plane_is_no_measure() -> None:
    found = verdict(origin(images=1, held_out_images=0, measured_on_training=True))
    assert found.level == "unsure"  # as good as it may look
    assert "0.95" in found.text and "the 1 plane that it was trained on" in found.text
    assert "Annotate at least 4 planes" in found.text


@pytest.mark.parametrize("measured", [True, False])
def test_a_stopped_training_says_so(measured: bool) -> None:
    text = verdict(origin(steps=120, measured_on_training=measured), stopped=True).text
    assert text.startswith("Stopped after 120 steps. ")
    assert "Stopped" not in verdict(origin(measured_on_training=measured)).text


@pytest.mark.parametrize("measured", [True, False])
def test_fine_detail_is_mentioned_where_it_is_used(measured: bool) -> None:
    judged = origin(measured_on_training=measured)
    without = verdict(judged)
    found = verdict(judged, detail="labels are refined at half strength")
    assert found.level == without.level and "Fine detail" not in without.text
    assert found.text == f"{without.text} Fine detail: labels are refined at half strength."
