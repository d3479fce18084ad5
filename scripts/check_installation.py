"""Check an installed napari-ptsam: the command line, the demo, and both widgets in a viewer.

``nox -s install`` runs it with the Python of a fresh environment, in a folder outside the
repository. It needs a display.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import sysconfig
import tempfile
from importlib.metadata import version
from pathlib import Path

import napari_ptsam

QUICK = ("--steps", "40", "--embeddings", "8", "--device", "cpu")
"""Options of a demo that shows that everything runs, and not how good it is."""
WIDGETS = ("Annotate and train", "Batch segment")


def main() -> None:
    """Run all checks; raise an error if one fails."""
    package = Path(napari_ptsam.__file__)
    if not package.is_relative_to(sysconfig.get_path("purelib")):
        sys.exit(f"{package} is not the installed package; run this outside of the repository.")
    command = Path(sysconfig.get_path("scripts"), "napari-ptsam")
    subprocess.run([command, "demo", "--help"], check=True, stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([command, "demo", *QUICK], check=True, cwd=folder)
        made = sorted(path.name for path in Path(folder, "demo_output").iterdir())
    if not {"prompt.pt", "labels.tif", "report.txt"} <= set(made):
        sys.exit(f"The demo has written only {made}.")
    open_widgets()
    names = ("napari-ptsam", "napari", "torch", "numpy")
    print(
        "works:", ", ".join(f"{name} {version(name)}" for name in names), platform.python_version()
    )


def open_widgets() -> None:
    """Open both widgets as napari does, and close them."""
    import napari

    viewer = napari.Viewer(show=False)
    for name in WIDGETS:
        viewer.window.add_plugin_dock_widget("napari-ptsam", name)
    viewer.close()


if __name__ == "__main__":
    main()
