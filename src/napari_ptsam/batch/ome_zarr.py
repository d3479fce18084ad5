"""Results as OME-Zarr: NGFF 0.5 in zarr format 3."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.batch.result_format import ResultFormat
from napari_ptsam.batch.work_folder import chunks_of, compressors
from napari_ptsam.images.zarrs import holds_zarr
from napari_ptsam.io.writing import printable

if TYPE_CHECKING:
    from napari_ptsam.batch.result_format import StackResult
    from napari_ptsam.images.planes import PixelSize

VERSION = "0.5"
_TYPES = {"T": "time", "C": "channel", "Z": "space", "Y": "space", "X": "space"}
LENGTHS = (
    "micrometer", "nanometer", "millimeter", "centimeter", "meter", "inch", "angstrom",
)  # fmt: skip
"""The units of length of NGFF that images can have."""


# Neither ome-zarr (Python 3.12, and brings aiohttp and S3 along) nor ngff-zarr (brings ITK along)
# writes plane by plane, with the same bytes each time.
class OmeZarr(ResultFormat):
    """An OME-Zarr group with one resolution level."""

    name = "ome-zarr"
    title = "OME-Zarr"
    hint = "OME-Zarr suits results that are larger than memory."
    endings = (".ome.zarr",)
    is_folder = True
    axis_order = "TCZYX"
    any_axis = True

    def write(self, path: Path, result: StackResult) -> None:
        """Write a group, page by page."""
        import zarr

        shape = result.layout.shape
        path.mkdir()
        level = zarr.create_array(
            path / "0",
            shape=shape,
            chunks=(1,) * (len(shape) - 2) + chunks_of((shape[-2], shape[-1])),
            dtype=result.dtype,
            compressors=compressors(),
            fill_value=0,
            dimension_names=list(result.layout.axes.lower()),
        )
        for index, page in result.pages():
            level[index] = page
        attributes = {"ome": _metadata(result), "napari-ptsam": result.about}
        # Written last and by hand: the group exists once it is complete, with the same bytes each
        # time.
        group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        text = json.dumps(group, indent=2, ensure_ascii=False)
        (path / "zarr.json").write_text(printable(text), encoding="utf-8")

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
    axes, size = result.layout.axes, result.pixel_size
    metadata: dict[str, Any] = {
        "version": VERSION,
        "multiscales": [
            {
                "name": name,
                "axes": [_axis(letter, size) for letter in axes],
                "datasets": [
                    {
                        "path": "0",
                        "coordinateTransformations": [
                            {"type": "scale", "scale": _scale(axes, size)}
                        ],
                    }
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
        return metadata
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
    metadata["image-label"] = label
    return metadata


def _axis(letter: str, size: PixelSize | None) -> dict[str, str]:
    axis = {"name": letter.lower(), "type": _TYPES[letter]}
    known = size is not None and size.unit in LENGTHS and not (letter == "Z" and size.z is None)
    if size is not None and known and axis["type"] == "space":
        axis["unit"] = size.unit
    return axis


def _scale(axes: str, size: PixelSize | None) -> list[float]:
    if size is None:
        return [1.0] * len(axes)
    steps = {"Y": size.y, "X": size.x, "Z": size.z or 1.0}
    return [float(steps.get(axis, 1.0)) for axis in axes]
