"""Which planes are held out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_ptsam.training.examples import Example

FEWEST_TO_HOLD_OUT = 4
"""Planes below which none is held out."""


def split(
    examples: Sequence[Example], classes: int, part: float, seed: int
) -> tuple[list[Example], list[Example]]:
    """Split into training and held-out examples; every class stays in the training part.

    Parameters
    ----------
    examples
        All annotated planes.
    classes
        Count of classes.
    part
        To hold out, 0 to 0.5; at least one plane unless it is 0.
    seed
        Same seed, same split.

    Returns
    -------
    training, held_out
        The second is empty if there are fewer than four examples.
    """
    if len(examples) < FEWEST_TO_HOLD_OUT or part == 0:
        return list(examples), []
    wanted = max(1, round(len(examples) * part))
    held_out: set[int] = set()
    # Planes with all classes first: on others there is less to measure.
    order = sorted(
        np.random.default_rng(seed).permutation(len(examples)).tolist(),
        key=lambda i: -len(np.unique(examples[i].labels[examples[i].labels > 0])),
    )
    for candidate in order:
        rest = [e for i, e in enumerate(examples) if i not in held_out | {candidate}]
        present = set().union(*(np.unique(e.labels).tolist() for e in rest)) - {0}
        if len(held_out) < wanted and len(present) == classes:
            held_out.add(candidate)
    return (
        [e for i, e in enumerate(examples) if i not in held_out],
        [e for i, e in enumerate(examples) if i in held_out],
    )
