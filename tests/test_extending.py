"""The steps of docs/extending.md, applied to a copy of the package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

import napari_ptsam

PACKAGE = Path(napari_ptsam.__file__).parent
PAGE = Path(__file__).parents[1] / "docs" / "extending.md"


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package after all steps."""
    root = tmp_path_factory.mktemp("extended")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, root / "src" / "napari_ptsam", ignore=ignore)
    blocks = re.findall(r"^( *)```(\w+)\n(.*?)^ *```$", PAGE.read_text("utf-8"), re.M | re.S)
    for _, language, block in blocks:
        STEPS[language](root, dedent(block))
    assert len(blocks) == 9
    return root


def add_file(root: Path, block: str) -> None:
    """A file that is named in its first line."""
    path = root / block.partition("\n")[0].removeprefix("# ")
    assert not path.exists() and path.parent.is_dir()
    path.write_text(block.partition("\n")[2], encoding="utf-8")


def apply_diff(root: Path, block: str) -> None:
    """Lines with a plus go behind the line before them, or in front of the one that follows."""
    name, *lines = block.splitlines()
    path = root / name.removeprefix("--- ")
    text = path.read_text(encoding="utf-8")
    for hunk in "\n".join(lines).split("\n@@\n"):
        before = [line[1:] for line in hunk.splitlines() if not line.startswith("+")]
        after = [line[1:] for line in hunk.splitlines()]
        old, new = "\n".join(before) + "\n", "\n".join(after) + "\n"
        assert text.count(old) == 1, (path, old)
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def add_entry(root: Path, block: str) -> None:
    path = root / "src" / "napari_ptsam" / "data" / "backbones.json"
    entries = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps([*entries, json.loads(block)]), encoding="utf-8")


STEPS = {"python": add_file, "diff": apply_diff, "json": add_entry}


