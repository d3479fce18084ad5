"""The pages that people read: links, commands and the width of lines."""

import argparse
import inspect
import re
import shlex
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import napari_ptsam as ptsam
from napari_ptsam import api
from napari_ptsam.cli.parser import build_parser
from napari_ptsam.training.settings import TrainingSettings

ROOT = Path(__file__).parents[1]
# test_extending.py tries the steps of the pages that say how to extend the code.
PAGES = [
    ROOT / "README.md",
    *(ROOT / f"{name}.md" for name in ("CHANGELOG", "CODE_OF_CONDUCT", "CONTRIBUTING", "SECURITY")),
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


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_in_blocks_are_understood(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for block in re.findall(r"```sh\n(.*?)```", read(page), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            program, *arguments = shlex.split(line, comments=True) or [""]
            if program == "napari-ptsam" and "[" not in line:  # brackets outline a command's form
                try:
                    build_parser().parse_args(arguments)
                except SystemExit:
                    pytest.fail(f"{line}\n{capsys.readouterr().err}")


def python_blocks() -> list[tuple[str, str]]:
    """Blocks of Python in the pages, with the page that each is on."""
    return [
        (name, block)
        for name, page in zip(NAMES, PAGES, strict=True)
        for block in re.findall(r"```python\n(.*?)```", read(page), re.DOTALL)
        if "SLURMCluster" not in block  # needs a cluster
    ]


@pytest.mark.parametrize(("page", "block"), python_blocks(), ids=lambda value: str(value)[:16])
def test_python_in_blocks_runs(page: str, block: str, prompt, nuclei, workplace) -> None:
    """Only the training is replaced: its arguments are checked, and a trained prompt returned."""
    images, _ = nuclei
    tifffile.imwrite("stack.tif", images[0])
    prompt.save("cells.pt")
    names: dict[str, Any] = {}
    exec(compile(block, page, "exec"), names)
    results = [value for value in names.values() if isinstance(value, np.ndarray)]
    assert results and all(result.shape == images[0].shape for result in results)


@pytest.fixture
def workplace(tmp_path: Path, prompt, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder to work in, and a training that takes no time."""
    signature = inspect.signature(api.train)

    def train(*arguments: Any, **options: Any) -> Any:
        bound = signature.bind(*arguments, **options)
        TrainingSettings(**bound.arguments.get("settings", {}))
        return prompt

    monkeypatch.setattr(api, "train", train)
    monkeypatch.chdir(tmp_path)


def test_the_site_has_all_pages() -> None:
    text = read(ROOT / "mkdocs.yml").partition("\nnav:\n")[2]
    listed = re.findall(r": (\S+\.md)$", text, re.MULTILINE)
    docs = ROOT / "docs"
    pages = [path.relative_to(docs).as_posix() for path in docs.rglob("*.md")]
    added = ["changelog.md", "code-of-conduct.md", "contributing.md", "reporting.md"]
    assert sorted(listed) == sorted(pages + added), "Add the page to nav in mkdocs.yml."


def test_the_api_page_has_all_public_names() -> None:
    listed = re.findall(r"^::: napari_ptsam\.(\w+)$", read(ROOT / "docs" / "api.md"), re.MULTILINE)
    assert sorted(listed) == sorted(ptsam.__all__)


def test_changelog_citation_and_build_name_the_same_release() -> None:
    sections = re.findall(r"^## (.+)$", read(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert sections[0] == "Unreleased", "New lines of the changelog go under Unreleased."
    version, _, date = sections[1].partition(" - ")
    citation = read(ROOT / "CITATION.cff")
    assert f'\nversion: {version}\ndate-released: "{date}"\n' in citation
    assert f'\nfallback-version = "{version}"\n' in read(ROOT / "pyproject.toml")


def test_the_version_is_that_of_the_installed_package(monkeypatch) -> None:
    assert ptsam.__version__ == metadata.version("napari-ptsam")
    monkeypatch.setattr(metadata, "version", raise_not_found)
    assert ptsam.__version__ == "0+unknown"  # the sources are on the path, and nothing is installed


def raise_not_found(name: str) -> str:
    raise metadata.PackageNotFoundError(name)


def test_the_command_line_page_names_every_option() -> None:
    described = set(re.findall(r"--[a-z][a-z-]*", read(ROOT / "docs" / "command-line.md")))
    described |= set(re.findall(r"--[a-z][a-z-]*", read(ROOT / "docs" / "backbones.md")))
    known = options(build_parser()) - {"-h", "-o"}
    hidden = {"--out", "--license", "--version", "--help", "--cores"}
    assert not {name for name in known if name.startswith("--")} - described - hidden


def test_the_readme_is_short() -> None:
    assert len(read(ROOT / "README.md").splitlines()) <= 150
