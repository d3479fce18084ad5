"""Where the files of a run lie: its result, its work folder, its lock and its table."""

from __future__ import annotations

from pathlib import Path

from napari_ptsam.images.locations import outermost, result_name
from napari_ptsam.images.zarrs import holds_zarr

LABELS = "labels"
"""Name of the group in an OME-Zarr image that holds its labels."""


def is_in_image(target: Path) -> bool:
    """Return whether a target is a label in an OME-Zarr image: ``IMAGE.zarr/labels/NAME``.

    The name has no ending.
    """
    inside = target.parent.name == LABELS and not target.suffix
    return inside and holds_zarr(target.parent.parent)


def beside(target: Path) -> Path:
    """Return the path beside which a run keeps its work folder, its lock and its table.

    It is the target itself, but outside of the zarr for a label in an image, so that nothing
    foreign gets into the image: ``plate-A-1-0-NAME`` beside ``plate.zarr``.
    """
    if not is_in_image(target):
        return target
    image = target.parent.parent.resolve()
    outer, _ = outermost(target.parent.resolve())
    assert isinstance(outer, Path)
    return outer.with_name(f"{result_name(image)}-{target.name}")
