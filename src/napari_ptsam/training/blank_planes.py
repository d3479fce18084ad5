"""Planes of a training's own making that show nothing, or next to nothing.

Planes are annotated because there is something on them, so tokens never learn what an empty one
looks like. These do what segmenting will meet: frames without light, uneven light on an empty
dish, the padding of a stitched image, a field without objects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle, islice

import numpy as np

from napari_ptsam.datasets.annotated_planes import AnnotatedPlane
from napari_ptsam.images.blank import noise_deviation

MOST, FEWEST = 8, 2
"""Blank planes of one training."""
PART = 1 / 8
"""Blank planes, as a part of the tiles that are trained on."""
EMPTY = 0.005
"""Part of a corner that objects may cover, if there is a choice."""
CROWDED = 0.1
"""Part of a corner that objects cover, from which on it is no use."""
LEAST_CORNER = 24
"""Side of a corner, at least, in pixels."""


def blank_count(tiles: int) -> int:
    """How many blank planes go with so many tiles."""
    return min(MOST, max(FEWEST, round(tiles * PART)))


def blank_examples(
    training: Sequence[AnnotatedPlane], side: int, count: int, rng: np.random.Generator
) -> list[AnnotatedPlane]:
    """Square examples that show nothing, or next to nothing.

    Parameters
    ----------
    training
        Annotated planes, whose type, channels, brightness and noise they take after.
    side
        Of each, in pixels.
    count
        How many, at most.
    rng
        Source of randomness.
    """
    corners = iter(_emptiest_corners(training, side))

    def corner(source: AnnotatedPlane) -> AnnotatedPlane | None:
        found = next(corners, None)
        return None if found is None else replace(found, name=f"{found.name}, blank")

    makers: list[Callable[[AnnotatedPlane], AnnotatedPlane | None]] = [
        corner,
        lambda source: _uneven(source, side, rng),
        lambda source: _padded(source, side, rng),
        lambda source: _of_values(source, np.zeros((side, side, 1))),
        lambda source: _noise(source, side, rng),
        corner,
        lambda source: _uneven(source, side, rng),
        lambda source: _padded(source, side, rng),
    ]
    order = rng.permutation(len(training)).tolist()
    sources = islice(cycle(order), min(count, len(makers)))
    made = [make(training[number]) for make, number in zip(makers, sources, strict=False)]
    return [example for example in made if example is not None]


def _of_values(source: AnnotatedPlane, values: np.ndarray) -> AnnotatedPlane:
    """An empty example of the kind of another one; values (y, x, channels or 1)."""
    shape = values.shape[:2]
    dtype = source.pixels.dtype
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = values.round().clip(limits.min, limits.max)
    elif dtype.kind == "b":
        values = values > 0.5
    wide = np.broadcast_to(values, (*shape, *(source.pixels.shape[2:] or (1,)))).astype(dtype)
    return replace(
        source,
        name="a blank plane",
        pixels=wide if source.pixels.ndim == 3 else wide[..., 0],
        labels=np.zeros(shape, dtype=source.labels.dtype),
        valid=None,
        areas=np.zeros(0, dtype=int),
        instances=None if source.instances is None else np.zeros(shape, source.instances.dtype),
    )


def _background(source: AnnotatedPlane) -> tuple[np.ndarray, np.ndarray]:
    """Brightness and noise of the background, for each channel."""
    pixels = source.pixels if source.pixels.ndim == 3 else source.pixels[..., None]
    empty = source.labels == 0
    if source.valid is not None and (empty & source.valid).any():
        empty &= source.valid
    level = np.median(pixels[empty if empty.any() else ~empty].astype(float), axis=0)
    noise = np.array([noise_deviation(pixels[..., c]) for c in range(pixels.shape[-1])])
    whole = 1.0 if pixels.dtype.kind in "iub" else float(np.ptp(pixels)) / 1000
    return level, np.maximum(noise, whole)


def _noise(source: AnnotatedPlane, side: int, rng: np.random.Generator) -> AnnotatedPlane:
    level, noise = _background(source)
    return _of_values(source, level + noise * rng.normal(size=(side, side, len(level))))


def _uneven(source: AnnotatedPlane, side: int, rng: np.random.Generator) -> AnnotatedPlane:
    """Light that falls off to one side, or to all, behind the same noise."""
    level, noise = _background(source)
    across = np.linspace(-1, 1, side)
    angle, centre = rng.uniform(0, 2 * np.pi), rng.uniform(-0.5, 0.5, 2)
    slope = np.cos(angle) * across[:, None] + np.sin(angle) * across[None]
    fall = -((across[:, None] - centre[0]) ** 2 + (across[None] - centre[1]) ** 2)
    light = (slope if rng.random() < 0.5 else fall)[..., None] * rng.uniform(1.5, 6)
    return _of_values(source, level + noise * (light + rng.normal(size=(side, side, len(level)))))


def _padded(source: AnnotatedPlane, side: int, rng: np.random.Generator) -> AnnotatedPlane:
    """A part of a plane, at one corner of a square that is filled up with zeros."""
    kept = (rng.uniform(0.3, 1, 2) * side).round().astype(int)
    begin = [int(rng.integers(max(1, n - k + 1))) for n, k in zip(source.shape, kept, strict=True)]
    window = tuple(slice(b, b + k) for b, k in zip(begin, kept, strict=True))
    before = [int(rng.integers(2)) for _ in kept]

    def filled(values: np.ndarray, value: int = 0) -> np.ndarray:
        part = values[window]
        free = [side - n for n in part.shape[:2]]
        widths = [(f * b, f * (1 - b)) for f, b in zip(free, before, strict=True)]
        widths += [(0, 0)] * (values.ndim - 2)
        return np.pad(part, widths, constant_values=value)

    return replace(
        source,
        name=f"{source.name}, padded",
        pixels=filled(source.pixels),
        labels=filled(source.labels),
        valid=None if source.valid is None else filled(source.valid, 1),
        areas=np.zeros(0, dtype=int),
        instances=None if source.instances is None else filled(source.instances),
    )


def _emptiest_corners(training: Sequence[AnnotatedPlane], side: int) -> list[AnnotatedPlane]:
    """Squares with the fewest objects, one of each plane at most, mirrored to the whole side."""
    found: list[tuple[float, int, int, AnnotatedPlane, tuple[slice, slice]]] = []
    for number, example in enumerate(training):
        best: tuple[float, int, int, AnnotatedPlane, tuple[slice, slice]] | None = None
        for length in (side, side // 2, side // 4):
            if length > min(example.shape) or length < LEAST_CORNER:
                continue
            for window in _windows(example.shape, length):
                if example.valid is not None and not example.valid[window].all():
                    continue
                share = float(np.count_nonzero(example.labels[_wider(window)])) / length**2
                # Large enough ones come first, then emptier ones.
                rank = max(share, EMPTY), -length, number, example, window
                if best is None or rank[:2] < best[:2]:
                    best = rank
        if best is not None and best[0] <= CROWDED:
            found.append(best)
    return [_mirrored(one[3], one[4], side) for one in sorted(found, key=lambda one: one[:3])]


def _windows(shape: tuple[int, int], length: int) -> list[tuple[slice, slice]]:
    starts = [sorted({*range(0, n - length + 1, length), n - length}) for n in shape]
    return [(slice(y, y + length), slice(x, x + length)) for y in starts[0] for x in starts[1]]


def _wider(window: tuple[slice, slice]) -> tuple[slice, slice]:
    """With a margin, so that no rim of an object that is annotated tightly is left in a window."""
    rows, columns = (
        slice(
            max(0, one.start - (one.stop - one.start) // 8), one.stop + (one.stop - one.start) // 8
        )
        for one in window
    )
    return rows, columns


def _mirrored(example: AnnotatedPlane, window: tuple[slice, slice], side: int) -> AnnotatedPlane:
    def whole(values: np.ndarray) -> np.ndarray:
        part = values[window]
        widths = [(0, side - n) for n in part.shape[:2]] + [(0, 0)] * (values.ndim - 2)
        return np.pad(part, widths, mode="symmetric")

    return replace(
        example,
        pixels=whole(example.pixels),
        labels=whole(example.labels),
        valid=None,
        areas=np.zeros(0, dtype=int),
        instances=None if example.instances is None else whole(example.instances),
    )
