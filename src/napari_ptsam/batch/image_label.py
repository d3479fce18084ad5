"""Results in the ``labels`` of an OME-Zarr image, in the image's own version of NGFF."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from napari_ptsam.batch.ome_zarr import OmeZarr, image_label
from napari_ptsam.batch.places import LABELS
from napari_ptsam.batch.pyramid import level_count, level_transformations, write_levels
from napari_ptsam.batch.result_format import Layout
from napari_ptsam.errors import OutputError
from napari_ptsam.images.locations import outermost, result_name
from napari_ptsam.io.locking import locked

if TYPE_CHECKING:
    from napari_ptsam.batch.result_format import StackResult
    from napari_ptsam.images.planes import Planes

_PATIENCE = 10.0
"""Seconds to wait for another run that adds a label to the same image."""


class ImageLabel(OmeZarr):
    """The format of a label in an OME-Zarr image.

    Parameters
    ----------
    image
        The group of the image.

    Raises
    ------
    OutputError
        If it is no image of NGFF 0.4 or later.
    """

    endings = ("",)

    def __init__(self, image: Path) -> None:
        import zarr

        self.image = image
        group: Any = zarr.open_group(image, mode="r")
        self.zarr_format: Literal[2, 3] = group.metadata.zarr_format
        attributes: Mapping[str, Any] = dict(group.attrs)
        self._ome: Mapping[str, Any] = attributes.get("ome", attributes)
        scales = self._ome.get("multiscales")
        self._scales: dict[str, Any] = dict(scales[0]) if scales else {}
        axes = self._scales.get("axes") or []
        if not axes or not all(isinstance(axis, Mapping) for axis in axes):
            raise OutputError(
                f"{image} is no OME-Zarr image of version 0.4 or later, so that no labels can be "
                "added to it; choose another place for the result."
            )

    def layout(self, planes: Planes, classes: int) -> Layout:
        """Return the layout of the image without its channels.

        Raises
        ------
        OutputError
            If the result does not cover the image, or is no label.
        """
        problem = ""
        if classes:
            problem = "probabilities are no labels"
        elif planes.cut:
            problem = "labels cover the whole image, not a part of it"
        elif len(planes.axes) != len(self._scales["axes"]) or not planes.axes.endswith("YX"):
            problem = f"its axes {planes.axes} are not those that its metadata state"
        if problem:
            raise OutputError(
                f"The result cannot go into the image {planes.name} ({problem}); choose another "
                "place for it."
            )
        shape = (*planes.leading, *planes.shape)
        return Layout(planes.leading_axes + "YX", shape, planes.leading_axes, planes.leading)

    def write(self, path: Path, result: StackResult) -> None:
        """Write a group, page by page, with its metadata at the end."""
        path.mkdir()
        layout = result.layout
        write_levels(
            path, layout.axes, layout.shape, result.dtype, result.pages(), self.zarr_format
        )
        ome = self._metadata(result)
        if self.zarr_format == 2:
            _write_json(path / ".zattrs", {**ome, "napari-ptsam": result.about})
            _write_json(path / ".zgroup", {"zarr_format": 2})
        else:
            attributes = {"ome": ome, "napari-ptsam": result.about}
            _write_json(path / "zarr.json", _group(attributes))

    def run_of(self, path: Path) -> str | None:
        """Return the fingerprint in the attributes of a group."""
        import zarr

        if not path.is_dir():
            return None
        about: Any = zarr.open_group(path, mode="r").attrs["napari-ptsam"]
        return str(about["run"])

    def prepare(self, target: Path) -> None:
        """Create the group of the image's labels, if it has none."""
        target.parent.mkdir(exist_ok=True)
        if self.zarr_format == 2:
            if not (target.parent / ".zgroup").exists():
                _write_json(target.parent / ".zgroup", {"zarr_format": 2})
        elif not (target.parent / "zarr.json").exists():
            _write_json(target.parent / "zarr.json", _group({}))

    def register(self, target: Path) -> None:
        """Add a label to the list of the image's labels, and to copies of the metadata."""
        with _alone(self.image):
            labels = target.parent
            if self.zarr_format == 2:
                _list_label(labels / ".zattrs", (), target.name, {})
            else:
                version = {"version": self._ome.get("version", "0.5")}
                _list_label(labels / "zarr.json", ("attributes", "ome"), target.name, version)
            outer, inside = outermost(labels.absolute())
            assert isinstance(outer, Path)
            for depth in range(len(inside)):
                _add_to_copies(outer.joinpath(*inside[:depth]), target)

    def _metadata(self, result: StackResult) -> dict[str, Any]:
        """Return the OME attributes of the label, with the axes and places of the image."""
        kept = [
            number
            for number, axis in enumerate(self._scales["axes"])
            if axis.get("type") != "channel" and axis.get("name") != "c"
        ]
        first = self._scales["datasets"][0].get("coordinateTransformations", [])
        scale, translation = [1.0] * len(kept), None
        for step in first:
            if step.get("type") == "scale" and "scale" in step:
                scale = [float(step["scale"][number]) for number in kept]
            elif step.get("type") == "translation" and "translation" in step:
                translation = [float(step["translation"][number]) for number in kept]
        multiscale: dict[str, Any] = {
            "axes": [self._scales["axes"][number] for number in kept],
            "datasets": [
                {
                    "path": str(level),
                    "coordinateTransformations": level_transformations(
                        level, scale, translation, False
                    ),
                }
                for level in range(level_count(result.layout.shape))
            ],
        }
        if whole := self._scales.get("coordinateTransformations"):
            multiscale["coordinateTransformations"] = [
                {**step, step["type"]: [step[step["type"]][number] for number in kept]}
                for step in whole
                if isinstance(step.get(step.get("type")), list)
            ]
        label = {**image_label(result), "source": {"image": "../../"}}
        if self.zarr_format == 2:
            version = str(self._scales.get("version", "0.4"))
            return {
                "multiscales": [{"version": version, **multiscale}],
                "image-label": {"version": version, **label},
            }
        return {
            "version": str(self._ome.get("version", "0.5")),
            "multiscales": [multiscale],
            "image-label": label,
        }


