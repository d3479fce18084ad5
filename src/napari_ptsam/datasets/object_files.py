"""Read outlined objects from files of other programs.

These are ImageJ's ROI files (``.roi``, ``.zip``), COCO and LabelMe JSON, GeoJSON as QuPath
exports it, and Cellpose's ``_seg.npy``. The outlines are drawn as a mask.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from napari_ptsam.errors import InputError
from napari_ptsam.images.planes import Planes
from napari_ptsam.io.safe_loading import load_object_array, unreadable_as

SEG = "_seg.npy"
SUFFIXES = (".zip", ".roi", ".json", ".geojson", SEG)
OBJECT_NAMES = ("RoiSet", "rois", "seg")
"""What programs add to the name of the image, after or before an underscore."""
MOST_BYTES = 2**30
"""Largest size of a file, so that another file given by mistake does not fill the memory."""

FARTHEST = 1e9
"""Coordinate in pixels that no corner has; larger numbers would not fit scikit-image's integers."""


class OutlinedObject(NamedTuple):
    """An object of a file.

    Attributes
    ----------
    name
        Name of its class; empty if the file names none.
    rings
        Outlines, (x, y) of each corner in pixels, where the first pixel of a plane extends
        from 0 to 1: shape (corners, 2). What lies in an even number of rings is a hole.
    mask
        Mask of the whole plane instead of outlines: bool, shape (y, x).
    position
        Position on the leading axes T and Z, as far as the file states it.
    """

    name: str
    rings: Sequence[np.ndarray] = ()
    mask: np.ndarray | None = None
    position: Mapping[str, int] = {}


def is_object_file(path: Path) -> bool:
    """Return whether the name of a file is one of those with outlined objects."""
    return path.name.lower().endswith(SUFFIXES) and path.is_file()


def plain_stem(path: Path) -> str:
    """Return the name of a file without its ending and without ``_seg``, ``_RoiSet`` and the like."""
    stem = path.stem
    for name in OBJECT_NAMES:
        stem = stem.removesuffix(f"_{name}").removeprefix(f"{name}_")
    return stem


def coco_images(path: Path) -> list[str] | None:
    """Return the file names of the images that a COCO file lists; None if it is no COCO file."""
    content = _read_json(path)
    if not _is_coco(content):
        return None
    with unreadable_as(InputError, partial(_damaged, path)):
        return [str(image["file_name"]) for image in content["images"]]


def open_objects(path: Path, image: Planes, classes: Sequence[str] | None = None) -> Planes:
    """Draw the objects of a file as the mask of an image.

    Parameters
    ----------
    path
        The file.
    image
        The image that the objects belong to.
    classes
        Names of the classes. With several, the mask has the numbers of the classes, counted
        from 1. With one that the file names too, only its objects are drawn. Otherwise, all
        objects are drawn. Objects are numbered from 1 on each plane; later ones lie on top.

    Returns
    -------
    Planes
        The mask: uint32, of the size of the image, without channels.

    Raises
    ------
    InputError
        If the file is damaged or of another kind, or does not fit the image.
    """
    with unreadable_as(InputError, partial(_damaged, path)):
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path} is too large for a file of outlined objects.")
        objects = _reader(path)(path, image)
    return _mask_of(path, objects, image, classes)


def open_coco(
    path: Path, images: Sequence[Planes], classes: Sequence[str] | None = None
) -> list[Planes]:
    """Draw the objects of a COCO file as the masks of its images; see `open_objects`."""
    content, masks = _read_json(path), []
    for image in images:
        with unreadable_as(InputError, partial(_damaged, path)):
            objects = _coco(path, content, image)
        masks.append(_mask_of(path, objects, image, classes))
    return masks


def _mask_of(
    path: Path,
    objects: Sequence[OutlinedObject] | np.ndarray,
    image: Planes,
    classes: Sequence[str] | None,
) -> Planes:
    """Draw objects as the mask of an image, or take the mask that the file holds."""
    if isinstance(objects, np.ndarray):
        masks = _fit(path, objects, image)
    else:
        masks = np.zeros((len(image), *image.shape), np.uint32)
        for item, value in _of_classes(path, objects, classes):
            _draw(path, item, value, masks[_plane_number(path, item, image)])
        if classes is None or len(classes) == 1:
            masks = _numbered(masks)
    planes = Planes(
        masks.reshape(*image.leading, *image.shape), image.leading_axes + "YX", path.name
    )
    planes.path = path
    return planes


def _damaged(path: Path, error: Exception) -> str:
    if isinstance(error, PermissionError):
        return f"{path} cannot be read: you have no permission to."
    if isinstance(error, FileNotFoundError):
        return f"There is no file {path}; check the path."
    return (
        f"{path} cannot be read as outlined objects (ImageJ ROIs, COCO, LabelMe, GeoJSON or Cellpose): "
        "it is damaged or of another kind."
    )


