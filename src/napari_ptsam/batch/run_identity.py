"""Describe a run, so that a later one with the same description can resume it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ptsam.errors import InputError

if TYPE_CHECKING:
    from napari_ptsam.images.planes import Planes
    from napari_ptsam.inference.linking import LinkSettings
    from napari_ptsam.inference.result import ResultSettings
    from napari_ptsam.inference.segment import Segmenter
    from napari_ptsam.prompts.prompt import Prompt

VERSION = 1
"""Version of the layout of work folders. A run of another version cannot be resumed."""

EXCLUDED_FIELDS = (
    "backbone", "signature", "weights", "pixel_size", "origin", "notes", "licence", "author",
    "thumbnail", "trained_channels",
)  # fmt: skip
"""Fields of a prompt that change no label, and those of the backbone, which are named separately."""

RunIdentity = dict[str, Any]
"""Plain values that determine the result, by their names in messages."""


def describe_run(
    planes: Planes, segmenter: Segmenter, link: LinkSettings | None, pixels: str
) -> RunIdentity:
    """Return all values that determine a result, in types that JSON does not change."""
    prompt, size = segmenter.prompt, planes.pixel_size
    run = {
        "format version": VERSION,
        "prompt": digest_of(prompt),
        "backbone": f"{prompt.backbone} {prompt.signature}",
        "result settings": _in_file(segmenter.settings),
        "link settings": None if link is None else asdict(link),
        "image": planes.name,
        "shape": planes.array_shape,
        "axes": planes.axes,
        "part": planes.cut,
        "dtype": planes.dtype.str,
        "pixel size": None if size is None else asdict(size),
        "pixels": pixels,
    }
    return json.loads(json.dumps(run))


def _in_file(settings: ResultSettings) -> dict[str, Any]:
    """Return result settings by the names of version 0.1.0, so that its runs can be resumed."""
    values = asdict(settings)
    return values | {"split": "cores" if values["split"] == "markers" else values["split"]}


def digest_of_pixels(planes: Planes) -> str:
    """Return a digest of three planes. Images of the same name and shape may differ in their pixels."""
    digest = hashlib.sha256()
    for number in sorted({0, len(planes) // 2, len(planes) - 1}):
        try:
            digest.update(np.ascontiguousarray(planes[number]).data)
        except InputError:  # it is reported when the plane is segmented
            continue
    return digest.hexdigest()[:16]


def digest_of(prompt: Prompt) -> str:
    """Return a digest of all fields of a prompt except those in `EXCLUDED_FIELDS`.

    Fields with their default value are left out, so that fields which later
    versions add do not change the digest of older prompts.
    """
    plain: dict[str, Any] = {}
    arrays: list[np.ndarray] = []
    for field in fields(prompt):
        value = getattr(prompt, field.name)
        items = value if isinstance(value, tuple) else (value,)
        if field.name in EXCLUDED_FIELDS:
            continue
        if items and all(isinstance(item, np.ndarray) for item in items):
            arrays += items
        elif value != field.default or field.name == "refinement":  # it has always been included
            plain[field.name] = value
    text = json.dumps(plain, sort_keys=True, default=_as_plain)
    digest = hashlib.sha256(text.encode())
    for array in arrays:
        digest.update(array.astype("<f4").tobytes())
    return digest.hexdigest()[:16]


def _as_plain(value: Any) -> Any:
    """Convert a part of a prompt to a type that JSON knows."""
    if isinstance(value, np.ndarray):  # the parameters of a detail head
        return hashlib.sha256(value.astype("<f4").tobytes()).hexdigest()
    return value.item() if isinstance(value, np.generic) else asdict(value)


def digest_of_run(run: RunIdentity) -> str:
    """Return the digest of a run: 32 hexadecimal digits."""
    return hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()[:32]


def differences(run: RunIdentity, other: RunIdentity) -> str:
    """Return the names of the values in which two runs differ, separated by commas."""
    names = [name for name in {**run, **other} if run.get(name) != other.get(name)]
    return ", ".join(names)
