"""Planes, stacks and colour images to labels."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
from skimage.filters import threshold_otsu

import napari_ptsam as ptsam
from conftest_data import unreadable, whole_plane
from napari_ptsam.evaluation.metrics import overlap
from napari_ptsam.images.channels import channels_of
from napari_ptsam.images.planes import Planes
from napari_ptsam.inference.embedded_plane import EmbeddedPlane
from napari_ptsam.inference.objects import NumberedObjects, connected_components
from napari_ptsam.inference.prediction import Prediction
from napari_ptsam.inference.result import ResultSettings
from napari_ptsam.inference.segment import Segmenter
from napari_ptsam.inference.shared_embedding import segment_planes

# The encoder is the same whatever is tested here, and no tile has to be embedded twice.
pytestmark = pytest.mark.usefixtures("loaded")


@pytest.fixture(scope="module")
def segmenter(prompt, backbone) -> Segmenter:
    return Segmenter(prompt, backbone)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((40, 50), None), ((2, 40, 50), None), ((2, 2, 40, 50), None), ((40, 50, 3), None),
     ((2, 40, 50, 3), None), ((2, 40, 50), "CYX"), ((1, 3, 40, 50), "ZCYX"), ((16, 16), None),
     ((300, 17), None)],
)  # fmt: skip
def test_every_shape_keeps_its_shape(shape, axes, prompt, device) -> None:
    image = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    kept = Planes(image, axes)
    prompt = replace(prompt, trained_channels=channels_of(kept))
    labels = ptsam.segment(image, prompt, axes=axes, device=device)
    assert labels.shape == (*kept.leading, *kept.shape) and labels.dtype == np.uint8
    assert labels.max() <= 1


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.int16, np.float32, np.float64])
def test_every_dtype(dtype, nuclei, prompt, device) -> None:
    image = nuclei[0][0]
    image = (image > threshold_otsu(image)) if dtype is bool else (image / 4096 * 255).astype(dtype)
    labels = ptsam.segment(image, prompt, device=device)
    assert labels.shape == image.shape
    assert overlap(nuclei[1][0] > 0, labels > 0).dice > 0.5


def test_stack_equals_its_planes(nuclei, prompt, device) -> None:
    stack = np.stack(nuclei[0][:3])
    labels = ptsam.segment(stack, prompt, device=device)
    for plane, found in zip(stack, labels, strict=True):
        assert np.array_equal(ptsam.segment(plane, prompt, device=device), found)


def test_outputs_agree(nuclei, prompt, device) -> None:
    image = nuclei[0][1]
    labels, instances, probabilities = (
        ptsam.segment(image, prompt, output=output, device=device)
        for output in ("labels", "instances", "probabilities")
    )
    assert probabilities.shape == (1, *image.shape) and probabilities.dtype == np.float32
    assert 0 <= probabilities.min() < probabilities.max() <= 1
    assert np.array_equal(labels > 0, probabilities[0] > 0.5)
    assert instances.dtype == np.uint32 and np.array_equal(instances > 0, labels > 0)
    assert instances.max() > 1


def test_constant_plane_is_no_error(prompt, device) -> None:
    assert ptsam.segment(np.full((64, 64), 9, np.uint16), prompt, device=device).shape == (64, 64)


def test_tiles_of_a_large_plane_leave_no_seam(prompt, backbone) -> None:
    """Along the tiles' borders the logits change no more than elsewhere."""
    image = whole_plane()[0][:240, :400]
    tiling = prompt.images.tiling
    assert len(tiling.tiles(image.shape)) == 8
    logits = Segmenter(prompt, backbone).predict(image).logits[0]
    change = np.abs(np.diff(logits, axis=1))
    starts = sorted({tile.x for tile in tiling.tiles(image.shape)} - {0})
    at_borders = change[:, [start - 1 for start in starts]].mean()
    assert at_borders < 2 * change.mean()


def test_planes_are_read_one_ahead_and_not_kept(segmenter) -> None:
    alive = []

    class Lazy:
        shape, dtype = (5, 32, 32), np.dtype(np.uint8)

        def __getitem__(self, index):
            alive.append(index[0])
            return np.zeros((32, 32), np.uint8)

    results = segment_planes(segmenter, Planes(Lazy()))
    assert alive == []
    next(results)
    next(results)
    assert alive in ([0, 1], [0, 1, 2])
    results.close()


PEAK = """
import resource, sys
import numpy as np
import napari_ptsam as ptsam
from pathlib import Path
from napari_ptsam.images.planes import Planes
from napari_ptsam.backbones.loading import load_backbone
from napari_ptsam.batch.result_files import FileResult, segment_to_files
from napari_ptsam.inference.segment import Segmenter

class Lazy:
    dtype = np.dtype(np.uint8)
    def __init__(self, planes): self.shape = (planes, 128, 128)
    def __getitem__(self, index): return np.add.outer(*[np.arange(128)] * 2).astype(np.uint8)

backbone = load_backbone(device="cpu")
Encoder, kept = type(backbone.encoder), []
encode = Encoder.__call__

def once(self, tiles, *rest):  # the planes are alike: a copy of the first one's takes as much memory
    kept or kept.append(encode(self, tiles, *rest))
    return kept[0].clone()

Encoder.__call__ = once
segmenter = Segmenter(ptsam.load(sys.argv[1]), backbone)
def peak(planes, name):
    parts = [FileResult(segmenter, Path(sys.argv[2]) / name)]
    for _ in segment_to_files(Planes(Lazy(planes)), parts): pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(peak(4, "few.tif"), peak(24, "many.tif"))
"""


