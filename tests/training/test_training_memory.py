"""A GPU whose memory does not suffice, played by the CPU."""

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_ptsam.backbones.gpu_memory import copied, is_out_of_memory
from napari_ptsam.backbones.loading import on_cpu
from napari_ptsam.datasets.annotated_planes import AnnotationSet, MaskReading, annotate
from napari_ptsam.datasets.pairing import pair
from napari_ptsam.errors import CollapsedError
from napari_ptsam.training import optimization, trainer
from napari_ptsam.training.settings import TrainingSettings
from napari_ptsam.training.trainer import TOO_SMALL, Training

SETTINGS = TrainingSettings(
    encoder_tokens=0,
    steps=6,
    batch_size=4,
    held_out=0,
    tile=128,
    embeddings=4,
    markers="no",
    detail="off",
    minutes=0,
)


@pytest.fixture
def annotations(nuclei) -> AnnotationSet:
    return annotate(*pair(nuclei[0][:4], nuclei[1][:4]), MaskReading())


def has_room_for(count: int, monkeypatch) -> list[int]:
    """Let larger batches run out of memory; gives the sizes of those that were tried."""
    tried: list[int] = []
    losses = optimization.class_losses

    def limited(decoder, tokens, tiles, *rest):
        tried.append(len(tiles))
        if len(tiles) > count:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.")
        return losses(decoder, tokens, tiles, *rest)

    monkeypatch.setattr(optimization, "class_losses", limited)
    return tried


def test_batches_are_halved_and_the_training_goes_on(backbone, annotations, monkeypatch) -> None:
    tried = has_room_for(2, monkeypatch)
    training = Training(annotations, backbone, SETTINGS)
    last = list(training)[-1]
    assert last.phase == "done" and last.note == "" and training.steps_done == 6
    assert tried[:2] == [4, 2] and set(tried[2:]) <= {2, 4} and tried.count(4) <= 2


def test_a_draft_without_room_makes_do_with_less(backbone, annotations, monkeypatch) -> None:
    has_room_for(1, monkeypatch)
    training = Training(annotations, backbone, SETTINGS, draft=True)
    assert list(training)[-1].note == "" and training.steps_done == 6
    assert training.backbone is backbone


def test_without_room_for_a_tile_it_starts_anew_on_the_cpu(
    backbone, annotations, monkeypatch
) -> None:
    tried = has_room_for(0, monkeypatch)
    moved = []

    def move(frozen):
        moved.append(on_cpu(frozen))
        monkeypatch.undo()  # the CPU has room
        return moved[0]

    monkeypatch.setattr(trainer, "gpu_is_full", lambda error, _: not moved)
    monkeypatch.setattr(trainer, "on_cpu", move)
    training = Training(annotations, backbone, SETTINGS)
    told = list(training)
    assert tried[:3] == [4, 2, 1]
    assert told[-1].phase == "done" and told[-1].note == TOO_SMALL
    assert training.backbone is moved[0] and training.prompt.signature == backbone.signature
    assert [one.phase for one in told].count("embedding") > 4


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_stop_around_the_restart_on_the_cpu_counts(
    when, backbone, annotations, monkeypatch
) -> None:
    has_room_for(0, monkeypatch)
    training = Training(annotations, backbone, SETTINGS)

    def is_full(error, device):
        if when == "before":
            training.stop()
        return True

    def move(frozen):
        if when == "during":
            training.stop()
        return on_cpu(frozen)

    monkeypatch.setattr(trainer, "gpu_is_full", is_full)
    monkeypatch.setattr(trainer, "on_cpu", move)
    told = list(training)
    assert told[-1].phase == "embedding" and len(told) < 4  # nothing is embedded again
    with pytest.raises(CollapsedError, match="was stopped before"):
        training.prompt  # noqa: B018


def test_a_stop_when_the_gpu_is_full_keeps_what_was_learned(
    backbone, annotations, monkeypatch
) -> None:
    training = Training(annotations, backbone, SETTINGS)

    def fails() -> None:
        training.stop()
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.")

    monkeypatch.setattr(training._scores, "choose_filter", lambda _: fails())
    monkeypatch.setattr(trainer, "gpu_is_full", lambda error, device: True)
    assert list(training)[-1].phase == "training"
    assert training.backbone is backbone and training.prompt.origin.steps == 6


def test_a_stop_stays_when_the_prompt_is_looked_at(backbone, annotations) -> None:
    training = Training(annotations, backbone, replace(SETTINGS, steps=40), draft=True)
    steps = iter(training)
    while next(steps).step < 2:
        pass
    training.stop()
    with suppress(CollapsedError):
        training.prompt  # noqa: B018, measures what there is
    assert len(list(steps)) <= 1


def test_on_the_cpu_there_is_nothing_to_fall_back_to(backbone, annotations, monkeypatch) -> None:
    has_room_for(0, monkeypatch)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        list(Training(annotations, backbone, SETTINGS))


def test_a_copy_computes_the_same(exact_backbone) -> None:
    copy = on_cpu(exact_backbone)
    tile = np.random.default_rng(0).random((64, 64, 3), dtype=np.float32)
    expected = exact_backbone.encoder([tile], torch.float32)
    found = copy.encoder([tile], torch.float32)
    # The copy may be in bfloat16.
    assert torch.nn.functional.cosine_similarity(found.flatten(), expected.flatten(), 0) > 0.999
    tokens = exact_backbone.decoder.foreground_label.repeat(8, 1)
    with torch.no_grad():
        logits = copy.decoder(expected, tokens), exact_backbone.decoder(expected, tokens)
    assert (logits[0] - logits[1]).abs().mean() < 0.1
    one = exact_backbone.decoder._mask_mlp
    other = copied(one, torch.device("cpu"))
    assert torch.equal(one.layers[0].weight, other.layers[0].weight)
    assert one.layers[0].weight.data_ptr() != other.layers[0].weight.data_ptr()


def test_what_counts_as_out_of_memory() -> None:
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))