def _reader(path: Path) -> Callable[[Path, Planes], Sequence[OutlinedObject] | np.ndarray]:
    name = path.name.lower()
    if name.endswith((".zip", ".roi")):
        return _imagej
    return _cellpose if name.endswith(SEG) else _from_json


# Formats


def _imagej(path: Path, image: Planes) -> list[OutlinedObject]:
    from roifile import ROI_TYPE, roiread

    found = roiread(path)
    objects = []
    for roi in found if isinstance(found, list) else [found]:
        if roi.roitype in (ROI_TYPE.LINE, ROI_TYPE.POLYLINE, ROI_TYPE.FREELINE, ROI_TYPE.ANGLE,
                           ROI_TYPE.POINT, ROI_TYPE.NOROI):  # fmt: skip
            raise InputError(
                f"{path} holds a {roi.roitype.name.lower()} ({roi.name}), which has no area; outline "
                "objects with polygons, freehand selections, rectangles or ovals."
            )
        position = {"T": roi.t_position - 1, "Z": roi.z_position - 1}
        if roi.position > 0 and len(image) == image.stack_length > 1:
            position = {image.stack_axis: roi.position - 1}
        rings = [_ring(ring) for ring in roi.coordinates(multi=True)]
        known = {axis: at for axis, at in position.items() if at >= 0}
        objects.append(OutlinedObject("", rings, position=known))
    return objects


def _cellpose(path: Path, image: Planes) -> np.ndarray:
    return np.asarray(load_object_array(path)["masks"])


def _read_json(path: Path) -> Any:
    with unreadable_as(InputError, partial(_damaged, path)):
        return json.loads(path.read_text(encoding="utf-8-sig"))


def _is_coco(content: Any) -> bool:
    return isinstance(content, dict) and {"images", "annotations"} <= content.keys()


def _from_json(path: Path, image: Planes) -> list[OutlinedObject]:
    content = _read_json(path)
    if _is_coco(content):
        return _coco(path, content, image)
    if isinstance(content, dict) and "shapes" in content:
        return _labelme(path, content, image)
    features = content.get("features", [content]) if isinstance(content, dict) else content
    return [outlined for feature in features for outlined in _geojson(path, feature)]


def _coco(path: Path, content: dict[str, Any], image: Planes) -> list[OutlinedObject]:
    name = composed(image.path.name if image.path is not None else image.name)
    listed = [
        entry
        for entry in content["images"]
        if name
        in (composed(Path(entry["file_name"]).name), composed(Path(entry["file_name"]).stem))
    ]
    if not listed:
        raise InputError(f"{path} lists no image {name}; rename the image as the file lists it.")
    (entry, *_), names = listed, {c["id"]: str(c["name"]) for c in content.get("categories", [])}
    if (entry.get("height", image.shape[0]), entry.get("width", image.shape[1])) != image.shape:
        raise InputError(
            f"{path} has {name} as {entry['height']} x {entry['width']} pixels, but the image has "
            f"{image.shape[0]} x {image.shape[1]}; export it again for this image."
        )
    objects = []
    for annotation in content["annotations"]:
        if annotation["image_id"] != entry["id"]:
            continue
        category, parts = names.get(annotation.get("category_id"), ""), annotation["segmentation"]
        if isinstance(parts, dict):
            objects.append(OutlinedObject(category, mask=_run_lengths(path, parts)))
        else:
            # Parts of an object that is cut by others; they are no holes.
            mask = np.logical_or.reduce([_filled([_ring(part)], image.shape) for part in parts])
            objects.append(OutlinedObject(category, mask=mask))
    return objects


def composed(name: str) -> str:
    """Return a name with composed letters, since macOS decomposes those of files."""
    return unicodedata.normalize("NFC", name)


def _run_lengths(path: Path, parts: dict[str, Any]) -> np.ndarray:
    height, width = parts["size"]
    if isinstance(parts["counts"], str):
        try:
            from pycocotools import mask
        except ImportError as error:
            raise InputError(
                f"{path} holds compressed masks, which need the package pycocotools; install it with: "
                "pip install pycocotools"
            ) from error
        return np.asarray(mask.decode(parts)).astype(bool)
    counts = np.asarray(parts["counts"], int)
    runs = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return runs.reshape(width, height).T  # column by column


def _labelme(path: Path, content: dict[str, Any], image: Planes) -> list[OutlinedObject]:
    objects = []
    for shape in content["shapes"]:
        points, kind = np.asarray(shape["points"], float), shape.get("shape_type", "polygon")
        if kind == "rectangle":
            (x0, y0), (x1, y1) = points
            points = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
        elif kind == "circle":
            radius, turn = np.hypot(*(points[1] - points[0])), np.linspace(0, 2 * np.pi, 72)
            points = points[0] + radius * np.stack([np.cos(turn), np.sin(turn)], -1)
        elif kind != "polygon":
            raise InputError(
                f"{path} holds a {kind} ({shape.get('label')}); outline objects with polygons, "
                "rectangles or circles."
            )
        objects.append(OutlinedObject(str(shape.get("label") or ""), [_ring(points)]))
    return objects


