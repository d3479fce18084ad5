"""What came of a training, as a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ptsam import __version__
from napari_ptsam.prompts.prompt import NAME_LIMIT, Origin, Prompt, default_colours
from napari_ptsam.prompts.thumbnail import make_thumbnail

if TYPE_CHECKING:
    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.datasets.annotated_planes import AnnotationSet
    from napari_ptsam.images.channels import Channels
    from napari_ptsam.images.guided_filter import Refinement
    from napari_ptsam.images.settings import ImageSettings
    from napari_ptsam.images.tiling import Flip
    from napari_ptsam.training.settings import TrainingSettings
    from napari_ptsam.training.validation import ValidationPlane


@dataclass(frozen=True, eq=False)
class TrainingTask:
    """What a training was given.

    Attributes
    ----------
    annotations
        What to learn.
    settings
        How to train.
    images
        How images are prepared.
    held_out_images
        Count of the planes that were held out.
    start
        The prompt that it went on from, if any.
    channels
        Of the images; None where they differ.
    """

    annotations: AnnotationSet
    settings: TrainingSettings
    images: ImageSettings
    held_out_images: int
    start: Prompt | None
    channels: Channels | None

    def colours(self) -> tuple[str, ...]:
        """A colour for each class: as annotated, as in the start, or others."""
        if self.annotations.colours is not None:
            return self.annotations.colours
        return self.start.colours if self.start else default_colours(len(self.annotations.classes))


@dataclass(frozen=True, eq=False)
class TrainedTokens:
    """What a training found.

    Attributes
    ----------
    dice
        On the planes that it was measured on.
    measured_on_training
        Whether these are the ones that were trained on.
    steps
        For the tokens of the classes.
    tokens
        float32, shape (classes, 8, 256).
    markers
        The same, of the cores; None if there are none.
    encoder_tokens
        One tensor for each layer, or none.
    refinement, flips
        Of the logits, and of tiles, if any.
    """

    dice: float
    measured_on_training: bool
    steps: int
    tokens: torch.Tensor
    markers: torch.Tensor | None
    encoder_tokens: tuple[torch.Tensor, ...]
    refinement: Refinement | None
    flips: tuple[Flip, ...] = ()


def prompt_of(
    task: TrainingTask, found: TrainedTokens, backbone: Backbone, planes: Sequence[ValidationPlane]
) -> Prompt:
    """The prompt that a training found for a backbone; the planes are for its picture."""
    start, colours = task.start, task.colours()
    return Prompt(
        tokens=_array(found.tokens),
        classes=task.annotations.classes,
        colours=colours,
        backbone=backbone.name,
        signature=backbone.signature,
        images=task.images,
        pixel_size=task.annotations.pixel_size,
        origin=_origin(task, found),
        notes=start.notes if start else "",
        licence=start.licence if start else "",
        author=start.author if start else "",
        cores=None if found.markers is None else _array(found.markers),
        encoder_tokens=tuple(_array(own) for own in found.encoder_tokens),
        refinement=found.refinement,
        flips=found.flips,
        trained_channels=task.channels,
        weights=backbone.weights[:NAME_LIMIT],
        thumbnail=_picture(found, backbone, planes, colours, task.images.tiling.side),
    )


def _picture(
    found: TrainedTokens,
    backbone: Backbone,
    planes: Sequence[ValidationPlane],
    colours: Sequence[str],
    side: int,
) -> bytes:
    """What was found on the plane with most foreground; none once the planes are gone."""
    if not planes:
        return b""
    plane = max(planes, key=lambda plane: np.count_nonzero(plane.example.labels))
    labels = plane.predict(found.tokens, backbone, found.refinement).labels
    return make_thumbnail(plane.guide, labels, colours, side)


def _origin(task: TrainingTask, found: TrainedTokens) -> Origin:
    return Origin(
        images=len(task.annotations.examples),
        held_out_images=task.held_out_images,
        steps=found.steps,
        batch_size=task.settings.batch_size,
        seed=task.settings.seed,
        held_out_dice=found.dice,
        measured_on_training=found.measured_on_training,
        start="a prompt" if task.start else "label or normal",
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={"napari-ptsam": __version__, "torch": str(torch.__version__)},
    )


def _array(tokens: torch.Tensor) -> np.ndarray:
    return tokens.detach().cpu().numpy().astype(np.float32)
