"""Files of a release that repeat what pyproject.toml says: the recipe and the lock."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
ON_CONDA = {"torch": "pytorch", "xxhash": "python-xxhash"}
"""Packages that conda-forge calls otherwise."""
pytestmark = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").exists(), reason="the tests are not in a repository"
)


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def project() -> dict:
    return tomllib.loads(read("pyproject.toml"))


def test_the_recipe_has_the_version_and_requirements_of_the_package() -> None:
    recipe, build = yaml.safe_load(read("recipe/recipe.yaml")), project()
    version = build["tool"]["hatch"]["version"]["fallback-version"]
    assert recipe["context"]["version"] == version
    assert f">={recipe['context']['python_min']}" == build["project"]["requires-python"]
    needed = [Requirement(text) for text in build["project"]["dependencies"]]
    expected = {f"{ON_CONDA.get(one.name, one.name)} {one.specifier}" for one in needed}
    assert set(recipe["requirements"]["run"]) - {"python >=${{ python_min }}"} == expected
    tools = [Requirement(text) for text in build["build-system"]["requires"]]
    host = {f"{one.name} {one.specifier}".strip() for one in tools}
    assert set(recipe["requirements"]["host"][2:]) == host  # after python and pip


def test_the_lock_of_the_benchmarks_suits_the_requirements() -> None:
    text, build = read("benchmarks/requirements.txt"), project()
    assert re.fullmatch(r"([a-z0-9-]+==\S+\n)+", text), "only names and versions, no addresses"
    locked = dict(line.split("==") for line in text.splitlines())
    for line in (*build["project"]["dependencies"], *build["dependency-groups"]["dev"]):
        needed = Requirement(line)
        version = Version(locked[canonicalize_name(needed.name)])
        assert needed.specifier.contains(version, prereleases=True), f"Run nox -s lock: {needed}"
