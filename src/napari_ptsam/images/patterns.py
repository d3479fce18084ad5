"""Find the images that a pattern names, in folders and inside of plates."""

from __future__ import annotations

from glob import glob
from pathlib import Path

from napari_ptsam.errors import InputError
from napari_ptsam.images.reading import is_image, is_original, natural_order
from napari_ptsam.images.zarrs import ZARR, is_image_group


def matching(pattern: Path) -> list[Path]:
    """Return the images that match a pattern, without those of unfinished runs.

    Images inside of a zarr are found by patterns that lead into it, such as
    ``plate.zarr/*/*/0``; its labels by patterns that name the folder ``labels``.

    Raises
    ------
    InputError
        If there are none.
    """
    from natsort import natsorted

    paths = [
        path
        for path in map(Path, glob(str(pattern), recursive=True))  # noqa: PTH207 - it may be absolute
        if not any(parent.suffix == ".partial" for parent in path.parents)
    ]
    outside = [path for path in paths if not _is_inside(path)]
    matches = [path for path in outside if is_image(path)] or [
        path for path in outside if is_original(path)
    ]
    matches = natural_order(matches)
    if any(part.lower().endswith(ZARR) for part in pattern.parts[:-1]):
        inside = [path for path in paths if _is_inside(path) and is_image_group(path)]
        if "labels" not in pattern.parts:
            inside = [path for path in inside if "labels" not in path.parts]
        matches = natsorted(inside) or matches
    if not matches:
        raise InputError(f"No image matches {pattern}; check the pattern.")
    return matches


def _is_inside(path: Path) -> bool:
    return any(parent.suffix.lower() == ZARR for parent in path.parents)
