"""The whole job in three functions: train, segment, load."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from napari_ptsam.datasets.annotated_planes import Empty, MaskReading, annotate
from napari_ptsam.datasets.pairing import ImageSource, as_planes, is_path, pair
from napari_ptsam.errors import InputError, PtsamWarning
from napari_ptsam.images.planes import Planes
from napari_ptsam.inference.channels import fit_prompt
from napari_ptsam.inference.linking import LinkSettings, StackLinker
from napari_ptsam.inference.result import ResultSettings
from napari_ptsam.io.former_names import former_names_of
from napari_ptsam.prompts.files import load
from napari_ptsam.training.settings import Keep, Progress, TrainingSettings

if TYPE_CHECKING:
    from napari_ptsam.inference.result import Output, Split
    from napari_ptsam.prompts.prompt import Prompt

__all__ = ["load", "segment", "train"]


def train(
    images: ImageSource,
    masks: ImageSource,
    *,
    axes: str | None = None,
    classes: Sequence[str] | None = None,
    unlabelled: int | None = None,
    empty: Empty = "refuse",
    backbone: str = "vit_t",
    checkpoint: str | Path | None = None,
    device: str = "auto",
    start: Prompt | str | Path | None = None,
    keep: Keep = "better",
    progress: Callable[[Progress], object] | None = None,
    **settings: Any,
) -> Prompt:
    """Tune a specialist on annotated images.

    Parameters
    ----------
    images, masks
        Two folders with files of matching names, two files, two arrays, or two
        sequences of files or arrays. A plane has shape (y, x) or (y, x,
        channels); stacks are (z, y, x) or (t, z, y, x). Masks are integers of
        the same shape without channels; 0 is background.
    axes
        A letter for each axis of the images, for instance ``"CYX"``; guessed if
        left out, or taken from the file.
    classes
        Names of the values 1, 2, ... of the masks; without them every value
        above 0 is foreground.
    unlabelled
        Value of pixels that were not annotated and do not count.
    empty
        Masks without foreground: ``refuse``, take as ``background``, or ``skip``.
    backbone
        Name of the backbone, as ``napari-ptsam backbones`` lists it.
    checkpoint
        Your own file with the weights of the backbone.
    device
        ``"cpu"``, ``"cuda"``, ``"mps"``, or ``"auto"`` for the first of ``cuda``, ``mps``
        and ``cpu`` that is available.
    start
        A prompt to continue from, or the path of its file.
    keep
        What to return if the training makes the ``start`` worse: with ``"better"``
        the start and a warning, with ``"new"`` the new prompt all the same. Both are
        compared on the validation planes or, if there are none, on all planes. They
        are not compared if ``channels`` differ from those of the start.
    progress
        Called with each `Progress`.
    **settings
        Fields of `napari_ptsam.training.settings.TrainingSettings`, for
        instance ``steps``, ``seed``, ``tile``, ``encoder_tokens``, ``channels`` and
        ``normalization=ptsam.Normalization("stack")``.

    Returns
    -------
    Prompt
        The best prompt of the run, measured on validation planes; or the start, see
        ``keep``.

    Raises
    ------
    PtsamError
        A ValueError that says what is wrong and what to do.

    Warns
    -----
    PtsamWarning
        If the new prompt is worse than the start, which is returned.
    """
    known = {field.name for field in fields(TrainingSettings)}
    if unknown := sorted(set(settings) - known - set(former_names_of(TrainingSettings).names)):
        raise InputError(
            f"Unknown setting {', '.join(unknown)}; there are {', '.join(sorted(known))}."
        )
    if keep not in get_args(Keep):
        raise InputError(f"keep is {' or '.join(map(repr, get_args(Keep)))}, not {keep!r}.")
    begin = load(start) if isinstance(start, (str, Path)) else start
    if classes is None and begin is not None:
        classes = begin.classes
    reading = MaskReading(None if classes is None else tuple(classes), unlabelled, empty)
    chosen = TrainingSettings(**settings)
    annotations = annotate(*pair(images, masks, axes, reading.classes), reading)
    # Torch loads here: what the user got wrong is reported without waiting for it.
    from napari_ptsam.backbones.embedding_cache import with_users_cache
    from napari_ptsam.backbones.loading import load_backbone
    from napari_ptsam.training.trainer import Training

    frozen = with_users_cache(load_backbone(backbone, checkpoint, device))
    training = Training(annotations, frozen, chosen, begin, keep=keep)
    for step in training:
        if progress is not None:
            progress(step)
    if training.kept_start is not None:
        warnings.warn(training.kept_start.sentence, PtsamWarning, stacklevel=2)
    return training.prompt


def segment(
    image: ImageSource,
    prompt: Prompt | str | Path,
    *,
    output: Output = "labels",
    split: Split = "auto",
    min_size: int = 0,
    fill_holes: bool = False,
    remove_border: bool = False,
    flips: bool = True,
    channels: Sequence[int] | None = None,
    link: LinkSettings | bool | None = None,
    axes: str | None = None,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    progress: Callable[[int, int], object] | None = None,
) -> np.ndarray:
    """Apply a specialist to a plane or a whole stack.

    Parameters
    ----------
    image
        An array (numpy, dask, zarr, memory map) or a file; (y, x), (z, y, x) or
        (t, z, y, x), with channels last. Only one plane is read at a time.
    prompt
        A prompt, or the path of its file.
    output
        ``labels``: class numbers; ``instances``: objects, numbered from 1 in
        each plane; ``probabilities``: of each class.
    split
        How touching objects are separated: by ``markers``, or not at all
        (``components``); ``auto`` uses markers if the prompt has them.
    min_size
        Smallest size of an object in pixels; smaller ones are left out.
    fill_holes
        Whether background inside an object becomes part of it.
    remove_border
        Whether objects that touch the edge of the plane are left out.
    flips
        Whether flipped copies of each tile are averaged, if that suits the prompt.
    channels
        Numbers of up to three channels that the prompt is shown, the first one
        being 0; by default those that it was trained on. An image with other
        channels is declined, or warned of, unless they are chosen.
    link
        Whether objects of instances keep their number along the last axis of
        planes, or how they are found again; the numbers of other stacks of a
        (t, z, y, x) follow.
    axes
        A letter for each axis, for instance ``"ZCYX"``; guessed if left out, or
        taken from the file.
    checkpoint
        The file with the weights of the prompt's backbone, if it is a file of your own.
    device
        As for `train`.
    progress
        Called with the planes done and the planes in all.

    Returns
    -------
    numpy.ndarray
        Shape (z|t, ..., y, x): uint8 for labels, uint32 for instances. For
        probabilities float32 with the classes as first axis.

    Raises
    ------
    PtsamError
        A ValueError that says what is wrong and what to do.
    """
    if is_path(prompt):
        prompt = load(prompt)  # type: ignore[arg-type]
    planes = _single(image, axes)
    for note in planes.notes:
        warnings.warn(note, PtsamWarning, stacklevel=2)
    prompt, caution = fit_prompt(prompt, planes, channels)  # type: ignore[arg-type]
    if caution:
        warnings.warn(caution, PtsamWarning, stacklevel=2)
    settings = ResultSettings(output, split, min_size, fill_holes, remove_border, flips)
    linker = None
    if link:
        if output != "instances":
            raise InputError("Only instances can be linked from plane to plane.")
        linker = StackLinker(planes, link if isinstance(link, LinkSettings) else None)
    from napari_ptsam.inference.segment import Segmenter
    from napari_ptsam.inference.shared_embedding import segment_planes
    from napari_ptsam.prompts.backbone import backbone_of

    frozen = backbone_of(prompt, checkpoint, device)
    segmenter = Segmenter(prompt, frozen, settings)
    shape = segmenter.result_shape(planes.shape)
    result = np.empty((len(planes), *shape), dtype=segmenter.dtype)
    for number, plane in enumerate(segment_planes(segmenter, planes)):
        if linker is not None:
            plane = linker.link(number, plane)
        result[number] = plane
        if progress is not None:
            progress(number + 1, len(planes))
    result = result.reshape(*planes.leading, *shape)
    return np.moveaxis(result, -3, 0) if output == "probabilities" else result


def _single(image: ImageSource, axes: str | None) -> Planes:
    planes = as_planes(image, axes)
    if len(planes) != 1:
        raise InputError(
            f"One image or stack is segmented at a time, not {len(planes)}; call it for each."
        )
    return planes[0]
