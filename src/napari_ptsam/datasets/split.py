"""Split annotated planes into those trained on and those held out for validation."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_ptsam.errors import InputError

if TYPE_CHECKING:
    from napari_ptsam.datasets.annotated_planes import AnnotatedPlane, AnnotationSet

FEWEST_TO_HOLD_OUT = 4
"""Smallest number of planes of which any is held out."""


def split(
    annotations: AnnotationSet, part: float, seed: int
) -> tuple[list[AnnotatedPlane], list[AnnotatedPlane]]:
    """Split an annotation set into training planes and validation planes.

    Parameters
    ----------
    annotations
        All annotated planes. If their split is decided already, it is kept.
    part
        Fraction of the planes to hold out, 0 to 0.5, if the split is not
        decided; unless it is 0, at least one plane is held out.
    seed
        Seed of the random choice; the same seed gives the same split.

    Returns
    -------
    training, held_out : list of AnnotatedPlane
        Both parts. If the split was not decided and there are fewer than four
        planes, the second part is empty.

    Raises
    ------
    InputError
        If all planes are held out, or all planes that show some class.
    """
    examples, held_out = annotations.examples, annotations.held_out
    present = [example.classes_present for example in examples]
    if held_out is None:
        held_out = choose_held_out(present, len(annotations.classes), part, seed)
    training = [i for i in range(len(examples)) if i not in held_out]
    if not training:
        raise InputError("All annotated planes are validation planes; leave some to train on.")
    learned = set().union(*(present[i] for i in training))
    for value, name in enumerate(annotations.classes, start=1):
        if value not in learned:
            raise InputError(
                f"All planes with {name} on them are validation planes; leave some to train on."
            )
    return [examples[i] for i in training], [examples[i] for i in sorted(held_out)]


def choose_held_out(
    present: Sequence[Collection[int]],
    classes: int,
    part: float,
    seed: int,
    known: Sequence[bool | None] | None = None,
) -> frozenset[int]:
    """Choose the planes to hold out so that every class remains in the training part.

    Parameters
    ----------
    present
        Classes on each plane, numbered from 1.
    classes
        Number of classes.
    part, seed
        See `split`.
    known
        Whether each plane was held out before; None for a new plane. Earlier
        decisions are kept, so that a plane that a prompt was trained on never
        becomes one of those that validate it.

    Returns
    -------
    frozenset of int
        Indices of the planes to hold out.
    """
    known = known or [None] * len(present)
    held_out = {number for number, before in enumerate(known) if before}
    if len(present) < FEWEST_TO_HOLD_OUT or part == 0:
        return frozenset(held_out)
    count = max(1, round(len(present) * part))
    # Planes with many classes come first, since they validate more of them.
    order = sorted(
        np.random.default_rng(seed).permutation(len(present)).tolist(),
        key=lambda i: -len(present[i]),
    )
    for candidate in order:
        if known[candidate] is not None or len(held_out) >= count:
            continue
        remaining = [set(p) for i, p in enumerate(present) if i not in held_out | {candidate}]
        if len(set().union(*remaining)) == classes:
            held_out.add(candidate)
    return frozenset(held_out)
