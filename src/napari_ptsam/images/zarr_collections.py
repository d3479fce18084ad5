"""The images in zarrs that hold several: HCS plates, and what bioformats2raw writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

LAYOUT = "bioformats2raw.layout"
"""Attribute of a group that bioformats2raw has written."""


def ome_attributes(group: Any) -> Mapping[str, Any]:
    """Return the OME attributes of a zarr group: those under ``ome`` in NGFF 0.5 and later."""
    attributes: dict[str, Any] = dict(group.attrs)
    found = attributes.get("ome", attributes)
    return found if isinstance(found, Mapping) else {}


def is_collection(group: Any) -> bool:
    """Return whether a group is a plate, a row or a well of one, or written by bioformats2raw."""
    found = ome_attributes(group)
    return "multiscales" not in found and (
        bool({"plate", "well", LAYOUT} & set(found)) or _is_row(group)
    )


def images_in(group: Any) -> list[str]:
    """Return the paths of the images of a collection, relative to its group.

    Raises
    ------
    Exception
        If the metadata are damaged.
    """
    found = ome_attributes(group)
    if "plate" in found:
        names = [str(well["path"]) for well in found["plate"]["wells"]]
        paths = [path for name in names for path in _in_well(group, name)]
    elif "well" in found:
        paths = _fields(found)
    elif LAYOUT in found:
        paths = list(_series(group))
    else:
        paths = [path for name in sorted(_members(group)) for path in _in_well(group, name)]
    for path in paths:
        if path.startswith("/") or ".." in path.split("/"):
            raise ValueError("a path that leads out of the zarr")
    return [path.strip("/") for path in paths]


def _is_row(group: Any) -> bool:
    members = _members(group)
    return bool(members) and all("well" in ome_attributes(one) for one in members.values())


def _members(group: Any) -> dict[str, Any]:
    """Return the groups in a group; none on servers, which cannot list them."""
    try:
        return dict(group.groups())
    except Exception:
        return {}


def _in_well(group: Any, well: str) -> list[str]:
    """Return the paths of a well's fields; its own path if the well is missing."""
    try:
        found = ome_attributes(group[well])
    except KeyError:
        return [well]  # which is reported when it is opened
    return [f"{well}/{field}" for field in _fields(found)]


def _fields(well: Mapping[str, Any]) -> list[str]:
    return [str(image["path"]) for image in well["well"]["images"]]


def _series(group: Any) -> Iterator[str]:
    """Yield the paths of the images that bioformats2raw wrote: those listed, or 0, 1, ..."""
    try:
        listed = ome_attributes(group["OME"]).get("series")
    except KeyError:
        listed = None
    if listed:
        yield from map(str, listed)
        return
    for number in count():
        if str(number) not in group:
            return
        yield str(number)
