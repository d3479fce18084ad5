"""Detail heads: how they are trained, and how much of them is added."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import napari_ptsam as ptsam
from napari_ptsam.backbones.early_features import EarlyFeatures
from napari_ptsam.datasets.annotated_planes import MaskReading, annotate
from napari_ptsam.images.planes import Planes
from napari_ptsam.inference.detail import DetailCorrection
from napari_ptsam.prompts.detail import DetailHead, parameter_count
from napari_ptsam.training import detail_training, tiles
from napari_ptsam.training.detail_optimization import optimise_head
from napari_ptsam.training.detail_tiles import Compressed, CompressedFeatures, DetailTile
from napari_ptsam.training.detail_training import SHARES, choose_share
from napari_ptsam.training.loss import bce_dice
from napari_ptsam.training.settings import TrainingSettings
from napari_ptsam.training.trainer import Training

QUICK = {
    "steps": 4, "embeddings": 6, "tile": "whole", "batch_size": 1, "markers": "no", "minutes": 0,
}  # fmt: skip


def training(nuclei, backbone, count: int = 6, **settings) -> Training:
    images, masks = ([Planes(a) for a in arrays[:count]] for arrays in nuclei)
    annotations = annotate(images, masks, MaskReading())
    return Training(annotations, backbone, TrainingSettings(**{**QUICK, **settings}))


def features(seed: int) -> EarlyFeatures:
    rng = torch.Generator().manual_seed(seed)
    shapes = (1, 256, 256, 64), (1, 128, 128, 128), (1, 256, 256, 3)
    return EarlyFeatures(*(torch.randn(shape, generator=rng) for shape in shapes))


def test_compressed_features_differ_little() -> None:
    early = features(0)
    restored = CompressedFeatures.of(early).restored()
    for name in ("stem", "stage", "pixels"):
        before, after = getattr(early, name), getattr(restored, name)
        assert before.shape == after.shape and (before - after).abs().max() < 0.03
    size = sum(getattr(CompressedFeatures.of(early), n).values.nbytes for n in vars(early))
    assert size == 65536 * 67 + 16384 * 128


def test_a_head_learns_what_its_features_tell(device: str) -> None:
    """Logits of 0 everywhere, and a channel of the stem that knows the foreground."""
    detail_tiles = []
    for number in range(2):
        early = features(number)
        target = (early.stem[0, :, :, 5] > 0).float()
        early.stem[0, :, :, 5] = 3 * target + 10  # not standardized
        detail_tiles.append(
            DetailTile(
                CompressedFeatures.of(early.to(torch.device(device))),
                Compressed.of(torch.zeros(256, 256, 32, device=device)),
                torch.zeros(256, 256, device=device),
                target.to(device),
                torch.ones(256, 256, device=device),
                number,
            )
        )
    *_, head = optimise_head(detail_tiles, 60, 0, bce_dice, torch.float32)
    assert isinstance(head, DetailHead) and head.parameters.size == parameter_count(14) == 12_111
    correct = DetailCorrection(head, torch.device(device))
    corrected = correct(
        detail_tiles[0].logits[None],
        detail_tiles[0].decoded.restored()[None],
        detail_tiles[0].early.restored(),
    )
    assert ((corrected[0] > 0) == (detail_tiles[0].target > 0)).float().mean() > 0.95


def test_only_the_head_gets_gradients(nuclei, backbone) -> None:
    run = training(nuclei, backbone, 4)
    for _ in run:
        pass
    modules = backbone.encoder.plain.module, backbone.decoder.prompt_encoder
    assert all(p.grad is None for module in modules for p in module.parameters())
    tokens = run.prompt.tokens
    bare = training(nuclei, backbone, 4, detail="off")
    for _ in bare:
        pass
    assert np.array_equal(tokens, bare.prompt.tokens)
    assert bare.prompt.detail == () and bare.prompt.trained_parameters == 2048


def test_without_a_share_nothing_changes(nuclei, prompt, device) -> None:
    values = np.random.default_rng(0).normal(0, 0.1, parameter_count(14)).astype(np.float16)
    values[-15:] = 0  # the last layer: no correction
    bare = replace(prompt, detail=())
    with_head = replace(prompt, detail=(DetailHead(values, 14, 1.0),))
    results = [
        ptsam.segment(nuclei[0][0], each, output="probabilities", device=device)
        for each in (bare, with_head)
    ]
    assert np.array_equal(*results)


@pytest.mark.parametrize(
    ("ious", "share"),
    [
        ([[0.6, 0.65, 0.7, 0.8]] * 4, 1.0),
        ([[0.8, 0.7, 0.6, 0.5]] * 4, 0.0),
        ([[0.6, 0.7, 0.65, 0.5]] * 4, 0.25),
        ([[0.6, 0.6, 0.6, 0.6]] * 4, 0.0),  # the smallest of equally good ones
        ([[0.6, 0.6, 0.6, 0.9], [0.6, 0.6, 0.6, 0.5], [0.7, 0.7, 0.7, 0.7]], 0.0),  # not sure
        ([[0.6, 0.7, 0.8, 0.9]], 0.0),  # one plane tells nothing
    ],
)
def test_the_share(ious, share: float) -> None:
    assert choose_share(np.array(ious)) == share
    assert choose_share(np.array(ious), always=True) in SHARES[1:]


def test_heads_predict_planes_that_they_have_not_seen(nuclei, backbone, monkeypatch) -> None:
    seen: list[set[int]] = []

    def recording(tiles, *rest):
        seen.append({tile.group for tile in tiles if not tile.blank})
        return optimise_head(tiles, *rest)

    monkeypatch.setattr(detail_training, "optimise_head", recording)
    monkeypatch.setattr(detail_training, "choose_share", lambda *_: 0.5)
    run = training(nuclei, backbone)
    for _ in run:
        pass
    *folds, last = seen
    assert len(folds) == 4 and last == set(range(6))  # the validation plane, too
    assert [last - fold for fold in folds] == [{0, 4}, {1, 5}, {2}, {3}]
    (head,) = run.prompt.detail
    assert head is not None and head.share == 0.5
    scores = dict(run.plane_scores())
    assert sorted(scores) == list(range(6))
    run.close()
    assert run.prompt.detail[0] is head


def test_classes_have_heads_of_their_own(
    nuclei, cell_and_rest, two_classes, backbone, monkeypatch
) -> None:
    shares = iter((0.0, 0.25))
    monkeypatch.setattr(detail_training, "choose_share", lambda *_: next(shares))
    images, masks = ([Planes(a) for a in arrays] for arrays in (nuclei[0][:2], cell_and_rest))
    annotations = annotate(images, masks, MaskReading(classes=("cell", "rest")))
    run = Training(annotations, backbone, TrainingSettings(**QUICK), start=two_classes)
    for _ in run:
        pass
    none, head = run.prompt.detail
    assert none is None and head is not None and head.share == 0.25


def test_one_plane_has_no_head_unless_asked(nuclei, backbone) -> None:
    auto, on = (training(nuclei, backbone, 1, detail=detail) for detail in ("auto", "on"))
    *_, last = auto
    assert auto.prompt.detail == () and detail_training.TOO_FEW in last.note
    *_, last = on
    assert on.prompt.detail[0].share == 1.0 and detail_training.TOO_FEW not in last.note


def test_one_large_plane_is_divided_by_its_tiles(nuclei, backbone, monkeypatch) -> None:
    """Only some tiles of it are embedded; with few early features, the others have no head."""
    seen: list[set[int]] = []

    def recording(tiles, *rest):
        seen.append({tile.group for tile in tiles if not tile.blank})
        return optimise_head(tiles, *rest)

    monkeypatch.setattr(detail_training, "optimise_head", recording)
    monkeypatch.setattr(detail_training, "choose_share", lambda *_: 1.0)
    image, mask = (np.block([[a[0], a[1]], [a[2], a[3]]]) for a in nuclei)
    annotations = annotate([Planes(image)], [Planes(mask)], MaskReading())
    settings = TrainingSettings(**{**QUICK, "tile": 128, "embeddings": 4})
    for kept, groups in ((96, set(range(4))), (3, {0, 1, 2})):
        monkeypatch.setattr(tiles, "MOST_DETAIL_TILES", kept)
        run = Training(annotations, backbone, settings)
        for _ in run:
            pass
        assert seen[-1] == groups and all(len(fold) < len(groups) for fold in seen[-4:-1])
        assert run.prompt.detail and len(dict(run.plane_scores())) == 1


def test_a_training_that_is_stopped_keeps_the_bare_prompt(nuclei, backbone) -> None:
    run = training(nuclei, backbone)
    for progress in run:
        if progress.phase == "training" and progress.step > QUICK["steps"] + 3:
            run.stop()
    assert run.prompt.detail == ()
