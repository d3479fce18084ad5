"""Real images, and a backbone that all tests share.

Trainings here are given no time for encoder tokens (``minutes`` is 0, as in the preset "quick"), where
they are not what is tested: on a fast machine the default would allow some hundred more steps.
"""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile

from conftest_data import crops

# What a test embeds is not the user's. All tests share a cache on disk, those that run beside each
# other and processes of their own too; tests of that cache set a folder and a limit.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["NAPARI_PTSAM_CACHE"] = tempfile.mkdtemp(prefix="napari-ptsam-tests-")
    atexit.register(shutil.rmtree, os.environ["NAPARI_PTSAM_CACHE"], ignore_errors=True)
os.environ["NAPARI_PTSAM_CACHE_GB"] = "2"
os.environ["NAPARI_PTSAM_BACKBONES"] = os.environ["NAPARI_PTSAM_CACHE"]  # of fixtures for all tests

# Tests that run beside each other share the cores: each computes with one thread, as do processes
# of its own, and OpenMP's threads must not wait by spinning.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

# A test of the form makes many objects that stay until it ends; looking at them again and again
# takes a tenth of its time.
gc.set_threshold(20_000, 20, 20)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--exhaustive", action="store_true",
        help="damage every byte of files where a sample is damaged otherwise (many minutes)",
    )  # fmt: skip