def _geojson(path: Path, feature: dict[str, Any]) -> list[OutlinedObject]:
    geometry, properties = feature["geometry"], feature.get("properties") or {}
    name = (properties.get("classification") or {}).get("name", "")
    plane = geometry.get("plane") or {}
    position = {axis: int(plane[axis.lower()]) for axis in "TZ" if axis.lower() in plane}
    kind, coordinates = geometry["type"], geometry["coordinates"]
    if kind not in ("Polygon", "MultiPolygon"):
        raise InputError(f"{path} holds a {kind}, which has no area; export only outlined objects.")
    polygons = [coordinates] if kind == "Polygon" else coordinates
    rings = [_ring([corner[:2] for corner in ring]) for polygon in polygons for ring in polygon]
    return [OutlinedObject(str(name), rings, position=position)]


def _ring(corners: Any) -> np.ndarray:
    """Return corners as an outline; whatever is wrong with them is found while the file is read."""
    ring = np.asarray(corners, float).reshape(-1, 2)
    if not (np.abs(ring) < FARTHEST).all():
        raise ValueError("a corner that is no number, or far outside of any image")
    return ring


# Drawing


def _of_classes(
    path: Path, objects: Sequence[OutlinedObject], classes: Sequence[str] | None
) -> list[tuple[OutlinedObject, int]]:
    """Return the objects to draw, each with its value in the mask."""
    names = {item.name for item in objects}
    if classes is None or (len(classes) == 1 and classes[0] not in names):
        return [(item, number) for number, item in enumerate(objects, start=1)]
    if len(classes) == 1:
        objects = [item for item in objects if item.name == classes[0]]
        return [(item, number) for number, item in enumerate(objects, start=1)]
    unknown = sorted(names - set(classes))
    if unknown:
        raise InputError(
            f"{path} has objects of {', '.join(name or 'no class' for name in unknown)}; name all of its "
            "classes, or only one to use its objects alone."
        )
    return [(item, classes.index(item.name) + 1) for item in objects]


def _plane_number(path: Path, item: OutlinedObject, image: Planes) -> int:
    """Return the number of the plane that an object lies on."""
    at = []
    for axis, size in zip(image.leading_axes, image.leading, strict=True):
        position = item.position.get(axis, 0 if size == 1 else None)
        if position is None:
            raise InputError(
                f"{path} does not say on which plane along {axis} an object lies, and {image.name} has "
                f"{size}; save the objects with their position."
            )
        if not 0 <= position < size:
            raise InputError(
                f"{path} has an object at position {position} along {axis}, but {image.name} has only "
                f"0 to {size - 1}; is it the file of another image?"
            )
        at.append(position)
    return int(np.ravel_multi_index(at, image.leading)) if at else 0


def _draw(path: Path, item: OutlinedObject, value: int, plane: np.ndarray) -> None:
    if item.mask is None:
        plane[_filled(item.rings, plane.shape)] = value
        return
    if item.mask.shape != plane.shape:
        raise InputError(
            f"{path} holds a mask of {item.mask.shape[0]} x {item.mask.shape[1]} pixels, but the image "
            f"has {plane.shape[0]} x {plane.shape[1]}; is it the file of another image?"
        )
    plane[item.mask] = value


def _filled(rings: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Return the pixels whose centres lie in an odd number of rings: bool, shape (y, x)."""
    from skimage.draw import polygon

    filled = np.zeros(shape, bool)
    for ring in filter(len, rings):  # an outline without corners covers nothing
        filled[polygon(ring[:, 1] - 0.5, ring[:, 0] - 0.5, shape)] ^= True
    return filled


def _numbered(masks: np.ndarray) -> np.ndarray:
    """Number the objects of each plane from 1 without gaps; those that are covered have no number."""
    from skimage.segmentation import relabel_sequential

    return np.stack([relabel_sequential(plane)[0] for plane in masks]).astype(np.uint32)


def _fit(path: Path, masks: np.ndarray, image: Planes) -> np.ndarray:
    """Return masks in the shape (planes, y, x), whatever axes of length 1 they have."""
    shape = (*image.leading, *image.shape)
    if [size for size in masks.shape if size > 1] != [size for size in shape if size > 1]:
        raise InputError(
            f"{path} holds masks of shape {masks.shape}, but {image.name} has {shape}; is it the file of "
            "another image?"
        )
    return masks.reshape(len(image), *image.shape).astype(np.uint32)
