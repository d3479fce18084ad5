"""Make training planes that show nothing, or almost nothing.

Users annotate planes that show something, so the tokens would never learn what an empty
plane looks like. The planes made here imitate what occurs in practice: frames without light, uneven
illumination of an empty dish, the padding of a stitched image, a field without objects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle, islice

import numpy as np

from napari_ptsam.datasets.annotated_planes import AnnotatedPlane
from napari_ptsam.images.blank import noise_deviation
from napari_ptsam.images.missing import missing_pixels, without_missing

MOST, FEWEST = 8, 2
"""Largest and smallest number of blank planes in a training."""
PART = 1 / 8
"""Number of blank planes, as a fraction of the number of training tiles."""
EMPTY = 0.005
"""Fraction of a corner covered by objects below which it counts as empty."""
CROWDED = 0.1
"""Largest fraction of a corner that objects may cover."""
LEAST_CORNER = 24
"""Smallest side of a corner, in pixels."""


def blank_count(tiles: int) -> int:
    """Return the number of blank planes for a number of training tiles."""
    return min(MOST, max(FEWEST, round(tiles * PART)))


def blank_examples(
    training: Sequence[AnnotatedPlane], side: int, count: int, rng: np.random.Generator
) -> list[AnnotatedPlane]:
    """Make square planes that show nothing, or almost nothing.

    Parameters
    ----------
    training
        Annotated planes, whose dtype, channels, brightness and noise are imitated.
    side
        Side of each plane, in pixels.
    count
        Largest number of planes.
    rng
        Random generator.

    Returns
    -------
    list of AnnotatedPlane
        Planes whose annotation is mostly or only background.
    """
    corners = iter(_emptiest_corners(training, side))

    def corner(example: AnnotatedPlane) -> AnnotatedPlane | None:
        emptiest = next(corners, None)
        return None if emptiest is None else replace(emptiest, name=f"{emptiest.name}, blank")

    makers: list[Callable[[AnnotatedPlane], AnnotatedPlane | None]] = [
        corner,
        lambda example: _uneven(example, side, rng),
        lambda example: _padded(example, side, rng),
        lambda example: _of_values(example, np.zeros((side, side, 1))),
        lambda example: _noise(example, side, rng),
        corner,
        lambda example: _uneven(example, side, rng),
        lambda example: _padded(example, side, rng),
    ]
    order = rng.permutation(len(training)).tolist()
    chosen = islice(cycle(order), min(count, len(makers)))
    blanks = [make(training[number]) for make, number in zip(makers, chosen, strict=False)]
    return [blank for blank in blanks if blank is not None]


def _of_values(example: AnnotatedPlane, values: np.ndarray) -> AnnotatedPlane:
    """Return a plane of the same kind with these values, of shape (y, x, channels or 1)."""
    shape = values.shape[:2]
    dtype = example.pixels.dtype
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = values.round().clip(limits.min, limits.max)
    elif dtype.kind == "b":
        values = values > 0.5
    pixels = np.broadcast_to(values, (*shape, *(example.pixels.shape[2:] or (1,)))).astype(dtype)
    return replace(
        example,
        name="a blank plane",
        pixels=pixels if example.pixels.ndim == 3 else pixels[..., 0],
        labels=np.zeros(shape, dtype=example.labels.dtype),
        valid=None,
        areas=np.zeros(0, dtype=int),
        instances=None if example.instances is None else np.zeros(shape, example.instances.dtype),
    )


def _background(example: AnnotatedPlane) -> tuple[np.ndarray, np.ndarray]:
    """Return brightness and noise of the background for each channel."""
    pixels = example.pixels if example.pixels.ndim == 3 else example.pixels[..., None]
    if pixels.dtype.kind == "f":
        pixels = np.stack([_finite(channel) for channel in np.moveaxis(pixels, -1, 0)], axis=-1)
    empty = example.labels == 0
    if example.valid is not None and (empty & example.valid).any():
        empty &= example.valid
    level = np.median(pixels[empty if empty.any() else ~empty].astype(float), axis=0)
    noise = np.array([noise_deviation(pixels[..., c]) for c in range(pixels.shape[-1])])
    least = 1.0 if pixels.dtype.kind in "iub" else float(np.ptp(pixels)) / 1000
    return level, np.maximum(noise, least)


def _finite(channel: np.ndarray) -> np.ndarray:
    """Return a channel whose missing pixels have the median of the others."""
    return without_missing(channel[..., None], missing_pixels(channel))[..., 0]


def _noise(example: AnnotatedPlane, side: int, rng: np.random.Generator) -> AnnotatedPlane:
    """Return a plane with nothing but the noise of the background."""
    level, noise = _background(example)
    return _of_values(example, level + noise * rng.normal(size=(side, side, len(level))))


def _uneven(example: AnnotatedPlane, side: int, rng: np.random.Generator) -> AnnotatedPlane:
    """Return a plane with uneven illumination, which falls off to one side or to all, and noise."""
    level, noise = _background(example)
    across = np.linspace(-1, 1, side)
    angle, centre = rng.uniform(0, 2 * np.pi), rng.uniform(-0.5, 0.5, 2)
    slope = np.cos(angle) * across[:, None] + np.sin(angle) * across[None]
    fall = -((across[:, None] - centre[0]) ** 2 + (across[None] - centre[1]) ** 2)
    light = (slope if rng.random() < 0.5 else fall)[..., None] * rng.uniform(1.5, 6)
    return _of_values(example, level + noise * (light + rng.normal(size=(side, side, len(level)))))


def _padded(example: AnnotatedPlane, side: int, rng: np.random.Generator) -> AnnotatedPlane:
    """Return a part of a plane in one corner of a square that is padded with zeros."""
    kept = (rng.uniform(0.3, 1, 2) * side).round().astype(int)
    begin = [int(rng.integers(max(1, n - k + 1))) for n, k in zip(example.shape, kept, strict=True)]
    window = tuple(slice(b, b + k) for b, k in zip(begin, kept, strict=True))
    before = [int(rng.integers(2)) for _ in kept]

    def filled(values: np.ndarray, value: int = 0) -> np.ndarray:
        part = values[window]
        free = [side - n for n in part.shape[:2]]
        widths = [(f * b, f * (1 - b)) for f, b in zip(free, before, strict=True)]
        widths += [(0, 0)] * (values.ndim - 2)
        return np.pad(part, widths, constant_values=value)

    return replace(
        example,
        name=f"{example.name}, padded",
        pixels=filled(example.pixels),
        labels=filled(example.labels),
        valid=None if example.valid is None else filled(example.valid, 1),
        areas=np.zeros(0, dtype=int),
        instances=None if example.instances is None else filled(example.instances),
    )


def _emptiest_corners(training: Sequence[AnnotatedPlane], side: int) -> list[AnnotatedPlane]:
    """Return the squares with the fewest objects, one from each plane at most, in full size."""
    ranked: list[tuple[float, int, int, AnnotatedPlane, tuple[slice, slice]]] = []
    for number, example in enumerate(training):
        best: tuple[float, int, int, AnnotatedPlane, tuple[slice, slice]] | None = None
        for length in (side, side // 2, side // 4):
            if length > min(example.shape) or length < LEAST_CORNER:
                continue
            for window in _windows(example.shape, length):
                if example.valid is not None and not example.valid[window].all():
                    continue
                share = float(np.count_nonzero(example.labels[_wider(window)])) / length**2
                # Corners that are empty enough are ranked by size, others by emptiness.
                rank = max(share, EMPTY), -length, number, example, window
                if best is None or rank[:2] < best[:2]:
                    best = rank
        if best is not None and best[0] <= CROWDED:
            ranked.append(best)
    ranked.sort(key=lambda rank: rank[:3])
    return [_mirrored(example, window, side) for *_, example, window in ranked]


def _windows(shape: tuple[int, int], length: int) -> list[tuple[slice, slice]]:
    starts = [sorted({*range(0, n - length + 1, length), n - length}) for n in shape]
    return [(slice(y, y + length), slice(x, x + length)) for y in starts[0] for x in starts[1]]


def _wider(window: tuple[slice, slice]) -> tuple[slice, slice]:
    """Return the window with a margin, for the rim of objects that are annotated too tightly."""
    rows, columns = (
        slice(
            max(0, part.start - (part.stop - part.start) // 8),
            part.stop + (part.stop - part.start) // 8,
        )
        for part in window
    )
    return rows, columns


def _mirrored(example: AnnotatedPlane, window: tuple[slice, slice], side: int) -> AnnotatedPlane:
    """Return the part of a plane in a window, mirrored until it has the whole side."""

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
