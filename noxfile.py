"""Smoke tests with the oldest and the newest versions of Python, napari, Qt and torch.

``nox`` runs every session whose Python is installed, ``nox -s "smoke(newest-pyside6)"`` one.
"""

from __future__ import annotations

import sys

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True

OLD_TORCH = ("torch==2.4.0",)
CELLS = {
    "oldest": ("3.11", ("napari==0.6.2", "PyQt6", *OLD_TORCH, "numpy==1.26.*")),
    "oldest-napari": ("3.12", ("napari==0.6.2", "PyQt6")),
    "oldest-torch": ("3.12", ("napari", "PyQt6", *OLD_TORCH)),
    "newest-pyqt6": ("3.13", ("napari[pyqt6]",)),
    "newest-pyside6": ("3.13", ("napari[pyside6]",)),
    "python-3.14": ("3.14", ("napari[pyqt6]",)),
    "prerelease": ("3.13", ("napari[pyqt6]>=0.10.0rc1",)),
}
"""The Python of each session, and what is installed beside the plugin."""
TESTS = ("pytest>=8", "pytest-qt>=4.4")


@nox.session
@nox.parametrize(("python", "requirements"), list(CELLS.values()), ids=list(CELLS))
def smoke(session: nox.Session, requirements: tuple[str, ...]) -> None:
    """Run the main job in both widgets and on the command line."""
    session.install(".", *TESTS, *requirements)
    display = ("scripts/with_display.sh",) if sys.platform == "linux" else ()
    session.run(*display, "python", "-m", "pytest", "tests/smoke", *session.posargs, external=True)
