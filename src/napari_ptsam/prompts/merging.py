"""Merging prompts into one with several classes, and splitting it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from napari_ptsam.errors import InputError, Message, Remedy, Term
from napari_ptsam.images.pixel_sizes import common_pixel_size
from napari_ptsam.prompts.describe import image_words
from napari_ptsam.prompts.detail import DetailHead
from napari_ptsam.prompts.prompt import Origin, Prompt, default_colours


def merge(
    prompts: Sequence[Prompt], names: Sequence[str] | None = None, images_of: int | None = None
) -> Prompt:
    """Make one prompt of several classes.

    Each pixel gets the most likely class of all prompts. Markers are kept if all
    prompts have them, guided filter and flips if they are the same in all. Each class
    keeps its detail head, if it has one.

    Parameters
    ----------
    prompts
        Two or more prompts for the same backbone.
    names
        Names of the classes of the result; by default those of the prompts.
    images_of
        Index of the prompt whose normalization, channels and tiles are used if
        they differ. The other prompts then see images in another way than in
        their training, and may be less accurate.

    Returns
    -------
    Prompt
        A prompt with the classes of all prompts.

    Raises
    ------
    InputError
        If the prompts cannot be merged.
    """
    first = prompts[0] if prompts else None
    if first is None or len(prompts) < 2:
        raise InputError("Name two prompts or more to merge.")
    for other in prompts[1:]:
        if not first.belongs_to(other.backbone, other.signature):
            raise InputError(
                Message(
                    "The prompts were tuned for different ",
                    Term.BACKBONES,
                    f" ({first.backbone_name} and {other.backbone_name}); only prompts for the same ",
                    Term.BACKBONE,
                    " can be merged.",
                )
            )
        if not _same_encoder_tokens(first, other):
            raise InputError(
                "The prompts have different encoder tokens, and an image can only be embedded with one "
                "set of them; train prompts with 0 encoder tokens."
            )
    images = {prompt.images for prompt in prompts}
    shown = {
        replace(p.trained_channels.shown(p.images.channels), names=())
        for p in prompts
        if p.trained_channels is not None and p.trained_channels.has(p.images.channels)
    }
    if images_of is None and max(len(images), len(shown)) > 1:
        listed = "; ".join(f"{i + 1}: {image_words(prompt)}" for i, prompt in enumerate(prompts))
        raise InputError(f"The prompts see images in different ways ({listed}).", Remedy.IMAGES_OF)
    if images_of is not None and not 0 <= images_of < len(prompts):
        raise InputError(f"There are prompts 1 to {len(prompts)}, not {images_of + 1}.")
    classes = tuple(names or (name for prompt in prompts for name in prompt.classes))
    count = sum(len(prompt.classes) for prompt in prompts)
    if len(classes) != count:
        raise InputError(f"The prompts have {count} classes; give as many names.")
    markers = [prompt.markers for prompt in prompts if prompt.markers is not None]
    return replace(
        prompts[images_of or 0],
        tokens=np.concatenate([prompt.tokens for prompt in prompts]),
        markers=np.concatenate(markers) if len(markers) == len(prompts) else None,
        detail=_detail([head for prompt in prompts for head in _heads(prompt)]),
        classes=classes,
        colours=_colours(prompts),
        pixel_size=common_pixel_size([prompt.pixel_size for prompt in prompts]),
        flips=first.flips if len({p.flips for p in prompts}) == 1 else (),
        refinement=first.refinement if len({p.refinement for p in prompts}) == 1 else None,
        origin=_origin(prompts),
        notes=_joined([prompt.notes for prompt in prompts]),
        licence=_joined([prompt.licence for prompt in prompts]),
    )


def split(prompt: Prompt) -> list[Prompt]:
    """Return a prompt for each class of a prompt."""
    return [
        replace(
            prompt,
            tokens=prompt.tokens[i : i + 1],
            markers=None if prompt.markers is None else prompt.markers[i : i + 1],
            detail=_detail(prompt.detail[i : i + 1]),
            classes=prompt.classes[i : i + 1],
            colours=prompt.colours[i : i + 1],
        )
        for i in range(len(prompt.classes))
    ]


def _heads(prompt: Prompt) -> tuple[DetailHead | None, ...]:
    """Return the detail head, or None, of each class."""
    return prompt.detail or (None,) * len(prompt.classes)


def _detail(heads: Sequence[DetailHead | None]) -> tuple[DetailHead | None, ...]:
    """Return heads as a prompt holds them, which are none at all if no class has one."""
    return tuple(heads) if any(heads) else ()


def _same_encoder_tokens(first: Prompt, other: Prompt) -> bool:
    mine, theirs = first.encoder_tokens, other.encoder_tokens
    return len(mine) == len(theirs) and all(map(np.array_equal, mine, theirs))


def _colours(prompts: Sequence[Prompt]) -> tuple[str, ...]:
    """Return the colours of the prompts, or default ones if two classes would look the same."""
    colours = tuple(colour for prompt in prompts for colour in prompt.colours)
    return colours if len(set(colours)) == len(colours) else default_colours(len(colours))


def _origin(prompts: Sequence[Prompt]) -> Origin:
    """Return the sums of all origins; the Dice is the mean over the classes, if all were measured."""
    origins = [prompt.origin for prompt in prompts]
    dices = [
        (origin.held_out_dice, len(prompt.classes))
        for origin, prompt in zip(origins, prompts, strict=True)
        if origin.held_out_dice is not None
    ]
    weights = sum(count for _, count in dices)
    whole = len(dices) == len(prompts)
    return replace(
        origins[0],
        images=sum(origin.images for origin in origins),
        held_out_images=sum(origin.held_out_images for origin in origins),
        held_out_dice=sum(d * n for d, n in dices) / weights if whole else None,
        measured_on_training=any(origin.measured_on_training for origin in origins),
        start="merged",
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _joined(texts: Sequence[str]) -> str:
    """Return the texts as one, each text once."""
    return "; ".join(dict.fromkeys(text for text in texts if text))
