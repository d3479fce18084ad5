"""Rows of forms are made from declared settings."""

import pytest
from qtpy.QtWidgets import QWidget

from napari_ptsam.inference.linking import LinkSettings
from napari_ptsam.inference.result import ResultSettings
from napari_ptsam.io.declaration import settings_of
from napari_ptsam.training.settings import TrainingSettings
from napari_ptsam.widgets.shared.setting_rows import editors_of, tip_of


@pytest.mark.parametrize("settings_class", [TrainingSettings, ResultSettings, LinkSettings])
def test_editors_show_the_defaults_and_give_them_back(settings_class: type, qtbot) -> None:
    parent = QWidget()
    qtbot.addWidget(parent)
    kinds = (int, float, bool)
    names = [n for n, s in settings_of(settings_class).items() if s.kind in kinds or s.words]
    for name, editor in editors_of(settings_class, parent, names).items():
        assert editor.value == settings_of(settings_class)[name].default, name
        assert len(editor.rows[0][1].toolTip()) > 10
    assert settings_class(
        **{n: e.value for n, e in editors_of(settings_class, parent, names).items()}
    )


def test_a_choice_or_a_number(qtbot) -> None:
    parent = QWidget()
    qtbot.addWidget(parent)
    editors = editors_of(TrainingSettings, parent)
    tile, tokens, held_out = (editors[name] for name in ("tile", "encoder_tokens", "held_out"))
    assert [label for label, _ in tile.rows] == ["Scale", "Tile side"]
    assert tile.value == "auto" and not tile.rows[1][1].isEnabled()
    tile.show_value(300)
    assert tile.value == 300 and tile.rows[1][1].isEnabled()
    tile.show_value("whole")
    assert tile.value == "whole"
    tokens.show_value(5)  # not among the choices
    assert tokens.value == 5
    held_out.show_value(0.2)
    assert held_out.value == 0.2 and held_out.number.text() == "20 %"


def test_a_tooltip_speaks_of_the_choices_of_the_form() -> None:
    tip = " ".join(tip_of(settings_of(TrainingSettings)["tile"]).split())
    assert "“whole planes” takes" in tip and "`" not in tip


def test_the_row_of_fine_detail(qtbot) -> None:
    parent = QWidget()
    qtbot.addWidget(parent)
    detail = editors_of(TrainingSettings, parent)["detail"]
    assert [label for label, _ in detail.rows] == ["Fine detail"] and detail.value == "auto"
    assert detail.choice is not None
    words = [detail.choice.itemText(i) for i in range(detail.choice.count())]
    assert words == ["if it helps", "always", "no"]
    for value in ("on", "off"):
        detail.show_value(value)
        assert detail.value == value
