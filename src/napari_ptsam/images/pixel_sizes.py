"""Pixel sizes and times between frames: from axes with units of their own, and of several images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import isfinite
from statistics import median

from napari_ptsam.images.planes import PixelSize, TimeStep
from napari_ptsam.images.units import LENGTHS, converted, length_name, time_name

_PLAUSIBLE_NUMBERS = 1e-6, 1e6
"""Range of plausible pixel sizes, in any unit."""
_PLAUSIBLE_METERS = 1e-13, 1e5
"""Range of plausible pixel sizes that are small or large numbers in their unit, in meters."""
AGREEMENT = 1.01
"""Largest ratio of pixel sizes that agree."""


def pixel_size_of(sizes: Mapping[str, float], units: Mapping[str, str]) -> PixelSize | None:
    """Return the pixel size from the sizes of an image's axes, each in its own unit.

    Parameters
    ----------
    sizes
        Size of a pixel along each axis, by letter.
    units
        Unit of each of these sizes, under any name; see `napari_ptsam.images.units.length_name`.

    Returns
    -------
    PixelSize or None
        All sizes in the unit of x. None if y or x is unknown or implausible, has no unit, or its
        unit cannot be converted. The distance of planes is None if that applies to z.
    """
    names = {axis: length_name(units.get(axis, "")) for axis in "ZYX"}
    unit = names["X"]
    if unit == "pixel":
        return None
    found: dict[str, float] = {}
    for axis in "ZYX":
        if axis not in sizes or not _is_plausible(float(sizes[axis]), names[axis]):
            continue
        size = converted(float(sizes[axis]), names[axis], unit)
        if size is not None:
            found[axis] = size
    if not {"Y", "X"} <= set(found):
        return None
    return PixelSize(found["Y"], found["X"], found.get("Z"), unit)


def _is_plausible(size: float, unit: str) -> bool:
    ranges = [(_PLAUSIBLE_NUMBERS, 1.0)]
    if unit in LENGTHS:
        ranges.append((_PLAUSIBLE_METERS, LENGTHS[unit].factor))
    return any(low < size * factor < high for (low, high), factor in ranges)


def time_step_of(value: float | None, unit: str) -> TimeStep | None:
    """Return the time between frames; None if it is not positive, or its unit is unknown."""
    name = time_name(unit)
    if value is None or name is None or not (isfinite(value) and value > 0):
        return None
    return TimeStep(float(value), name)


def common_pixel_size(sizes: Iterable[PixelSize | None]) -> PixelSize | None:
    """Return the pixel size that images have in common.

    Sizes agree if they differ by at most 1 %, whatever their units: programs round them, and
    microscopes state a calibration.

    Returns
    -------
    PixelSize or None
        The median along each axis, in the unit of the first image. None if an image has no size, or
        the sizes do not agree. The distance of planes is None if only that differs.
    """
    known = list(dict.fromkeys(sizes))
    if not known or known[0] is None:
        return None
    first = known[0]
    same_unit: list[PixelSize] = []
    for size in known:
        in_unit = None if size is None else in_unit_of(size, first.unit)
        if in_unit is None:
            return None
        same_unit.append(in_unit)
    if len(same_unit) == 1:
        return first
    y, x = (_agreed([getattr(size, axis) for size in same_unit]) for axis in "yx")
    if y is None or x is None:
        return None
    return PixelSize(y, x, _agreed([size.z for size in same_unit]), first.unit)


def _agreed(sizes: list[float | None]) -> float | None:
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes) or max(known) > AGREEMENT * min(known):
        return None
    return median(known)


def in_unit_of(size: PixelSize, unit: str) -> PixelSize | None:
    """Return a pixel size in another unit; None if it cannot be converted."""
    y, x = (converted(value, size.unit, unit) for value in (size.y, size.x))
    if y is None or x is None:
        return None
    z = None if size.z is None else converted(size.z, size.unit, unit)
    return replace(size, y=y, x=x, z=z, unit=unit)