@pytest.fixture(autouse=True)
def folder_of_backbones(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a test loads from a file of its own is known neither to other tests nor to the user."""
    monkeypatch.setenv("NAPARI_PTSAM_BACKBONES", str(tmp_path_factory.mktemp("backbones")))


@pytest.fixture(scope="session")
def modules_frozen() -> Iterator[list[int]]:
    """How many modules were loaded when objects were frozen; at the end none are."""
    counts: list[int] = [0]
    yield counts
    gc.unfreeze()


@pytest.fixture(autouse=True)
def frozen(modules_frozen: list[int]) -> Iterator[None]:
    """Spare the garbage collection what stays: what torch, the first viewer and the exporter have loaded.

    An export collects garbage several times. So does napari each time that a layer is removed, for
    some drivers on Windows; elsewhere only young objects are collected then.
    """
    freeze(modules_frozen)
    yield
    freeze(modules_frozen)
    canvas: Any = sys.modules.get("napari._vispy.canvas")
    if sys.platform != "win32" and getattr(canvas, "gc", None) is gc:
        canvas.gc = SimpleNamespace(collect=lambda: gc.collect(0))


def freeze(modules_frozen: list[int]) -> None:
    """Freeze all objects if many modules have been loaded since the last time."""
    if len(sys.modules) > modules_frozen[-1] + 300:
        gc.collect()
        gc.freeze()
        modules_frozen.append(len(sys.modules))


@pytest.fixture
def all_threads() -> Iterator[None]:
    """As users have it, in this thread: how many sum up decides the last digits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def nuclei() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Six crops of 128 x 128 pixels of real nuclei, with instance masks.

    Without the real images, drawn nuclei stand in, so that a clone of the
    repository can be tested by itself.
    """
    images, masks = zip(*crops(), strict=True)
    return list(images), list(masks)


@pytest.fixture
def folders(tmp_path: Path, nuclei) -> tuple[Path, Path]:
    """The same crops as two folders of TIFFs."""
    paths = tmp_path / "images", tmp_path / "masks"
    for folder, arrays in zip(paths, nuclei, strict=True):
        folder.mkdir()
        for number, array in enumerate(arrays):
            tifffile.imwrite(folder / f"{number:03}.tif", array)
    return paths


@pytest.fixture(scope="session")
def device() -> str:
    """The GPU where there is one, so that the same tests run there."""
    from napari_ptsam.widgets.shared.torch_loading import load_torch

    load_torch()  # a test may have opened a window before
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(scope="session")
def early_stages() -> Iterator[Any]:
    """Let the embedded backbone remember its early features."""
    from conftest_encoder import EarlyStages
    from napari_ptsam.backbones.kernels.tiny_vit import QuickTinyViT

    remembered = EarlyStages(QuickTinyViT.early_stages)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            QuickTinyViT, "early_stages", lambda module, pixels: remembered(module, pixels)
        )
        yield remembered


@pytest.fixture(scope="session")
def backbone(device: str, early_stages):
    """The embedded backbone as users get it; no tile is embedded twice for all tests together."""
    from napari_ptsam.backbones.embedding_cache import with_users_cache
    from napari_ptsam.backbones.loading import load_backbone

    return with_users_cache(load_backbone(device=device))


def keep_loaded(backbone: Any, patch: pytest.MonkeyPatch) -> None:
    """Let whoever loads the embedded backbone have the one that is there, with its embeddings."""
    from napari_ptsam.backbones import loading

    load = loading.load_backbone

    def given(
        name: str = "vit_t", checkpoint: Any = None, device: str = "auto", dtype: Any = None
    ) -> Any:
        own = device in ("auto", str(backbone.device)) and dtype is None
        return (
            backbone
            if own and (name, checkpoint) == ("vit_t", None)
            else load(name, checkpoint, device, dtype)
        )

    patch.setattr(loading, "load_backbone", given)


@pytest.fixture
def loaded(backbone, monkeypatch) -> None:
    """For tests of what comes before and after the encoder."""
    keep_loaded(backbone, monkeypatch)


@pytest.fixture
def careless(monkeypatch) -> None:
    """Let a training keep its last tokens, however bad; a high learning rate makes them so."""
    from napari_ptsam.training import validation

    monkeypatch.setattr(validation, "UNCERTAINTY", 1.0)
    monkeypatch.setattr(validation, "COLLAPSED", 0.0)


@pytest.fixture(scope="session")
def exact_backbone():
    """The embedded backbone in float32, to compare with segment-anything's modules."""
    import torch

    from napari_ptsam.backbones.loading import load_backbone

    return load_backbone(device="cpu", dtype=torch.float32)


@pytest.fixture
def encoded(exact_backbone, monkeypatch) -> list[int]:
    """Counts of the tiles that its encoder has computed, call by call."""
    return counted(exact_backbone.encoder, monkeypatch)


@pytest.fixture
def encoded_tiles(backbone, monkeypatch) -> list[int]:
    """Counts of the tiles that were embedded, or looked up, call by call."""
    return counted(backbone.encoder, monkeypatch)


def counted(encoder: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the tiles of each call of encoders of this class."""
    calls: list[int] = []
    encode = type(encoder).__call__

    def counting(self, tiles, *rest):
        calls.append(len(tiles))
        return encode(self, tiles, *rest)

    monkeypatch.setattr(type(encoder), "__call__", counting)
    return calls


@pytest.fixture(scope="session")
def prompt(nuclei, backbone, device: str):
    """A prompt tuned on the crops, in few steps; once for all tests that run beside each other."""
    import napari_ptsam as ptsam

    return ptsam.load(
        kept("prompt.pt", lambda path: train_prompt(nuclei, backbone, device).save(path))
    )


def kept(name: str, make: Callable[[Path], object]) -> Path:
    """Path of a file that the first of the tests that run beside each other makes for all."""
    from filelock import FileLock

    path = Path(os.environ["NAPARI_PTSAM_CACHE"]) / "shared" / name
    path.parent.mkdir(exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            make(path)
    return path


def train_prompt(nuclei, backbone, device: str):
    import napari_ptsam as ptsam

    settings = {
        "steps": 80, "embeddings": 6, "batch_size": 2, "tile": "whole", "seed": 0, "minutes": 0,
        "detail": "off",  # other tests add heads
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        keep_loaded(backbone, patch)
        return ptsam.train(*nuclei, **settings, markers="no", device=device)


@pytest.fixture(scope="session")
def cell_and_rest(nuclei) -> list[np.ndarray]:
    """Masks of two classes, of the first two crops: nuclei, and what is around them.

    A strip is background, so that the classes are not everything.
    """
    masks = [np.where(mask > 0, 1, 2).astype(np.uint8) for mask in nuclei[1][:2]]
    for mask in masks:
        mask[:10] = 0
    return masks


@pytest.fixture(scope="session")
def two_classes(nuclei, cell_and_rest, backbone, device: str):
    """A prompt tuned on these; once for all tests that run beside each other."""
    import napari_ptsam as ptsam

    def train():
        with pytest.MonkeyPatch.context() as patch:
            keep_loaded(backbone, patch)
            return ptsam.train(
                nuclei[0][:2], cell_and_rest, classes=("cell", "rest"), steps=60, embeddings=3,
                batch_size=1, tile="whole", seed=1, minutes=0, detail="off", markers="no",
                device=device,
            )  # fmt: skip

    return ptsam.load(kept("two_classes.pt", lambda path: train().save(path)))


# Of the table of tests: every kind of prompt in every place.


@pytest.fixture(scope="session")
def prompts(prompt, backbone, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A prompt of every kind."""
    from conftest_every import every_prompt

    widths = backbone.encoder.plain.token_widths
    return every_prompt(prompt, widths, tmp_path_factory.mktemp("prompts"))


@pytest.fixture(scope="session")
def grey(nuclei) -> np.ndarray:
    """Two planes of real nuclei, wider than high."""
    return np.stack(nuclei[0][:2])[:, :112]


@pytest.fixture(scope="session")
def found(prompts, grey, device: str) -> Callable[[str, str], np.ndarray]:
    """What `segment` gives for a kind of prompt and an output."""
    from conftest_every import segmented

    return segmented(prompts, grey, device)
