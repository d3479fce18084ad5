"""Make a prompt from the result of a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ptsam import __version__
from napari_ptsam.inference.detail import corrections_of
from napari_ptsam.prompts.prompt import NAME_LIMIT, Origin, Prompt, default_colours
from napari_ptsam.prompts.thumbnail import make_thumbnail

if TYPE_CHECKING:
    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.datasets.annotated_planes import AnnotationSet
    from napari_ptsam.images.channels import Channels
    from napari_ptsam.images.guided_filter import Refinement
    from napari_ptsam.images.settings import ImageSettings
    from napari_ptsam.images.tiling import Flip
    from napari_ptsam.prompts.detail import DetailHead
    from napari_ptsam.training.settings import TrainingSettings
    from napari_ptsam.training.validation import ValidationPlane


@dataclass(frozen=True, eq=False)
class TrainingTask:
    """The input of a training.

    Attributes
    ----------
    annotations
        Annotated planes to learn from.
    settings
        Settings of the training.
    images
        Settings with which images are prepared.
    held_out_images
        Number of planes that were held out for validation.
    start
        Prompt that the training continued from, if any.
    channels
        Channels of the images; None if they differ.
    """

    annotations: AnnotationSet
    settings: TrainingSettings
    images: ImageSettings
    held_out_images: int
    start: Prompt | None
    channels: Channels | None

    def colours(self) -> tuple[str, ...]:
        """Return the colours of the classes: those of the annotation, of the start, or defaults."""
        if self.annotations.colours is not None:
            return self.annotations.colours
        return self.start.colours if self.start else default_colours(len(self.annotations.classes))


@dataclass(frozen=True, eq=False)
class TrainedTokens:
    """The result of a training.

    Attributes
    ----------
    dice
        Dice on the validation planes.
    dice_error
        Standard error of it; None if it is not known.
    cross_validated
        Whether this is the Dice on all annotated planes, from tokens that have not seen them.
    measured_on_training
        Whether these are the training planes, since none were held out.
    steps
        Number of steps for the tokens of the classes.
    tokens
        Tokens of the classes: float32, shape (classes, 8, 256).
    markers
        Tokens of their markers, of the same shape; None if there are none.
    encoder_tokens
        A tensor for each layer of the encoder, or none.
    refinement, flips
        Guided filter of the logits and flips of tiles, if any.
    detail
        The detail head of each class, if any class has one.
    """

    dice: float
    dice_error: float | None
    cross_validated: bool
    measured_on_training: bool
    steps: int
    tokens: torch.Tensor
    markers: torch.Tensor | None
    encoder_tokens: tuple[torch.Tensor, ...]
    refinement: Refinement | None
    flips: tuple[Flip, ...] = ()
    detail: tuple[DetailHead | None, ...] = ()


def prompt_of(
    task: TrainingTask,
    trained: TrainedTokens,
    backbone: Backbone,
    planes: Sequence[ValidationPlane],
) -> Prompt:
    """Make a prompt from trained tokens, with a thumbnail of one of the planes."""
    start, colours = task.start, task.colours()
    return Prompt(
        tokens=_array(trained.tokens),
        classes=task.annotations.classes,
        colours=colours,
        backbone=backbone.name,
        signature=backbone.signature,
        images=task.images,
        pixel_size=task.annotations.pixel_size,
        origin=_origin(task, trained),
        notes=start.notes if start else "",
        licence=start.licence if start else "",
        author=start.author if start else "",
        markers=None if trained.markers is None else _array(trained.markers),
        encoder_tokens=tuple(
            layer.detach().cpu().numpy().astype(np.float32) for layer in trained.encoder_tokens
        ),
        refinement=trained.refinement,
        flips=trained.flips,
        detail=trained.detail,
        trained_channels=task.channels,
        weights=backbone.weights[:NAME_LIMIT],
        thumbnail=_picture(trained, backbone, planes, colours, task.images.tiling.side),
    )


def _picture(
    trained: TrainedTokens,
    backbone: Backbone,
    planes: Sequence[ValidationPlane],
    colours: Sequence[str],
    side: int,
) -> bytes:
    """Return a thumbnail of the plane with the most foreground; empty if there are no planes."""
    if not planes:
        return b""
    plane = max(planes, key=lambda plane: np.count_nonzero(plane.example.labels))
    corrections = corrections_of(trained.detail, backbone.device)
    prediction = plane.predict(
        trained.tokens, backbone, trained.refinement, corrections=corrections
    )
    labels = prediction.labels
    return make_thumbnail(plane.guide, labels, colours, side)


def _origin(task: TrainingTask, trained: TrainedTokens) -> Origin:
    return Origin(
        images=len(task.annotations.examples),
        held_out_images=task.held_out_images,
        steps=trained.steps,
        batch_size=task.settings.batch_size,
        seed=task.settings.seed,
        held_out_dice=trained.dice,
        dice_error=trained.dice_error,
        cross_validated=trained.cross_validated,
        measured_on_training=trained.measured_on_training and not trained.cross_validated,
        start="a prompt" if task.start else "label or normal",
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={"napari-ptsam": __version__, "torch": str(torch.__version__)},
    )


def _array(tokens: torch.Tensor) -> np.ndarray:
    """Return tokens as an array, rounded so that a file can hold them in float16."""
    return tokens.detach().cpu().half().float().numpy()