def test_memory_does_not_grow_with_the_stack(prompt, tmp_path) -> None:
    """The process's peak over 24 planes is that over 4: an embedding alone has 2 MB a tile."""
    import subprocess
    import sys

    pytest.importorskip("resource")
    path = prompt.save(tmp_path / "a.pt")
    command = [sys.executable, "-c", PEAK, str(path), str(tmp_path)]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    few, many = map(int, run.stdout.split())
    assert tifffile.imread(tmp_path / "many.tif").shape == (24, 128, 128)
    assert many - few < 30_000  # kilobytes


def test_embeddings_of_a_large_plane_are_not_all_kept(
    prompt, nuclei, backbone, monkeypatch
) -> None:
    """Tiles are encoded a few at a time, just before they are decoded."""
    order, first = [], []
    encode, decode = type(backbone.encoder).__call__, type(backbone.decoder).__call__

    def encoding(*arguments):
        order.append("encode")
        if not first:
            first.append(encode(*arguments))
        return first[0].clone()  # of which tile does not matter here

    monkeypatch.setattr(type(backbone.encoder), "__call__", encoding)
    monkeypatch.setattr(
        type(backbone.decoder), "__call__", lambda *a: order.append("decode") or decode(*a)
    )
    Segmenter(prompt, backbone).predict(np.tile(nuclei[0][0], (3, 3))[:300, :300])
    assert order.count("encode") == 9
    assert order == (["encode"] * 4 + ["decode"]) * 2 + ["encode", "decode"]


def test_fast_number_formats_give_the_same_labels(nuclei, prompt, backbone, exact_backbone) -> None:
    """What this machine computes in (bfloat16 where it can) against float32."""
    for image in nuclei[0][:3]:
        fast, exact = (Segmenter(prompt, b).plane(image) > 0 for b in (backbone, exact_backbone))
        assert overlap(exact, fast).iou > 0.97


def test_normalisation_over_the_stack_is_used_again(nuclei, prompt, backbone) -> None:
    from dataclasses import replace

    from napari_ptsam.images.normalize import Normalization

    images = replace(prompt.images, normalization=Normalization("stack"))
    over_stack = Segmenter(replace(prompt, images=images), backbone, "probabilities")
    dim = np.stack([nuclei[0][0], nuclei[0][0] // 8])
    bright, dark = segment_planes(over_stack, Planes(dim))
    alone = next(segment_planes(over_stack, Planes(dim[1])))
    assert np.abs(alone - dark).max() > 0.1
    assert bright.shape == dark.shape


def test_a_plane_that_cannot_be_read_is_named(prompt, device) -> None:
    stack = unreadable(np.zeros((3, 32, 32), np.float32), 2)
    with pytest.raises(ptsam.InputError, match=r"the image, plane 2: .*cannot be read"):
        ptsam.segment(stack, prompt, device=device)


def test_wrong_requests(prompt, device) -> None:
    with pytest.raises(
        ptsam.InputError, match="output is labels, instances or probabilities, not 'outlines'"
    ):
        ptsam.segment(np.zeros((32, 32)), prompt, output="outlines", device=device)
    with pytest.raises(ptsam.InputError, match="One image or stack"):
        ptsam.segment([np.zeros((32, 32))] * 2, prompt, device=device)


def test_connected_components_of_classes_that_touch() -> None:
    labels = np.zeros((10, 10), np.uint8)
    labels[1:4, 1:4], labels[4:6, 4:6], labels[1:4, 4:6] = 1, 1, 2
    found = connected_components(labels)
    assert found.max() == 2 and found[1, 1] == found[5, 5] != found[1, 5]
    assert not connected_components(np.zeros((4, 4), np.uint8)).any()


def test_blending_happens_before_the_threshold(backbone) -> None:
    """Two tiles that disagree meet at the mean of their logits."""
    from napari_ptsam.images.tiling import Tile

    values = iter([torch.full((2, 256, 256), 3.0)])

    class Decoder:
        def __call__(self, embeddings, tokens):
            logits = next(values)
            logits[1] = -1.0
            return logits

    tiles = [Tile(0, 0, 64), Tile(0, 32, 64)]
    plane = EmbeddedPlane((64, 96), tiles, [torch.zeros(1, 4096, 256)] * 2)
    found = plane.logits(Decoder(), torch.zeros(1, 8, 256))
    assert found[0, 32, [0, 95]].tolist() == pytest.approx([3, -1])
    assert found[0, 32, 47:49].mean() == pytest.approx(1, abs=0.01)


def test_objects_know_their_classes(prompt, backbone) -> None:
    two = replace(
        prompt, tokens=np.concatenate([prompt.tokens] * 2), classes=("a", "b"),
        colours=("#E69F00", "#56B4E9"),
    )  # fmt: skip
    logits = np.full((2, 40, 60), -1.0, np.float32)
    for class_index, y, x in ((1, 2, 2), (0, 2, 12), (1, 20, 30), (0, 20, 4)):
        logits[class_index, y : y + 9, x : x + 9] = 1
    logits[1, 36:38, 50:52] = 1  # too small
    settings = ResultSettings("instances", min_size=10)
    objects = Segmenter(two, backbone, settings).result(Prediction(logits))
    assert isinstance(objects, NumberedObjects) and objects.max() == 4
    assert objects.classes.tolist() == [0, 1, 1, 2, 2]
    labels = Prediction(logits).labels
    assert np.array_equal(objects.classes[objects][objects > 0], labels[objects > 0])
    assert not isinstance(np.asarray(objects), NumberedObjects)
