"""What a run is made of, so that another one of the same can go on with its work."""

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
    from napari_ptsam.inference.segment import Segmenter
    from napari_ptsam.prompts.prompt import Prompt

VERSION = 1
"""Of the layout of work folders; another one is another run."""

ASIDE = (
    "backbone", "signature", "weights", "pixel_size", "origin", "notes", "licence", "author",
    "thumbnail", "trained_channels",
)  # fmt: skip
"""Fields of a prompt that change no label, and the backbone's, which a run tells by themselves."""

RunIdentity = dict[str, Any]
"""Plain values that decide about the result, by what they are called in messages."""


def describe_run(
    planes: Planes, segmenter: Segmenter, link: LinkSettings | None, pixels: str
) -> RunIdentity:
    """All that decides about a result: plain values, as they come back from JSON."""
    prompt, size = segmenter.prompt, planes.pixel_size
    run = {
        "format version": VERSION,
        "prompt": digest_of(prompt),
        "backbone": f"{prompt.backbone} {prompt.signature}",
        "result settings": asdict(segmenter.settings),
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


def digest_of_pixels(planes: Planes) -> str:
    """Fingerprint of three planes: an image of the same name and shape may hold other pixels."""
    found = hashlib.sha256()
    for number in sorted({0, len(planes) // 2, len(planes) - 1}):
        try:
            found.update(np.ascontiguousarray(planes[number]).data)
        except InputError:  # told of when its turn comes
            continue
    return found.hexdigest()[:16]


def digest_of(prompt: Prompt) -> str:
    """Fingerprint of what a prompt does: every field but those of `ASIDE`.

    A field that has its default is left out, so that fields which come later do
    not change the fingerprint of prompts that were there before.
    """
    plain: dict[str, Any] = {}
    arrays: list[np.ndarray] = []
    for field in fields(prompt):
        value = getattr(prompt, field.name)
        own = value if isinstance(value, tuple) else (value,)
        if field.name in ASIDE:
            continue
        if own and all(isinstance(one, np.ndarray) for one in own):
            arrays += own
        elif value != field.default or field.name == "refinement":  # which was always told
            plain[field.name] = value
    text = json.dumps(plain, sort_keys=True, default=_as_plain)
    found = hashlib.sha256(text.encode())
    for array in arrays:
        found.update(array.astype("<f4").tobytes())
    return found.hexdigest()[:16]


def _as_plain(value: Any) -> Any:
    """A part of a prompt as JSON knows it."""
    return value.item() if isinstance(value, np.generic) else asdict(value)


def digest_of_run(run: RunIdentity) -> str:
    """Fingerprint of a run: 32 hexadecimal digits."""
    return hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()[:32]


def differences(run: RunIdentity, other: RunIdentity) -> str:
    """In what two runs differ, in words."""
    names = [name for name in {**run, **other} if run.get(name) != other.get(name)]
    return ", ".join(names)