def run_in(root: Path, code: str, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(root / "src")}
    run = subprocess.run(
        [sys.executable, "-c", dedent(code), *arguments], env=environment, cwd=root,
        capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run.stdout


COMPUTING = {
    "family": """
import numpy as np
import torch
from napari_ptsam.backbones.families.registry import FAMILIES, architectures
from napari_ptsam.backbones.loading import load_backbone

torch.manual_seed(0)
modules = FAMILIES[-1].build("vit_s")
assert sum(v.numel() for m in modules.values() for v in m.parameters()) == architectures()["vit_s"]
state = {f"{part}.{k}": v for part, m in modules.items() for k, v in m.state_dict().items()}
torch.save(state, "small.pt")
for name in (None, "vit_s"):
    backbone = load_backbone(name, "small.pt", "cpu", torch.float32)
    assert (backbone.name, backbone.weights) == ("vit_s", "small.pt")
encoder = backbone.encoder
assert encoder.token_widths == (96, 96)
tile = np.random.default_rng(0).random((64, 64, 3), np.float32)
with torch.no_grad():
    expected = modules["image_encoder"](encoder._pixels(tile)).flatten(2).transpose(1, 2)
    found = encoder([tile], torch.float32)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)
    tuned = encoder.with_tokens([torch.randn(3, 96)] * 2)([tile], torch.float32)
assert not torch.allclose(tuned, found)
assert backbone.decoder(found, torch.randn(8, 256)).shape == (1, 256, 256)
""",
    "loss": """
import numpy as np
import napari_ptsam
import torch
from napari_ptsam.training.settings import TrainingSettings
from napari_ptsam.training import loss

calls = []
focal = loss.LOSSES["focal"]
loss.LOSSES["focal"] = lambda *values: calls.append(1) or focal(*values)
image = np.random.default_rng(0).random((32, 32))
mask = np.zeros((32, 32), int)
mask[8:24, 8:24] = 1
try:
    napari_ptsam.train([image + mask], [mask], steps=8, embeddings=1, device="cpu", loss="focal",
                       encoder_tokens=0, markers="no", detail="off")
except napari_ptsam.CollapsedError:
    pass
assert len(calls) >= 8
logits, weight = torch.randn(2, 9, 9), torch.ones(2, 9, 9)
target = (torch.rand(2, 9, 9) > 0.5).float()
assert focal(40 * target - 20, target, weight) < 1e-6 < focal(logits, target, weight)
try:
    TrainingSettings(loss="focus")
except napari_ptsam.InputError as error:
    print(error)
""",
    "format": """
from pathlib import Path
import numpy as np
import tifffile
from napari_ptsam.backbones.loading import load_backbone
from napari_ptsam.batch.formats import FORMATS, choices
from napari_ptsam.cli import main
from napari_ptsam.images.settings import ImageSettings
from napari_ptsam.images.tiling import Tiling
from napari_ptsam.prompts.prompt import Prompt

rng = np.random.default_rng(0)
tokens = rng.normal(size=(1, 8, 256)).astype(np.float32)
signature, images = load_backbone(device="cpu").signature, ImageSettings(Tiling(64))
Prompt(tokens, ("a",), ("#E69F00",), "vit_t", signature, images).save("prompt.pt")
tifffile.imwrite("stack.tif", rng.random((2, 64, 64), np.float32), metadata={"axes": "ZYX"})

def segment(*options):
    common = ("segment", "prompt.pt", "stack.tif", "--probabilities", "--device", "cpu")
    assert main([*common, *options]) == 0

Path("folder").mkdir()
segment("-o", "a.npz")
segment("-o", "a.npz", "--resume")
segment("-o", "folder", "--format", "npz")
segment("-o", "a.tif")
found = FORMATS["npz"].read(Path("a.npz"))
assert found.any() and np.array_equal(found, FORMATS["tiff"].read(Path("a.tif")).reshape(found.shape))
assert Path("folder/stack.npz").read_bytes() == Path("a.npz").read_bytes()
assert choices()["npz"] == "NumPy archive"
""",
}
"""Code that loads torch, which takes longest: one process runs it all."""

EACH = """
import contextlib, io, json, sys, traceback
ends = {}
for name, code in json.loads(sys.argv[1]).items():
    error = ""
    with contextlib.redirect_stdout(io.StringIO()) as text:
        try:
            exec(code, {"__name__": name})
        except BaseException:
            error = traceback.format_exc()
    ends[name] = text.getvalue(), error
print(json.dumps(ends))
"""


@pytest.fixture(scope="module")
def computed(extended) -> dict[str, tuple[str, str]]:
    """What each piece of `COMPUTING` prints, and the traceback of its error."""
    return json.loads(run_in(extended, EACH, json.dumps(COMPUTING)).splitlines()[-1])


def test_a_catalogue_entry_is_listed(extended) -> None:
    code = """
    from napari_ptsam.backbones.catalogue import entry_of
    print(entry_of("vit_b_example").megabytes)
    """
    assert run_in(extended, code).strip() == "375 MB"


def test_a_new_family_is_detected_loaded_and_tuned(computed) -> None:
    _, error = computed["family"]
    assert not error, error


def test_a_new_loss_trains(computed) -> None:
    printed, error = computed["loss"]
    assert not error, error
    assert "bce-dice, focal" in printed


def test_a_new_format_is_written_read_and_recognised(computed) -> None:
    _, error = computed["format"]
    assert not error, error


def test_a_new_class_of_layer_is_read(extended) -> None:
    code = """
    import numpy as np
    from napari.components import ViewerModel
    from napari_ptsam.widgets.shared.layers import image_layers, image_planes

    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((3, 20, 24)))
    labels = viewer.add_labels(np.arange(3 * 20 * 24).reshape(3, 20, 24), scale=(2, 1, 1))
    viewer.add_points(np.zeros((2, 3)))
    assert image_layers(viewer) == [image, labels]
    planes = image_planes(labels)
    assert planes.axes == "ZYX" and np.array_equal(planes[1], labels.data[1])
    """
    run_in(extended, code)


def test_names_are_known_before_torch_is_loaded(extended) -> None:
    code = """
    import sys
    from napari_ptsam.cli.parser import build_parser
    from napari_ptsam.training.settings import TrainingSettings

    command = ["train", "images", "masks", "--backbone", "vit_s", "--checkpoint", "small.pt"]
    assert build_parser().parse_args(command).backbone == "vit_s"
    TrainingSettings(loss="focal")
    assert "torch" not in sys.modules
    """
    run_in(extended, code)


def test_a_new_option_is_offered_everywhere(extended) -> None:
    code = """
    from napari_ptsam.cli.parser import build_parser
    from napari_ptsam.training.presets import training_settings
    from napari_ptsam.training.settings import TrainingSettings

    options = build_parser().parse_args(["train", "images", "masks", "--trial-part", "0.1"])
    assert options.trial_part == 0.1
    assert training_settings({"trial_part": 0.1}).trial_part == 0.1
    assert TrainingSettings().trial_part == 0.0625
    try:
        TrainingSettings(trial_part=0.3)
    except Exception as error:
        print(error)
    """
    assert "trial_part is a number from 0 to 0.2, not 0.3" in run_in(extended, code)
