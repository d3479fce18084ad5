"""Which planes are held out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_ptsam.errors import InputError

if TYPE_CHECKING:
    from napari_ptsam.datasets.annotated_planes import AnnotatedPlane, AnnotationSet

FEWEST_TO_HOLD_OUT = 4
"""Planes below which none is held out."""


def split(
    annotations: AnnotationSet, part: float, seed: int
) -> tuple[list[AnnotatedPlane], list[AnnotatedPlane]]:
    """Split into training and held-out examples.

    Parameters
    ----------
    annotations
        All annotated planes; the split that they name is kept.
    part
        To hold out where they name none, 0 to 0.5; at least one plane unless it is 0.
    seed
        Same seed, same split.

    Returns
    -------
    training, held_out
        Without a split of their own, the second is empty if there are fewer
        than four examples.

    Raises
    ------
    InputError
        If the annotation set holds out everything, or all planes of a class.
    """
    examples, held_out = annotations.examples, annotations.held_out
    present = [set(np.unique(example.labels).tolist()) - {0} for example in examples]
    if held_out is None:
        held_out = choose_held_out(present, len(annotations.classes), part, seed)
    training = [i for i in range(len(examples)) if i not in held_out]
    if not training:
        raise InputError("All annotated planes are held out; leave some to train on.")
    learned = set().union(*(present[i] for i in training))
    for value, name in enumerate(annotations.classes, start=1):
        if value not in learned:
            raise InputError(
                f"All planes with {name} on them are held out; leave some to train on."
            )
    return [examples[i] for i in training], [examples[i] for i in sorted(held_out)]


def choose_held_out(
    present: Sequence[Collection[int]],
    classes: int,
    part: float,
    seed: int,
    known: Sequence[bool | None] | None = None,
) -> frozenset[int]:
    """Choose planes to hold out; every class stays in the training part.

    Parameters
    ----------
    present
        For each plane the classes on it, numbered from 1.
    classes
        Count of classes.
    part, seed
        See `split`.
    known
        For each plane whether it was held out before (None: a new plane). Old
        planes stay where they are, so that what a prompt was trained on never
        comes to measure it.

    Returns
    -------
    frozenset of int
        Numbers of the planes.
    """
    known = known or [None] * len(present)
    held_out = {number for number, before in enumerate(known) if before}
    if len(present) < FEWEST_TO_HOLD_OUT or part == 0:
        return frozenset(held_out)
    wanted = max(1, round(len(present) * part))
    # Planes with all classes first: on others there is less to measure.
    order = sorted(
        np.random.default_rng(seed).permutation(len(present)).tolist(),
        key=lambda i: -len(present[i]),
    )
    for candidate in order:
        if known[candidate] is not None or len(held_out) >= wanted:
            continue
        rest = [set(p) for i, p in enumerate(present) if i not in held_out | {candidate}]
        if len(set().union(*rest)) == classes:
            held_out.add(candidate)
    return frozenset(held_out)
