"""Results as OME-Zarr: NGFF 0.5 on zarr v3."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_ptsam.batch.work_folder import chunks_of, compressors

if TYPE_CHECKING:
    import numpy as np

    from napari_ptsam.batch.formats import Layout
    from napari_ptsam.images.planes import PixelSize, Planes
    from napari_ptsam.inference.segment import Segmenter

VERSION = "0.5"
_TYPES = {"T": "time", "C": "channel", "Z": "space", "Y": "space", "X": "space"}
LENGTHS = (
    "micrometer", "nanometer", "millimeter", "centimeter", "meter", "inch", "angstrom",
)  # fmt: skip
"""Units of length that are written; NGFF has more, but no others come from images."""


def write_ome_zarr(
    path: Path,
    array: Any,
    layout: Layout,
    dtype: np.dtype,
    planes: Planes,
    segmenter: Segmenter,
    about: dict[str, Any],
) -> None:
    """Write an OME-Zarr group with one level, plane by plane.

    Parameters
    ----------
    path
        A folder that is not there yet.
    array
        Results of all planes: shape (planes, y, x) or (planes, classes, y, x).
    dtype
        Of the result.
    planes
        The image.
    about
        Where it comes from; plain values.
    """
    import zarr

    path.mkdir()
    level = zarr.create_array(
        path / "0",
        shape=layout.shape,
        chunks=(1,) * (len(layout.shape) - 2) + chunks_of(planes.shape),
        dtype=dtype,
        compressors=compressors(),
        fill_value=0,
        dimension_names=list(layout.axes.lower()),
    )
    for index, page in layout.pages(array):
        level[index] = page.astype(dtype, copy=False)
    attributes = {
        "ome": _metadata(layout, planes, segmenter),
        "napari-ptsam": about,
    }
    # By hand, so that the group is there only when all of it is: whoever writes it, the same bytes.
    group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    text = json.dumps(group, indent=2, ensure_ascii=False)
    (path / "zarr.json").write_text(text, encoding="utf-8")


def _metadata(layout: Layout, planes: Planes, segmenter: Segmenter) -> dict[str, Any]:
    name = planes.name.partition(".")[0] or planes.name
    size = planes.pixel_size
    metadata: dict[str, Any] = {
        "version": VERSION,
        "multiscales": [
            {
                "name": name,
                "axes": [_axis(letter, size) for letter in layout.axes],
                "datasets": [
                    {
                        "path": "0",
                        "coordinateTransformations": [
                            {"type": "scale", "scale": _scale(layout.axes, size)}
                        ],
                    }
                ],
            }
        ],
    }
    prompt = segmenter.prompt
    if segmenter.output == "probabilities":
        metadata["omero"] = {
            "channels": [
                {
                    "label": label,
                    "color": colour.lstrip("#"),
                    "active": True,
                    "window": {"min": 0.0, "max": 1.0, "start": 0.0, "end": 1.0},
                }
                for label, colour in zip(prompt.classes, prompt.colours, strict=True)
            ]
        }
        return metadata
    label: dict[str, Any] = {}
    if segmenter.output == "labels":
        values = range(1, len(prompt.classes) + 1)
        label["colors"] = [
            {"label-value": value, "rgba": [*bytes.fromhex(colour.lstrip("#")), 255]}
            for value, colour in zip(values, prompt.colours, strict=True)
        ]
        label["properties"] = [
            {"label-value": value, "class": name}
            for value, name in zip(values, prompt.classes, strict=True)
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
