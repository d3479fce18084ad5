"""What may be imported, and when."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import napari_ptsam

SOURCE = Path(napari_ptsam.__file__).parent
QT = ("napari", "qtpy", "PyQt5", "PyQt6", "PySide2", "PySide6", "magicgui", "vispy", "superqt")
ROOMS = {
    "io": "", "images": "io", "backbones": "io", "prompts": "io images backbones",
    "datasets": "io images prompts", "inference": "io images backbones prompts",
    "evaluation": "images prompts datasets inference",
    "training": "io images backbones prompts datasets inference evaluation",
    "annotation": "io images backbones prompts datasets inference training",
    "batch": "io images backbones prompts inference",
    "export": "io images backbones prompts inference",
}  # fmt: skip
"""Each room, and those that it may import."""
WIDGET_ROOMS = {
    "shared": "",
    "library": "shared",
    "batch": "library shared",
    "annotate": "library shared",
}
"""Each room of the widgets, and those of the widgets that it may import."""


def loaded_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after some code."""
    code += "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(run.stdout.splitlines()[-1].split())


def test_importing_loads_neither_torch_nor_qt() -> None:
    loaded = loaded_after("import napari_ptsam")
    assert not loaded & {"torch", "kornia", "segment_anything", "scipy", "pydantic", *QT}


def test_the_command_lines_help_does_not_wait_for_torch() -> None:
    loaded = loaded_after("from napari_ptsam.cli.parser import build_parser; build_parser()")
    assert not loaded & {"torch", *QT}
    loaded = loaded_after(
        "from napari_ptsam.cli.parser import build_parser; build_parser('--help')"
    )
    assert not loaded & {"numpy", "pydantic"}


def test_train_and_segment_load_neither_qt_nor_torchvision() -> None:
    code = """
import sys
import numpy as np, napari_ptsam as ptsam
image = np.random.default_rng(0).random((32, 32))
mask = np.zeros((32, 32), int); mask[8:24, 8:24] = 1
try:
    prompt = ptsam.train([image + mask], [mask], steps=3, embeddings=1, device="cpu")
    ptsam.segment(image, prompt, device="cpu")
except ptsam.CollapsedError:
    pass
assert "torchvision" not in sys.modules
import segment_anything  # by another plugin
assert segment_anything.modeling.Sam and segment_anything.SamPredictor
"""
    loaded = loaded_after(code)
    assert "torch" in loaded and not loaded & set(QT)


def test_all_names_are_there() -> None:
    assert set(napari_ptsam.__all__) <= set(dir(napari_ptsam))
    assert all(getattr(napari_ptsam, name) is not None for name in napari_ptsam.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        napari_ptsam.nonsense  # noqa: B018


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_those_below_them(room: str) -> None:
    for path in (SOURCE / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            module = getattr(node, "module", None) or ""
            if isinstance(node, ast.ImportFrom) and module.startswith("napari_ptsam."):
                other = module.split(".")[1]
                allowed = {room, "errors", *ROOMS[room].split()}
                assert other in allowed, (path, module)


@pytest.mark.parametrize("room", WIDGET_ROOMS)
def test_rooms_of_the_widgets_import_only_those_below_them(room: str) -> None:
    paths = list((SOURCE / "widgets" / room).rglob("*.py"))
    assert paths
    for path in paths:
        for module in imported_modules(path):
            if module.startswith("napari_ptsam.widgets."):
                allowed = {room, *WIDGET_ROOMS[room].split()}
                assert module.split(".")[2] in allowed, (path, module)


def test_no_import_circles_in_the_widgets() -> None:
    """Imports for type hints, and those inside of functions, count too."""
    names = {
        ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts): path
        for path in (SOURCE / "widgets").rglob("*.py")
    }
    graph = {name: imported_modules(path) & set(names) for name, path in names.items()}
    TopologicalSorter(graph).prepare()  # raises a CycleError that names the circle


def imported_modules(path: Path) -> set[str]:
    """Modules that a file imports names from, wherever in the file."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


MODULES = {
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SOURCE.rglob("*.py")
}
LATE = {("napari_ptsam.prompts.prompt", name) for name in (
    "napari_ptsam.prompts.files", "napari_ptsam.prompts.contents",
)}  # fmt: skip
"""Imports inside of methods that make a circle: `Prompt.save` is a shorthand for what files do."""


def imported_by(module: str) -> set[str]:
    """Modules of the package that one imports: at its top, for type checking, and in functions.

    The package itself does not count: it loads its names only when they are used.
    """
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names if names <= MODULES.keys() else {node.module}
    return {
        other for other in found & MODULES.keys() - {"napari_ptsam", module}
        if (module, other) not in LATE
    }  # fmt: skip


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports for type checking count, too: who knows whom is to be clear when one reads."""
    graph = {module: imported_by(module) for module in MODULES}
    assert sum(map(len, graph.values())) > 500
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("a circle: " + " <- ".join(error.args[1]))


def test_nothing_outside_the_widgets_imports_qt_or_napari() -> None:
    for path in SOURCE.rglob("*.py"):
        if "widgets" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not {name.partition(".")[0] for name in names} & set(QT), path


ROOT = Path(__file__).parents[1]
SCRIPTS = [
    p for part in ("src", "tests", "benchmarks", "scripts") for p in (ROOT / part).rglob("*.py")
]


def test_text_files_name_their_encoding() -> None:
    """Ruff notices only where it knows that something is a path."""
    assert len(SCRIPTS) > 200
    for path in SCRIPTS:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                told = {keyword.arg for keyword in node.keywords} & {"encoding", None}
                given = len(node.args) > {"read_text": 0, "write_text": 1}.get(node.func.attr, -1)
                assert told or given, f"{path}, line {node.lineno}: name the encoding"