def _group(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


def _list_label(file: Path, keys: tuple[str, ...], name: str, new: Mapping[str, Any]) -> None:
    """Add a name to the list ``labels`` in a metadata file, and leave all else as it is.

    Parameters
    ----------
    file
        The file. It is created if it does not exist.
    keys
        Names of the objects that the list is in.
    name
        Name of the label.
    new
        Values that are set where they are missing.
    """
    content = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    place = content
    for key in keys:
        place = place.setdefault(key, {})
    listed = place.get("labels", [])
    if name not in listed:
        place |= {**new, **place, "labels": [*listed, name]}
        _write_json(file, content)


def _add_to_copies(group: Path, target: Path) -> None:
    """Add a label to the consolidated metadata of a group above it, if the group has any."""
    older, newer = group / ".zmetadata", group / "zarr.json"
    prefix = target.relative_to(group).as_posix()
    if older.exists():
        content = json.loads(older.read_text(encoding="utf-8"))
        _renew(content["metadata"], group, target, prefix, (".zgroup", ".zattrs", ".zarray"))
        _write_json(older, content)
    elif newer.exists():
        content = json.loads(newer.read_text(encoding="utf-8"))
        if isinstance(copies := content.get("consolidated_metadata"), dict):
            _renew(copies["metadata"], group, target, prefix, ("zarr.json",))
            _write_json(newer, content)


def _renew(
    copies: dict[str, Any], group: Path, target: Path, prefix: str, names: tuple[str, ...]
) -> None:
    """Replace the copies of the metadata of a label and of the group of labels."""
    for key in [key for key in copies if key == prefix or key.startswith(f"{prefix}/")]:
        del copies[key]
    folders = [target.parent, target, *sorted(one for one in target.iterdir() if one.is_dir())]
    for file in (folder / name for folder in folders for name in names):
        if file.exists():
            node = file.parent if file.name == "zarr.json" else file
            key = node.relative_to(group).as_posix()
            copies[key] = json.loads(file.read_text(encoding="utf-8"))


def _write_json(file: Path, content: Any) -> None:
    """Write or replace a metadata file in one step."""
    new = file.with_name(f".{file.name}-{uuid4().hex[:12]}")
    try:
        text = json.dumps(content, indent=2, ensure_ascii=False)
        new.write_text(text, encoding="utf-8")
        new.replace(file)
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)


@contextmanager
def _alone(image: Path) -> Iterator[None]:
    """Keep other runs from changing the list of an image's labels at the same time."""
    outer, _ = outermost((image / LABELS).absolute())
    assert isinstance(outer, Path)
    lock, end = outer.with_name(f".{result_name(image)}.labels.lock"), time.monotonic() + _PATIENCE
    while True:
        try:
            with locked(lock):
                yield
                return
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
