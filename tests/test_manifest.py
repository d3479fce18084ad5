"""The plugin's manifest, and its copy at the top of the repository."""

from pathlib import Path

import pytest
from app_model.expressions import parse_expression
from napari._app_model.constants._menus import is_menu_contributable
from npe2 import PluginManifest

import napari_ptsam

ANNOTATE, BATCH = "napari-ptsam.annotate_and_train", "napari-ptsam.batch_segment"
ONE = "napari-ptsam.segment_image"
FOR_CODE = "napari-ptsam.segment"
"""The command for scripts and other plugins."""
PATH = Path(napari_ptsam.__file__).parent / "napari.yaml"
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_file(PATH)


def test_every_contribution_has_a_command_that_can_be_imported(manifest: PluginManifest) -> None:
    manifest.validate_imports()
    found = manifest.contributions
    commands = {command.id: command for command in found.commands}
    used = [*found.widgets, *found.readers, *found.sample_data]
    assert {each.command for each in used} == set(commands) - {FOR_CODE}
    assert [reader.filename_patterns for reader in found.readers] == [["*.pt"]]
    assert {sample.key for sample in found.sample_data} == {"sample", "bbbc039"}


def test_the_widgets_are_in_the_layers_menu(manifest: PluginManifest) -> None:
    menus = manifest.contributions.menus
    assert all(is_menu_contributable(menu) for menu in menus)
    assert {menu: [item.command for item in items] for menu, items in menus.items()} == {
        "napari/layers/annotate": [ANNOTATE],
        "napari/layers/segment": [ANNOTATE, BATCH, ONE],
    }


def test_the_command_palette_offers_no_command_that_needs_arguments(
    manifest: PluginManifest,
) -> None:
    commands = {command.id: command for command in manifest.contributions.commands}
    readers = [reader.command for reader in manifest.contributions.readers]
    for command in (*readers, FOR_CODE):
        assert parse_expression(commands.pop(command).enablement).eval({}) is False
    assert all(command.enablement is None for command in commands.values())


def test_the_copy_at_the_top_of_the_repository_is_a_file_with_the_same_text() -> None:
    copy = ROOT / "napari.yaml"
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("the tests are not in a repository")
    assert not copy.is_symlink()
    assert copy.read_bytes() == PATH.read_bytes(), (
        "Run: cp src/napari_ptsam/napari.yaml napari.yaml"
    )
