"""The pages that people read: links, commands and the width of lines."""

import argparse
import re
from pathlib import Path

import pytest

from napari_ptsam.cli.parser import build_parser

ROOT = Path(__file__).parents[1]
# test_extending.py tries the steps of the pages that say how to extend the code.
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *(p for p in sorted((ROOT / "docs").rglob("*.md")) if not p.name.startswith("extending")),
]
WIDTH = 100
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """Names of the headings of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", read(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def options(parser: argparse.ArgumentParser) -> set[str]:
    """Options of a command and of the commands below it."""
    found = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= set().union(*(options(command) for command in action.choices.values()))
    return found


def commands() -> dict[str, argparse.ArgumentParser]:
    (action,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_to_pages_and_headings_that_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", read(page)):
        if "://" in target:
            continue
        name, _, heading = target.partition("#")
        other = page.parent / name if name else page
        assert other.exists(), target
        assert not heading or heading in anchors(other), target


@pytest.mark.parametrize(
    "page", [p for p in PAGES if "This page is written by" not in read(p)], ids=str
)
def test_lines_are_wrapped_alike(page: Path) -> None:
    for line in read(page).splitlines():
        is_text = not line.lstrip().startswith(("|", "!["))
        assert not is_text or len(line) <= WIDTH, line


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_exist(page: Path) -> None:
    known = commands()
    for line in re.findall(r"napari-ptsam ([a-z]+ [^\n#`]*)", read(page)):
        words = line.replace("'", " ").split()
        if words[0] not in known:
            assert not words[0].startswith("-") and "--" not in line, line
            continue
        for option in (word for word in words if re.fullmatch(r"--[a-z-]+", word)):
            assert option in options(known[words[0]]), line


def test_the_command_line_page_names_every_option() -> None:
    described = set(re.findall(r"--[a-z][a-z-]*", read(ROOT / "docs" / "command-line.md")))
    described |= set(re.findall(r"--[a-z][a-z-]*", read(ROOT / "docs" / "backbones.md")))
    known = options(build_parser()) - {"-h", "-o"}
    hidden = {"--out", "--license", "--version", "--help", "--cores"}
    assert not {name for name in known if name.startswith("--")} - described - hidden


def test_the_readme_is_short() -> None:
    assert len(read(ROOT / "README.md").splitlines()) <= 150
