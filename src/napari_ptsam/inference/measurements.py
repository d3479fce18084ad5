"""Measure the objects and classes of a segmented image, plane by plane."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_ptsam.images.axes import axis_column
from napari_ptsam.inference.objects import classes_of

if TYPE_CHECKING:
    from pathlib import Path

    from napari_ptsam.images.planes import Planes

Kind = Literal["classes", "objects", "tracks", "volumes"]
"""The meaning of the labels: class numbers; objects that are numbered anew on each plane; objects that
keep their number from plane to plane and are measured on each; objects that extend over planes."""
Table = dict[str, np.ndarray]
"""Columns by name, all of the same length."""

COLOURS = ("red", "green", "blue")
LENGTHS = {"micrometer": "um", "nanometer": "nm", "millimeter": "mm", "pixel": "px"}
"""Short names of units, in ASCII for the names of columns."""


def kind_of(output: str, linked: bool, planes: Planes) -> Kind | None:
    """Return what is measured of a result; None for probabilities.

    Parameters
    ----------
    output
        ``labels``, ``instances`` or ``probabilities``.
    linked
        Whether objects keep their number along `Planes.stack_axis`. Along Z they
        are volumes, along any other axis tracks.
    planes
        The image.
    """
    if output == "probabilities":
        return None
    if output == "labels":
        return "classes"
    if not linked or not planes.stack_axis:
        return "objects"
    return "volumes" if planes.stack_axis == "Z" else "tracks"


@dataclass(frozen=True, eq=False)
class PlaneRows:
    """The measurements of the regions of one plane, in pixels.

    Attributes
    ----------
    labels
        Label of each region: int64, shape (regions,).
    classes
        Class number of each region; 0 if it is unknown.
    pixels
        Number of pixels of each region.
    centroids
        Shape (regions, 2), axes (y, x).
    boxes
        Bounding boxes, shape (regions, 4): least y and x, and greatest y and x plus 1.
    intensities
        Mean intensities, shape (regions, channels).
    """

    labels: np.ndarray
    classes: np.ndarray
    pixels: np.ndarray
    centroids: np.ndarray
    boxes: np.ndarray
    intensities: np.ndarray

    def relabelled(self, before: np.ndarray, after: np.ndarray) -> PlaneRows:
        """Return the rows under the labels that the plane has in ``after``.

        Parameters
        ----------
        before, after
            The labels of the plane that were measured, and the same regions under other labels.
        """
        numbers = np.zeros(int(before.max(initial=0)) + 1, dtype=np.int64)
        numbers[before.ravel()] = after.ravel()
        return replace(self, labels=numbers[self.labels])


def measure_plane(labels: np.ndarray, pixels: np.ndarray, classes: np.ndarray) -> PlaneRows:
    """Measure the regions of a plane.

    Parameters
    ----------
    labels
        Integers, shape (y, x); 0 is background.
    pixels
        The image, shape (y, x) or (y, x, channels). Pixels that are NaN or infinite do not
        count for the intensities.
    classes
        Class number of each label, by label.
    """
    from skimage.measure import regionprops_table

    table = regionprops_table(
        np.asarray(labels), pixels.astype(np.float64, copy=False),
        properties=("label", "area", "centroid", "bbox", "intensity_mean"),
    )  # fmt: skip
    present = table["label"].astype(np.int64)
    means = [values for name, values in table.items() if name.startswith("intensity_mean")]
    if not all(np.isfinite(values).all() for values in means):
        means = _means_of_finite(np.asarray(labels), pixels, present)
    return PlaneRows(
        present,
        np.asarray(classes)[present].astype(np.int64),
        table["area"].astype(np.int64),
        np.stack([table[f"centroid-{axis}"] for axis in range(2)], axis=1),
        np.stack([table[f"bbox-{side}"] for side in range(4)], axis=1).astype(np.int64),
        np.stack(means, axis=1).astype(np.float64),
    )


def _means_of_finite(
    labels: np.ndarray, pixels: np.ndarray, present: np.ndarray
) -> list[np.ndarray]:
    """Return the mean of the finite pixels of each region, channel by channel; NaN without any."""
    from scipy import ndimage

    means = []
    for channel in np.moveaxis(np.atleast_3d(pixels).astype(np.float64), -1, 0):
        there = np.isfinite(channel)
        counts = ndimage.sum_labels(there, labels, present)
        sums = ndimage.sum_labels(np.where(there, channel, 0), labels, present)
        means.append(np.divide(sums, counts, np.full(len(present), np.nan), where=counts > 0))
    return means


@dataclass
class Measurements:
    """Measurements of the labels of an image, to which planes are added one by one.

    Size, centroid, bounding box and mean intensity of an object follow from those of its regions
    on the planes, so that no volume has to be in memory.

    Parameters
    ----------
    planes
        The image; a part of one counts positions as the whole image does.
    classes
        Names of the classes; class i has the number i + 1.
    kind
        Meaning of the labels.
    """

    planes: Planes
    classes: Sequence[str]
    kind: Kind
    _rows: dict[int, PlaneRows] = field(default_factory=dict)

    def measure(self, number: int, labels: np.ndarray, pixels: np.ndarray) -> PlaneRows:
        """Measure a plane and add it; see `measure_plane`.

        Parameters
        ----------
        number
            Number of the plane in `planes`.
        labels
            Its labels. `NumberedObjects` know their classes; those of other objects are known
            only if there is a single class.
        pixels
            The plane itself.
        """
        rows = measure_plane(labels, pixels, self._classes_of(labels))
        self.add(number, rows)
        return rows

    def add(self, number: int, rows: PlaneRows) -> None:
        """Add the measurements of a plane."""
        self._rows[number] = rows

    def _classes_of(self, labels: np.ndarray) -> np.ndarray:
        """Return the class number of each label; 0 where it is unknown."""
        count = int(labels.max(initial=0)) + 1
        if self.kind == "classes":
            return np.arange(count)
        known = classes_of(labels)
        return np.full(count, int(len(self.classes) == 1)) if known is None else known

    @property
    def object_count(self) -> int:
        """Number of objects; tracks and volumes count once."""
        if self.kind == "objects":
            return sum(len(rows.labels) for rows in self._rows.values())
        labels = [rows.labels for rows in self._rows.values()]
        return len(np.unique(np.concatenate(labels))) if labels else 0

    def table(self, over_planes: bool | None = None) -> Table:
        """Return the measurements of all planes that were added.

        Parameters
        ----------
        over_planes
            Whether a label has one row over all planes, rather than one for each of its planes.
            By default only volumes have.

        Returns
        -------
        dict of str to numpy.ndarray
            ``label``; ``class``; the position on each leading axis that the row does not extend
            over, such as ``t``; ``pixels``; ``area`` or ``volume``; ``centroid_y`` and so on;
            ``intensity_mean``, or one such column for each channel; and the bounding box,
            ``y_min`` and so on, in pixels, of which the maxima are not part. Areas, volumes and
            centroids are in the image's unit, which is in the name: ``area_um2``. They are in
            pixels (``px``) if the pixel size, or the distance of planes that volumes need, is
            unknown.
        """
        over = self.kind == "volumes" if over_planes is None else over_planes
        rows = _joined(self._rows)
        return self._over_planes(*rows) if over else self._plane_by_plane(*rows)

    def _plane_by_plane(self, numbers: np.ndarray, rows: PlaneRows) -> Table:
        columns = {"label": rows.labels, "class": self._names(rows.classes)}
        columns |= {
            axis_column(axis): position
            for axis, position in zip(
                self.planes.leading_axes, self._positions(numbers), strict=True
            )
        }
        steps, unit = self._steps(volume=False)
        columns["pixels"] = rows.pixels
        columns[f"area_{unit}2"] = rows.pixels * np.prod(steps)
        for axis, name in enumerate("yx"):
            columns[f"centroid_{name}_{unit}"] = rows.centroids[:, axis] * steps[axis]
        columns |= self._intensities(rows.intensities)
        for side, name in enumerate(("y_min", "x_min", "y_max", "x_max")):
            columns[name] = rows.boxes[:, side]
        return columns

    def _over_planes(self, numbers: np.ndarray, rows: PlaneRows) -> Table:
        labels, first, where = np.unique(rows.labels, return_index=True, return_inverse=True)
        count = len(labels)

        def total(values: np.ndarray) -> np.ndarray:
            return np.bincount(where, values, count)

        pixels = total(rows.pixels)
        columns = {"label": labels, "class": self._names(rows.classes[first])}
        positions = self._positions(numbers)
        volumes = self.kind == "volumes"
        for axis, position in zip(self.planes.leading_axes, positions, strict=True):
            if volumes and axis != self.planes.stack_axis:
                columns[axis_column(axis)] = position[first]
        columns["pixels"] = pixels.astype(np.int64)
        steps, unit = self._steps(volumes)
        columns[f"volume_{unit}3" if volumes else f"area_{unit}2"] = pixels * np.prod(steps)
        places = [rows.centroids[:, 0], rows.centroids[:, 1]]
        lows, highs = [rows.boxes[:, 0], rows.boxes[:, 1]], [rows.boxes[:, 2], rows.boxes[:, 3]]
        if volumes:
            depth = positions[self.planes.leading_axes.index(self.planes.stack_axis)]
            places, lows, highs = [depth, *places], [depth, *lows], [depth + 1, *highs]
        names = "zyx"[-len(places) :]
        for name, place, step in zip(names, places, steps, strict=True):
            columns[f"centroid_{name}_{unit}"] = total(place * rows.pixels) / pixels * step
        means = [total(values * rows.pixels) / pixels for values in rows.intensities.T]
        columns |= self._intensities(np.stack(means, axis=1))
        for name, low in zip(names, lows, strict=True):
            columns[f"{name}_min"] = _reduced(np.minimum, low, where, count)
        for name, high in zip(names, highs, strict=True):
            columns[f"{name}_max"] = _reduced(np.maximum, high, where, count)
        return columns

    def _names(self, classes: np.ndarray) -> np.ndarray:
        return np.array(["", *self.classes], dtype=object)[classes]

    def _positions(self, numbers: np.ndarray) -> list[np.ndarray]:
        """Return the position of planes on each leading axis of the whole image."""
        planes = self.planes
        if not planes.leading:
            return []
        starts = dict.fromkeys(planes.leading_axes, 0)
        for axis, start, _ in planes.cut:
            starts[axis] += start
        index = np.unravel_index(numbers, planes.leading)
        return [i + starts[axis] for axis, i in zip(planes.leading_axes, index, strict=True)]

    def _steps(self, volume: bool) -> tuple[tuple[float, ...], str]:
        """Return the size of a pixel on each axis, and the short name of its unit."""
        size = self.planes.pixel_size
        if size is None or (volume and size.z is None):
            return (1.0,) * (2 + volume), "px"
        sides = (size.z or 1.0,) * volume + (size.y, size.x)
        return sides, LENGTHS.get(size.unit, size.unit)

    def _intensities(self, values: np.ndarray) -> Table:
        channels = values.shape[1]
        if channels == 1:
            return {"intensity_mean": values[:, 0]}
        names = COLOURS if self.planes.rgb and channels == 3 else map(str, range(channels))
        columns = zip(names, values.T, strict=True)
        return {f"intensity_mean_{name}": column for name, column in columns}


def _joined(rows: dict[int, PlaneRows]) -> tuple[np.ndarray, PlaneRows]:
    """Join the rows of planes; return the number of the plane of each row, and the rows."""
    if not rows:
        none = np.zeros(0, np.int64)
        return none, PlaneRows(
            none, none, none, np.zeros((0, 2)), np.zeros((0, 4), np.int64), np.zeros((0, 1))
        )
    numbers = sorted(rows)
    joined = {
        item.name: np.concatenate([getattr(rows[number], item.name) for number in numbers])
        for item in fields(PlaneRows)
    }
    return np.repeat(numbers, [len(rows[n].labels) for n in numbers]), PlaneRows(**joined)


def _reduced(function: np.ufunc, values: np.ndarray, where: np.ndarray, count: int) -> np.ndarray:
    """Return the least or largest value of each group."""
    reduced = np.full(count, -1 if function is np.maximum else np.iinfo(np.int64).max)
    function.at(reduced, where, values)
    return reduced


def write_table(table: Table, path: Path) -> None:
    """Write a table as a CSV file in UTF-8, which spreadsheets and pandas read.

    Floats have six significant digits.
    """
    columns = [
        [f"{value:.6g}" for value in column] if column.dtype.kind == "f" else column.tolist()
        for column in table.values()
    ]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(zip(*columns, strict=True))


def layer_features(measurements: Measurements) -> Table:
    """Return measurements as the features of a Labels layer of napari.

    Where a label has a single row, row i describes label i, as napari's table of features expects
    it; the first row is that of the background. Otherwise the column ``index`` names position and
    label of each row, such as ``z3 label 12``.
    """
    if measurements.kind == "classes":
        table = measurements.table(over_planes=True)
        return _row_by_row(table, ["background", *measurements.classes], "name")
    table = measurements.table()
    labels = table["label"]
    if len(np.unique(labels)) == len(labels):
        names = np.full(int(labels.max(initial=0)) + 1, "", dtype=object)
        names[labels] = table["class"]
        names[0] = "background"
        return _row_by_row(table, names.tolist(), "class")
    leading = map(axis_column, measurements.planes.leading_axes)
    axes = [column for column in leading if column in table]
    positions = zip(*(table[axis] for axis in axes), labels, strict=True)
    index = [
        " ".join([*(f"{axis}{i}" for axis, i in zip(axes, at, strict=True)), f"label {label}"])
        for *at, label in positions
    ]
    return {"index": np.array(index, dtype=object), **table}


def _row_by_row(table: Table, names: list[str], column: str) -> Table:
    """Return a table with a row for each name; labels that were not found have empty rows."""
    labels = table["label"]
    features: Table = {"index": np.arange(len(names)), column: np.array(names, dtype=object)}
    for name, values in table.items():
        if name not in ("label", "class"):
            empty = np.nan if values.dtype.kind == "f" else 0
            features[name] = np.full(len(names), empty, dtype=values.dtype)
            features[name][labels] = values
    return features
