"""Results as OME-Zarr: NGFF 0.5 in zarr format 3."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.batch.pyramid import level_count, level_transformations, write_levels
from napari_ptsam.batch.result_format import ResultFormat
from napari_ptsam.images.pixel_sizes import in_unit_of
from napari_ptsam.images.units import LENGTHS, length_name
from napari_ptsam.images.zarrs import holds_zarr

if TYPE_CHECKING:
    from napari_ptsam.batch.result_format import StackResult
    from napari_ptsam.images.planes import PixelSize, TimeStep

VERSION = "0.5"
_TYPES = {"T": "time", "C": "channel", "Z": "space", "Y": "space", "X": "space"}


# ome-zarr brings aiohttp and botocore along, ngff-zarr brings ITK and wasmtime, and neither writes
# plane by plane, with the same bytes each time.
class OmeZarr(ResultFormat):
    """An OME-Zarr group with resolution levels, each of half the size of the one before."""

    name = "ome-zarr"
    title = "OME-Zarr"
    hint = "OME-Zarr suits results that are larger than memory."
    endings = (".ome.zarr",)
    is_folder = True
    axis_order = "TCZYX"
    any_axis = True

    def write(self, path: Path, result: StackResult) -> None:
        """Write a group, page by page."""
        path.mkdir()
        layout = result.layout
        write_levels(path, layout.axes, layout.shape, result.dtype, result.pages())
        attributes = {"ome": _metadata(result), "napari-ptsam": result.about}
        # Written last and by hand: the group exists once it is complete, with the same bytes each
        # time.
        group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        text = json.dumps(group, indent=2, ensure_ascii=False)
        (path / "zarr.json").write_text(text, encoding="utf-8")

    def read(self, path: Path) -> np.ndarray:
        """Return the full resolution of a group."""
        import zarr

        return np.asarray(zarr.open_group(path, mode="r")["0"])

    def run_of(self, path: Path) -> str | None:
        """Return the fingerprint in the attributes of a group."""
        if not path.is_dir():
            return None
        group = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
        run: str | None = group["attributes"]["napari-ptsam"]["run"]
        return run

    def may_replace(self, folder: Path) -> bool:
        """Return whether a folder holds a zarr array or group."""
        return holds_zarr(folder)


def _metadata(result: StackResult) -> dict[str, Any]:
    """Return the group's ``ome`` attribute."""
    name = result.name.partition(".")[0] or result.name
    axes, size, step = result.layout.axes, _in_ngff(result.pixel_size), result.time_step
    metadata: dict[str, Any] = {
        "version": VERSION,
        "multiscales": [
            {
                "name": name,
                "axes": [_axis(letter, size, step) for letter in axes],
                "datasets": [
                    {
                        "path": str(level),
                        "coordinateTransformations": level_transformations(
                            level, _scale(axes, size, step), None, result.output == "probabilities"
                        ),
                    }
                    for level in range(level_count(result.layout.shape))
                ],
            }
        ],
    }
    if result.output == "probabilities":
        metadata["omero"] = {
            "channels": [
                {
                    "label": label,
                    "color": colour.lstrip("#"),
                    "active": True,
                    "window": {"min": 0.0, "max": 1.0, "start": 0.0, "end": 1.0},
                }
                for label, colour in zip(result.classes, result.colours, strict=True)
            ]
        }
    else:
        metadata["image-label"] = image_label(result)
    return metadata


def image_label(result: StackResult) -> dict[str, Any]:
    """Return the attribute ``image-label``: the names and colours of classes."""
    label: dict[str, Any] = {}
    if result.output == "labels":
        values = range(1, len(result.classes) + 1)
        label["colors"] = [
            {"label-value": value, "rgba": [*bytes.fromhex(colour.lstrip("#")), 255]}
            for value, colour in zip(values, result.colours, strict=True)
        ]
        label["properties"] = [
            {"label-value": value, "class": name}
            for value, name in zip(values, result.classes, strict=True)
        ]
    return label


def _in_ngff(size: PixelSize | None) -> PixelSize | None:
    """Return a pixel size in a unit that NGFF knows: its own, or else micrometers."""
    unit = None if size is None else LENGTHS.get(length_name(size.unit))
    if size is None or unit is None or unit.in_ngff:
        return size
    return in_unit_of(replace(size, unit=unit.name), "micrometer")


def _axis(letter: str, size: PixelSize | None, step: TimeStep | None) -> dict[str, str]:
    axis = {"name": letter.lower(), "type": _TYPES[letter]}
    if letter == "T" and step is not None:
        axis["unit"] = step.unit
    if size is not None and axis["type"] == "space" and not (letter == "Z" and size.z is None):
        unit = LENGTHS.get(length_name(size.unit))
        if unit is not None:
            axis["unit"] = unit.name
    return axis


def _scale(axes: str, size: PixelSize | None, step: TimeStep | None) -> list[float]:
    steps = {} if step is None else {"T": step.value}
    if size is not None:
        steps |= {"Y": size.y, "X": size.x, "Z": size.z or 1.0}
    return [float(steps.get(axis, 1.0)) for axis in axes]
